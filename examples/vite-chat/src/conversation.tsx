import { type Chat, useChat } from "@ai-sdk/react";
import { isToolUIPart, type UIMessage } from "ai";
import { useEffect, useRef } from "react";
import { Composer } from "./composer.tsx";
import { closeChat } from "./open.ts";

/** The page: what was said, and where one says more. */
export function Conversation({ chat }: { chat: Chat<UIMessage> }) {
  const { messages, status, error, sendMessage, regenerate, stop } = useChat({ chat, resume: true });
  const busy = status === "submitted" || status === "streaming";
  const end = useRef<HTMLDivElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: whenever more is said, it is what people want to see
  useEffect(() => {
    end.current?.scrollIntoView({ block: "end" });
  }, [messages, status]);

  const startAnew = async () => {
    await closeChat();
    location.reload();
  };

  return (
    <>
      <header>
        <img src="/mark.svg" alt="" />
        <h1>Chat</h1>
        {messages.length > 0 && (
          <button type="button" className="quiet" onClick={startAnew}>
            New conversation
          </button>
        )}
      </header>
      <main>
        {messages.length === 0 && <p className="empty">Say something to begin.</p>}
        <ol aria-live="polite" aria-busy={busy}>
          {messages.map((message, i) => (
            <Said key={message.id} message={message} live={busy && i === messages.length - 1} />
          ))}
        </ol>
        {status === "submitted" && messages.at(-1)?.role === "user" && (
          <p className="waiting" role="status">
            <span>Thinking</span>
          </p>
        )}
        {error && (
          <p className="problem" role="alert">
            {error.message}{" "}
            <button type="button" className="quiet" onClick={() => regenerate()}>
              Try again
            </button>
          </p>
        )}
        <div ref={end} className="end" />
      </main>
      <Composer busy={busy} onSend={(text) => sendMessage({ text })} onStop={stop} />
    </>
  );
}

function Said({ message: { role, parts }, live }: { message: UIMessage; live: boolean }) {
  return (
    <li className={live ? `${role} live` : role}>
      <span className="who">{role === "user" ? "You" : "Agent"}</span>
      {parts.map((part, i) => {
        // biome-ignore-start lint/suspicious/noArrayIndexKey: parts are only added
        if (part.type === "text") return <p key={i}>{part.text}</p>;
        if (!isToolUIPart(part)) return null;
        const name = part.type === "dynamic-tool" ? part.toolName : part.type.slice("tool-".length);
        return (
          <p key={i} className="tool">
            {part.state.startsWith("output") ? "Used" : "Using"} {name}
          </p>
        );
        // biome-ignore-end lint/suspicious/noArrayIndexKey: see above
      })}
    </li>
  );
}
