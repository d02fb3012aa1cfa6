import { effective, formatPermission, parsePermission } from "@gatehouse/protocol";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Actor } from "../packages/server/src/actor.ts";
import { answerQuestion } from "../packages/server/src/explain.ts";
import { readStanding } from "../packages/server/src/standing.ts";
import { covered, holds, layersOf, may, ownerIsThere, without } from "./authority-model.ts";
import { startTestServer, type TestServer } from "./harness.ts";
import { agents, anyWorld, callers, named, type Placed, place, type World } from "./worlds.ts";

const WORLDS = 10_000;
/** Worlds that are put into the database together. */
const MOST_AT_ONCE = 1000;

let server: TestServer;
beforeAll(async () => {
  server = await startTestServer();
});
afterAll(() => server.close());

/** Checks worlds by the batch until there were enough of them. */
async function forWorlds(atLeast: number, check: (placed: Placed[]) => Promise<unknown>): Promise<void> {
  let seen = 0;
  const batch = fc.array(anyWorld, { minLength: 1, maxLength: Math.min(MOST_AT_ONCE, atLeast), size: "max" });
  const property = fc.asyncProperty(batch, async (worlds) => {
    seen += worlds.length;
    await check(await place(server.sql, worlds));
  });
  // A failure names its world, which is small: to shrink a batch of a thousand would take an hour.
  while (seen < atLeast) await fc.assert(property, { numRuns: 1, endOnFailure: true, asyncReporter });
}

/** Throws what failed as it is, without the whole batch. */
const asyncReporter = async ({ failed, errorInstance }: { failed: boolean; errorInstance?: unknown }) => {
  if (failed) throw errorInstance;
};

/** Checks every world by itself. */
const inEach = <Each extends Placed>(placed: readonly Each[], check: (each: Each, i: number) => Promise<unknown>) =>
  Promise.all(
    placed.map((each, i) =>
      check(each, i).catch((cause: Error) => {
        throw new Error(`${cause.message}\nin the world ${JSON.stringify(each.world)}`, { cause });
      }),
    ),
  );

/** Somebody as the server sees them, by a credential with that ceiling. */
async function arrive({ id, world }: Placed, who: string, ceiling: string[] | null, options = {}): Promise<Actor> {
  const owner = world.owners[who];
  const actor: Actor = {
    principal: { id: id[who] as string, kind: who.startsWith("a") ? "a" : "u", name: who, email: null },
    owner: owner === undefined ? null : { id: id[owner] as string, kind: owner.startsWith("g") ? "g" : "u", name: owner },
    credential: { via: "pat", id: "", expiresAt: null, ceiling: ceiling?.map((text) => parsePermission(named(text, id))) ?? null },
  };
  return { ...actor, standing: await readStanding(server.sql, { id: id.space as string }, actor, options) };
}

const textsOf = ({ standing }: Actor) => standing?.layers.map(({ permissions }) => permissions.map(formatPermission).sort()) ?? null;
const expectedTexts = (id: Placed["id"], layers: string[][] | null) =>
  layers?.map((layer) => [...new Set(layer.map((text) => named(text, id)))].sort()) ?? null;

/** Whether the server says that an actor may, by its answer and by the list of what they may do. */
async function ask(actor: Actor, permission: string): Promise<boolean> {
  if (!actor.standing) return false;
  const { allowed, layers } = await answerQuestion({ permission }, { actor, sql: server.sql });
  expect(allowed).toBe(layers.every(({ allows }) => allows));
  expect(covered(effective(actor.standing.layers).map(formatPermission), permission), `effective and check differ on ${permission}`).toBe(
    allowed,
  );
  return allowed;
}

test(`in ${WORLDS} worlds everybody may what the model says, layer by layer`, async () => {
  const answers = { yes: 0, no: 0 };
  await forWorlds(WORLDS, (placed) =>
    inEach(placed, async (each, i) => {
      const { world, id } = each;
      // A third of those there are: the others of the next worlds.
      for (const who of callers.filter((_, j) => (i + j) % 3 === 0)) {
        const ceiling = i % 2 === 0 ? world.ceiling : null;
        const actor = await arrive(each, who, ceiling);
        expect(textsOf(actor), `the layers of ${who}`).toEqual(expectedTexts(id, layersOf(world, who, ceiling)));
        if (actor.standing) expect(actor.standing.ownerPresent, `the owner of ${who}`).toBe(ownerIsThere(world, who));
        for (const asked of world.questions) {
          const allowed = await ask(actor, named(asked, id));
          expect(allowed, `${who} and ${asked}`).toBe(may(world, who, ceiling, asked));
          answers[allowed ? "yes" : "no"]++;
        }
      }
    }),
  );
  // Worlds in which nothing is allowed, or everything, would agree with any model.
  expect(Math.min(answers.yes, answers.no)).toBeGreaterThan(WORLDS / 10);
});

