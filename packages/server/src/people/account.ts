import type { FastifyInstance, FastifyRequest } from "fastify";
import { z } from "zod";
import { recordChanges } from "../audit.ts";
import { lineInPerson } from "../budgets.ts";
import { retried } from "../change.ts";
import type { Sql } from "../db.ts";
import { type House, presentedBy } from "../house.ts";
import { tryReadJson } from "../json.ts";
import { Refusal } from "../refusal.ts";
import { refused } from "./doors.ts";
import { AUTH, refuseOthersPage, signedIn } from "./hand-over.ts";
import { isOpen } from "./proofs.ts";
import { holdPerson } from "./users.ts";

/** An API key by which programs come in as a person, or as an agent that the person manages. */
interface Key {
  id: string;
  name: string;
  hint: string;
  /** The agent that it is a key of; null where it is the person's own. */
  agent: string | null;
  /** The group that owns the agent; null where the person does. */
  group: string | null;
  since: string;
}

/**
 * The keys of a person that are good, those of their own first: also of agents of groups that they administer. No more are looked at
 * than it takes to find so many. @param most how many
 */
export const keysOf = (sql: Sql, person: string, most: number) => sql<Key[]>`
  with own as (select * from api_keys k where k.principal_id = ${person} and secret_lives(k.id, k.hash) limit ${most}),
  agents as (
    select k.* from principals p join api_keys k on k.principal_id = p.id
    where p.owner_id in (select managed_owners(${person})) and secret_lives(k.id, k.hash) limit ${most})
  select k.id, k.name, k.hint, case when p.kind = 'a' then p.name end as agent, g.name as group, k.created_at as since
  from (select * from own union all select * from agents) k
  join principals p on p.id = k.principal_id left join principals g on g.id = p.owner_id and g.kind = 'g'
  order by p.kind desc, k.created_at desc limit ${most}`;

/** A person who is signed in, and their session. */
type Found = NonNullable<Awaited<ReturnType<typeof signedIn>>>;

/** Opens what a person can do with their account besides what better-auth knows of. */
export function addAccount(app: FastifyInstance, house: House): void {
  const open = (path: string, said: string, run: (request: FastifyRequest, found: Found) => Promise<void>) =>
    app.post(AUTH + path, async (request, reply) => {
      const { log } = house.doors.user;
      const line = { route: path, requestId: request.id, address: request.ip };
      try {
        const found = await signedIn(house, request, "POST");
        if (!found) throw new Refusal("UNAUTHENTICATED");
        await refuseOthersPage(house, request, "POST");
        await run(request, found);
        log.info({ ...line, principal: found.user.id }, said);
        return await reply.send({});
      } catch (thrown) {
        return refused(house, reply, thrown, line);
      }
    });
  open("/programs/end", "signed a program out", async ({ body }, { user }) => endProgram(house, user.id, body));
  open("/revoke-all", "revoked all ways in", async (request, found) => revokeAll(house, request, found));
}

const End = z.strictObject({ id: z.string().max(128) });

/** Signs a program out that is no longer to act for a person. */
async function endProgram({ doors: { user } }: House, person: string, body: unknown): Promise<void> {
  const read = End.safeParse(tryReadJson(body as Uint8Array));
  if (!read.success) throw new Refusal("INVALID_PARAMS", 'Send {"id": "<login>"}.');
  await retried(() => user.sql`delete from auth.logins where id = ${read.data.id} and user_id = ${person}`).finally(() =>
    user.feed.doubt(),
  );
}

/** Said, so that nothing is revoked by a request that says nothing. */
const All = z.strictObject({ all: z.literal(true) });

const ONLY_WAY_IN = new Refusal(
  "CONFLICT",
  "All else is revoked. But you have no password: choose one by mail first, then disconnect the accounts that are connected with yours.",
);

/** Keys that one transaction deletes. */
const KEYS_AT_ONCE = 500;

/**
 * Ends every way into a person's account but their password and the session in which they ask: all at once, whatever is gone already,
 * and whatever came after they looked. What is being made just then by one of them holds it, and is ended too. Keys are dead with
 * the first transaction, and deleted by those that follow.
 * @throws Refusal CONFLICT, after all that, where an account at a provider is the only way in that is left
 */
async function revokeAll(house: House, request: FastifyRequest, { user, session }: Found): Promise<void> {
  if (!All.safeParse(tryReadJson(request.body)).success) throw new Refusal("INVALID_PARAMS", 'Send {"all": true}.');
  const { sql, feed, authenticate } = house.doors.user;
  const actor = await authenticate(presentedBy(request));
  const own = sql.as(lineInPerson(user.id), { urgent: true });
  const change = <T>(run: (tx: Sql) => Promise<T>) => retried(() => own.begin(run)).finally(() => feed.doubt());
  const locked = await change(async (tx) => {
    await holdPerson(tx, user.id);
    // Somebody else may have revoked all, and this session with it.
    if (!(await isOpen(tx, session.id))) throw new Refusal("UNAUTHENTICATED");
    await tx`delete from auth.session where "userId" = ${user.id} and id <> ${session.id}`;
    await tx`delete from tokens where session_id = ${session.id}`;
    await tx`delete from auth.logins where user_id = ${user.id}`;
    await tx`delete from auth."deviceCode" where "userId" = ${user.id}`;
    await tx`delete from auth.passkey where "userId" = ${user.id}`;
    await tx`delete from agent_offers where offered_by = ${user.id}`;
    // By now whatever any of these was making is done, and was made before.
    await tx`
      insert into all_revoked (principal_id, at)
      select id, clock_timestamp() from principals where id = ${user.id} or owner_id in (select managed_owners(${user.id}))
      on conflict (principal_id) do update set at = excluded.at`;
    const [password] = await tx`select from auth.account where "userId" = ${user.id} and password is not null`;
    if (password) await tx`delete from auth.account where "userId" = ${user.id} and password is null`;
    return password === undefined;
  });
  for (let deleted = KEYS_AT_ONCE; deleted === KEYS_AT_ONCE; )
    deleted = await change(async (tx) => {
      await tx`select set_config('gatehouse.later', 'on', true)`;
      const keys = await tx<{ id: string }[]>`
        delete from api_keys where id in (
          select k.id from keys_of(${user.id}) k join all_revoked r on r.principal_id = k.principal_id and r.at >= k.created_at
          limit ${KEYS_AT_ONCE})
        returning id`;
      await recordChanges(
        tx,
        { actor, method: "apiKey.delete", requestId: request.id },
        keys.map(({ id }) => id),
      );
      return keys.length;
    });
  if (locked && (await sql`select from auth.account where "userId" = ${user.id}`).length > 0) throw ONLY_WAY_IN;
}
