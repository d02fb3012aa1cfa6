import { chatAgent, serve } from "@gatehouse/agent";
import { createSpaceClient, followSession } from "@gatehouse/client";
import { streamText } from "ai";
import { startModel } from "../e2e/model.ts";
import { moment } from "../e2e/moment.ts";
import type { House } from "./house.ts";

/** Messages of a conversation: what is measured is not how long it has become. */
const TURNS = 10;

/** Milliseconds to the first word of a model's answer: asked directly, and by a message in a session, turn by turn. */
export async function firstTokens(house: House, conversations: number): Promise<{ direct: number[]; through: number[] }> {
  const model = await startModel();
  model.reply = () => ({ deltas: [{ role: "assistant", content: "one " }, { content: "two" }], end: "stop" });
  const writer = chatAgent({
    id: "writer",
    run: ({ messages, signal }) => streamText({ model: model.provider(), messages, abortSignal: signal }),
  });
  const serving = await serve([writer], { ...house.target, signals: false, log: () => {} });
  const client = createSpaceClient(house.target);
  const direct: number[] = [];
  const through: number[] = [];

  async function ask(): Promise<void> {
    const startedAt = performance.now();
    const words = streamText({ model: model.provider(), prompt: "say something" }).textStream[Symbol.asyncIterator]();
    await words.next();
    direct.push(performance.now() - startedAt);
    while (!(await words.next()).done);
  }

  async function converse(): Promise<void> {
    const { session } = await client.session.create({ task: "writer", message: "hello" });
    let turn = { first: moment(), last: moment() };
    const reading = (async () => {
      for await (const { kind, data } of followSession(house.target, session.id)) {
        if (kind === "chunks" && (data as { type: string }[]).some(({ type }) => type === "text-delta")) turn.first.happen();
        if (kind === "turn-end") turn.last.happen();
      }
    })();
    await turn.last.happened;
    for (let i = 0; i < TURNS; i++) {
      await ask();
      turn = { first: moment(), last: moment() };
      const startedAt = performance.now();
      await Promise.all([client.session.send({ session: session.id, message: "say something" }), turn.first.happened]);
      through.push(performance.now() - startedAt);
      await turn.last.happened;
    }
    await client.session.close({ session: session.id });
    await reading;
  }

  for (let i = 0; i < conversations; i++) await converse();
  await serving.stop();
  model.close();
  return { direct, through };
}
