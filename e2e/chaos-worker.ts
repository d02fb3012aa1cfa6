import { setTimeout as delay } from "node:timers/promises";
import { chatAgent, serve } from "@gatehouse/agent";
import { answerTo, dice, losing } from "./dice.ts";

// A worker for the chaos run, which loses some of the answers to what it asks. It says on stdout what it wanted to write
// for a run that was not its own any more.
const lossy = losing(0.03, dice(process.argv[2] as string));
globalThis.fetch = Object.assign(async (...[url, init]: Parameters<typeof fetch>) => {
  const answer = await lossy(url, init);
  const [method] = /run\.(emit|endTurn)/.exec(String(init?.body)) ?? [];
  if (method && (await answer.clone().text()).includes("LEASE_LOST")) process.stdout.write(`late ${method}\n`);
  return answer;
}, lossy);

await serve([
  chatAgent({
    id: "chaos",
    idleTimeoutSeconds: 1,
    concurrency: 20,
    async *run({ inputId }) {
      const { words, paceMs, fails } = answerTo(inputId);
      yield { type: "text-start", id: "1" };
      for (const delta of words) {
        yield { type: "text-delta", id: "1", delta };
        await delay(paceMs);
      }
      if (fails) throw new Error("it fails");
      yield { type: "text-end", id: "1" };
    },
  }),
]);
