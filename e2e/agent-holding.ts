import { chatAgent } from "@gatehouse/agent";
import { moment } from "./moment.ts";
import { textOf } from "./said.ts";

/** An agent that says half of its answer, and the rest of one to `hold` when that turn is let go. */
export function makeHolding() {
  const gates = new Map<string, ReturnType<typeof moment<void>>>();
  const gateOf = (session: string, turn: number) => {
    const gate = gates.get(`${session} ${turn}`) ?? moment<void>();
    gates.set(`${session} ${turn}`, gate);
    return gate;
  };
  const agent = chatAgent({
    id: "holding",
    async *run({ session, turn, signal, uiMessages }) {
      yield { type: "text-start", id: "1" };
      yield { type: "text-delta", id: "1", delta: "half" };
      if (textOf(uiMessages.at(-1)) === "hold")
        await Promise.race([gateOf(session.id, turn).happened, new Promise((resolve) => signal.addEventListener("abort", resolve))]);
      yield { type: "text-delta", id: "1", delta: ", whole" };
      yield { type: "text-end", id: "1" };
    },
  });
  return { agent, gateOf };
}
