export { type Client, createUserClient } from "./client.ts";
export { GatehouseError } from "./error.ts";
export type { Target } from "./transport.ts";
