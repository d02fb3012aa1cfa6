import { effective, formatPermission } from "@gatehouse/protocol";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readStanding } from "../packages/server/src/standing.ts";
import { covered } from "./authority-model.ts";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";

// Random sequences of invitations, and of all that changes what those who made them may do. Whatever came before, an
// invitation that is accepted gives no more than its maker could give at that moment, worked out here from the rows.

let server: TestServer;
let ada: TestUser;
let bob: TestUser;
let bot: { id: string; key: string };
const guests: TestUser[] = [];
beforeAll(async () => {
  server = await startTestServer();
  [ada, bob] = [await server.user("Ada"), await server.user("Bob")];
  for (const name of ["Carol", "Dora"]) guests.push(await server.user(name));
  await server.acquaint(ada, bob, ...guests);
  const { id } = await must(bob.session, "agent.create", { name: "bot" });
  bot = { id, key: (await must(bob.session, "apiKey.create", { name: "bot", agent: id })).key };
});
afterAll(() => server.close());

async function must(credential: string, method: string, params: object, slug?: string) {
  const { result, error } = await server.call(credential, method, params, slug);
  if (!result) throw new Error(`${method}: ${error?.message}`);
  return result;
}

const PERMISSIONS = ["write:members", "write:members", "admin:groups", "admin:docs", "admin"];
const actions = {
  invite: { by: ["bob", "bob's key", "bob's limited key", "bot"], into: ["nothing", "plain", "strong"] },
  grant: { to: ["bob", "bot", "strong"], permission: PERMISSIONS, by: ["ada", "ada's key"] },
  revoke: { to: ["bob", "bot", "strong"], permission: PERMISSIONS },
  promote: { admin: [true, false] },
  remove: { who: ["bob", "bot", "a guest"] },
  add: { who: ["bob", "bot"] },
  leave: {},
  endKey: {},
  accept: { guest: [0, 1] },
} as const;
const step = fc.oneof(
  ...Object.entries(actions).map(([action, choices]) => ({
    weight: { invite: 6, grant: 2, revoke: 4, accept: 2 }[action] ?? 1,
    arbitrary: fc.record({
      action: fc.constant(action as keyof typeof actions),
      which: fc.nat(40),
      ...Object.fromEntries(Object.entries(choices).map(([name, values]) => [name, fc.constantFrom(...values)])),
    }) as fc.Arbitrary<Step>,
  })),
);

interface Made {
  id: string;
  token: string;
  maker: string;
  keyId: string | null;
  ceiling: string[] | null;
  group: string | null;
}

async function makePlace() {
  const space = await must(ada.session, "space.create", { name: "Team" });
  const asAda = (method: string, params: object) => must(ada.session, method, params, space.slug);
  const [plain, strong] = [(await asAda("group.create", { name: "plain" })).id, (await asAda("group.create", { name: "strong" })).id];
  await asAda("access.grant", { principal: strong, permission: "admin:docs" });
  const keys: Record<string, { id: string; key: string }> = {};
  for (const [name, who, rest] of [
    ["bob's key", bob, {}],
    ["bob's limited key", bob, { ceiling: ["write:members", "read"] }],
    ["ada's key", ada, {}],
  ] as const)
    keys[name] = await must(who.session, "apiKey.create", { name: `${name} ${space.slug}`.slice(0, 60), ...rest });
  for (const principal of [bob.id, bot.id]) await asAda("principal.add", { principal });
  for (const principal of [bob.id, bot.id]) await asAda("access.grant", { principal, permission: "write:members" });
  return { space, groups: { plain, strong, nothing: null } as Record<string, string | null>, keys, invites: [] as Made[] };
}
type Place = Awaited<ReturnType<typeof makePlace>>;

/** What the maker of an invitation may do at this moment by what lasts, under the ceiling of its key; nothing when the key is gone. */
async function reachOf({ space }: Place, { maker, keyId, ceiling }: Made): Promise<string[]> {
  const [key] =
    keyId === null ? [{}] : await server.sql`select from api_keys where id = ${keyId} and (expires_at is null or expires_at > now())`;
  const of = { principal: { id: maker }, credential: { ceiling: null } };
  const standing = key && (await readStanding(server.sql, { id: space.id }, of, { lasting: true }));
  const held = standing?.ownerPresent ? effective(standing.layers).map(formatPermission) : [];
  // Only questions that the ceiling covers, too.
  return ceiling === null ? held : held.filter((one) => covered(ceiling, one)).concat(ceiling.filter((one) => covered(held, one)));
}

