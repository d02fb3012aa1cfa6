import { expect, test } from "vitest";
import { createFailures } from "./failures.ts";

test("so many wrong credentials a minute, and then a wait until the minute is over", () => {
  let now = 0;
  const failures = createFailures(3, () => now);
  for (let i = 0; i < 3; i++) {
    expect(failures.wait("a")).toBe(0);
    failures.count("a");
  }
  now = 20_000;
  expect(failures.wait("a")).toBe(40);
  expect(failures.wait("b")).toBe(0);
  now = 60_000;
  expect(failures.wait("a")).toBe(0);
  failures.count("a");
  expect(failures.wait("a")).toBe(0);
});

test("0 is no limit", () => {
  const failures = createFailures(0);
  for (let i = 0; i < 100; i++) failures.count("a");
  expect(failures.wait("a")).toBe(0);
});

test("what is remembered is bounded", () => {
  const failures = createFailures(1, () => 0);
  for (let i = 0; i < 60_000; i++) failures.count(`n${i}`);
  expect(failures.wait("n0")).toBe(0);
  expect(failures.wait("n59999")).toBe(60);
});
