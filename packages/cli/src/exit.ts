import type { GatehouseError } from "@gatehouse/client";
import { CommanderError } from "commander";

/** What a script can tell from how `me` ended. */
export const exitCodes = {
  ok: 0,
  error: 1,
  usage: 2,
  "not signed in": 3,
  forbidden: 4,
  "not found": 5,
  conflict: 6,
  unreachable: 7,
  "still running": 8,
} as const;
export type Ending = keyof typeof exitCodes;

/** How it ends when nobody reads what it says any more: as a shell's own commands do then, by SIGPIPE (128 + 13). */
const UNREAD = 141;

/**
 * Hears once that whoever read what this process says has stopped, as `| head` does: nothing failed, nobody is to be told.
 * Default: what stops in good order when its terminal is closed does so; all else ends at once.
 */
export function whenUnread(then: () => unknown = () => process.emit("SIGHUP", "SIGHUP") || process.exit(UNREAD)): void {
  let heard = false;
  const unread = (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    if (!heard) then();
    heard = true;
  };
  for (const stream of [process.stdout, process.stderr]) stream.on("error", unread);
}

/** A failure of the command line's own, with what to do next. */
export class CliError extends Error {
  override readonly name = "CliError";
  readonly ending: Ending;

  constructor(ending: Ending, message: string, options?: ErrorOptions) {
    super(message, options);
    this.ending = ending;
  }
}

/** By code: of the server's refusals, and of the client's own. */
const endings: Partial<Record<string, Ending>> = {
  INVALID_PARAMS: "usage",
  UNAUTHENTICATED: "not signed in",
  FORBIDDEN: "forbidden",
  NOT_FOUND: "not found",
  CONFLICT: "conflict",
  LAST_ADMIN: "conflict",
  LIMIT_REACHED: "conflict",
  SESSION_CLOSED: "conflict",
  SESSION_EXPIRED: "conflict",
  UNREACHABLE: "unreachable",
  UNSENDABLE: "usage",
  UNAVAILABLE: "unreachable",
} satisfies Partial<Record<GatehouseError["code"], Ending>>;

/** Of what no command expects: something is missing that every Gatehouse answers with, unless `me` itself is wrong. */
const amiss = ({ message }: Error): string =>
  `The server's answer lacks what me looks for, or me is wrong. Check the address of the server, and that both are up to date. (${message})`;

/** How an error ends the command, and what there is to say of it; `code` is stable. */
export function describe(error: unknown): { ending: Ending; code: string; message: string; data: object } {
  if (error instanceof CommanderError) return { ending: error.exitCode === 0 ? "ok" : "usage", code: "USAGE", message: "", data: {} };
  if (error instanceof CliError)
    return { ending: error.ending, code: error.ending.toUpperCase().replaceAll(" ", "_"), message: error.message, data: {} };
  if (error instanceof TypeError || error instanceof ReferenceError)
    return { ending: "error", code: "ERROR", message: amiss(error), data: {} };
  const { code, message, data } = error as Partial<GatehouseError>;
  const ending = (code && endings[code]) || "error";
  return { ending, code: code ?? "ERROR", message: message ?? String(error), data: data ?? {} };
}
