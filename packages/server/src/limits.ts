import { z } from "zod";
import type { Sql } from "./db.ts";

/** How many of each there may be, and of whom or where: what `LIMITS` leaves out. */
export const defaultLimits = {
  /** Made by one user. */
  spaces: 100,
  /** Of one owner. */
  agents: 1000,
  /** Of one user, agent or service. */
  keys: 100,
  /** Of one user, agent or service, in all spaces: those that live. */
  tokens: 10_000,
  /** In one space; the same for those below. */
  groups: 1000,
  /** On the roster; also in one group. */
  members: 10_000,
  grants: 5000,
  /** Open ones. */
  invitations: 1000,
};
export type Limits = typeof defaultLimits;

const one = new RegExp(`^(?<name>${Object.keys(defaultLimits).join("|")})=(?<most>\\d{1,9})$`);

/** Reads `agents=2000,spaces=0`; 0 = no limit. */
export const LimitsSetting = z.string().transform((text, context): Limits => {
  const parts = text.split(",").map((part) => one.exec(part.trim())?.groups);
  if (parts.some((part) => part === undefined))
    context.addIssue({
      code: "custom",
      message: `must be name=number, commas between; names are ${Object.keys(defaultLimits).join(", ")}`,
    });
  return { ...defaultLimits, ...Object.fromEntries(parts.map((part) => [part?.name, Number(part?.most)])) };
});

/** Tells the database the limits: it counts, in the transaction that adds something. */
export const setLimits = (sql: Sql, limits: Limits) => sql`
  insert into limits (name, most) select name, nullif(most::integer, 0) from jsonb_each_text(${JSON.stringify(limits)}::jsonb) as l (name, most)
  on conflict (name) do update set most = excluded.most where limits.most is distinct from excluded.most`;
