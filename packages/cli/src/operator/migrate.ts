import type { Command } from "commander";
import { addCommand } from "../command.ts";

export function addMigrate(program: Command): void {
  addCommand(program, {
    usage: "migrate",
    summary: "Bring the database up to date, as the server does when it starts.",
    examples: ["migrate", "DATABASE_URL=postgres://… me migrate"],
    async run() {
      const { migrate, openConfiguredDatabase, readConfig } = await import("@gatehouse/server");
      const database = await openConfiguredDatabase(readConfig(), { join: true });
      try {
        return { applied: await migrate(database.sql) };
      } finally {
        await database.close();
      }
    },
    show: ({ applied }) => (applied.length === 0 ? "The database is up to date." : `Applied: ${applied.join(", ")}`),
  });
}
