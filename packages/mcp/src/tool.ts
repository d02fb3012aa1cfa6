import type { Client } from "@gatehouse/client";
import type { Method, SpaceApi, UserApi } from "@gatehouse/protocol";
import type { z } from "zod";
import type { House } from "./house.ts";

/** What a tool works with while it is called. */
export interface At {
  user: Client<UserApi>;
  space: Client<SpaceApi>;
  house: House;
  /** Aborted when the client wants no answer any more. */
  signal: AbortSignal;
  /** Shows the client how far it is, if it asked to be shown. */
  progress(message: string): Promise<void>;
  /** Shows it a text by others, and says that it is one. */
  quote(text: string): Promise<void>;
}

/** One tool, before it is told of over MCP. */
export interface Tool<P extends z.ZodObject = z.ZodObject, R extends z.ZodObject = z.ZodObject> {
  readonly name: string;
  /** For the model that chooses among tools: what it does. */
  readonly summary: string;
  readonly effect: Method["effect"];
  /** The method without which it can do nothing: who may not call that is not offered the tool. */
  readonly door: "user" | "space";
  readonly method: string;
  readonly params: P;
  readonly result: R;
  run(input: z.output<P>, at: At): Promise<z.input<R>>;
}

/** Declares a tool with its types inferred. */
export const tool = <P extends z.ZodObject, R extends z.ZodObject>(made: Tool<P, R>): Tool => made as unknown as Tool;
