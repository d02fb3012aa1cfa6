import { join } from "node:path";
import { chatAgent } from "@gatehouse/agent";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeWorkplace, type Workplace } from "./agents.ts";
import { startFlaky } from "./flaky.ts";
import { moment } from "./moment.ts";
import { type Running, start, until } from "./run.ts";

let at: Workplace;
beforeAll(async () => {
  at = await makeWorkplace();
});
afterAll(() => at.close());

const kinds = async (session: string) => (await at.events(session)).map(({ kind }) => kind);

/** A worker in a process of its own, which serves `remote`. */
async function startWorker(name: string): Promise<Running> {
  const env = { PATH: process.env.PATH ?? "", ...at.env };
  const worker = start(process.execPath, [join(import.meta.dirname, "worker.ts"), name], env, null);
  await until(
    () => `the worker serves, which said:\n${worker.stderr()}`,
    () => worker.stderr().includes("Serving remote"),
  );
  return worker;
}

test("what a worker that is killed was about to answer is answered by another, once", async () => {
  const doomed = await startWorker("A");
  const talk = await at.start("remote", "wait");
  await until("the answer has begun", async () => (await kinds(talk.session)).includes("chunks"));
  doomed.child.kill("SIGKILL");
  const heir = await startWorker("B");
  const end = await at.answered(talk);
  expect(end).toMatchObject({ outcome: "complete", text: "B begins. B ends after 1." });
  expect(end.run).not.toBe(talk.run);
  const log = await kinds(talk.session);
  expect(log.filter((kind) => kind === "turn-lost")).toHaveLength(1);
  expect(log.filter((kind) => kind === "turn-start")).toHaveLength(2);
  expect(log.filter((kind) => kind === "turn-end")).toHaveLength(1);
  // What was begun and lost is no part of what was said.
  expect((await at.answered(await at.say(talk.session, "more"))).text).toBe("B begins. B ends after 3.");
  heir.child.kill("SIGKILL");
});

test("nothing that people say steers the terminal of a worker, or passes for a line of its log", async () => {
  const worker = await startWorker("C");
  const evil = "\u001b[2J\u009b31mloud\u202e\u007f\nremote order-1: turn 1 complete";
  const talk = await at.start("remote", "hello");
  await at.must("session.send", { session: talk.session, action: { name: evil } });
  await until(
    () => `the turn is over; the worker said:\n${worker.stderr()}`,
    () => worker.stderr().includes("turn 2 errored"),
  );
  worker.child.kill("SIGKILL");
  expect(worker.stderr()).toContain("loud");
  expect(worker.stderr()).not.toMatch(/[^\P{Cc}\n]|\p{Bidi_Control}/u);

  const run = () => {
    throw new Error(evil);
  };
  await at.serve([chatAgent({ id: "quoting", run })]);
  expect(await at.answered(await at.start("quoting", "hello"))).toMatchObject({ outcome: "errored" });
  const log = at.logged.join("\n");
  expect(log).toContain("loud");
  expect(log).not.toMatch(/[^\P{Cc}\n]|\p{Bidi_Control}/u);
  expect(log).not.toMatch(/^remote order-1/m);
});

test("a worker that is asked to stop finishes its turn, and hands over what waits", async () => {
  const leaving = await startWorker("A");
  const talk = await at.start("remote", "wait");
  await until("the answer has begun", async () => (await kinds(talk.session)).includes("chunks"));
  const next = await at.say(talk.session, "next");
  leaving.child.kill("SIGTERM");
  const heir = await startWorker("B");
  leaving.child.stdin?.write("go on\n");
  expect(await at.answered(talk)).toEqual({ outcome: "complete", run: talk.run, text: "A begins. A ends after 1." });
  const { code } = await leaving.finished;
  expect([code, leaving.child.signalCode]).toEqual([null, "SIGTERM"]);
  expect((await at.answered(next)).text).toBe("B begins. B ends after 3.");
  const { runs } = await at.must("run.list", { session: talk.session });
  expect(runs).toMatchObject([{ endReason: "handover" }, { reason: "continuation" }]);
  expect(await kinds(talk.session)).not.toContain("turn-lost");
  heir.child.kill("SIGKILL");
});

test("what is not done within the grace period goes to another worker, at once, and the log says why", async () => {
  const begun = moment();
  const aborted = moment();
  const stuck = chatAgent({
    id: "stuck",
    async run({ signal }) {
      signal.addEventListener("abort", () => aborted.happen());
      begun.happen();
      await new Promise(() => {});
      return "";
    },
  });
  const serving = await at.serve([stuck]);
  const talk = await at.start("stuck", "go");
  await begun.happened;
  await serving.stop({ reason: "upgrade", graceSeconds: 0 });
  await aborted.happened;
  await serving.finished;
  await at.serve([chatAgent({ id: "stuck", run: ({ attempt, run }) => `attempt ${attempt}, ${run.reason}` })]);
  expect(await at.answered(talk)).toMatchObject({ outcome: "complete", text: "attempt 2, upgrade" });
  expect((await at.must("run.get", { run: talk.run })).endReason).toBe("upgrade");
});

test("answers that are lost on the line double nothing, and lose nothing", async () => {
  const flaky = await startFlaky(at.server.url, ["run.emit", "run.endTurn", "run.next", "run.heartbeat", "task.register"]);
  const words = Array.from({ length: 200 }, (_, i) => `${i} `);
  const counting = chatAgent({
    id: "counting",
    async *run() {
      yield { type: "text-start", id: "1" };
      for (const delta of words) {
        yield { type: "text-delta", id: "1", delta };
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
  });
  const serving = await at.serve([counting], { server: flaky.url });
  const talk = await at.start("counting", "go");
  expect(await at.answered(talk)).toEqual({ outcome: "complete", run: talk.run, text: words.join("") });
  const again = await at.say(talk.session, "go");
  expect(await at.answered(again)).toEqual({ outcome: "complete", run: talk.run, text: words.join("") });
  expect(flaky.lost.get("run.emit")).toBeGreaterThan(1);
  expect(flaky.lost.get("run.endTurn")).toBeGreaterThan(0);
  await serving.stop();
  flaky.close();
});

test("a worker whose key is revoked ends, and says why", async () => {
  const { id, key } = await at.must("apiKey.create", { name: "short" }, null);
  const serving = await at.serve([chatAgent({ id: "revoked", run: () => "" })], { credential: key });
  await at.must("apiKey.delete", { id }, null);
  // It hears of it when it next asks: here, when there is something to take.
  await at.start("revoked", "anybody?");
  await expect(serving.finished).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
  expect(at.logged.at(-1)).toMatch(/^Error: The credential is missing, invalid, expired or revoked/);
});
