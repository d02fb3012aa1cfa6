import { expect } from "vitest";
import type { HttpAnswer, TestServer } from "./harness.ts";
import { until } from "./run.ts";

/** Headers that tell of the request as such: its moment, its place in line, the web origin it names, whether its body was too long to read. */
const OF_THE_REQUEST = [
  "x-request-id",
  "date",
  "ratelimit",
  "access-control-allow-origin",
  "access-control-allow-credentials",
  "connection",
  "keep-alive",
];

/** All of an answer that a caller can see, without what names this one request. */
export function visible({ status, headers, text }: HttpAnswer) {
  const requestId = headers.get("x-request-id") ?? "";
  expect(text, "the body names the request").toContain(requestId);
  return {
    status,
    headers: Object.fromEntries([...headers].filter(([name]) => !OF_THE_REQUEST.includes(name))),
    text: text.replaceAll(requestId, "REQUEST"),
  };
}

/** Removes what is left of what was deleted before, so that nothing of it goes meanwhile. */
export const removeRemains = ({ sql }: TestServer) =>
  until("what was deleted is removed", async () => {
    await sql`select clear_remains()`;
    return (await sql`select from remains`).length === 0;
  });

/** Every row that a call could change, but for when keys were last used, dead tokens, and the record of what was refused. */
export async function stored(server: TestServer): Promise<string> {
  await removeRemains(server);
  return JSON.stringify(
    await server.sql`
      select (select json_agg(t order by id) from principals t) as principals,
             (select json_agg(to_jsonb(t) - 'last_used_at' order by id) from api_keys t) as keys,
             (select json_agg(t order by id) from spaces t) as spaces,
             (select json_agg(t order by space_id, principal_id) from members t) as members,
             (select json_agg(t order by group_id, principal_id) from group_members t) as group_members,
             (select json_agg(t order by id) from grants t) as grants,
             (select json_agg(t order by id) from invites t) as invites,
             (select json_agg(t order by agent_id) from agent_offers t) as offers,
             (select json_agg(t order by id) from live_tokens t) as tokens,
             (select json_agg(t order by id) from auth.session t) as sessions,
             (select count(*) from audit) as changes`,
  );
}
