import { createSpaceClient, createUserClient, type Target } from "@gatehouse/client";
import { neededScope } from "@gatehouse/mcp";
import { effective, formatPermission, keyPrefixes, MAX_SCOPE, MAX_SCOPE_LENGTH, parsePermission } from "@gatehouse/protocol";
import { CliError } from "../exit.ts";
import type { Me } from "../me.ts";
import { findSpace } from "../space.ts";

/** What the token of an MCP client may do. */
export interface Limits {
  /** Name or slug of the space; left out, the one in use. */
  space?: string | undefined;
  /** Permissions; left out, what the tools need. */
  scope?: readonly string[] | undefined;
  readOnly?: boolean | undefined;
}

/** The share of a token's life after which the next one is minted. */
const RIPE = 0.8;
const TTL_SECONDS = 3600;
const JWT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** @throws CliError for a credential that is no business of an MCP client */
export function mustNotBeSecret(credential: string | undefined): void {
  if (credential?.startsWith(keyPrefixes.secret_key))
    throw new CliError(
      "usage",
      "A secret key speaks for the whole space, and is for its servers alone. Sign in as a person (me login), or use a key of your own: me apikey create --self",
    );
}

/**
 * Where the tools call, and with what: a token for one space that may do what they need and no more, minted when it is first
 * asked for, and again before it ends, or when it was refused. A token that was given is used as it is, unless it is to be
 * reduced; it need not name its space, as those of other issuers do not.
 */
export async function targetFor(me: Me, limits: Limits): Promise<Target> {
  const { apiKey, space } = me.settings;
  const server = await me.server();
  if (apiKey !== undefined && JWT.test(apiKey) && !limits.scope && !limits.readOnly)
    return { server, credential: apiKey, space: limits.space ?? space };
  return { server, credential: minting(me, limits) };
}

function minting(me: Me, limits: Limits): Target["credential"] {
  let last: Promise<Minted | undefined> = Promise.resolve(undefined);
  return async (refused) => {
    // One after the other: whoever comes while one is minted has that one.
    const next = last
      .catch(() => undefined)
      .then((now) => (now && now.token !== refused && now.ripeAt > Date.now() ? now : mint(me, limits)));
    last = next;
    return (await next).token;
  };
}

interface Minted {
  token: string;
  ripeAt: number;
}

/** Of who was granted nothing, the token is good for what every member may do. @throws CliError "not signed in" */
async function mint(me: Me, { space: named, scope: asked, readOnly }: Limits): Promise<Minted> {
  const target = await me.target();
  mustNotBeSecret(typeof target.credential === "function" ? await target.credential() : target.credential);
  const user = createUserClient(target);
  const space = named === undefined ? await me.space(choosing(me)) : (await findSpace(user, named)).slug;
  const { permissions } = await createSpaceClient({ ...target, space }).access.effective();
  const wanted = readOnly ? within(asked ?? ["read"], ["read"]) : (asked ?? neededScope);
  const scope = asked && !readOnly ? asked : within(wanted, permissions);
  if (scope.length > MAX_SCOPE || scope.join(" ").length > MAX_SCOPE_LENGTH)
    throw new CliError(
      "usage",
      `You hold ${scope.length} permissions there that the tools can use: more than a token carries. Name those that this client needs: me mcp --scope "write:tasks:support"`,
    );
  const mintedAt = Date.now();
  const { token, expiresAt } = await user.token.create({ space, scope: [...scope], ttlSeconds: TTL_SECONDS });
  return { token, ripeAt: mintedAt + (Date.parse(expiresAt) - mintedAt) * RIPE };
}

/** How a client of MCP is given a space. What is chosen goes with a login, and is looked up again where there was none. */
const choosing = ({ settings }: Me): string =>
  `${settings.apiKey === undefined ? "me space use SLUG, and this client goes on. Or, for it alone: " : ""}me mcp install CLIENT --space SLUG, and start the client anew.`;

/** What is in both: some permissions, and those that are held. */
const within = (some: readonly string[], held: readonly string[]): string[] =>
  effective([
    { name: "grants", permissions: some.map(parsePermission) },
    { name: "token", permissions: held.map(parsePermission) },
  ]).map(formatPermission);
