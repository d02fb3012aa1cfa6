import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";
import { type Cast, type Heist, type Plan, prepare, STOLEN } from "./heist.ts";
import { allMethods, BY_THEFT, play, type Step } from "./plunder.ts";
import { gains, reachOf, type Spoils, takeStock } from "./spoils.ts";

let server: TestServer;
let cast: Cast;
beforeAll(async () => {
  server = await startTestServer();
  const [boss, victim, accomplice] = [await server.user("Boss"), await server.user("Victim"), await server.user("Accomplice")];
  cast = { boss, victim, accomplice, lobby: await server.acquaint(boss, victim, accomplice) };
});
afterAll(() => server.close());

// Seldom everything: a thief who may do all exceeds nothing.
const permission = fc.oneof(
  { weight: 9, arbitrary: fc.constantFrom("admin:docs", "write:members", "write:members", "admin:groups", "write:groups", "read") },
  { weight: 1, arbitrary: fc.constant("admin") },
);
const plans: fc.Arbitrary<Plan> = fc.record({
  stolen: fc.constantFrom(...STOLEN),
  victimIsAdmin: fc.boolean(),
  granted: fc.uniqueArray(permission, { minLength: 2, maxLength: 4 }),
  ceiling: fc.uniqueArray(permission, { minLength: 1, maxLength: 3 }),
  accompliceIsMember: fc.boolean(),
  accompliceAdministers: fc.boolean(),
});

// Methods by which authority is made come more often, so that sequences get somewhere; all others come too.
const fruitful = [
  ...["principal.add", "principal.setAdmin", "group.addMember", "group.setMemberAdmin", "access.grant", "access.grant", "invite.create"],
].map((name) => `space ${name}`);
const method = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...fruitful) },
  { weight: 1, arbitrary: fc.constantFrom("user invite.accept", "user apiKey.create", "user agent.transfer") },
  { weight: 1, arbitrary: fc.constantFrom("user token.create", "space session.create", "space secretKey.create") },
  { weight: 2, arbitrary: fc.constantFrom(...allMethods) },
);
const stepBy = (...by: string[]): fc.Arbitrary<Step> =>
  fc.record({ by: fc.constantFrom(...by), method, draws: fc.array(fc.nat(23), { minLength: 5, maxLength: 5 }) });
const accomplices = ["accomplice", "accomplice's pat", "accomplice's agent", ...BY_THEFT.slice(1)];
/** What the thief does, and the accomplice does once more by what they have of it. */
const echo = fc.tuple(stepBy("thief"), fc.constantFrom(...accomplices)).map(([step, by]): Step[] => [step, { ...step, by }]);
/** An invitation by the thief, which the accomplice accepts. */
const invited = fc.tuple(stepBy("thief"), stepBy("accomplice")).map(([made, accepted]): Step[] => [
  { ...made, method: "space invite.create" },
  { ...accepted, method: "user invite.accept" },
]);
const sequence = fc
  .array(
    fc.oneof(
      { weight: 3, arbitrary: stepBy("thief", ...accomplices).map((step) => [step]) },
      { weight: 3, arbitrary: echo },
      { weight: 1, arbitrary: invited },
    ),
    {
      minLength: 5,
      maxLength: 14,
      size: "max",
    },
  )
  .map((steps) => steps.flat());

/** What must not come to be at any step, not even for a while: no key can make it. */
const NEVER = /^(admin|key|session|owner) /;
const ANYTHING = /./;

/** Plays a sequence; after each step nobody has more than before it but what the stolen credential, or the caller, could do. */
async function plunder(heist: Heist, steps: Step[], log: string[], start: Spoils): Promise<void> {
  let before = start;
  for (const step of steps) {
    const reach = await reachOf(server, heist);
    // What the accomplice does is bounded by what the accomplice may do: of the theft, too.
    const own = (id: string) => (step.by === "thief" ? [] : (before.authority.get(`${heist.principals.accomplice} in ${id}`) ?? []));
    for (const { id } of heist.spaces) reach.set(id, [...(reach.get(id) ?? []), ...own(id)]);
    log.push(await play(server, heist, step, cast.accomplice.email));
    const after = await takeStock(server, heist);
    expect(gains(before, after, reach, NEVER), log.join("\n")).toEqual([]);
    before = after;
  }
}

