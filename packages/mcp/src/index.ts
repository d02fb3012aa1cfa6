export type { House } from "./house.ts";
export { createMcpServing } from "./http.ts";
export { createGatehouseMcp } from "./server.ts";
export { neededScope, type Tool, tools } from "./tools.ts";
