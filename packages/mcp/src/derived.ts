import { type Api, spaceApi, userApi } from "@gatehouse/protocol";
import type { z } from "zod";
import type { At, Tool } from "./tool.ts";

/** One tool for each method of a door whose contract names one. */
const toolsOf = (door: Tool["door"], api: Api): Tool[] =>
  Object.entries(api).flatMap(([method, { tool: name, summary, effect, params, result }]) =>
    name === undefined
      ? []
      : [{ name, summary, effect, door, method, params, result: result as z.ZodObject, run: (input, at) => call(at[door], method, input) }],
  );

export const derivedTools: readonly Tool[] = [...toolsOf("user", userApi), ...toolsOf("space", spaceApi)];

/** Calls a method by its name in the contract, under which the typed client has it. */
function call(client: At[Tool["door"]], method: string, input: unknown): Promise<Record<string, unknown>> {
  const [noun, verb] = method.split(".") as [string, string?];
  const found = (client as unknown as Record<string, unknown>)[noun];
  return (verb === undefined ? (found as Call) : ((found as Record<string, Call>)[verb] as Call))(input);
}
type Call = (input: unknown) => Promise<Record<string, unknown>>;
