import { createHmac } from "node:crypto";
import { SigningKeys } from "@gatehouse/server";
import { base64url, decodeJwt, decodeProtectedHeader, exportJWK, exportSPKI, generateKeyPair, type JWTPayload } from "jose";
import type { TestServer } from "./harness.ts";

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

const encode = (value: object | string): string => base64url.encode(typeof value === "string" ? value : JSON.stringify(value));
const utf8 = (text: string) => new TextEncoder().encode(text);

/** The same bytes in base64url, with a bit set among those that are left over at the end. */
const loosened = (part: string): string => part.slice(0, -1) + ALPHABET[ALPHABET.indexOf(part.at(-1) as string) | 1];

/** Claims with as much besides that their base64url has bits left over. */
function uneven(claims: JWTPayload): JWTPayload {
  for (let x = ""; ; x += "x") if (encode({ ...claims, x }).length % 4 !== 0) return { ...claims, x };
}

/**
 * Tokens with one flaw each, all else as in a token that is good: the row of its jti lives, and wherever the flaw is not
 * the signature itself, the server's own key has signed it. By the name of the flaw.
 * @param other the id of another principal
 * @throws Error when what it signs without a flaw is not accepted: then its flaws would prove nothing
 */
export async function forgeTokens(server: TestServer, token: string, other: string): Promise<Record<string, string>> {
  const { kid, key } = await new SigningKeys(server.sql, server.secret).signer(server.sql);
  const foreign = await generateKeyPair("EdDSA", { extractable: true });
  const jwk = await exportJWK(foreign.publicKey);
  const header = decodeProtectedHeader(token);
  const claims = decodeJwt(token);
  const [headerText, claimsText] = [JSON.stringify(header), JSON.stringify(claims)];

  /** Signs two parts as they are written. */
  const signed = async (head: string, body: string, by: typeof key = key) => {
    const signature = await crypto.subtle.sign("Ed25519", by as CryptoKey, utf8(`${head}.${body}`));
    return `${head}.${body}.${base64url.encode(new Uint8Array(signature))}`;
  };
  const saying = (body: object | string, by?: typeof key) => signed(encode(header), encode(body), by);
  const headed = (head: object | string, by?: typeof key) => signed(encode(head), encode(claims), by);
  const without = (name: string, { [name]: _, ...rest }: Record<string, unknown>) => rest;
  const hmac = (secret: string | Uint8Array) => {
    const text = `${encode({ ...header, alg: "HS256" })}.${encode(claims)}`;
    return `${text}.${base64url.encode(new Uint8Array(createHmac("sha256", secret).update(text).digest()))}`;
  };

  const { status } = await server.call(await saying(claims), "whoami");
  if (status !== 200) throw new Error(`a token without a flaw was answered ${status}`);

  const now = Math.floor(Date.now() / 1000);
  const published = (await (await fetch(`${server.url}/.well-known/jwks.json`)).json()) as { keys: { kid: string; x: string }[] };
  const x = published.keys.find((one) => one.kid === kid)?.x as string;
  const publicKey = await crypto.subtle.importKey("jwk", { kty: "OKP", crv: "Ed25519", x }, "Ed25519", true, ["verify"]);
  const [head, body, signature] = (await saying(claims)).split(".") as [string, string, string];
  const odd = encode(uneven(claims));
  const unsafe = Buffer.from(JSON.stringify({ ...claims, x: "~~~???>>>~~~???>>>" })).toString("base64");
  if (!/[+/]/.test(unsafe)) throw new Error("of + and / there is none in it");
  const elsewhere = "https://elsewhere.example";

  const flawed: Record<string, string | Promise<string>> = {
    "a BOM before the claims": saying(`\ufeff${claimsText}`),
    "a BOM before the header": headed(`\ufeff${headerText}`),
    expired: saying({ ...claims, exp: now - 60 }),
    "not yet valid": saying({ ...claims, nbf: now + 3600 }),
    "another audience": saying({ ...claims, aud: elsewhere }),
    "another issuer": saying({ ...claims, iss: elsewhere }),
    "issuer with a slash": saying({ ...claims, iss: `${claims.iss}/` }),
    "of another principal": saying({ ...claims, sub: other }),
    "with an id of nothing": saying({ ...claims, jti: other }),
    "exp in words": saying({ ...claims, exp: String(claims.exp) }),
    ...Object.fromEntries(
      Object.keys(claims).flatMap((name) => (name === "client_id" ? [] : [[`without ${name}`, saying(without(name, claims))]])),
    ),
    "sub twice": saying(`{"sub":"${other}",${claimsText.slice(1)}`),
    "sub twice, alike": saying(`{"sub":"${claims.sub}",${claimsText.slice(1)}`),
    "scope twice": saying(`${claimsText.slice(0, -1)},"scope":"admin"}`),
    "claims in a list": saying([claims]),
    "claims that are no JSON": saying(`${claimsText},`),

    "foreign key": saying(claims, foreign.privateKey),
    "foreign key of its own kid": headed({ ...header, kid: other }, foreign.privateKey),
    "own kid of nothing": headed({ ...header, kid: other }),
    "without kid": headed(without("kid", header)),
    "kid of a list": headed({ ...header, kid: [kid] }),
    "foreign key in jwk": headed({ ...header, jwk }, foreign.privateKey),
    "foreign key in jwk alone": headed({ ...without("kid", header), jwk }, foreign.privateKey),
    "foreign key by jku": headed({ ...header, kid: other, jku: `${elsewhere}/jwks.json` }, foreign.privateKey),
    "foreign key by x5u": headed({ ...header, kid: other, x5u: `${elsewhere}/chain.pem` }, foreign.privateKey),
    "alg none": `${encode({ ...header, alg: "none" })}.${body}.`,
    "alg none, signed": headed({ ...header, alg: "none" }),
    "alg by another name": headed({ ...header, alg: "Ed25519" }),
    "HS256, by the public key": hmac(base64url.decode(x)),
    "HS256, by the public key's text": hmac(x),
    "HS256, by the public key's PEM": hmac(await exportSPKI(publicKey)),
    "typ JWT": headed({ ...header, typ: "JWT" }),
    "without typ": headed(without("typ", header)),
    "crit of nothing known": headed({ ...header, crit: ["exp"], exp: now + 3600 }),
    "b64 false": signed(encode({ ...header, b64: false, crit: ["b64"] }), body),
    "b64 false, not in crit": headed({ ...header, b64: false }),
    "alg twice": headed(`{"alg":"none",${headerText.slice(1)}`),
    "header that is no JSON": headed(`${headerText},`),

    "payload changed": `${head}.${encode({ ...claims, scope: "admin" })}.${signature}`,
    "signature changed": `${head}.${body}.${encode("x".repeat(64))}`,
    "signature cut": `${head}.${body}.${signature.slice(0, 43)}`,
    "signature padded": `${head}.${body}.${signature}==`,
    "signature with a bit left over": `${head}.${body}.${loosened(signature)}`,
    "payload padded": signed(head, `${odd}${"=".repeat(4 - (odd.length % 4))}`),
    "payload with a bit left over": signed(head, loosened(odd)),
    "payload with + and /": signed(head, unsafe.replaceAll("=", "")),
    "too long": saying({ ...claims, x: "x".repeat(9000) }),
    "four parts": `${head}.${body}.${signature}.${signature}`,
  };
  return Object.fromEntries(await Promise.all(Object.entries(flawed).map(async ([name, text]) => [name, await text])));
}
