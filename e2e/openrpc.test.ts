import { createRequire } from "node:module";
import { exchangeToken } from "@gatehouse/client";
import { type Api, spaceApi, userApi } from "@gatehouse/protocol";
import { describeRule, userPolicy } from "@gatehouse/server";
import { Ajv } from "ajv";
import addFormats from "ajv-formats";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestServer, type TestServer } from "./harness.ts";

// Required, not imported: its types are TypeScript sources that do not pass this project's checks.
const require = createRequire(import.meta.url);
const { validateOpenRPCDocument, MethodCallValidator } = require("@open-rpc/schema-utils-js") as {
  validateOpenRPCDocument(document: object): true | Error;
  MethodCallValidator: new (document: object) => { validate(method: string, params: object): unknown[] };
};

const callers = ["session", "PAT", "PAT with a ceiling", "agent key", "secret key", "token"] as const;
type Caller = (typeof callers)[number];

/** What each caller may call, written down by hand: the document must follow the policy, and the policy this. */
const forAnyone = ["whoami", "rpc.discover", "space.list", "token.create", "token.inspect", "token.revoke"];
const interactive = [
  "space.delete",
  "agent.delete",
  "apiKey.create",
  "apiKey.rotate",
  "apiKey.delete",
  "agent.transfer",
  "agent.accept",
  "agent.decline",
  "invite.accept",
  "invite.decline",
];
const mayCall: Record<Caller, string[]> = {
  session: Object.keys(userApi),
  PAT: Object.keys(userApi).filter((name) => !interactive.includes(name)),
  "PAT with a ceiling": forAnyone,
  "agent key": forAnyone,
  "secret key": forAnyone,
  token: forAnyone,
};

interface Described {
  name: string;
  params: { name: string; required: boolean; schema: object }[];
  result: { schema: object };
  errors: { code: number; message: string; data: { code: string | string[] } }[];
  "x-policy": unknown;
}
interface Document {
  openrpc: string;
  methods: Described[];
}

let server: TestServer;
const tokens = {} as Record<Caller, string>;
const documents = {} as Record<Caller, Document>;
let spaceDocument: Document;
beforeAll(async () => {
  server = await startTestServer();
  const { session } = await server.user("Alice");
  const { result: agent } = await server.call(session, "agent.create", { name: "reader" });
  const key = async (name: string, more: object = {}) => (await server.call(session, "apiKey.create", { name, ...more })).result.key;
  tokens.session = session;
  tokens.PAT = await key("pat");
  tokens["PAT with a ceiling"] = await key("ceiling", { ceiling: ["admin"] });
  tokens["agent key"] = await key("agent", { agent: agent.id });
  const { slug } = (await server.call(session, "space.create", { name: "Home" })).result;
  tokens["secret key"] = (await server.call(session, "secretKey.create", { name: "backend" }, slug)).result.key;
  tokens.token = (await server.call(session, "token.create", { space: slug, scope: ["admin"] })).result.token;
  spaceDocument = (await server.call(session, "rpc.discover", {}, slug)).result;
  for (const caller of callers) documents[caller] = (await server.call(tokens[caller], "rpc.discover")).result;
});
afterAll(() => server.close());

describe.each(callers)("rpc.discover, asked with a %s", (caller) => {
  test("is a valid OpenRPC 1.4 document", () => {
    expect(documents[caller].openrpc).toMatch(/^1\.4\./);
    const checked = validateOpenRPCDocument(documents[caller]);
    if (checked !== true) throw checked;
  });

  test("lists the methods this caller may call, and none besides", async () => {
    const listed = documents[caller].methods.map(({ name }) => name);
    expect(listed).toEqual(Object.keys(userApi).filter((name) => mayCall[caller].includes(name)));
    // What is listed is open, and what is not is shut: asked of the server itself, with params that fit nothing.
    for (const name of Object.keys(userApi)) {
      const { error } = await server.call(tokens[caller], name, { nothing: "fits" });
      expect([name, error?.data.code]).toEqual([name, listed.includes(name) ? "INVALID_PARAMS" : "FORBIDDEN"]);
    }
  });

  test("shows the policy row of each", () => {
    for (const { name, ...rest } of documents[caller].methods)
      expect([name, rest["x-policy"]]).toEqual([name, describeRule(userPolicy[name as keyof typeof userPolicy] as never)]);
  });
});

