import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { makeDatabase, onDatabase } from "./harness.ts";
import { type ReceivedSpan, startReceiver } from "./receiver.ts";
import { type Home, makeHome, me, startUp } from "./run.ts";

/** One line of the server's log about a call. */
export interface LogLine {
  msg: string;
  outcome: string;
  method: string;
  requestId: string;
  principal?: string;
  kind?: string;
  via?: string;
  credentialId?: string;
  reason?: string;
  cause?: unknown;
  traceId?: string;
}

/** What came back for one posted body. */
export interface Answered {
  requestId: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests reach into answers of every method
  body: any;
}

export type ObservedServer = Awaited<ReturnType<typeof startObserved>>;

/** A server in a process of its own, whose spans and log lines can be read; and a home that is signed in to it. */
export async function startObserved(person: { email: string; name: string; password: string }) {
  const receiver = await startReceiver();
  const databaseUrl = await makeDatabase();
  const server = await startUp(await makeHome({ ...onDatabase(databaseUrl), ...receiver.env }));
  // The person's own commands are traced too.
  const home = await makeHome({ ME_SERVER: server.url, ...receiver.env });
  const must = async (args: string[], env: Record<string, string> = {}) => {
    const { code, stderr } = await me(home, args, { env, stdin: person.password });
    if (code !== 0) throw new Error(`me ${args[0]} ended with ${code}: ${stderr}`);
  };
  await must(["user", "create", "--email", person.email, "--name", person.name], onDatabase(databaseUrl));
  await must(["login", "--email", person.email]);
  return {
    receiver,
    databaseUrl,
    server,
    home,
    session: await sessionOf(home, server.url),
    /** Posts a call, or a batch of them. */
    async post(credential: string, call: object): Promise<Answered> {
      const answer = await fetch(`${server.url}/api/v1/user/rpc`, {
        method: "POST",
        headers: { "content-type": "application/json", authorization: `Bearer ${credential}` },
        body: JSON.stringify(call),
      });
      return { requestId: String(answer.headers.get("x-request-id")), body: await answer.json() };
    },
    /** Stops the server, so that all it had to say is said. */
    async over(): Promise<{ spans: ReceivedSpan[]; lines: LogLine[]; everything: string }> {
      const { stderr, stdout } = await server.stop();
      receiver.close();
      const lines = stderr.split("\n").filter((line) => line.startsWith("{"));
      return {
        spans: receiver.spans(),
        lines: lines.map((line) => JSON.parse(line) as LogLine),
        everything: receiver.raw() + stderr + stdout,
      };
    },
  };
}

/** The Bearer token that `me login` kept. */
async function sessionOf({ env }: Home, url: string): Promise<string> {
  const kept = JSON.parse(await readFile(join(String(env.XDG_CONFIG_HOME), "gatehouse", "credentials.json"), "utf8"));
  return kept.servers[url].token;
}
