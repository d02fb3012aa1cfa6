import { CliError } from "./exit.ts";

const UNITS = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/**
 * A moment in the future, from a length of time from now (`90d`, `12h`, `30m`) or a date.
 * @returns RFC 3339, UTC
 * @throws CliError "usage"
 */
export function readMoment(text: string, now = Date.now()): string {
  const [, count, unit] = /^(\d{1,6})([mhd])$/.exec(text) ?? [];
  const at = unit ? now + Number(count) * UNITS[unit as keyof typeof UNITS] : /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(at)) throw new CliError("usage", `${text} is no time. Say 90d, 12h, 30m, or a date such as 2027-01-31.`);
  if (at <= now) throw new CliError("usage", `${text} is not in the future.`);
  return new Date(at).toISOString();
}

/** A length of time in whole hours, as `--overlap` has it. @throws CliError "usage" */
export function readHours(text: string): number {
  if (!/^\d{1,4}$/.test(text)) throw new CliError("usage", "--overlap must be a whole number of hours.");
  return Number(text);
}

/** A length of time (`90s`, `15m`, `2h`), in seconds. @throws CliError "usage" */
export function readSeconds(text: string): number {
  const [, count, unit] = /^(\d{1,6})([smh])$/.exec(text) ?? [];
  if (!unit) throw new CliError("usage", `${text} is no length of time. Say 90s, 15m or 2h.`);
  return Number(count) * { s: 1, m: 60, h: 3600 }[unit as "s" | "m" | "h"];
}
