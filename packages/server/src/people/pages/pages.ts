import { readdirSync, readFileSync } from "node:fs";
import { extname } from "node:path";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { House } from "../../house.ts";
import { problemOf } from "../../problem.ts";
import { toRefusal } from "../../refusal.ts";
import { refuseRequest } from "../../rpc.ts";
import { account } from "./account.ts";
import { consent } from "./consent.ts";
import { device } from "./device.ts";
import { html } from "./html.ts";
import { layout } from "./layout.ts";
import type { Page, View } from "./page.ts";
import { resetPassword } from "./reset-password.ts";
import { signIn } from "./sign-in.ts";
import { signUp } from "./sign-up.ts";
import { verifyEmail } from "./verify-email.ts";
import { personOf } from "./visitor.ts";

/** Every page that people see, by its path. */
export const pages: Record<string, Page> = {
  "/sign-in": signIn,
  "/sign-up": signUp,
  "/consent": consent,
  "/device": device,
  "/reset-password": resetPassword,
  "/verify-email": verifyEmail,
  "/account": account,
};

/** Nothing but our own files; nobody may frame a page and have it clicked. */
const contentSecurityPolicy = {
  useDefaults: false,
  directives: {
    defaultSrc: ["'none'"],
    scriptSrc: ["'self'"],
    styleSrc: ["'self'"],
    imgSrc: ["'self'", "data:"],
    connectSrc: ["'self'"],
    formAction: ["'self'"],
    frameAncestors: ["'none'"],
    baseUri: ["'none'"],
  },
};
const referrerPolicy = { policy: "no-referrer" } as const;

const TYPES: Record<string, string> = {
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** Opens the pages by which people sign in, and answer who may act as them. */
export function addPages(app: FastifyInstance, house: House): void {
  const show = (reply: FastifyReply, view: View, next?: string, person?: string) =>
    reply.type("text/html; charset=utf-8").send(layout(house.publicUrl, view, next, person));
  const errorHandler = async (error: unknown, request: FastifyRequest, reply: FastifyReply) => {
    const refusal = toRefusal(error);
    await refuseRequest(house.doors.user, refusal, request.id);
    const body = html`<p class="aside"><a href="${request.url}">Try again</a></p>`;
    return show(reply.code(problemOf(refusal, request.id).status), { title: "Not now", problem: refusal.message, body });
  };
  for (const [path, page] of Object.entries(pages))
    app.get(path, { helmet: { contentSecurityPolicy, referrerPolicy }, errorHandler }, async (request, reply) => {
      const { search, searchParams } = new URL(request.url, house.publicUrl);
      const next = pageOf(searchParams.get("callback"), house.publicUrl);
      const onward = onwardOf(searchParams);
      const person = await personOf(house, request);
      const view = await page({ house, request, search, query: searchParams, person, next, onward });
      return typeof view === "string" ? reply.redirect(view) : show(reply, view, next, person?.id);
    });
  // Who types the bare address wants to come in.
  app.get("/", (_request, reply) => reply.redirect("/account"));
  const folder = new URL("./browser/", import.meta.url);
  for (const file of readdirSync(folder)) {
    const text = readFileSync(new URL(file, folder), "utf8");
    // A page that says "too often" must look like one.
    app.get(`/pages/${file}`, { config: { rateLimit: false } }, (_request, reply) =>
      reply.type(TYPES[extname(file)] ?? "text/plain").send(text),
    );
  }
}

/** The query for another page on the way to the same: without what came of this one. */
function onwardOf(query: URLSearchParams): string {
  const kept = [...query].filter(([name]) => name !== "error" && name !== "done");
  return kept.length > 0 ? `?${new URLSearchParams(kept)}` : "";
}

/** The path and query of one of our pages; undefined for whatever else an address may ask to go to. */
function pageOf(asked: string | null, publicUrl: string): string | undefined {
  if (asked === null || !URL.canParse(asked, publicUrl)) return undefined;
  const { origin, pathname, search } = new URL(asked, publicUrl);
  return origin === publicUrl && Object.hasOwn(pages, pathname) ? pathname + search : undefined;
}
