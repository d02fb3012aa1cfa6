import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["packages/**/*.test.ts", "e2e/**/*.test.ts"],
    globalSetup: ["e2e/postgres.setup.ts"],
    reporters: ["default", "./e2e/failed.reporter.ts"],
    // Whether something hangs, on a busy machine too: what is to be fast measures itself.
    testTimeout: 600_000,
    hookTimeout: 180_000,
    // Many of the tests start processes of their own: two files at a time keep small machines responsive.
    maxWorkers: 2,
  },
});
