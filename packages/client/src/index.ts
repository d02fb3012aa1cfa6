export { failureOf, textOf } from "./answer.ts";
export { type Client, createSpaceClient, createUserClient } from "./client.ts";
export { GatehouseError } from "./error.ts";
export { type Exchange, exchangeToken } from "./exchange.ts";
export { signIn, signOut } from "./sign-in.ts";
export { createStartSession, type SessionStart, type StartedSession } from "./start-session.ts";
export { type Following, followSession } from "./stream.ts";
export type { Target } from "./transport.ts";
