import { errors, type LayerName, type RpcResponse } from "@gatehouse/protocol";
import { expect } from "vitest";
import type { TestServer } from "./harness.ts";

/** What a call came to: a word for a table, and what the word is short for. */
export interface Cell {
  short: string;
  full: string;
}

export const OK: Cell = { short: "ok", full: "HTTP 200, a result" };

/** A permission was missing: in which layer of the caller's authority. */
const lacking: Partial<Record<string, string>> = {
  grants: "not granted",
  owner: "owner lacks",
  ceiling: "over ceiling",
  actor: "agent lacks",
  "actor-owner": "its owner lacks",
  "actor-ceiling": "over its ceiling",
  token: "out of scope",
} satisfies Record<LayerName, string>;

export const refused = (status: number, code: keyof typeof errors, reason?: string, layer?: string): Cell => ({
  short: [reason === "scope" ? "scope:" : "", lacking[layer ?? ""] ?? reason ?? (status === 200 ? code : String(status))]
    .filter(Boolean)
    .join(" "),
  full: `HTTP ${status}, error ${errors[code].number} ${code}${reason ? `, reason ${reason}` : ""}${layer ? `, layer ${layer}` : ""}`,
});

/** Calls a method. @returns its outcome as a cell, and the body without what names this one request */
export async function callForCell(
  server: TestServer,
  headers: Record<string, string>,
  method: string,
  params: object,
): Promise<{ cell: Cell; text: string }> {
  const { status, text } = await server.post(JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }), headers);
  const answer = JSON.parse(text) as RpcResponse;
  if (!("error" in answer)) return { cell: { short: "ok", full: `HTTP ${status}, a result` }, text };
  const { code, data } = answer.error;
  expect(code, "the number and the name of an error").toBe(errors[data.code].number);
  return { cell: refused(status, data.code, data.reason, data.layer), text: text.replaceAll(data.requestId, "REQUEST") };
}

/** A Markdown table whose columns line up. */
export function table(head: string[], rows: string[][]): string {
  const widths = head.map((title, i) => Math.max(...[title, ...rows.map((row) => row[i] ?? "")].map(({ length }) => length)));
  const line = (cells: string[], fill = " ") => `| ${widths.map((width, i) => (cells[i] ?? "").padEnd(width, fill)).join(" | ")} |`;
  return [line(head), line([], "-"), ...rows.map((row) => line(row))].join("\n");
}

/** One row a method; a dash where a column does not apply to it. */
export const grid = (cells: Map<string, Map<string, Cell>>, columns: string[]) =>
  table(
    ["method", ...columns],
    [...cells].map(([method, row]) => [method, ...columns.map((column) => row.get(column)?.short ?? "–")]),
  );

/** What the words in the cells mean, taken from what was really answered. Fails when one word stands for two answers. */
export function legend(cells: Map<string, Map<string, Cell>>): string {
  const meanings = new Map<string, string>();
  for (const row of cells.values())
    for (const { short, full } of row.values()) {
      expect(meanings.get(short) ?? full, `the meaning of "${short}"`).toBe(full);
      meanings.set(short, full);
    }
  return table(["cell", "means"], [...meanings]);
}
