import type { Target } from "@gatehouse/client";
import type { CallToolResult, InputRequiredResult, ServerContext } from "@modelcontextprotocol/server";

/** All that the tools know of where they are: they read no environment and no file, and know no transport. */
export interface House {
  /**
   * Where calls go, as whom, and in which space; a token for one space names it by itself. `fetch` may lead into the same
   * process.
   */
  target: Target;
  /** Milliseconds that a tool waits for an agent before it says that it is still at it; default 50,000: many clients give up after 60. */
  waitMs?: number;
  /**
   * Whether a client that hangs up has cancelled what it asked for, as over HTTP (MCP 2026-07-28), where it has no other
   * way to. Left out, it has only gone: the agent answers, and whoever comes back finds the answer.
   */
  hangUpCancels?: boolean;
  /** Aborted when the house stops: what waits gives up, and nothing was cancelled. */
  stops?: AbortSignal;
  /** Runs a tool, and may answer something else in place of its error, such as a way to sign in. */
  attempt?(ctx: ServerContext, run: () => Promise<CallToolResult>): Promise<CallToolResult | InputRequiredResult>;
}

export const WAIT_MS = 50_000;
