import { type Api, errors } from "@gatehouse/protocol";
import { z } from "zod";
import packageJson from "../package.json" with { type: "json" };
import type { Actor } from "./actor.ts";
import type { Policy, Rule } from "./rules.ts";

/** A policy row as data: what the table, `me policy` and `x-policy` show. */
export const describeRule = ([who, needs]: Rule<never>) => ({ who: who.label, needs: needs?.label ?? null });

/** The OpenRPC 1.4 document of the methods that an actor may call at all. */
export function describeApi<A extends Api>(api: A, policy: Policy<A>, actor: Actor) {
  const mine = Object.entries(api).filter(([name]) => {
    const [who, need] = policy[name as keyof A];
    return who.refuses(actor) === undefined && need?.outlook?.(actor).allowed !== false;
  });
  return {
    openrpc: "1.4.0",
    info: { title: "Gatehouse", version: packageJson.version, license: { name: "Apache-2.0" } },
    methods: mine.map(([name, contract]) => ({
      name,
      summary: contract.summary,
      paramStructure: "either",
      params: Object.entries(contract.params.shape).map(([param, schema]) => ({
        name: param,
        required: !schema.safeParse(undefined).success,
        schema: toJsonSchema(schema, "input"),
      })),
      result: { name: "result", schema: toJsonSchema(contract.result, "output") },
      errors: contract.errors.map((code) => ({ code: errors[code].number, message: errors[code].message, data: { code } })),
      "x-effect": contract.effect,
      "x-policy": describeRule(policy[name as keyof A] as Rule<never>),
    })),
  };
}

/** OpenRPC takes JSON Schema draft 7. */
function toJsonSchema(schema: z.core.$ZodType, io: "input" | "output") {
  const { $schema, ...rest } = z.toJSONSchema(schema, { target: "draft-7", io });
  return rest;
}
