import { crc32 } from "node:zlib";
import { keyPrefixes } from "@gatehouse/protocol";
import { decodeJwt } from "jose";
import type { Place } from "./credentials.ts";

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** The checksum of a key, worked out apart from the server's own code: CRC-32 in six base62 digits. */
function checksum(body: string): string {
  let digits = "";
  for (let rest = crc32(body); digits.length < 6; rest = Math.floor(rest / 62)) digits = BASE62[rest % 62] + digits;
  return digits;
}
const summed = (body: string) => body + checksum(body);

const tomorrow = () => ({ expiresAt: new Date(Date.now() + 86_400_000).toISOString() });

/** What ends keys and sessions, by the name of the end: each is given one that is good. */
function endsOf({ server, must }: Place) {
  const { sql } = server;
  return {
    revoked: ({ id }: { id: string }) => must("apiKey.delete", { id }),
    expired: ({ id }: { id: string }) => sql`update api_keys set expires_at = now() - interval '1 second' where id = ${id}`,
    "rotated, no overlap": ({ id }: { id: string }) => must("apiKey.rotate", { id, overlapHours: 0 }),
    async "rotated, overlap over"({ id }: { id: string }) {
      await must("apiKey.rotate", { id, overlapHours: 1 });
      await sql`update api_keys set previous_expires_at = now() - interval '1 second' where id = ${id}`;
    },
  };
}

/** The same of secret keys. */
function secretEndsOf(place: Place): ReturnType<typeof endsOf> {
  const must: Place["must"] = (method, params) =>
    place.must(method.replace("apiKey.delete", "secretKey.revoke").replace("apiKey", "secretKey"), params, true);
  return endsOf({ ...place, must });
}

const expireSession = ({ server }: Place, token: string) =>
  server.sql`update auth.session set "expiresAt" = now() - interval '1 second' where token = ${token.split(".")[0] ?? ""}`;

async function signOut({ server }: Place, token: string): Promise<void> {
  const headers = { "content-type": "application/json", authorization: `Bearer ${token}` };
  const { status } = await fetch(`${server.url}/api/auth/sign-out`, { method: "POST", headers, body: "{}" });
  if (status !== 200) throw new Error(`sign-out answered ${status}`);
}

/** A space that comes and goes. */
async function passingSpace({ must, server, user }: Place) {
  const { slug } = await must("space.create", { name: "passing" });
  return {
    slug,
    makeSecret: async () => (await server.call(user.session, "secretKey.create", { name: "of it" }, slug)).result.key as string,
    end: () => must("space.delete", { slug, confirm: slug }),
  };
}

/** Keys and sessions that prove nothing: that were good once, or look so. By name. */
export async function deadKeys(place: Place): Promise<Record<string, string>> {
  const { user, must, makeKey, makeSecret, signIn } = place;
  const dead: Record<string, string> = {};
  for (const [how, end] of Object.entries(endsOf(place))) {
    const made = await makeKey(how, tomorrow());
    await end(made);
    dead[`key, ${how}`] = made.key;
  }
  for (const [how, end] of Object.entries(secretEndsOf(place))) {
    const made = await makeSecret(how, tomorrow());
    await end(made);
    dead[`secret key, ${how}`] = made.key;
  }
  const { id: gone } = await must("agent.create", { name: "deleted" });
  dead["key of deleted agent"] = (await makeKey("orphaned", { agent: gone })).key;
  await must("agent.delete", { id: gone });
  const passing = await passingSpace(place);
  dead["secret key of deleted space"] = await passing.makeSecret();
  await passing.end();

  const good = (await makeKey("good")).key;
  if (summed(good.slice(0, -6)) !== good) throw new Error("keys have another checksum than this file knows");
  const secret = (await makeSecret("good")).key;
  const [expiredSession, signedOut] = [(await signIn()).token, (await signIn()).token];
  await expireSession(place, expiredSession);
  await signOut(place, signedOut);
  return {
    ...dead,
    "bad checksum": good.slice(0, -6) + checksum(`${good}!`),
    "unknown key": summed(`${keyPrefixes.pat}${"0".repeat(30)}`),
    "unknown secret key": summed(`${keyPrefixes.secret_key}${"0".repeat(30)}`),
    "secret key under another prefix": summed(secret.slice(0, -6).replace(keyPrefixes.secret_key, keyPrefixes.pat)),
    "expired session": expiredSession,
    "signed-out session": signedOut,
    "session, unsigned": user.session.split(".")[0] ?? "",
    "session, other signature": `${user.session.split(".")[0]}.${expiredSession.split(".")[1]}`,
  };
}

