import { crc32 } from "node:zlib";
import { type CallerKind, type CredentialKind, keyPrefixes, parsePermission } from "@gatehouse/protocol";
import type { userPolicy } from "@gatehouse/server";
import type { TestServer, TestUser } from "./harness.ts";

/** Who a rule of the policy decides about. */
type Actor = Parameters<(typeof userPolicy)["whoami"][0]["refuses"]>[0];

/** One way of knocking: what is sent, and who that proves the caller to be, if anyone. */
export interface Credential {
  headers: Record<string, string>;
  actor?: Actor;
}

/** What the server must allow for the cookie of another web origin to be good: a value for ALLOWED_ORIGINS. */
export const ALLOWED_ORIGIN = "https://app.example.com";
const CEILING = "read";
const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

const bearer = (token: string, actor?: Actor): Credential => ({ headers: { authorization: `Bearer ${token}` }, ...(actor && { actor }) });

/** As much of an actor as rules of kind "who" may look at. */
const actor = (kind: CallerKind, via: CredentialKind, ceiling?: string): Actor => ({
  principal: { id: "", kind, name: "", email: null },
  owner: null,
  credential: { via, id: "", expiresAt: null, ceiling: ceiling === undefined ? null : [parsePermission(ceiling)] },
});

/** The checksum of a key, worked out apart from the server's own code: CRC-32 in six base62 digits. */
function checksum(body: string): string {
  let digits = "";
  for (let rest = crc32(body); digits.length < 6; rest = Math.floor(rest / 62)) digits = BASE62[rest % 62] + digits;
  return digits;
}

/** A key that nobody has, in perfect form. */
const UNKNOWN_KEY = `${keyPrefixes.pat}${"0".repeat(30)}`;

/** Makes every kind of credential, good and bad, for one user and that user's agents. By name. */
export async function makeCredentials(server: TestServer, user: TestUser): Promise<Record<string, Credential>> {
  const { sql } = server;
  const must = async (method: string, params: object) => {
    const { result, error } = await server.call(user.session, method, params);
    if (!result) throw new Error(`${method}: ${error?.message}`);
    return result;
  };
  const agent = (await must("agent.create", { name: "holder of keys" })).id as string;
  const makeKey = (name: string, rest: object = {}): Promise<{ id: string; key: string }> => must("apiKey.create", { name, ...rest });
  const signIn = async () => {
    const body = JSON.stringify({ email: user.email, password: user.password });
    const answer = await fetch(`${server.url}/api/auth/sign-in/email`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
    });
    const cookie = answer.headers.get("set-cookie")?.split(";")[0];
    const token = answer.headers.get("set-auth-token");
    if (!cookie || !token) throw new Error(`sign-in answered ${answer.status}`);
    return { cookie, token };
  };

  const revoked = await makeKey("revoked");
  await must("apiKey.delete", { id: revoked.id });

  const expired = await makeKey("expired", { expiresAt: new Date(Date.now() + 3_600_000).toISOString() });
  await sql`update api_keys set expires_at = now() - interval '1 second' where id = ${expired.id}`;

  const { id: gone } = await must("agent.create", { name: "deleted" });
  const orphaned = await makeKey("of a deleted agent", { agent: gone });
  await must("agent.delete", { id: gone });

  const rotated = await makeKey("rotated");
  await must("apiKey.rotate", { id: rotated.id, overlapHours: 1 });
  const outlived = await makeKey("rotated long ago");
  await must("apiKey.rotate", { id: outlived.id, overlapHours: 1 });
  await sql`update api_keys set previous_expires_at = now() - interval '1 second' where id = ${outlived.id}`;
  const replaced = await makeKey("rotated without overlap");
  await must("apiKey.rotate", { id: replaced.id, overlapHours: 0 });

  const { token: expiredSession } = await signIn();
  await sql`update auth.session set "expiresAt" = now() - interval '1 second' where token = ${expiredSession.split(".")[0] ?? ""}`;
  const { token: signedOut } = await signIn();
  const left = await fetch(`${server.url}/api/auth/sign-out`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${signedOut}` },
    body: "{}",
  });
  if (left.status !== 200) throw new Error(`sign-out answered ${left.status}`);

  const pat = await makeKey("pat");
  if (checksum(pat.key.slice(0, -6)) !== pat.key.slice(-6)) throw new Error("keys have another checksum than this file knows");
  const { cookie } = await signIn();
  const session = actor("u", "session");
  const own = { origin: server.url };

  return {
    "no credential": { headers: {} },
    "scheme not Bearer": { headers: { authorization: `Token ${user.session}` } },
    "Bearer without token": { headers: { authorization: "Bearer" } },
    "bad checksum": bearer(pat.key.slice(0, -6) + checksum(`${pat.key}!`)),
    "unknown key": bearer(UNKNOWN_KEY + checksum(UNKNOWN_KEY)),
    "revoked key": bearer(revoked.key),
    "expired key": bearer(expired.key),
    "key of deleted agent": bearer(orphaned.key),
    "rotated key, overlap over": bearer(outlived.key),
    "rotated key, no overlap": bearer(replaced.key),
    "expired session": bearer(expiredSession),
    "signed-out session": bearer(signedOut),
    "session, unsigned": bearer(user.session.split(".")[0] ?? ""),
    "session, other signature": bearer(`${user.session.split(".")[0]}.${expiredSession.split(".")[1]}`),
    "cookie, foreign origin": { headers: { cookie, origin: "https://elsewhere.example" } },
    "cookie, no origin": { headers: { cookie } },
    "bad key and good cookie": { headers: { authorization: `Bearer ${revoked.key}`, cookie, ...own } },

    session: bearer(user.session, session),
    "lower-case bearer": { headers: { authorization: `bearer ${user.session}` }, actor: session },
    "cookie, own origin": { headers: { cookie, ...own }, actor: session },
    "cookie, allowed origin": { headers: { cookie, origin: ALLOWED_ORIGIN }, actor: session },
    PAT: bearer(pat.key, actor("u", "pat")),
    "PAT, ceiling": bearer((await makeKey("pat, ceiling", { ceiling: [CEILING] })).key, actor("u", "pat", CEILING)),
    "rotated PAT, in overlap": bearer(rotated.key, actor("u", "pat")),
    "agent key": bearer((await makeKey("agent", { agent })).key, actor("a", "agent_key")),
    "agent key, ceiling": bearer((await makeKey("agent, ceiling", { agent, ceiling: [CEILING] })).key, actor("a", "agent_key", CEILING)),
  };
}
