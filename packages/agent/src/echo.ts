import { chatAgent } from "./agent.ts";

/** Answers with what it was sent, word by word: to see a conversation work with no model. */
export const echo = chatAgent({
  id: "echo",
  description: "Answers with what it was sent.",
  async *run({ uiMessages }) {
    const text =
      uiMessages
        .at(-1)
        ?.parts.map((part) => (part.type === "text" ? part.text : ""))
        .join("") ?? "";
    yield { type: "start" };
    yield { type: "text-start", id: "text" };
    for (const delta of text.split(/(?<=\s)(?=\S)/)) if (delta) yield { type: "text-delta", id: "text", delta };
    yield { type: "text-end", id: "text" };
    yield { type: "finish" };
  },
});
