import { exchangeToken } from "@gatehouse/client";
import { type Api, spaceApi, userApi } from "@gatehouse/protocol";
import type { TestServer } from "./harness.ts";
import type { Heist } from "./heist.ts";

/** One call of a sequence: by whom, which method, and numbers that its params are drawn with. */
export interface Step {
  by: string;
  method: string;
  draws: number[];
}

/** All methods there are, by door: `user whoami`, `space access.grant`. */
export const allMethods = [...Object.keys(userApi).map((name) => `user ${name}`), ...Object.keys(spaceApi).map((name) => `space ${name}`)];

/** Permissions that are worth having, or that only seem so. */
const PERMISSIONS = [
  "admin:docs",
  "admin",
  "admin:docs",
  "write:docs",
  "read:audit",
  "write:members",
  "admin:groups",
  "read",
  "admin:tasks",
];

const likely = ({ accomplice, decoy }: Heist["principals"]) => [accomplice, accomplice, accomplice, decoy];

/** What may stand for a param, by its name. A param without a line here fails the test: say what a thief would send. */
const options: Record<string, (heist: Heist, method: string) => readonly unknown[]> = {
  // The accomplice first and often: most of what there is to gain is theirs.
  principal: ({ principals, groups }) => [...likely(principals), ...Object.values(principals), ...Object.values(groups)],
  member: ({ principals }) => [...likely(principals), ...Object.values(principals)],
  actor: ({ principals }) => Object.values(principals),
  agent: ({ principals }) => [undefined, principals.bot, principals.shared, principals.decoy],
  to: ({ principals, groups }) => [principals.accomplice, principals.victim, ...Object.values(groups)],
  group: ({ groups }) => Object.values(groups),
  groups: ({ groups }) => [[], ...Object.values(groups).map((id) => [id])],
  ids: ({ principals }) => [Object.values(principals)],
  id: ({ principals, keys, invites }, method) => {
    if (method.startsWith("agent.")) return [principals.bot, principals.shared, principals.decoy];
    // A link is accepted by its token, which is drawn then.
    if (method === "invite.accept") return [undefined, undefined, ...invites];
    return method.startsWith("invite.") ? invites : keys;
  },
  token: ({ tokens, minted }, method) => (method.startsWith("token.") ? minted : tokens),
  space: ({ spaces }) => spaces.map(({ slug }) => slug),
  scope: () => [["read"], ["admin:docs"], ["admin"], ["write:members", "admin:groups"], ["admin:tasks"]],
  ttlSeconds: () => [undefined, 86_400],
  mayAct: ({ principals }) => [undefined, undefined, principals.decoy, principals.bot],
  permission: () => PERMISSIONS,
  ceiling: () => [undefined, ["read"]],
  admin: () => [true, true, false],
  email: () => [undefined, "accomplice"],
  slug: ({ spaces }) => spaces.map(({ slug }) => slug),
  confirm: () => [undefined],
  name: () => ["one", "two", "strong", "weak"],
  method: (_heist, method) => (method === "audit.list" ? [undefined, "access.grant"] : [undefined]),
  params: () => [undefined],
  expiresAt: () => [undefined, "2099-01-01T00:00:00Z"],
  overlapHours: () => [undefined, 0],
  expiresInHours: () => [undefined],
  after: () => [undefined],
  since: () => [undefined],
  limit: () => [undefined],
  outcome: (_heist, method) => (method === "run.endTurn" ? ["complete", "stopped"] : [undefined]),
  task: () => ["docs", "support"],
  tasks: () => [["docs", "support"]],
  worker: () => ["thief"],
  session: ({ sessions }) => sessions,
  run: ({ holds }) => holds.map(({ run }) => run),
  epoch: ({ holds }) => holds.map(({ epoch }) => epoch),
  turn: (_heist, method) => (method === "session.stop" ? [undefined, 1] : [1]),
  stop: () => [undefined, true],
  chunks: () => [[{ type: "text-delta", id: "1", delta: "loot" }]],
  externalId: () => [undefined, "loot"],
  message: () => ["hello"],
  reason: () => [undefined],
  ...Object.fromEntries(
    [
      "description",
      "idleTimeoutSeconds",
      "metadata",
      "tags",
      "tag",
      "status",
      "inputId",
      "action",
      "waitSeconds",
      "batch",
      "error",
      "results",
      "follows",
    ].map((name) => [name, () => [undefined]]),
  ),
};

