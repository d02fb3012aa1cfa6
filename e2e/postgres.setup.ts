import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { migrate, openConfiguredDatabase, openDatabase, readConfig } from "@gatehouse/server";
import type { TestProject } from "vitest/node";

declare module "vitest" {
  interface ProvidedContext {
    /** Address of a Postgres in which tests make databases of their own. */
    postgres: string;
    /** Name of a database there, migrated and empty, of which others are copies. */
    template: string;
  }
}

const TEMPLATE = "migrated";

/** One real Postgres, the embedded one, for all test files. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), "gatehouse-test-"));
  await chmod(folder, 0o755); // run as root, Postgres is another user
  const { address, sql, close } = await openConfiguredDatabase(readConfig({ GATEHOUSE_DATA: join(folder, "data") }));
  await sql.unsafe(`create database ${TEMPLATE}`);
  const url = new URL(address);
  url.pathname = `/${TEMPLATE}`;
  const template = openDatabase(url.href);
  await migrate(template);
  await template.end();
  project.provide("postgres", address);
  project.provide("template", TEMPLATE);
  return async () => {
    await close();
    await rm(folder, { recursive: true, force: true });
  };
}
