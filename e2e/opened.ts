import { subscribe, unsubscribe } from "node:diagnostics_channel";

/** A route that a server has opened. */
export interface Opened {
  url: string;
  methods: string[];
  /** Bytes, where the route says so itself. */
  bodyLimit: number | undefined;
}

/** What Fastify tells of a server that it makes, as far as it matters here. */
interface Made {
  fastify: { addHook(name: "onRoute", hook: (route: { url: string; method: string | string[]; bodyLimit?: number }) => void): void };
}

/** Starts servers, and tells every route that they open: as Fastify does, and so none is forgotten. */
export async function routesOpenedBy<T>(startServers: () => Promise<T>): Promise<{ started: T; routes: Opened[] }> {
  const routes: Opened[] = [];
  const listen = (message: unknown) => {
    const { fastify } = message as Made;
    fastify.addHook("onRoute", ({ url, method, bodyLimit }) => void routes.push({ url, bodyLimit, methods: [method].flat() }));
  };
  subscribe("fastify.initialization", listen);
  try {
    return { started: await startServers(), routes };
  } finally {
    unsubscribe("fastify.initialization", listen);
  }
}

/** A path that fits the pattern of a route. */
export const pathOf = (url: string): string =>
  url.replace(":session", "e1").replace(":run", "019f0000-0000-7000-8000-000000000000").replace(":id", "corp").replace("*", "a/b");
