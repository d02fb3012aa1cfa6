import { MAX_METADATA_BYTES, PAGE_BYTES } from "@gatehouse/protocol";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestServer, type TestServer, type TestUser } from "./harness.ts";

let server: TestServer;
let ada: TestUser;
let slug: string;
beforeAll(async () => {
  server = await startTestServer();
  ada = await server.user("ada");
  slug = (await server.call(ada.session, "space.create", { name: "Acme" })).result.slug;
});
afterAll(() => server.close());

const call = (method: string, params: object = {}) => server.call(ada.session, method, params, slug);
async function must(method: string, params: object = {}) {
  const { result, error } = await call(method, params);
  if (error) throw new Error(`${method}: ${JSON.stringify(error)}`);
  return result;
}

/** Metadata of just so many bytes of JSON. */
const metadataOf = (bytes: number) => ({ of: "ä".repeat((bytes - 9) / 2) });

/** Sessions as they could be made before metadata had a limit. */
const makeLarge = async (count: number, bytes: number, tag: string) =>
  server.sql`
    insert into sessions (id, space_id, task, metadata, tags, idle_timeout_seconds)
    select new_id(), s.id, 'support', jsonb_build_object('of', repeat('x', ${bytes})), ${[tag]}, 5
    from spaces s, generate_series(1, ${count}) where s.slug = ${slug}`;

/** Every page of a list, each of which must fit and hold something. */
async function pages<Row>(method: string, params: object, rowsOf: (result: Record<string, Row[]>) => Row[], largest = PAGE_BYTES) {
  const rows: Row[] = [];
  let count = 0;
  for (let after: string | null | undefined; after !== null; count++) {
    const result = await must(method, { ...params, ...(after !== undefined && { after }) });
    expect(Buffer.byteLength(JSON.stringify(result)), `page ${count} of ${method}`).toBeLessThan(largest + 1024);
    expect(rowsOf(result).length).toBeGreaterThan(0);
    rows.push(...rowsOf(result));
    after = result.next;
  }
  return { rows, count };
}

test("metadata of 16 KiB of JSON is kept, and more is refused wherever it is given, however it is spelled", async () => {
  const fits = metadataOf(MAX_METADATA_BYTES - 1);
  const { session } = await must("session.create", { task: "support", metadata: fits });
  expect(session.metadata).toEqual(fits);
  // The database writes numbers out in full.
  const long = { numbers: Array.from({ length: 2000 }, () => 1e300) };
  const small = { numbers: Array.from({ length: 2000 }, () => 1e-300) };
  for (const metadata of [metadataOf(MAX_METADATA_BYTES + 1), long, small]) {
    const refused = [
      await call("session.create", { task: "support", metadata }),
      await call("session.update", { session: session.id, metadata }),
    ];
    for (const { error } of refused)
      expect(error?.data).toMatchObject({
        code: "INVALID_PARAMS",
        issues: [{ path: "metadata", message: "must have at most 16 KiB of JSON" }],
      });
  }
  for (const tags of [Array.from({ length: 33 }, (_, n) => `t${n}`), ["x".repeat(65)]])
    expect((await call("session.update", { session: session.id, tags })).error?.data.code).toBe("INVALID_PARAMS");
  expect((await must("session.get", { session: session.id })).metadata).toEqual(fits);
});

test("a message whose numbers take more where it is kept than an event may hold is refused", async () => {
  const { session } = await must("session.create", { task: "support" });
  const data = Array.from({ length: 10_000 }, () => 1e300);
  const { error } = await call("session.send", { session: session.id, action: { name: "many", data } });
  expect(error?.data.code).toBe("INVALID_PARAMS");
});

test("a list of sessions ends its pages before they are too large, and shows each session once", async () => {
  await makeLarge(300, 16_000, "many");
  const { rows, count } = await pages<{ id: string }>("session.list", { tag: "many", limit: 1000 }, ({ sessions = [] }) => sessions);
  expect(new Set(rows.map(({ id }) => id)).size).toBe(300);
  expect(rows).toHaveLength(300);
  expect(count).toBeGreaterThan(4);
});

test("sessions that are larger than a page, from before metadata had a limit, are listed one by one", async () => {
  await makeLarge(3, 2 * PAGE_BYTES, "huge");
  const { rows, count } = await pages<{ id: string }>("session.list", { tag: "huge" }, ({ sessions = [] }) => sessions, 3 * PAGE_BYTES);
  expect([rows.length, count]).toEqual([3, 3]);
});

test("a log is read in pages that are not too large, by method and by stream, and each event comes once", async () => {
  const { session } = await must("session.create", { task: "support" });
  const text = "y".repeat(200_000);
  for (let n = 0; n < 12; n++) await must("session.send", { session: session.id, message: text, inputId: `m${n}` });
  const seen: number[] = [];
  let count = 0;
  for (let after = 0, last = 1; after < last; count++) {
    const { events, lastSeq } = await must("session.events", { session: session.id, after, limit: 1000 });
    expect(Buffer.byteLength(JSON.stringify(events))).toBeLessThan(PAGE_BYTES + 1024);
    expect(events.length).toBeGreaterThan(0);
    seen.push(...events.map(({ seq }: { seq: number }) => seq));
    [after, last] = [seen.at(-1) as number, lastSeq];
  }
  const all = Array.from({ length: seen.length }, (_, n) => n + 1);
  expect(seen).toEqual(all);
  expect(count).toBeGreaterThan(2);

  await must("session.close", { session: session.id });
  const headers = { authorization: `Bearer ${ada.session}`, "x-me-space": slug };
  const stream = await (await fetch(`${server.url}/api/v1/sessions/${session.id}/out`, { headers })).text();
  const told = [...stream.matchAll(/^id: (\d+)$/gm)].map(([, seq]) => Number(seq));
  expect(told.slice(0, all.length)).toEqual(all);
  expect(stream).toContain("event: end");
});
