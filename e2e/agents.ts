import { type ChatAgent, type ServeOptions, type Serving, serve } from "@gatehouse/agent";
import type { SessionEvent } from "@gatehouse/protocol";
import { startTestServer } from "./harness.ts";
import { until } from "./run.ts";

export type Workplace = Awaited<ReturnType<typeof makeWorkplace>>;

/** A server with a space, a person in it, and an agent that may serve every task. */
export async function makeWorkplace(settings: Record<string, string> = {}) {
  const server = await startTestServer({ LEASE_SECONDS: "2", ...settings });
  const ada = await server.user("ada");
  const servings: Serving[] = [];
  const logged: string[] = [];

  // biome-ignore lint/suspicious/noExplicitAny: tests reach into results of every method
  async function must(method: string, params: object = {}, space?: string | null): Promise<any> {
    const { result, error } = await server.call(ada.session, method, params, space === null ? undefined : (space ?? slug));
    if (error) throw new Error(`${method}: ${JSON.stringify(error)}`);
    return result;
  }
  let slug = "";
  slug = (await must("space.create", { name: "Acme" }, null)).slug;
  const bot = (await must("agent.create", { name: "bot" }, null)).id as string;
  const { id: keyId, key } = await must("apiKey.create", { name: "bot", agent: bot }, null);
  await must("principal.add", { principal: bot });
  await must("access.grant", { principal: bot, permission: "admin:tasks" });

  const events = async (session: string): Promise<SessionEvent[]> => (await must("session.events", { session, limit: 1000 })).events;

  return {
    server,
    ada,
    slug,
    keyId: keyId as string,
    logged,
    must,
    events,
    /** The environment of a worker. */
    env: { ME_SERVER: server.url, ME_SPACE: slug, ME_API_KEY: key as string },
    /** Serves in this process, until it is stopped, or the tests are over. */
    async serve(agents: ChatAgent[], options: ServeOptions = {}): Promise<Serving> {
      const log = (line: string) => logged.push(line);
      const serving = await serve(agents, { server: server.url, space: slug, credential: key, signals: false, log, ...options });
      servings.push(serving);
      return serving;
    },
    /** Starts a conversation. @returns the session's id, the turn and the run that answers it */
    async start(task: string, message: string, more: object = {}): Promise<{ session: string; turn: number; run: string }> {
      const { session, run } = await must("session.create", { task, message, ...more });
      return { session: session.id, turn: 1, run: run.id };
    },
    async say(session: string, message: string): Promise<{ session: string; turn: number; run: string }> {
      const { turn, run } = await must("session.send", { session, message });
      return { session, turn, run: run.id };
    },
    /** Waits until a turn is over. @returns how it ended, the run that ended it, and the text of the answer */
    async answered({ session, turn }: { session: string; turn: number }) {
      const log = await until(
        () => `turn ${turn} is over; workers said:\n${logged.join("\n")}`,
        async () => {
          const log = await events(session);
          return log.some((event) => event.kind === "turn-end" && event.turn === turn) ? log : undefined;
        },
      );
      const end = log.findLast((event) => event.kind === "turn-end" && event.turn === turn) as SessionEvent;
      return { ...(end.data as { outcome: string; error?: string }), run: end.run, text: textOf(log, turn) };
    },
    async close(): Promise<void> {
      await Promise.all(servings.map((serving) => serving.stop({ graceSeconds: 0 })));
      await server.close();
    },
  };
}

/** Chunks of the latest attempt at a turn. */
export function chunksOf(log: readonly SessionEvent[], turn: number): { type: string; [field: string]: unknown }[] {
  const from = log.findLastIndex((event) => event.kind === "turn-start" && event.turn === turn);
  return log.slice(from).flatMap((event) => (event.kind === "chunks" && event.turn === turn ? (event.data as { type: string }[]) : []));
}

const textOf = (log: readonly SessionEvent[], turn: number): string =>
  chunksOf(log, turn)
    .map(({ type, delta }) => (type === "text-delta" ? delta : ""))
    .join("");
