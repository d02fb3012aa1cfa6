import { Chat } from "@ai-sdk/react";
import { createChatTransport } from "@gatehouse/client/chat";
import type { UIMessage } from "ai";

/** What server.ts hands to a browser. */
interface Opened {
  server: string;
  session: string;
  token: string;
}

async function open(): Promise<Opened> {
  const answer = await fetch("/session", { method: "POST", headers: { "content-type": "application/json" }, body: "{}" });
  if (!answer.ok) throw new Error("The conversation can't be opened at the moment.");
  return answer.json();
}

/** Opens this visitor's conversation, with all that was said in it. */
export async function openChat(): Promise<Chat<UIMessage>> {
  const { server, session, token } = await open();
  let current = token;
  const transport = createChatTransport({
    server,
    session,
    // A token ends after an hour: then there is another.
    credential: async (refused) => {
      if (refused === current) current = (await open()).token;
      return current;
    },
  });
  return new Chat({ transport, messages: await transport.messages() });
}

/** Ends it for good; the next one that is opened is new. */
export async function closeChat(): Promise<void> {
  await fetch("/session", { method: "DELETE" });
}
