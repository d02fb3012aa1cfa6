import { createAuth } from "@gatehouse/server";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openSession } from "../packages/server/src/people/users.ts";
import { startTestServer } from "./harness.ts";
import { changes, type Source, type State } from "./token-model.ts";
import { acting, agrees, anyTrial, credential, type Ground, type Held, mintAll, seen, type Trial, withService } from "./token-trial.ts";
import { named, newId, type Placed, place } from "./worlds.ts";

const WORLDS = 1000;
/** Worlds that are put into the database, and played, together. */
const AT_ONCE = 100;

let ground: Ground;
let close: () => Promise<unknown>;
beforeAll(async () => {
  const server = await startTestServer();
  const opened = createAuth({ address: server.databaseUrl, secret: server.secret, publicUrl: server.url, cookieOrigins: [] });
  ground = { server, session: async (userId) => (await openSession(opened.auth, userId)).token };
  close = async () => {
    await opened.close();
    await server.close();
  };
});
afterAll(() => close());

test(`in ${WORLDS} worlds a token is minted for exactly what its source may do, and never does more than that, whatever happens then`, {
  timeout: 600_000,
}, async () => {
  for (let worlds = 0; worlds < WORLDS; worlds += AT_ONCE) {
    const trials = fc.sample(anyTrial, AT_ONCE);
    const placed = await place(
      ground.server.sql,
      trials.map(({ world }) => world),
    );
    const played = await Promise.allSettled(trials.map((trial, i) => play(trial, placed[i] as Placed)));
    for (const [i, one] of played.entries())
      if (one.status === "rejected") throw new Error(`${one.reason.message}\nin ${JSON.stringify(trials[i])}`, { cause: one.reason });
  }
  // Trials in which nothing is minted, or nothing dies, would agree with any model.
  for (const [what, count] of Object.entries(seen)) expect(count, what).toBeGreaterThan(WORLDS / 10);
});

/** Mints tokens of a credential, and of the last of them, and then lets happen what may. */
async function play(trial: Trial, placed: Placed): Promise<void> {
  const { id } = placed;
  const world = trial.kind === "service" ? await withService(ground, placed) : trial.world;
  let state: State = { world, ended: new Set() };
  const source = await credential(ground, trial, id);
  const first = await (trial.kind === "acting" ? acting : mintAll)(ground, trial, placed, source, state);
  if (!first) return;
  const child = await mintAll(ground, trial, placed, first, state);
  for (const { change, pick } of trial.later) {
    const after =
      change === "revoke the parent"
        ? await revoked(first, state)
        : await changed(change, state, pick, first.model.by[pick % first.model.by.length] as Source, id);
    if (!after) continue;
    state = after;
    for (const token of child ? [first, child] : [first]) await agrees(ground, token, source, state, placed, `after "${change}"`);
    if (state.ended.has("space")) return; // nothing else can happen in it
  }
}

async function revoked({ secret, model }: Held, state: State): Promise<State> {
  await ground.server.call(secret, "token.revoke", { token: secret });
  return { ...state, ended: new Set([...state.ended, model.hangsOn.at(-1) as string]) };
}

async function changed(change: string, state: State, pick: number, source: Source, id: Placed["id"]): Promise<State | undefined> {
  const made = changes[change]?.(state, pick, source);
  if (!made) return undefined;
  const idIn = (name: string) => (name.startsWith("=") ? named(name.slice(1), id) : name === "new" ? newId() : (id[name] as string));
  await ground.server.sql.unsafe(made.tell.sql, made.tell.params.map(idIn));
  return made.after;
}
