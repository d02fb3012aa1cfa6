import { chatAgent, serve } from "@gatehouse/agent";
import { textOf } from "./said.ts";

// A worker in a process of its own, for tests that end it: `wait` is answered when it says so on stdin.
const opened = new Promise<void>((resolve) => process.stdin.once("data", () => resolve()));

await serve([
  chatAgent({
    id: "remote",
    async *run({ uiMessages, attempt }) {
      yield { type: "text-start", id: "1" };
      yield { type: "text-delta", id: "1", delta: `${process.argv[2]} begins. ` };
      if (textOf(uiMessages.at(-1)) === "wait" && attempt === 1) await opened;
      yield { type: "text-delta", id: "1", delta: `${process.argv[2]} ends after ${uiMessages.length}.` };
      yield { type: "text-end", id: "1" };
    },
  }),
]);
