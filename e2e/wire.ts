import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

const READY_TO_ANSWER = new Set(["S", "Q"]); // Sync, and the simple query: after each, a client waits for the server
const READY = "Z";
const NOTIFICATION = "A";
/** How a connection of the feed of changes names itself. */
const FEED = "gatehouse feed";

/**
 * A wire to a Postgres on a unix socket that counts round trips: how often a client asks and waits. Those of the feed of
 * changes count for nothing: it asks whether anybody calls or not.
 * @param database its address, with the socket's folder in `?host=`
 * @param options.pooled loses, as a pooler in transaction mode does, what the database tells a client between transactions
 */
export async function tapWire(database: string, { pooled = false }: { pooled?: boolean } = {}) {
  const url = new URL(database);
  const socket = `${url.searchParams.get("host")}/.s.PGSQL.${url.port || 5432}`;
  const open = new Set<Socket>();
  const feed = new Set<Socket>();
  const count = { roundTrips: 0 };
  let held = false;
  const server = createServer((client) => {
    const upstream = connect(socket);
    let asking = true;
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const)
      open.add(one.on("error", () => other.destroy()).on("close", () => other.destroy()));
    client.pipe(upstream);
    client.on(
      "data",
      readMessages(true, (type, message) => {
        if (type === "" && message.includes(FEED)) for (const end of [client, upstream]) feed.add(held ? end.pause() : end);
        if (!READY_TO_ANSWER.has(type)) return;
        asking = true;
        if (!feed.has(client)) count.roundTrips++;
      }),
    );
    upstream.on(
      "data",
      readMessages(false, (type, message) => {
        if (!(pooled && type === NOTIFICATION && !asking)) client.write(message, "latin1");
        if (type === READY) asking = false;
      }),
    );
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  url.searchParams.delete("host");
  Object.assign(url, { hostname: "127.0.0.1", port: String((server.address() as AddressInfo).port) });
  return {
    /** The database, by this wire. */
    url: url.href,
    /** How many round trips something takes. */
    async during(run: () => Promise<unknown>): Promise<number> {
      const before = count.roundTrips;
      await run();
      return count.roundTrips - before;
    },
    /** From now on nothing passes on the lines of the feed, old or new; nobody is told. */
    holdFeed(): void {
      held = true;
      for (const end of feed) end.pause();
    },
    /** What was held back passes. */
    releaseFeed(): void {
      held = false;
      for (const end of feed) end.resume();
    },
    async close(): Promise<void> {
      for (const each of open) each.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** Reads messages of a type and a length; before them, where a client sends, a startup message, which has no type. */
function readMessages(startup: boolean, onMessage: (type: string, message: string) => void): (data: Buffer) => void {
  let text = ""; // of one character a byte
  let started = !startup;
  return (data) => {
    text += data.toString("latin1");
    for (;;) {
      const header = started ? 5 : 4;
      if (text.length < header) return;
      const length = Buffer.from(text.slice(header - 4, header), "latin1").readUInt32BE() + header - 4;
      if (text.length < length) return;
      onMessage(started ? (text[0] as string) : "", text.slice(0, length));
      started = true;
      text = text.slice(length);
    }
  };
}
