import type { openDatabase } from "@gatehouse/server";

type Database = ReturnType<typeof openDatabase>;

/** A database of a server, used past it; and whether anything was done by it since that was last asked, or is being done. */
export function touching(database: Database): { sql: Database; touched: () => boolean } {
  let underWay = 0;
  let done = false;
  const track = <T>(work: Promise<T>): Promise<T> => {
    underWay++;
    return work.finally(() => {
      underWay--;
      done = true;
    });
  };
  /** A query is sent when it is first awaited; what is never awaited is a part of another. */
  const onceSent = <Q extends object>(query: Q): Q => {
    if (!("then" in query)) return query;
    const send = (query as unknown as Promise<unknown>).finally.bind(query);
    let sent: Promise<unknown> | undefined;
    const sending = () => {
      sent ??= track(send(() => {}));
      return sent;
    };
    return Object.assign(query, {
      // biome-ignore lint/suspicious/noThenProperty: a query is sent when it is awaited
      then: ((...told) => sending().then(...told)) as Promise<unknown>["then"],
      catch: ((failed) => sending().catch(failed)) as Promise<unknown>["catch"],
      finally: ((settled) => sending().finally(settled)) as Promise<unknown>["finally"],
    });
  };
  const sql = new Proxy(database, {
    apply: (target, self, args) => onceSent(Reflect.apply(target, self, args)),
    get(target, name: keyof Database) {
      if (name === "unsafe") return (text: string, values?: unknown[]) => onceSent(target.unsafe(text, values));
      if (name === "begin") return (...args: Parameters<Database["begin"]>) => track(target.begin(...args));
      return Reflect.get(target, name);
    },
  });
  return {
    sql,
    touched() {
      const was = done || underWay > 0;
      done = false;
      return was;
    },
  };
}
