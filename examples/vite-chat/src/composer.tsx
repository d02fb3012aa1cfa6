import { type FormEvent, type KeyboardEvent, useState } from "react";

/** Where one says something; while an answer comes, where one stops it. */
export function Composer({ busy, onSend, onStop }: { busy: boolean; onSend: (text: string) => void; onStop: () => void }) {
  const [text, setText] = useState("");

  function submit(event: FormEvent) {
    event.preventDefault();
    if (busy) return onStop();
    if (text.trim() === "") return;
    onSend(text.trim());
    setText("");
  }

  function onKeyDown(event: KeyboardEvent<HTMLTextAreaElement>) {
    if (event.key !== "Enter" || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    if (!busy) event.currentTarget.form?.requestSubmit();
  }

  return (
    <form aria-label="Say something" onSubmit={submit}>
      <textarea
        aria-label="Your message"
        placeholder="Your message"
        rows={1}
        value={text}
        onChange={(event) => setText(event.target.value)}
        onKeyDown={onKeyDown}
      />
      <button type="submit" disabled={!busy && text.trim() === ""}>
        {busy ? "Stop" : "Send"}
      </button>
    </form>
  );
}
