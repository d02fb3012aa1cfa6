import { startTestServer } from "./harness.ts";

export type Turns = Awaited<ReturnType<typeof makeTurns>>;
export type Begun = Awaited<ReturnType<Turns["begun"]>>;

/** A server with a space, of which a worker that is no library of ours answers the sessions. */
export async function makeTurns(settings: Record<string, string> = {}) {
  const server = await startTestServer(settings);
  const { id: worker, session: credential } = await server.user("ada");
  const { slug } = (await server.call(credential, "space.create", { name: "Acme" })).result;
  const call = (method: string, params: object = {}) => server.call(credential, method, params, slug);
  // biome-ignore lint/suspicious/noExplicitAny: tests reach into results of every method
  async function must(method: string, params: object = {}): Promise<any> {
    const { result, error } = await call(method, params);
    if (error) throw new Error(`${method}: ${JSON.stringify(error)}`);
    return result;
  }
  return {
    server,
    worker,
    credential,
    slug,
    call,
    must,
    /** A session of a task of its own, leased, its first turn begun. */
    async begun(task: string) {
      const { session } = await must("session.create", { task, message: "hello" });
      const { lease } = await must("run.lease", { tasks: [task], worker: "w", waitSeconds: 5 });
      const hold = { run: lease.run as string, epoch: lease.epoch as number };
      const { input } = await must("run.next", { ...hold, waitSeconds: 5 });
      return { session: session.id as string, hold, turn: input.turn as number };
    },
    /** All that was said in a session by who answers. */
    chunksOf: async (session: string): Promise<string[]> =>
      (await must("session.events", { session })).events
        .filter(({ kind }: { kind: string }) => kind === "chunks")
        .flatMap(({ data }: { data: { delta: string }[] }) => data.map(({ delta }) => delta)),
  };
}
