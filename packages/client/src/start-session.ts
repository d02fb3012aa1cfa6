import type { ParamsOf, SpaceApi } from "@gatehouse/protocol";
import { createSpaceClient } from "./client.ts";
import type { Target } from "./transport.ts";

/** A session, as a browser may know it. */
export interface StartedSession {
  /** Its id. */
  session: string;
  /** Reads and writes this session, and nothing else. */
  token: string;
  /** When the token ends, an hour from now: start the session again by its external id, and there is another. */
  tokenExpiresAt: string;
}

/** What a session begins with: its task, an external id, metadata, a first message. */
export type SessionStart = ParamsOf<SpaceApi, "session.create">;

/**
 * Makes what a web server hands sessions to its browsers with: the key stays with the server, the browser gets a token
 * for the one session. Who may have which session is for your server to decide: ask who is there first.
 * @returns starts a session, or finds it by its external id, when the same first message counts once; throws GatehouseError
 */
export function createStartSession(target: Target): (start: SessionStart) => Promise<StartedSession> {
  const space = createSpaceClient(target);
  return async (start) => {
    const { session, token, tokenExpiresAt } = await space.session.create(start);
    return { session: session.id, token, tokenExpiresAt };
  };
}
