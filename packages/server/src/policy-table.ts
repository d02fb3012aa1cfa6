import type { Permission } from "@gatehouse/protocol";
import { type Actor, isToken } from "./actor.ts";
import { spacePolicy, userPolicy } from "./policy.ts";
import type { Rule } from "./rules.ts";

const ceiling: Permission[] = [{ action: "read" }];
const calling = (kind: Actor["principal"]["kind"], via: Actor["credential"]["via"], limits: Permission[] | null): Actor => ({
  principal: { id: "", kind, name: "", email: null },
  owner: null,
  credential: { via, id: "", expiresAt: null, ...(isToken({ via }) ? { ceiling: null, scope: limits ?? [] } : { ceiling: limits }) },
  standing: {
    space: { id: "", slug: "", name: "", createdAt: "" },
    admin: false,
    ownerPresent: true,
    layers: [{ name: "grants", permissions: [{ action: "admin" }] }],
  },
});

/** Every kind of caller that the policy tells apart. */
export const callers = {
  session: calling("u", "session", null),
  pat: calling("u", "pat", null),
  "pat+ceiling": calling("u", "pat", ceiling),
  agent: calling("a", "agent_key", null),
  service: calling("s", "secret_key", null),
  token: calling("u", "jwt", [{ action: "admin" }]),
  browser: calling("u", "browser_token", [{ action: "write", type: "sessions", path: "its own" }]),
} as const;
export type Caller = keyof typeof callers;

/** One method's row of the policy, as data. */
export interface PolicyRow {
  door: "user" | "space";
  method: string;
  who: string;
  needs: string | null;
  /** Whether each kind of caller passes what is decided before the params, given that they hold what it needs. */
  admits: Record<Caller, boolean>;
}

const policies = { user: userPolicy, space: spacePolicy } as const;

/** The policy as data, in its own order: what `me policy`, the docs and the tests show. */
export function policyTable(): PolicyRow[] {
  return rows().map(({ door, method, rule: [who, needs] }) => {
    const admits = Object.fromEntries(
      Object.entries(callers).map(([name, actor]) => [name, who.refuses(actor) === undefined && needs?.outlook?.(actor).allowed !== false]),
    );
    return { door, method, who: who.label, needs: needs?.label ?? null, admits: admits as PolicyRow["admits"] };
  });
}

/** What each rule of the policy means, by its label, in the order the policy first uses them. */
export function ruleTexts(): Record<string, string> {
  const used = rows().flatMap(({ rule: [who, needs] }) => [
    who,
    ...(needs && !needs.decide ? [needs] : []),
    ...(needs?.bound ? [needs.bound] : []),
  ]);
  return Object.fromEntries(used.map(({ label, text }) => [label, text]));
}

const rows = (): { door: PolicyRow["door"]; method: string; rule: Rule<never> }[] =>
  Object.entries(policies).flatMap(([door, policy]) =>
    Object.entries(policy).map(([method, rule]) => ({ door: door as PolicyRow["door"], method, rule: rule as Rule<never> })),
  );
