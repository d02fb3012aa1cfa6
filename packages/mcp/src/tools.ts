import { chatTools } from "./chat.ts";
import { derivedTools } from "./derived.ts";
import type { Tool } from "./tool.ts";

export type { Tool } from "./tool.ts";

/** Every tool there is; who may not call what one needs is not offered it. */
export const tools: readonly Tool[] = [...chatTools, ...derivedTools];

/** The permissions with which every tool works: what a token for these tools asks for, as far as its credential has it. */
export const neededScope: readonly string[] = ["read", "write:tasks", "write:sessions"];
