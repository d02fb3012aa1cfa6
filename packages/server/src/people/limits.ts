import { isIP } from "node:net";
import type { Sql } from "../db.ts";
import { hashLogin } from "./login.ts";
import { networkOf } from "./network.ts";

/** At most `max` attempts in `seconds`, counted from the first. */
interface Limit {
  max: number;
  seconds: number;
}

/** A limit, in words: for each address, and for each account that an address tries to get at, of all or `of` some attempts. */
export interface Limited {
  what: string;
  address: Limit;
  account?: Limit & { of?: string };
}

/** What is limited. */
export const limits = {
  signIn: { what: "signing in with a password", address: { max: 10, seconds: 60 }, account: { max: 20, seconds: 3600 } },
  mail: { what: "asking for a mail", address: { max: 10, seconds: 900 }, account: { max: 3, seconds: 900 } },
  link: { what: "links, passkeys and providers", address: { max: 20, seconds: 60 } },
  userCode: { what: "typing the code of a program", address: { max: 30, seconds: 60 }, account: { max: 30, seconds: 60 } },
  deviceCode: { what: "asking for such a code", address: { max: 20, seconds: 60 } },
  token: { what: "tokens of programs", address: { max: 120, seconds: 60 }, account: { max: 60, seconds: 60, of: "refreshes" } },
  register: { what: "registering a program", address: { max: 20, seconds: 3600 } },
  /** By a credential that is good already: this is against floods, not guesses. */
  exchange: {
    what: "exchanging and introspecting tokens",
    address: { max: 1200, seconds: 60 },
    account: { max: 600, seconds: 60, of: "exchanges of one credential" },
  },
} satisfies Record<string, Limited>;

export type LimitName = keyof typeof limits;

/** Who tries. */
export interface Attempt {
  address?: string;
  /** An e-mail address or a user's id, known or not: what is counted must not tell. */
  account?: string | undefined;
}

/**
 * Counts an attempt, for all servers together.
 * @returns seconds to wait where there were too many, else 0
 */
export async function countAttempt(sql: Sql, name: LimitName, { address, account }: Attempt): Promise<number> {
  const limit: Limited = limits[name];
  const network = address && networkOf(address);
  const wait = network ? await count(sql, `${name} address ${network}`, limit.address) : 0;
  if (wait > 0 || account === undefined || limit.account === undefined) return wait;
  if (network && name === "signIn" && (await isKnown(sql, account, network))) return 0;
  return count(sql, accountKey(name, account), limit.account);
}

/** Forgets what was counted in times that are over. */
export async function forgetAttempts(sql: Sql): Promise<void> {
  const windows = Object.entries<Limited>(limits).flatMap(([name, { address, account }]) => [
    { prefix: `${name} address `, seconds: address.seconds },
    ...(account ? [{ prefix: `${name} account `, seconds: account.seconds }] : []),
  ]);
  await sql`
    delete from auth.attempts a using jsonb_to_recordset(${sql.json(windows)}) as w (prefix text, seconds integer)
    where starts_with(a.key, w.prefix) and a.since <= now() - make_interval(secs => w.seconds)`;
}

/** Takes an attempt back that has turned out to be the account's own. */
export const forgive = (sql: Sql, name: LimitName, account: string) =>
  sql`update auth.attempts set count = count - 1 where key = ${accountKey(name, account)} and count > 0`;

const accountKey = (name: LimitName, account: string) => `${name} account ${hashLogin(account.toLowerCase())}`;

async function count(sql: Sql, key: string, { max, seconds }: Limit): Promise<number> {
  const [row] = await sql<{ count: number; wait: number }[]>`
    insert into auth.attempts as a (key, count, since) values (${key}, 1, now())
    on conflict (key) do update set
      count = case when a.since + make_interval(secs => ${seconds}) <= now() then 1 else a.count + 1 end,
      since = case when a.since + make_interval(secs => ${seconds}) <= now() then now() else a.since end
    returning count, greatest(1, ceil(extract(epoch from since - now()) + ${seconds}))::integer as wait`;
  return row && row.count > max ? row.wait : 0;
}

/** Whether somebody has signed in to the account from there before: guesses from elsewhere must not lock them out. */
export async function isKnown(sql: Sql, account: string, network: string): Promise<boolean> {
  if (!isIP(network)) return false;
  const [known] = await sql`
    select from auth.known_addresses k join auth."user" u on u.id = k.user_id
    where u.email = lower(${account}) and k.address = ${network}::inet`;
  return known !== undefined;
}