function paramsOf(heist: Heist, api: Api, method: string, draws: number[], email: string): Record<string, unknown> {
  const params: Record<string, unknown> = {};
  for (const [i, name] of Object.keys(api[method]?.params.shape ?? {}).entries()) {
    const choices = options[name]?.(heist, method);
    if (!choices) throw new Error(`${method} has a param that no thief's value is known for: ${name}`);
    params[name] = choices[(draws[i] ?? 0) % (choices.length || 1)];
  }
  if ("confirm" in params) params.confirm = params.slug;
  if (params.email === "accomplice") params.email = email;
  if (method === "invite.accept" && params.id !== undefined) params.token = undefined;
  return Object.fromEntries(Object.entries(params).filter(([, value]) => value !== undefined));
}

/** The stolen credential, and what comes of it: all end together. */
export const BY_THEFT = ["thief", "minted", "acting", "of a session"];

/** A token that was minted is used; one for the accomplice's agent to act by is exchanged first. */
async function keepToken(server: TestServer, heist: Heist, { mayAct }: Record<string, unknown>, made: Minted): Promise<void> {
  heist.minted.push(made.token);
  if (mayAct === undefined) heist.credentials.minted = made.token;
  if (mayAct !== heist.principals.decoy) return;
  const target = { server: server.url, credential: heist.credentials["accomplice's agent"] as string };
  const acting = await exchangeToken(target, { subject: made.token, space: made.space, scope: made.scope }).catch(() => undefined);
  if (acting) heist.credentials.acting = acting.token;
}
interface Minted {
  token: string;
  space: string;
  scope: string[];
}

/** Plays one step, and keeps what its answer gives to those after it. @returns the step as a line to read */
export async function play(server: TestServer, heist: Heist, { by, method: both, draws }: Step, email: string): Promise<string> {
  const [door, method] = both.split(" ") as ["user" | "space", string];
  const api: Api = door === "user" ? userApi : spaceApi;
  const params = paramsOf(heist, api, method, draws, email);
  const space = door === "space" ? heist.spaces[(draws.at(-1) ?? 0) % 8 === 7 ? 1 : 0] : undefined;
  const { result, error } = await server.call(heist.credentials[by], method, params, space?.slug);
  if (error?.data.code === "INTERNAL_ERROR") throw new Error(`${method} answered INTERNAL_ERROR`);
  if (result && method === "invite.create") {
    heist.invites.push(result.id);
    if (result.token) heist.tokens.push(result.token);
  }
  if (result && (method === "apiKey.create" || method === "secretKey.create")) heist.keys.push(result.id);
  if (result && method === "token.create" && BY_THEFT.includes(by)) await keepToken(server, heist, params, result);
  if (result && method === "session.create") {
    heist.sessions.push(result.session.id);
    if (BY_THEFT.includes(by)) {
      heist.minted.push(result.token);
      heist.credentials["of a session"] = result.token;
    }
  }
  if (result?.lease) heist.holds.unshift(result.lease);
  if (result && method === "agent.create") heist.principals[`agent ${Object.keys(heist.principals).length}`] = result.id;
  const names = Object.entries({ ...heist.principals, ...heist.groups }).map(([name, id]) => [id, name] as const);
  const told = names.reduce((text, [id, name]) => text.replaceAll(id, name), JSON.stringify(params));
  return `${by}: ${method} ${told} → ${error ? `${error.data.code} ${error.data.reason ?? ""}` : "ok"}`;
}
