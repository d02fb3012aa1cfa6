import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import axe, { type AxeResults } from "axe-core";
import puppeteer, { type Browser, type LaunchOptions, type Page } from "puppeteer-core";
import { afterAll } from "vitest";

const PLACES = [
  "/usr/bin/chromium",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
];
const FLAGS = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update disable-sync";

let browser: Browser | undefined;
afterAll(() => browser?.close());

/** A page in a browser of its own: nothing is kept of anybody before. */
export interface Window {
  page: Page;
  /** What the browser complained of: scripts that failed, and all that the content security policy forbade. */
  complaints: string[];
}

/** Opens an empty page, in the real Chromium. */
export async function openWindow(width = 1000): Promise<Window> {
  browser ??= await puppeteer.launch({ ...chromium(), args: FLAGS.split(" ").map((flag) => `--${flag}`) });
  const page = await (await browser.createBrowserContext()).newPage();
  await page.setViewport({ width, height: 800 });
  // Without it, a window that came later, or a busy machine, can leave this one without the focus.
  await page.emulateFocusedPage(true);
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (said) => {
    // A refusal of the server is no fault of the page.
    if (said.type() === "error" && !said.text().startsWith("Failed to load resource")) complaints.push(said.text());
  });
  return { page, complaints };
}

/** Presses Tab until the focus is on an element: what can't be reached so, can't be reached by keyboard. */
export async function tabTo(page: Page, selector: string): Promise<void> {
  for (let presses = 0; presses < 30; presses++) {
    if (await page.evaluate((wanted) => document.activeElement?.matches(wanted), selector)) return;
    await page.keyboard.press("Tab");
  }
  throw new Error(`Tab does not reach ${selector}`);
}

/** Types into a field that the Tab key reaches. */
export async function fill(page: Page, selector: string, text: string): Promise<void> {
  await tabTo(page, selector);
  await page.keyboard.type(text);
}

/** Presses Enter on what the Tab key reaches, and waits for the page that it leads to. */
export async function follow(page: Page, selector: string): Promise<void> {
  await tabTo(page, selector);
  await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
}

/** Presses Enter on what the Tab key reaches. @returns what the page then says, with the focus on it */
export async function ask(page: Page, selector: string): Promise<string> {
  await tabTo(page, selector);
  await page.keyboard.press("Enter");
  return said(page);
}

/** What the page says went wrong or well, once the focus is there. */
export async function said(page: Page): Promise<string> {
  const element = await page.waitForSelector("#problem:focus:not(:empty), #notice:focus:not(:empty)");
  return element?.evaluate(({ textContent }) => textContent ?? "") ?? "";
}

/** All that a page says. */
export const shown = (page: Page): Promise<string> => page.$eval("main", ({ textContent }) => textContent ?? "");

/** What axe finds, by rule. */
export async function findings(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations } = (await page.evaluate("axe.run()")) as AxeResults;
  return violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html}\n${failureSummary}`));
}

/** The Chromium to start: the one named, one that is installed, else the one that comes as a package. */
function chromium(): LaunchOptions {
  const installed = process.env.CHROME_PATH ?? PLACES.find(existsSync);
  if (installed !== undefined) return { executablePath: installed };
  if (process.platform === "linux" && process.arch === "x64") return packaged();
  throw new Error("The tests of the pages need Chromium or Chrome: install one, or name it in CHROME_PATH.");
}

/** The Chromium of @sparticuz/chromium, with the libraries it needs: it runs where there is nothing but npm. Unpacked once. */
function packaged(): LaunchOptions {
  const entry = import.meta.resolve("@sparticuz/chromium");
  const { version } = JSON.parse(readFileSync(new URL("../package.json", entry), "utf8"));
  const cache = join(import.meta.dirname, "..", "node_modules", ".cache");
  const folder = join(cache, `chromium-${version}`);
  if (!existsSync(folder)) unpack(entry, cache, folder);
  return {
    executablePath: join(folder, "chromium"),
    headless: "shell",
    env: { HOME: folder, LD_LIBRARY_PATH: join(folder, "al2023", "lib"), FONTCONFIG_PATH: join(folder, "fonts") },
  };
}

function unpack(entry: string, cache: string, folder: string): void {
  mkdirSync(cache, { recursive: true });
  const made = mkdtempSync(join(cache, "chromium-"));
  const script = `const { default: chromium } = await import("${entry}"); await chromium.executablePath();`;
  // It unpacks into the folder for temporary files, and its libraries only where it takes itself to be on Lambda.
  const env = { ...process.env, TMPDIR: made, AWS_EXECUTION_ENV: "AWS_Lambda_nodejs22.x" };
  const { status, stderr } = spawnSync(process.execPath, ["-e", script], { env, encoding: "utf8" });
  if (status !== 0) throw new Error(`@sparticuz/chromium can't be unpacked: ${stderr}`);
  // Its own list of font folders names those of Lambda: with no font at all, it ends.
  writeFileSync(
    join(made, "fonts", "fonts.conf"),
    `<fontconfig><dir>${folder}/fonts</dir><cachedir>${folder}/cache</cachedir></fontconfig>`,
  );
  try {
    renameSync(made, folder);
  } catch {
    rmSync(made, { recursive: true }); // another test file was faster
  }
}
