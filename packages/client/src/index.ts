export { type Client, createSpaceClient, createUserClient } from "./client.ts";
export { GatehouseError } from "./error.ts";
export { type Exchange, exchangeToken } from "./exchange.ts";
export { signIn, signOut } from "./sign-in.ts";
export type { Target } from "./transport.ts";
