import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

const READY_TO_ANSWER = new Set(["S", "Q"]); // Sync, and the simple query: after each, a client waits for the server

/**
 * A wire to a Postgres on a unix socket that counts round trips: how often a client asks and waits.
 * @param database its address, with the socket's folder in `?host=`
 */
export async function tapWire(database: string) {
  const url = new URL(database);
  const socket = `${url.searchParams.get("host")}/.s.PGSQL.${url.port || 5432}`;
  const open = new Set<Socket>();
  const count = { roundTrips: 0 };
  const server = createServer((client) => {
    const upstream = connect(socket);
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      open.add(one.on("error", () => other.destroy()).on("close", () => other.destroy()));
      one.pipe(other);
    }
    const messages = readMessages((type) => {
      if (READY_TO_ANSWER.has(type)) count.roundTrips++;
    });
    client.on("data", messages);
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
    async close(): Promise<void> {
      for (const each of open) each.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** Reads what a client sends: first a startup message, then messages of a type and a length. */
function readMessages(onMessage: (type: string) => void): (data: Buffer) => void {
  let text = ""; // of one character a byte
  let started = false;
  return (data) => {
    text += data.toString("latin1");
    for (;;) {
      const header = started ? 5 : 4;
      if (text.length < header) return;
      const length = Buffer.from(text.slice(header - 4, header), "latin1").readUInt32BE() + header - 4;
      if (text.length < length) return;
      if (started) onMessage(text[0] as string);
      started = true;
      text = text.slice(length);
    }
  };
}
