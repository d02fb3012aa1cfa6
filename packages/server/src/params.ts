import type { Method } from "@gatehouse/protocol";
import type { z } from "zod";
import { Refusal } from "./refusal.ts";

/** What is wrong with something that was sent, and where. */
interface Issue {
  path: string;
  message: string;
}

/** Most issues that one answer lists. */
const MAX_ISSUES = 20;
/** Longest part of an issue that is told. */
const MAX_LENGTH = 200;

/**
 * Parses the params of a call with its method's schema: by name, or by position in the schema's order.
 * @throws Refusal INVALID_PARAMS, which says where and why, but never repeats a value
 */
export function parseParams(contract: Method, params: unknown, flaws: readonly string[]): unknown {
  if (flaws[0]) throw invalid([{ path: "", message: flaws[0] }]);
  const parsed = contract.params.safeParse(byName(contract, params));
  if (parsed.success) return parsed.data;
  throw invalid(issuesOf(parsed.error));
}

/** The first of what a schema found, each cut short: however much is wrong, an answer about it is small. */
export const issuesOf = ({ issues }: z.ZodError): Issue[] =>
  issues.slice(0, MAX_ISSUES).map(({ path, message }) => ({ path: clipped(path.join(".")), message: clipped(message) }));

/** Issues in one sentence. */
export const saidOf = (issues: readonly Issue[]): string =>
  issues.map(({ path, message }) => (path ? `${path}: ${message}` : message)).join("; ");

function byName(contract: Method, params: unknown): unknown {
  if (params === undefined) return {};
  if (!Array.isArray(params)) return params;
  const names = Object.keys(contract.params.shape);
  if (params.length > names.length)
    throw invalid([{ path: "", message: `takes at most ${names.length} params by position: ${names.join(", ")}` }]);
  // null stands for a param that is left out: there is no other way to skip one by position.
  return Object.fromEntries(params.map((value, i) => [names[i], value ?? undefined]));
}

/** Names of unknown params are repeated, as far as they could be a slip. */
const clipped = (text: string): string => (text.length > MAX_LENGTH ? `${text.slice(0, MAX_LENGTH)}…` : text);

function invalid(issues: Issue[]): Refusal {
  return new Refusal("INVALID_PARAMS", `The params do not fit the method's schema: ${saidOf(issues)}.`, { issues });
}
