import { type Api, errors, type Method, toJsonSchema } from "@gatehouse/protocol";
import type { z } from "zod";
import packageJson from "../package.json" with { type: "json" };
import type { Actor, Standing } from "./actor.ts";
import { JsonText } from "./json.ts";
import type { Policy, Rule } from "./rules.ts";

/** A policy row as data: what the table, `me policy` and `x-policy` show. */
export const describeRule = ([who, needs]: Rule<never>) => ({ who: who.label, needs: needs?.label ?? null });

/** Most documents that are kept: one for each set of methods that some kind of caller may call. */
const MAX_KEPT = 256;

/**
 * Makes what describes an API to its callers: the OpenRPC 1.4 document of the methods that an actor may call at all. Each is
 * written out once for all callers who may call the same.
 */
export function createDescribe<A extends Api>(api: A, policy: Policy<A>): (actor: Actor) => JsonText {
  const described = Object.entries(api).map(([name, contract]) => ({ name, rule: policy[name as keyof A] as Rule<never>, contract }));
  const methods = new Map<string, ReturnType<typeof describeMethod>>();
  const documents = new Map<string, JsonText>();
  // A standing is remembered for one principal by one kind of credential, and so for one document.
  const byStanding = new WeakMap<Standing, JsonText>();
  const describe = (actor: Actor): JsonText => {
    const mine = described.filter(({ rule: [who, need] }) => who.refuses(actor) === undefined && need?.outlook?.(actor).allowed !== false);
    const key = mine.map(({ name }) => name).join(" ");
    const known = documents.get(key);
    if (known) return known;
    const document = new JsonText({
      openrpc: "1.4.0",
      info: { title: "Gatehouse", version: packageJson.version, license: { name: "Apache-2.0" } },
      methods: mine.map(({ name, contract, rule }) => {
        const method = methods.get(name) ?? describeMethod(name, contract, rule);
        methods.set(name, method);
        return method;
      }),
    });
    if (documents.size >= MAX_KEPT) documents.clear();
    documents.set(key, document);
    return document;
  };
  return (actor) => {
    const { standing } = actor;
    const document = (standing && byStanding.get(standing)) ?? describe(actor);
    if (standing) byStanding.set(standing, document);
    return document;
  };
}

const describeMethod = (name: string, contract: Method, rule: Rule<never>) => ({
  name,
  summary: contract.summary,
  paramStructure: "either",
  params: Object.entries(contract.params.shape).map(([param, schema]) => ({
    name: param,
    required: !schema.safeParse(undefined).success,
    schema: schemaOf(schema, "input"),
  })),
  result: { name: "result", schema: schemaOf(contract.result, "output") },
  errors: errorsOf(contract),
  "x-effect": contract.effect,
  "x-policy": describeRule(rule),
});

/** One entry for each number, as OpenRPC wants: several codes may share one. */
function errorsOf({ errors: codes }: Method) {
  const byNumber = Map.groupBy(codes, (code) => errors[code].number);
  return [...byNumber].map(([code, shared]) => ({
    code,
    message: shared.map((each) => errors[each].message).join(" "),
    data: { code: shared.length === 1 ? shared[0] : shared },
  }));
}

/** OpenRPC takes JSON Schema draft 7. */
function schemaOf(schema: z.core.$ZodType, io: "input" | "output") {
  const { $schema, ...rest } = toJsonSchema(schema, { target: "draft-7", io });
  return rest;
}