test("layers only narrow: not by a ceiling, not as an agent, does anybody get more; nor by what keys have made does anybody make more", async () => {
  await forWorlds(800, (placed) =>
    inEach(placed, async (each) => {
      const { world, id } = each;
      for (const who of callers) {
        const [free, limited, lasting] = await Promise.all([
          arrive(each, who, null),
          arrive(each, who, world.ceiling ?? ["read:docs"]),
          arrive(each, who, null, { lasting: true }),
        ]);
        expect(textsOf(lasting), `what lasts of ${who}`).toEqual(expectedTexts(id, layersOf(world, who, null, true)));
        const owner = world.owners[who];
        const own = owner?.startsWith("u") ? await arrive(each, owner, null) : undefined;
        for (const asked of world.questions.map((text) => named(text, id))) {
          const allowed = await ask(free, asked);
          if (await ask(limited, asked)) expect(allowed, `${who} by a key that is limited: ${asked}`).toBe(true);
          if (await ask(lasting, asked)) expect(allowed, `${who} by what lasts: ${asked}`).toBe(true);
          if (!allowed || owner === undefined) continue;
          const ownerMay = own
            ? await ask(own, asked)
            : covered(
                holds(world, owner).map((text) => named(text, id)),
                asked,
              );
          expect(ownerMay, `${who} may ${asked}, and its owner ${owner} may not`).toBe(true);
        }
      }
    }),
  );
});

/** The worlds in which somebody is a member, and who. */
const leavers = (placed: Placed[]) =>
  placed.flatMap((each) => {
    const leaver = each.world.members[0];
    return leaver ? [{ ...each, leaver: leaver.who }] : [];
  });

/** Who leaves, and the agents who leave with them. */
const goers = ({ world, leaver }: { world: World; leaver: string }) => [
  leaver,
  ...agents.filter((agent) => world.owners[agent] === leaver),
];

test("leaving takes everything at once, the agents of who leaves too, and coming back brings nothing with it", async () => {
  await forWorlds(800, async (placed) => {
    const left = leavers(placed);
    const rows = left.map(({ id, leaver }) => ({ space_id: id.space, principal_id: id[leaver] }));
    const which = server.sql`jsonb_populate_recordset(null::members, ${server.sql.json(rows)}) as r`;
    await server.sql`delete from members m using ${which} where m.space_id = r.space_id and m.principal_id = r.principal_id`;
    const agrees = (world: World, each: Placed) =>
      Promise.all(
        callers.map(async (who) => {
          const actor = await arrive(each, who, null);
          expect(textsOf(actor), `the layers of ${who}`).toEqual(expectedTexts(each.id, layersOf(world, who, null)));
          return actor;
        }),
      );
    const one = async (each: (typeof left)[number]) => {
      const actors = await agrees(without(each.world, each.leaver), each);
      for (const who of goers(each)) expect(actors[callers.indexOf(who)]?.standing, who).toBeNull();
    };
    await inEach(left, one);
    const back = left.flatMap((each) => goers(each).map((who) => ({ space_id: each.id.space, principal_id: each.id[who] })));
    await server.sql`
      insert into members (space_id, principal_id)
      select r.space_id, r.principal_id from jsonb_populate_recordset(null::members, ${server.sql.json(back)}) as r`;
    const again = async (each: (typeof left)[number]) => {
      const gone = without(each.world, each.leaver);
      const returned = goers(each).map((who) => ({ who, admin: false, tie: "person" as const }));
      await agrees({ ...gone, members: [...gone.members, ...returned] }, each);
      for (const who of goers(each)) expect(textsOf(await arrive(each, who, null))?.[0], `what ${who} brings back`).toEqual([]);
    };
    await inEach(left, again);
  });
});

test("what groups and grants were prepared means nothing before membership, and counts from then on", async () => {
  await forWorlds(800, async (placed) => {
    for (const each of placed)
      for (const who of callers.filter((who) => !each.world.members.some((member) => member.who === who)))
        expect((await arrive(each, who, null)).standing, who).toBeNull();
    const joins = placed.flatMap((each) => {
      const who = callers.find((who) => !each.world.members.some((member) => member.who === who));
      return who === undefined ? [] : [{ each, who }];
    });
    const rows = joins.map(({ each, who }) => ({ space_id: each.id.space, principal_id: each.id[who] }));
    await server.sql`
      insert into members (space_id, principal_id)
      select r.space_id, r.principal_id from jsonb_populate_recordset(null::members, ${server.sql.json(rows)}) as r`;
    for (const { each, who } of joins) {
      const world: World = { ...each.world, members: [...each.world.members, { who, admin: false, tie: "person" }] };
      expect(textsOf(await arrive(each, who, null)), who).toEqual(expectedTexts(each.id, layersOf(world, who, null)));
    }
  });
});