/** Tokens that have ended, each with one of the things that it came from, and those that are for something else. By name. */
export async function deadTokens(place: Place): Promise<Record<string, string>> {
  const { server, user, agent, must, makeKey, makeSecret, mint, actFor, signIn } = place;
  const revoke = (token: string) => must("token.revoke", { token });
  const dead: Record<string, string> = {};
  for (const [how, end] of Object.entries(endsOf(place))) {
    const made = await makeKey(`token, ${how}`, tomorrow());
    dead[`token of key, ${how}`] = await mint(made.key);
    await end(made);
  }
  for (const [how, end] of Object.entries(secretEndsOf(place))) {
    const made = await makeSecret(`token, ${how}`, tomorrow());
    dead[`token of secret key, ${how}`] = await mint(made.key, { scope: ["read:tasks"] });
    await end(made);
  }
  for (const [how, end] of Object.entries({ "signed-out": signOut, expired: expireSession })) {
    const { token } = await signIn();
    dead[`token of ${how} session`] = await mint(token);
    await end(place, token);
  }

  const parent = await mint(user.session);
  dead["revoked token"] = parent;
  dead["token of revoked token"] = await mint(parent);
  dead["token of token of revoked token"] = await mint(dead["token of revoked token"]);
  await revoke(parent);

  const past = await mint(user.session);
  dead["token, its row expired"] = past;
  dead["token of expired token"] = await mint(past);
  const jti = decodeJwt(past).jti as string;
  await server.sql`update tokens set expires_at = now() - interval '1 second' where id = ${jti} or parent_id = ${jti}`;

  dead["token for an agent, by itself"] = await mint(user.session, { mayAct: agent });

  const passing = await passingSpace(place);
  dead["token of deleted space"] = await mint(user.session, { space: passing.slug });
  await passing.end();

  /** An agent on the roster, with a key, which may act for the user. */
  const helper = async (name: string) => {
    const { id } = await must("agent.create", { name });
    await must("principal.add", { principal: id }, true);
    await must("access.grant", { principal: id, permission: "read" }, true);
    return { id, ...{ key: await makeKey(name, { agent: id }) } };
  };
  const leaving = await helper("leaving");
  dead["token of who left"] = await mint(leaving.key.key);
  dead["token, acting agent left"] = await actFor(await mint(user.session, { mayAct: leaving.id }), leaving.key.key);
  await must("principal.remove", { principal: leaving.id }, true);
  const deleted = await helper("to be deleted");
  dead["token of deleted agent"] = await mint(deleted.key.key);
  dead["token, acting agent deleted"] = await actFor(await mint(user.session, { mayAct: deleted.id }), deleted.key.key);
  await must("agent.delete", { id: deleted.id });
  const acting = await helper("acting");
  const subject = await mint(user.session, { mayAct: acting.id });
  dead["token, acting agent's key revoked"] = await actFor(subject, acting.key.key);
  await must("apiKey.delete", { id: acting.key.id });
  const pat = await makeKey("of who lets act");
  const again = await makeKey("acting again", { agent: acting.id });
  dead["token, key of who let act revoked"] = await actFor(await mint(pat.key, { mayAct: acting.id }), again.key);
  await must("apiKey.delete", { id: pat.id });
  return dead;
}