describe.each(["user", "space"] as const)("the document of the %s RPC", (door) => {
  const api: Api = { user: userApi, space: spaceApi }[door];
  let methods: Described[];
  beforeAll(() => {
    methods = { user: documents.session, space: spaceDocument }[door].methods;
    expect(methods.map(({ name }) => name)).toEqual(Object.keys(api));
  });

  test("is valid", () => {
    const checked = validateOpenRPCDocument(door === "user" ? documents.session : spaceDocument);
    if (checked !== true) throw checked;
  });

  test("has params in the order of their positions, those that are required first", () => {
    for (const { name, params } of methods) {
      expect(params.map((param) => param.name)).toEqual(Object.keys(api[name]?.params.shape ?? {}));
      const required = params.map((param) => param.required);
      expect([name, required]).toEqual([name, required.toSorted((a, b) => Number(b) - Number(a))]);
    }
  });

  test("names each method, each param of a method, and each error code of a method once", () => {
    const repeated = (values: readonly unknown[]) => values.filter((value, place) => values.indexOf(value) !== place);
    expect(repeated(methods.map(({ name }) => name))).toEqual([]);
    for (const { name, params, errors } of methods)
      expect([name, repeated(params.map((param) => param.name)), repeated(errors.map(({ code }) => code))]).toEqual([name, [], []]);
  });

  test("names every error that a method declares", () => {
    for (const { name, errors } of methods)
      expect(errors.flatMap(({ data }) => data.code).sort()).toEqual([...(api[name]?.errors ?? [])].sort());
  });

  test("refers to nothing that it does not hold, from its own root and from that of each schema", () => {
    expect(JSON.stringify(methods)).not.toContain('"$ref"');
  });
});

test("what is sent and what is answered, of every method, fits the schemas of the document", async () => {
  const ajv = addFormats.default(new Ajv({ strict: true, allErrors: true }));
  const accepts = new MethodCallValidator(documents.session);
  const results = new Map(documents.session.methods.map(({ name, result }) => [name, ajv.compile(result.schema)]));
  const called = new Set<string>();

  async function call(name: string, params: Record<string, unknown> = {}) {
    called.add(name);
    expect([name, accepts.validate(name, params)]).toEqual([name, []]);
    const { result, error } = await server.call(tokens.session, name, params);
    expect([name, error]).toEqual([name, undefined]);
    const fits = results.get(name);
    expect([name, fits?.(result), fits?.errors]).toEqual([name, true, null]);
    return result;
  }

  await call("whoami");
  await call("rpc.discover");
  const space = await call("space.create", { name: "Papers & pens, Ξ" });
  await call("space.list");
  await call("space.rename", { slug: space.slug, name: "Pens" });
  const agent = await call("agent.create", { name: "pp, C {worker}" });
  await server.sql`
    insert into members (space_id, principal_id) select id, ${agent.id} from spaces where slug = ${space.slug}`;
  await call("agent.list");
  await call("agent.get", { id: agent.id });
  expect((await call("agent.spaces", { id: agent.id })).spaces).toHaveLength(1);
  await call("agent.rename", { id: agent.id, name: "clerk" });
  const bare = await call("apiKey.create", { name: "bare" });
  const full = await call("apiKey.create", {
    name: "full",
    agent: agent.id,
    ceiling: ["read", "write:tasks:support/billing"],
    expiresAt: new Date(Date.now() + 60_000).toISOString(),
  });
  await call("apiKey.rotate", { id: full.id });
  await call("apiKey.rotate", { id: bare.id, overlapHours: 0 });
  await server.call(full.key, "whoami"); // fills in when it was last used
  for (const { id } of [bare, full]) await call("apiKey.get", { id });
  expect((await call("apiKey.list")).keys.length).toBeGreaterThan(2);
  await call("apiKey.list", { agent: agent.id });
  await call("apiKey.delete", { id: bare.id });
  await server.call(tokens.session, "access.grant", { principal: agent.id, permission: "read" }, space.slug);
  const minted = await call("token.create", { space: space.slug, scope: ["read", "write:tasks:support"], mayAct: agent.id });
  const plain = await call("token.create", { space: space.slug, scope: ["read"], ttlSeconds: 60 });
  const acting = await exchangeToken(
    { server: server.url, credential: full.key },
    { subject: minted.token, space: space.slug, scope: ["read"] },
  );
  for (const token of [minted.token, plain.token, acting.token, full.key, bare.key, tokens.session]) await call("token.inspect", { token });
  await call("token.revoke", { token: plain.token });

  const other = await server.user("Other");
  const asOther = async (method: string, params: object, slug?: string) => (await server.call(other.session, method, params, slug)).result;
  const { result: me } = await server.call(tokens.session, "whoami");
  const elsewhere = await asOther("space.create", { name: "Elsewhere" });
  for (const method of ["invite.decline", "invite.accept"]) {
    const { id } = await asOther("invite.create", { email: me.email }, elsewhere.slug);
    expect((await call("invite.pending")).invites).toHaveLength(1);
    await call(method, { id });
  }
  const { token } = await asOther("invite.create", {}, elsewhere.slug);
  await call("invite.accept", { token });
  const offered = await asOther("agent.create", { name: "offered" });
  for (const method of ["agent.decline", "agent.accept"]) {
    await asOther("agent.transfer", { id: offered.id, to: me.id });
    expect((await call("agent.offers")).offers).toHaveLength(1);
    await call(method, { id: offered.id });
  }
  await call("agent.transfer", { id: offered.id, to: other.id });
  await call("agent.delete", { id: agent.id });
  await call("space.delete", { slug: space.slug, confirm: space.slug });

  expect([...called].sort()).toEqual(Object.keys(userApi).sort());
});
