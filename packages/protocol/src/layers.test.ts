import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { actions, covers, effective, foresee, formatPermission, intersect, judge, type Layer, type Permission } from "./permission.ts";

// Few enough different ones that most pairs have to do with each other.
const action = fc.constantFrom(...actions);
const type = fc.constantFrom("tasks", "docs");
const path = fc.constantFrom("a", "a/b", "a/b/c", "a-", "a-/b", "ab", "b");
const permission: fc.Arbitrary<Permission> = fc.oneof(
  fc.record({ action }),
  fc.record({ action, type }),
  fc.record({ action, type, path }),
);
const layer = fc.record<Layer>({
  name: fc.constantFrom("grants" as const, "owner" as const, "ceiling" as const),
  permissions: fc.array(permission, { maxLength: 5 }),
});
const layers = fc.array(layer, { minLength: 1, maxLength: 4 });
const RUNS = { numRuns: 2000 };

const covered = (held: readonly Permission[], needed: Permission) => held.some((one) => covers(one, needed));
const allowed = (layers: readonly Layer[], ...needed: Permission[]) => judge(layers, needed).allowed;

describe("judge", () => {
  test("each layer must cover one of the alternatives, and says by what", () => {
    fc.assert(
      fc.property(layers, fc.array(permission, { minLength: 1, maxLength: 3 }), (layers, needed) => {
        const verdict = judge(layers, needed);
        expect(verdict.layers.map(({ layer }) => layer)).toEqual(layers.map(({ name }) => name));
        for (const [i, { allows, by }] of verdict.layers.entries()) {
          const coverers = layers[i]?.permissions.filter((held) => needed.some((one) => covers(held, one))).map(formatPermission);
          expect(allows).toBe(coverers?.length !== 0);
          if (allows) expect(coverers).toContain(by);
          else expect(by).toBeNull();
        }
        expect(verdict.allowed).toBe(verdict.layers.every(({ allows }) => allows));
      }),
      RUNS,
    );
  });

  test("without a single layer, or with no alternative, nothing is allowed", () => {
    fc.assert(
      fc.property(permission, layers, (needed, layers) => {
        expect(allowed([], needed)).toBe(false);
        expect(allowed(layers)).toBe(false);
      }),
    );
  });

  test("one more layer allows nothing that was not allowed before", () => {
    fc.assert(
      fc.property(layers, layer, permission, (layers, more, needed) => {
        if (allowed([...layers, more], needed)) expect(allowed(layers, needed)).toBe(true);
      }),
      RUNS,
    );
  });

  test("one more permission forbids nothing that was allowed before", () => {
    fc.assert(
      fc.property(layers, permission, permission, (layers, more, needed) => {
        const wider = layers.map((each) => ({ ...each, permissions: [...each.permissions, more] }));
        if (allowed(layers, needed)) expect(allowed(wider, needed)).toBe(true);
      }),
      RUNS,
    );
  });
});

describe("foresee", () => {
  test("a layer could cover what is known in full, or some path of what is not", () => {
    const outline = fc.record({ permission: fc.oneof(fc.record({ action }), fc.record({ action, type })), somewhere: fc.boolean() });
    fc.assert(
      fc.property(layers, fc.array(outline, { minLength: 1, maxLength: 3 }), (layers, outlines) => {
        const verdict = foresee(layers, outlines);
        for (const [i, { allows, by }] of verdict.layers.entries()) {
          const could = layers[i]?.permissions.filter((held) =>
            outlines.some(({ permission, somewhere }) =>
              somewhere ? intersect(held, permission)?.action === permission.action : covers(held, permission),
            ),
          );
          expect(allows).toBe(could?.length !== 0);
          if (allows) expect(could?.map(formatPermission)).toContain(by);
          else expect(by).toBeNull();
        }
        expect(verdict.allowed).toBe(verdict.layers.every(({ allows }) => allows));
      }),
      RUNS,
    );
  });
});

test("a layer is looked through once, however much it holds and however often it is judged", () => {
  let looks = 0;
  const permissions = Array.from(
    { length: 20_000 },
    (_, i): Permission => ({
      get action() {
        looks++;
        return "read" as const;
      },
      type: "tasks",
      path: `p${i}/deep`,
    }),
  );
  const many: Layer[] = [{ name: "grants", permissions }];
  const ask = () => {
    expect(allowed(many, { action: "read", type: "tasks", path: "p19999/deep/er" })).toBe(true);
    expect(allowed(many, { action: "write", type: "tasks", path: "p19999/deep/er" })).toBe(false);
    expect(allowed(many, { action: "read", type: "docs" })).toBe(false);
    expect(foresee(many, [{ permission: { action: "read", type: "tasks" }, somewhere: true }]).allowed).toBe(true);
    expect(foresee(many, [{ permission: { action: "admin" }, somewhere: true }]).allowed).toBe(false);
  };
  ask();
  looks = 0;
  ask();
  expect(looks).toBeLessThan(20);
});

describe("intersect", () => {
  test("covers exactly what both cover", () => {
    fc.assert(
      fc.property(permission, permission, permission, (a, b, needed) => {
        const both = intersect(a, b);
        expect(both !== undefined && covers(both, needed)).toBe(covers(a, needed) && covers(b, needed));
      }),
      RUNS,
    );
  });

  test("is commutative, associative and idempotent", () => {
    const meet = (a: Permission | undefined, b: Permission | undefined) => a && b && intersect(a, b);
    fc.assert(
      fc.property(permission, permission, permission, (a, b, c) => {
        expect(intersect(a, b)).toEqual(intersect(b, a));
        expect(meet(intersect(a, b), c)).toEqual(meet(a, intersect(b, c)));
        expect(intersect(a, a)).toEqual(a);
      }),
      RUNS,
    );
  });

  test("everything is its neutral element, and of what is covered it leaves all", () => {
    fc.assert(
      fc.property(permission, permission, (a, b) => {
        expect(intersect({ action: "admin" }, a)).toEqual(a);
        if (covers(a, b)) expect(intersect(a, b)).toEqual(b);
      }),
      RUNS,
    );
  });
});

describe("effective", () => {
  test("covers exactly what every layer covers", () => {
    fc.assert(
      fc.property(layers, permission, (layers, needed) => {
        expect(covered(effective(layers), needed)).toBe(layers.every(({ permissions }) => covered(permissions, needed)));
        expect(covered(effective(layers), needed)).toBe(allowed(layers, needed));
      }),
      RUNS,
    );
  });

  test("does not depend on the order of the layers, and says nothing twice", () => {
    fc.assert(
      fc.property(layers, (layers) => {
        const texts = effective(layers).map(formatPermission).sort();
        expect(effective(layers.toReversed()).map(formatPermission).sort()).toEqual(texts);
        for (const [i, one] of effective(layers).entries())
          expect(covered(effective(layers).toSpliced(i, 1), one), `${formatPermission(one)} is said twice`).toBe(false);
      }),
      RUNS,
    );
  });

  test("of no layers there is nothing", () => {
    expect(effective([])).toEqual([]);
  });
});