/** One step: what is done, and the choices that it has. */
interface Step {
  action: keyof typeof actions;
  which: number;
  by: string;
  into: string;
  to: string;
  permission: string;
  admin: boolean;
  who: string;
  guest: number;
}

/** @returns whether an invitation was accepted, where one was tried */
async function play(place: Place, log: string[], { action, which, ...choice }: Step): Promise<boolean | undefined> {
  const { space, groups, keys, invites } = place;
  const { by, into, to, permission, admin, who, guest } = choice;
  const call = async (credential: string | undefined, method: string, params: object, where: string | null = space.slug) => {
    const answer = await server.call(credential, method, params, where ?? undefined);
    log.push(`${method} ${JSON.stringify({ ...choice, ...params })} → ${answer.error?.data.code ?? "ok"}`);
    expect(answer.error?.data.code, log.join("\n")).not.toBe("INTERNAL_ERROR");
    return answer;
  };
  const ids: Record<string, string> = {
    bob: bob.id,
    bot: bot.id,
    "a guest": (guests[which % 2] as TestUser).id,
    strong: groups.strong as string,
  };
  const credential: Record<string, string> = {
    bob: bob.session,
    bot: bot.key,
    ada: ada.session,
    ...Object.fromEntries(Object.entries(keys).map(([name, { key }]) => [name, key])),
  };
  if (action === "invite") {
    const group = groups[into] as string | null;
    const { result } = await call(credential[by], "invite.create", { groups: group ? [group] : [] });
    const [row] = result ? await server.sql<{ keyId: string | null }[]>`select key_id from invites where id = ${result.id}` : [];
    const ceiling = by === "bob's limited key" ? ["write:members", "read"] : null;
    if (row) invites.push({ ...result, maker: by === "bot" ? bot.id : bob.id, keyId: row.keyId, ceiling, group });
  } else if (action === "grant") await call(credential[by], "access.grant", { principal: ids[to], permission });
  else if (action === "revoke") await call(ada.session, "access.revoke", { principal: ids[to], permission });
  else if (action === "promote") await call(ada.session, "principal.setAdmin", { principal: bob.id, admin });
  else if (action === "remove") await call(ada.session, "principal.remove", { principal: ids[who] });
  else if (action === "add") await call(ada.session, "principal.add", { principal: ids[who] });
  else if (action === "leave") await call(bob.session, "space.leave", {});
  else if (action === "endKey") {
    const [name, key] = Object.entries(keys)[which % 3] as [string, { id: string }];
    if (which < 20) await server.sql`update api_keys set expires_at = now() - interval '1 second' where id = ${key.id}`;
    else await server.call((name === "ada's key" ? ada : bob).session, "apiKey.delete", { id: key.id });
  } else {
    const [invite] = invites.splice(which % (invites.length || 1), 1);
    if (!invite) return undefined;
    const reach = await reachOf(place, invite);
    const { error } = await call((guests[guest] as TestUser).session, "invite.accept", { token: invite.token }, null);
    if (error) return false;
    const given = await server.sql<{ permission: string }[]>`
      select permission from live_grants where principal_id = ${invite.group} and space_id = ${space.id}`;
    const needed = ["write:members", ...(invite.group ? [`admin:groups:${invite.group}`] : []), ...given.map((one) => one.permission)];
    for (const one of needed) expect(covered(reach, one), `${one}\n${log.join("\n")}`).toBe(true);
    return true;
  }
  return undefined;
}

test("after any sequence of changes, an invitation gives no more than its maker could give at the moment it is accepted", async () => {
  const seen = { accepted: 0, refused: 0 };
  const property = fc.asyncProperty(fc.array(step, { minLength: 8, maxLength: 24, size: "max" }), async (steps) => {
    const [place, log] = [await makePlace(), [] as string[]];
    const doStep = async (one: Step) => {
      const accepted = await play(place, log, one);
      if (accepted !== undefined) seen[accepted ? "accepted" : "refused"]++;
    };
    for (const one of steps) await doStep(one);
    // What is still open then.
    while (place.invites.length > 0) await doStep({ ...(steps[0] as Step), action: "accept", which: 0, guest: place.invites.length % 2 });
  });
  await fc.assert(property, { numRuns: 60 });
  expect(seen.accepted).toBeGreaterThan(10);
  expect(seen.refused).toBeGreaterThan(10);
});
