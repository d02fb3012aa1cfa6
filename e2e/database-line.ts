import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** A TCP line to a database on a unix socket, which can be cut and stopped. */
export async function openLine(address: string) {
  const url = new URL(address);
  const path = `${url.searchParams.get("host")}/.s.PGSQL.5432`;
  const open = new Set<Socket>();
  let stopped = false;
  let gone = false;
  let asked = 0;
  const relay = createServer((client) => {
    if (gone) return void client.resetAndDestroy();
    if (stopped) asked++;
    const upstream = connect(path);
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      open.add(from);
      from
        .on("error", () => {})
        .on("close", () => {
          open.delete(from);
          to.destroy();
        })
        .pipe(to);
      if (stopped) from.pause();
    }
  });
  await once(relay.listen(0, "127.0.0.1"), "listening");
  url.searchParams.delete("host");
  Object.assign(url, { hostname: "127.0.0.1", port: String((relay.address() as AddressInfo).port) });
  return {
    /** The database, by this line. */
    url: url.href,
    /** Cuts what is open, with a TCP reset on both sides. */
    reset(): void {
      for (const socket of open) socket.resetAndDestroy();
    },
    /** Cuts what is open, and whatever is opened from now on. */
    lose(): void {
      gone = true;
      this.reset();
    },
    /** From now on nothing passes, and nobody is told: as if the database were frozen. */
    stop(): void {
      stopped = true;
      asked = 0;
      for (const socket of open) socket.pause();
    },
    /** How many connections were asked for since it was stopped. */
    asked: () => asked,
    go(): void {
      stopped = gone = false;
      for (const socket of open) socket.resume();
    },
    async close(): Promise<void> {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => relay.close(resolve));
    },
  };
}
