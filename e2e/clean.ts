import { expect } from "vitest";

/** What an answer must never let through: stacks, files of the server, words of the database or of the system. */
const LEAKS = [
  /\n\s+at |\\n\s+at /,
  /\.[cm]?[jt]s:\d+/,
  /\/(?:home|root|tmp|usr|var|work|opt)\//,
  /node_modules|packages\//,
  /postgres|pg_|pgsql|sqlstate|relation "|column "|syntax error at|violates|duplicate key value/i,
  /\bE(?:CONNREFUSED|CONNRESET|NOENT|PIPE)\b|CONNECTION_/,
  /\b(?:TypeError|RangeError|SyntaxError|ReferenceError|ZodError|FST_ERR)/,
];

/** Checks that an answer tells nothing of the server's insides. */
export function expectClean(text: string): void {
  for (const leak of LEAKS) expect(text).not.toMatch(leak);
}
