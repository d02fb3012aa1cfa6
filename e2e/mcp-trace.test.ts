import { beforeAll, expect, test } from "vitest";
import { connectMcp } from "./mcp.ts";
import { startObserved } from "./observed.ts";
import type { ReceivedSpan } from "./receiver.ts";
import { me } from "./run.ts";

const traces = { passed: "0af7651916cd43dd8448eb211c80319c", traced: "1bf7651916cd43dd8448eb211c80319c" };
const CALLER = "b7ad6b7169203331";
let spans: ReceivedSpan[];
let everything: string;
let token = "";

beforeAll(async () => {
  const observed = await startObserved({ email: "ada@example.com", name: "Ada", password: "correct horse battery" });
  await me(observed.home, ["space", "create", "Acme"]);
  const plain = Object.fromEntries(Object.entries(observed.home.env).filter(([name]) => !(name in observed.receiver.env)));
  for (const [trace, env] of [
    [traces.passed, plain],
    [traces.traced, observed.home.env],
  ] as const) {
    const mcp = await connectMcp(env);
    await mcp.call("whoami");
    const _meta = { traceparent: `00-${trace}-${CALLER}-01`, tracestate: "tests=1" };
    expect((await mcp.client.callTool({ name: "show_space", arguments: {}, _meta })).isError).toBeUndefined();
    token = (await mcp.call("whoami")).credential.id;
    await mcp.close();
  }
  ({ spans, everything } = await observed.over());
});

test("the server's span of a call is a child of the span that the client named", () => {
  const heard = spans.filter(({ traceId, parent }) => traceId === traces.passed && parent === CALLER);
  expect(heard).toMatchObject([{ kind: "server", name: "POST /api/v1/space/rpc", service: "gatehouse" }]);
});

test("where me mcp is traced itself, its own span stands between", () => {
  const mine = spans.find(({ traceId, service, parent }) => traceId === traces.traced && service === "me" && parent === CALLER);
  expect(mine).toMatchObject({ name: "space.get", kind: "client" });
  expect(spans).toContainEqual(expect.objectContaining({ traceId: traces.traced, parent: mine?.id, kind: "server" }));
});

test("no token stands in a span or a log line", () => {
  expect(token).not.toBe("");
  expect(everything).not.toMatch(/eyJ[\w-]+\.[\w-]+\./);
});
