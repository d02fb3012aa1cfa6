import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { serveArithmetic } from "./arithmetic.ts";
import { startTestServer, type TestServer } from "./harness.ts";

let server: TestServer;
let calculator: Awaited<ReturnType<typeof serveArithmetic>>;
let session: string;
beforeAll(async () => {
  server = await startTestServer();
  calculator = await serveArithmetic(server);
  session = (await server.user("Alice")).session;
});
afterAll(async () => {
  await calculator.close();
  await server.close();
});

interface Answer {
  jsonrpc: string;
  id: unknown;
  result?: unknown;
  error?: { code: number; message: string; data: { code: string; requestId: string } };
}

async function send(url: string, body: string): Promise<{ status: number; text: string }> {
  const answer = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${session}` },
    body,
  });
  return { status: answer.status, text: await answer.text() };
}

/** What of an answer the specification fixes: messages and data are the server's own. */
const bare = ({ error, ...rest }: Answer) => (error ? { ...rest, error: { code: error.code } } : rest);
const bareAll = (text: string): unknown => {
  const answers = JSON.parse(text) as Answer | Answer[];
  return Array.isArray(answers) ? answers.map(bare) : bare(answers);
};

/** The specification's examples: `-->` is sent, `<--` comes back, or nothing. Kept as the specification prints them. */
const examples = (await readFile(new URL("./jsonrpc-examples.txt", import.meta.url), "utf8"))
  .split(/^(?=rpc call)/m)
  .slice(1)
  .flatMap((section) => {
    const title = section.slice(0, section.indexOf(":\n"));
    return section
      .split(/^--> /m)
      .slice(1)
      .map((exchange) => {
        const [sent = "", back = ""] = exchange.split(/^<--/m);
        return { title, sent: sent.trim(), back: back.trim().replace(/^\/\/.*$/, "") };
      });
  });

describe("the examples of the JSON-RPC 2.0 specification, section 7", () => {
  test("all of them are here", () => {
    expect(examples).toHaveLength(15);
  });

  test.each(examples)("$title: $sent", async ({ sent, back }) => {
    const { status, text } = await send(calculator.rpcUrl, sent);
    if (back === "") expect({ status, text }).toEqual({ status: 204, text: "" });
    else {
      expect(status).toBe(200);
      expect(bareAll(text)).toEqual(bareAll(back));
    }
  });

  test("a notification is done, though not answered", async () => {
    calculator.heard.length = 0;
    await send(calculator.rpcUrl, '{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}');
    await send(
      calculator.rpcUrl,
      '[{"jsonrpc":"2.0","method":"notify_sum","params":[1,2,4]},{"jsonrpc":"2.0","method":"notify_hello","params":[7]}]',
    );
    expect(calculator.heard.sort()).toEqual(["notify_hello 7", "notify_sum 1,2,4", "update 1,2,3,4,5"]);
  });
});

describe("ids", () => {
  const good = [
    "12345678901234567890",
    "1.0",
    "1e3",
    "-0",
    "0.1",
    "1.5E-7",
    "1e400",
    '""',
    '"\\u0061"',
    '"\\ud83d\\ude00 \\/"',
    '"}],"',
    "null",
  ];
  const bad = ["true", "false", "{}", "[]", "[1]", '{"id":1}'];

  test.each(good)("%s is echoed exactly", async (id) => {
    const call = (method: string) => `{ "jsonrpc" : "2.0", "id" :  ${id} , "method": "${method}", "params": {"id": 5} }`;
    const denied = await send(server.rpcUrl, call("no.such"));
    expect(denied.text).toMatch(/^\{"jsonrpc":"2.0","id":/);
    expect(denied.text.slice('{"jsonrpc":"2.0","id":'.length)).toMatch(new RegExp(`^${RegExp.escape(id)},"error"`));
    const { text } = await send(server.rpcUrl, `[${call("no.such")},{"jsonrpc":"2.0","method":"whoami","id":${id}}]`);
    expect(text.split(`"id":${id},`)).toHaveLength(3);
  });

  test.each(bad)("%s is no id", async (id) => {
    const { status, text } = await send(server.rpcUrl, `{"jsonrpc":"2.0","id":${id},"method":"whoami"}`);
    expect(status).toBe(200);
    expect(bareAll(text)).toEqual({ jsonrpc: "2.0", id: null, error: { code: -32600 } });
  });
});

describe("params", () => {
  const ask = async (params: string) =>
    bareAll((await send(calculator.rpcUrl, `{"jsonrpc":"2.0","id":1,"method":"subtract","params":${params}}`)).text);

  test.each(["null", "1", '"bar"', "true", "[42]", "[42,23,1]", '{"minuend":42}', '{"minuend":42,"subtrahend":23,"more":1}', '["42",23]'])(
    "%s do not fit",
    async (params) => {
      expect(await ask(params)).toEqual({ jsonrpc: "2.0", id: 1, error: { code: -32602 } });
    },
  );

  test("left out are as good as none", async () => {
    const { text } = await send(calculator.rpcUrl, '{"jsonrpc":"2.0","id":1,"method":"get_data"}');
    expect(bareAll(text)).toEqual({ jsonrpc: "2.0", id: 1, result: ["hello", 5] });
  });
});

describe("batches", () => {
  beforeEach(() => {
    calculator.load.most = 0;
  });
  const take = (index: number, seconds: number) => ({ jsonrpc: "2.0", id: index, method: "take", params: { index, seconds } });

  test("of 100 are answered in the order of the calls, some at once but not all", async () => {
    // The earlier a call, the longer it takes: answers in the order of their ends would come out otherwise.
    const batch = Array.from({ length: 100 }, (_, i) => take(i, (100 - i) / 2000));
    const { status, text } = await send(calculator.rpcUrl, JSON.stringify(batch));
    expect(status).toBe(200);
    expect(JSON.parse(text)).toEqual(batch.map((_, i) => ({ jsonrpc: "2.0", id: i, result: i })));
    expect(calculator.load.most).toBeGreaterThan(1);
    expect(calculator.load.most).toBeLessThanOrEqual(10);
  });

  test("of 101 are refused whole", async () => {
    const batch = Array.from({ length: 101 }, (_, i) => take(i, 0));
    const { status, text } = await send(calculator.rpcUrl, JSON.stringify(batch));
    expect(status).toBe(200);
    expect(bareAll(text)).toEqual({ jsonrpc: "2.0", id: null, error: { code: -32600 } });
    expect(calculator.load.most).toBe(0);
  });

  test("are authorized call by call", async () => {
    const { result: agent } = await server.call(session, "agent.create", { name: "batcher" });
    const { result: key } = await server.call(session, "apiKey.create", { name: "batch", agent: agent.id });
    const batch = ["whoami", "agent.create", "space.list", "apiKey.list"].map((method, id) => ({ jsonrpc: "2.0", id, method }));
    const { text } = await server.post(JSON.stringify(batch), { authorization: `Bearer ${key.key}` });
    const answers = JSON.parse(text) as Answer[];
    expect(answers.map(({ id, error }) => [id, error?.code ?? "ok"])).toEqual([
      [0, "ok"],
      [1, 403],
      [2, "ok"],
      [3, 403],
    ]);
  });

  test("without a credential are refused whole, and not told which calls exist", async () => {
    const { status, text } = await server.post('[{"jsonrpc":"2.0","id":1,"method":"whoami"},1]');
    expect(status).toBe(401);
    expect(bareAll(text)).toEqual({ jsonrpc: "2.0", id: null, error: { code: 401 } });
  });
});
