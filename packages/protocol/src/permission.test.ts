import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { actions, covers, formatPermission, type Permission, PermissionText, parsePermission } from "./permission.ts";

const action = fc.constantFrom(...actions);
const type = fc.oneof(fc.constantFrom("tasks", "sessions"), fc.stringMatching(/^[a-z][a-z0-9_-]{0,12}$/));
const segment = fc.oneof(fc.constantFrom("a", "b", "ab"), fc.stringMatching(/^[A-Za-z0-9_~@%+=-][A-Za-z0-9._~@%+=-]{0,6}$/));
const path = fc.array(segment, { minLength: 1, maxLength: 4 }).map((segments) => segments.join("/"));
/** Few enough different ones that two of them often have to do with each other. */
const permission: fc.Arbitrary<Permission> = fc.oneof(
  fc.record({ action }),
  fc.record({ action, type }),
  fc.record({ action, type, path }),
);
const covered = (held: string, needed: string) => covers(parsePermission(held), parsePermission(needed));

describe("text form", () => {
  test("parsing is the inverse of formatting, and the schema accepts the same", () => {
    fc.assert(
      fc.property(permission, (one) => {
        const text = formatPermission(one);
        expect(parsePermission(text)).toEqual(one);
        expect(PermissionText.parse(text)).toBe(text);
      }),
    );
  });

  test("whatever is parsed at all is formatted to the very same text", () => {
    const text = fc.oneof(fc.string(), fc.stringMatching(/^(read|write|admin)(:[a-z]{1,3}(:[a-z./%-]{1,6})?)?$/));
    fc.assert(
      fc.property(text, (text) => {
        if (PermissionText.safeParse(text).success) expect(formatPermission(parsePermission(text))).toBe(text);
        else expect(() => parsePermission(text)).toThrow(RangeError);
      }),
      { numRuns: 1000 },
    );
  });

  test.each([
    "",
    "delete",
    "Read",
    "readwrite",
    " read",
    "read ",
    "read\n",
    "read:",
    "read::a",
    ":tasks",
    "read:Tasks",
    "read:1tasks",
    "read:ta sks",
    "read:*",
    "read:tasks:",
    "read:tasks:*",
    "read:tasks:/a",
    "read:tasks:a/",
    "read:tasks:a//b",
    "read:tasks:.",
    "read:tasks:..",
    "read:tasks:a/../b",
    "read:tasks:a/.hidden",
    "read:tasks:a\\b",
    "read:tasks:ä",
    "read:tasks:a:b",
    "read:tasks:a\u0000",
    `read:${"t".repeat(65)}`,
    `read:tasks:${"a".repeat(256 - "read:tasks:".length + 1)}`,
  ])("%j is no permission", (text) => {
    expect(() => parsePermission(text)).toThrow(RangeError);
    expect(PermissionText.safeParse(text).success).toBe(false);
  });

  test("256 characters are a permission still", () => {
    const text = `read:tasks:${"a".repeat(256 - "read:tasks:".length)}`;
    expect(formatPermission(parsePermission(text))).toBe(text);
  });
});

describe("covers", () => {
  test("is reflexive", () => {
    fc.assert(fc.property(permission, (one) => covers(one, one)));
  });

  test("is antisymmetric: two that cover each other are one", () => {
    fc.assert(
      fc.property(permission, permission, (one, other) => {
        if (covers(one, other) && covers(other, one)) expect(one).toEqual(other);
      }),
    );
  });

  test("is transitive", () => {
    // Each is made from the one before by taking away or adding a part, so that chains are common.
    const step = fc.constantFrom("weaker", "typed", "deeper", "other");
    const next = (from: Permission, how: string, other: Permission): Permission => {
      if (how === "weaker") return { ...from, action: "read" };
      if (how === "typed") return from.type === undefined ? { ...from, type: "tasks" } : from;
      if (how === "deeper") return from.type === undefined ? from : { ...from, path: from.path === undefined ? "a" : `${from.path}/a` };
      return other;
    };
    fc.assert(
      fc.property(permission, permission, step, step, (a, other, first, second) => {
        const b = next(a, first, other);
        const c = next(b, second, other);
        if (covers(a, b) && covers(b, c)) expect(covers(a, c)).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  test("a stronger action includes the weaker ones, and none includes a stronger one", () => {
    for (const [i, held] of actions.entries())
      for (const [j, needed] of actions.entries())
        for (const rest of ["", ":tasks", ":tasks:a/b"]) expect(covered(held + rest, needed + rest), `${held} ⊇ ${needed}`).toBe(i >= j);
  });

  test("a part left out covers everything there, and a part given does not cover its absence", () => {
    fc.assert(
      fc.property(action, type, path, (action, type, path) => {
        expect(covers({ action }, { action, type, path })).toBe(true);
        expect(covers({ action, type }, { action, type, path })).toBe(true);
        expect(covers({ action, type, path }, { action, type })).toBe(false);
        expect(covers({ action, type }, { action })).toBe(false);
      }),
    );
  });

  test("a path covers what is beneath it, by whole segments", () => {
    fc.assert(
      fc.property(path, segment, (path, segment) => {
        const at = (path: string): Permission => ({ action: "write", type: "tasks", path });
        expect(covers(at(path), at(`${path}/${segment}`))).toBe(true);
        expect(covers(at(path), at(path + segment))).toBe(false);
        expect(covers(at(`${path}/${segment}`), at(path))).toBe(false);
      }),
    );
    expect(covered("write:tasks:support", "write:tasks:support/billing")).toBe(true);
    expect(covered("write:tasks:support", "write:tasks:supporters")).toBe(false);
    expect(covered("write:tasks:support", "write:tasks:Support")).toBe(false);
  });

  test("types have nothing to do with each other", () => {
    expect(covered("admin:tasks", "read:sessions")).toBe(false);
    expect(covered("admin:tasks", "read:tasks2")).toBe(false);
  });
});
