import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { chatAgent } from "@gatehouse/agent";
import { streamText } from "ai";
import type { Page } from "puppeteer-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeWorkplace, type Workplace } from "./agents.ts";
import { fill, findings, openWindow, tabTo } from "./browser.ts";
import { stepsOf } from "./markdown.ts";
import { startModel } from "./model.ts";
import { moment } from "./moment.ts";
import { freePort } from "./pages-world.ts";
import { start, until } from "./run.ts";

const ROOT = join(import.meta.dirname, "..");
const EXAMPLE = join(ROOT, "examples", "vite-chat");

let at: Workplace;
let model: Awaited<ReturnType<typeof startModel>>;
let address: string;

beforeAll(async () => {
  model = await startModel();
  const port = await freePort();
  address = `http://127.0.0.1:${port}`;
  at = await makeWorkplace({ ALLOWED_ORIGINS: address });
  await at.serve([
    chatAgent({
      id: "support",
      run: ({ messages, signal }) =>
        streamText({ model: model.provider(), messages, abortSignal: signal, maxRetries: 0, onError: () => {} }),
    }),
  ]);
  const { id: agent } = await at.must("agent.create", { name: "website" }, null);
  await at.must("principal.add", { principal: agent });
  await at.must("access.grant", { principal: agent, permission: "write:tasks:support" });
  const { key } = await at.must("apiKey.create", { name: "web", agent, ceiling: ["write:tasks:support"] }, null);
  const path = { PATH: process.env.PATH ?? "" };
  const built = await start(process.execPath, ["--bun", "run", "--cwd", EXAMPLE, "build"], path).finished;
  expect(built.code, built.stderr).toBe(0);
  const env = { ...path, ...at.env, ME_API_KEY: key as string, TASK: "support", PORT: String(port) };
  const web = start(process.execPath, [join(EXAMPLE, "server.ts")], env);
  await until(
    () => `the page is served by a server which said:\n${web.stderr()}`,
    () => web.stdout().includes(`Open ${address}`),
  );
});
afterAll(async () => {
  await at.close();
  model.close();
});

/** What the page shows: who says what. */
const shown = (page: Page) =>
  page.$$eval("li", (items) => items.map((item) => `${item.className.split(" ")[0]}: ${item.querySelector("p")?.textContent ?? ""}`));
const button = (page: Page) => page.$eval("form button", ({ textContent }) => textContent);
const shows = (page: Page, expected: string[]) =>
  until(
    () => `the page shows ${expected}`,
    async () => {
      expect([...(await shown(page)), await button(page)]).toEqual(expected);
      return true;
    },
  );
async function say(page: Page, text: string): Promise<void> {
  await fill(page, "textarea", text);
  await page.keyboard.press("Enter");
}

test("docs/chat.md quotes the example", async () => {
  const steps = stepsOf(await readFile(join(ROOT, "docs", "chat.md"), "utf8")).filter(({ language }) => language.startsWith("ts"));
  expect(steps.length).toBeGreaterThan(2);
  for (const { code } of steps) {
    const [, file = ""] = /^\/\/ (\S+)\n/.exec(code) ?? [];
    expect(await readFile(join(EXAMPLE, file), "utf8")).toContain(code.slice(code.indexOf("\n") + 1));
  }
});

test("a conversation on the page: said, streamed, gone on with after a reload, stopped, asked again, and closed", async () => {
  const { page, complaints } = await openWindow(800);
  await page.goto(address);
  await page.waitForSelector("textarea");
  expect(await page.$eval("main", ({ textContent }) => textContent)).toContain("Say something to begin.");

  const open = moment();
  model.reply = () => ({
    deltas: (async function* () {
      yield { role: "assistant", content: "The gate is " };
      await open.happened;
      yield { content: "open." };
    })(),
    end: "stop",
  });
  await say(page, "Is the gate open?");
  await shows(page, ["user: Is the gate open?", "assistant: The gate is ", "Stop"]);
  await page.reload();
  await shows(page, ["user: Is the gate open?", "assistant: The gate is ", "Stop"]);
  open.happen();
  const first = ["user: Is the gate open?", "assistant: The gate is open."];
  await shows(page, [...first, "Send"]);

  model.gone = moment();
  model.reply = () => ({ deltas: [{ role: "assistant", content: "Let me think" }] });
  await say(page, "For how long?");
  const second = [...first, "user: For how long?", "assistant: Let me think"];
  await shows(page, [...second, "Stop"]);
  await tabTo(page, "form button");
  await page.keyboard.press("Enter");
  await model.gone.happened;
  await shows(page, [...second, "Send"]);

  model.reply = () => ({ status: 500 });
  await say(page, "Hello?");
  await page.waitForSelector("[role=alert]");
  expect(await page.$eval("[role=alert]", ({ textContent }) => textContent)).toContain("The agent failed to answer.");
  model.reply = () => ({ deltas: [{ role: "assistant", content: "Here I am." }], end: "stop" });
  await tabTo(page, "[role=alert] button");
  await page.keyboard.press("Enter");
  await shows(page, [...second, "user: Hello?", "assistant: Here I am.", "Send"]);
  expect(await page.$("[role=alert]")).toBeNull();
  expect(await findings(page)).toEqual([]);

  // Another browser is somebody else.
  const other = await openWindow(420);
  await other.page.goto(address);
  await shows(other.page, ["Send"]);

  await tabTo(page, "header button");
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  await shows(page, ["Send"]);
  const { sessions } = await at.must("session.list");
  expect(sessions.map(({ status }: { status: string }) => status).sort()).toEqual(["closed", "open", "open"]);
  await say(page, "A new one");
  await shows(page, ["user: A new one", "assistant: Here I am.", "Send"]);
  expect([...complaints, ...other.complaints]).toEqual([]);
});

test("a cookie that names somebody else's session neither opens nor closes it", async () => {
  const { session: other } = await at.must("session.create", { task: "support", externalId: "order-42", message: "My secret" });
  for (const cookie of ["order-42", other.id]) {
    const request = { headers: { "content-type": "application/json", cookie: `conversation=${cookie}` } };
    expect((await fetch(`${address}/session`, { method: "DELETE", ...request })).status).toBe(204);
    const given = await (await fetch(`${address}/session`, { method: "POST", ...request })).json();
    expect(given.session).not.toBe(other.id);
    expect((await fetch(`${address}/session`, { method: "DELETE", ...request })).status).toBe(204);
    expect((await at.must("session.get", { session: given.session })).status).toBe("closed");
  }
  expect((await at.must("session.get", { session: other.id })).status).toBe("open");
});