/** A whole theft: the plunder, the end of the credential, and what the accomplice still tries then. */
async function steal(plan: Plan, end: "revoke" | "expire", steps: Step[], afterwards: Step[]): Promise<string[]> {
  const heist = await prepare(server, cast, plan);
  const log: string[] = [JSON.stringify({ ...plan, end })];
  const start = await takeStock(server, heist);
  await plunder(heist, steps, log, start);
  await heist[end]();
  log.push(`the credential is gone: ${end}`);
  // What the accomplice could do from the first, they may have passed on.
  const own = new Map(heist.spaces.map(({ id }) => [id, start.authority.get(`${heist.principals.accomplice} in ${id}`) ?? []]));
  const decoy = new RegExp(`^member (${await agentsOf(cast.accomplice.id)}) of`);
  const check = async () => {
    const left = gains(start, await takeStock(server, heist), own, ANYTHING);
    // A member's own agents may be in the space, where they hold nothing.
    expect(plan.accompliceIsMember ? left.filter((line) => !decoy.test(line)) : left, log.join("\n")).toEqual([]);
  };
  for (const by of BY_THEFT) expect((await server.call(heist.credentials[by], "whoami")).status, `${by}\n${log.join("\n")}`).toBe(401);
  await check();
  for (const step of afterwards) {
    log.push(await play(server, heist, step, cast.accomplice.email));
    await check();
  }
  return log;
}

const agentsOf = async (owner: string) =>
  (await server.sql<{ id: string }[]>`select id from principals where owner_id = ${owner}`).map(({ id }) => id).join("|") || "none";

test("whatever is done with a stolen credential, nobody gets more than it, and nothing of it is left when it is gone", async () => {
  const worked = new Set<string>();
  const heists = fc.asyncProperty(
    plans,
    fc.constantFrom("revoke", "expire"),
    sequence,
    fc.array(stepBy(...accomplices), { maxLength: 6 }),
    async (plan, end, steps, afterwards) => {
      for (const line of await steal(plan, end, steps, afterwards)) if (line.endsWith("ok")) worked.add(line.split(" {")[0] as string);
    },
  );
  // What chance may leave out.
  const first = (by: string, method: string): Step => ({ by, method, draws: [0, 0, 0, 0, 0] });
  const makes = ["user token.create", "space session.create", "space principal.add", "space group.addMember", "space access.grant"];
  const made = makes.map((method) => first("thief", method));
  const invites = [first("thief", "space invite.create"), first("accomplice", "user invite.accept")];
  const all: Plan = {
    stolen: "pat",
    victimIsAdmin: true,
    granted: ["admin"],
    ceiling: ["admin"],
    accompliceIsMember: false,
    accompliceAdministers: false,
  };
  const examples: [Plan, "revoke", Step[], Step[]][] = [made, invites].map((steps) => [all, "revoke", steps, []]);
  await fc.assert(heists, { numRuns: 60, examples });
  // A thief to whom nothing is ever answered but no proves nothing.
  for (const { by, method } of [...made, ...invites]) expect(worked).toContain(`${by}: ${method.split(" ")[1]}`);
});

test.each(STOLEN)(
  "every method there is, by a stolen %s that may do everything, makes nothing that exceeds or outlives it",
  async (stolen) => {
    const plan = { stolen, victimIsAdmin: true, granted: ["admin"], ceiling: ["admin"], accompliceAdministers: true };
    // One token more, once nothing comes that could revoke it.
    const mint: Step = { by: "thief", method: "user token.create", draws: [0, 0, 0, 0, 0] };
    const steps = (shift: number) =>
      allMethods.flatMap((method, i): Step[] => {
        const step: Step = { by: "thief", method, draws: [shift, shift + i, shift, i, 0] };
        return method === "user token.revoke" ? [step, mint] : [step];
      });
    for (const shift of [0, 1])
      for (const end of ["revoke", "expire"] as const)
        await steal(
          { ...plan, accompliceIsMember: shift % 2 === 0 },
          end,
          steps(shift).filter(({ method }) => method !== "user space.delete"),
          [],
        );
  },
);
