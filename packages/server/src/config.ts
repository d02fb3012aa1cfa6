import { isIP, isIPv4 } from "node:net";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { domainToASCII } from "node:url";
import { PermissionText } from "@gatehouse/protocol";
import { z } from "zod";
import { defaultLimits, type Limits, LimitsSetting } from "./limits.ts";

const XDG_DATA = "$XDG_DATA_HOME/gatehouse, else ~/.local/share/gatehouse";

const origin = z
  .url({ protocol: /^https?$/, error: "must be an origin such as https://gatehouse.example.com" })
  .transform((text, context) => {
    const { origin, href } = new URL(text);
    if (href.replace(/\/$/, "") === origin) return origin;
    context.addIssue("must be an origin such as https://gatehouse.example.com, with no path behind it");
    return z.NEVER;
  });
const origins = z
  .string()
  .default("")
  .transform((text) =>
    text
      .split(",")
      .map((origin) => origin.trim())
      .filter(Boolean),
  )
  .pipe(z.array(origin));
/** Somebody else's server at which people sign in (OpenID Connect Core 1.0). */
const OidcProvider = z.strictObject({
  id: z.string().regex(/^[a-z0-9-]{1,32}$/, "must be of a-z, 0-9 and -"),
  name: z.string().min(1).max(64),
  issuer: z.url({ protocol: /^https?$/, error: "must be the address of the issuer" }),
  clientId: z.string().min(1),
  clientSecret: z.string().min(1),
  scopes: z.array(z.string().min(1)).optional(),
  domains: z
    .array(
      z
        .string()
        .refine((text) => asciiDomain(text) !== undefined, "must be a domain")
        .transform((text) => asciiDomain(text) ?? text),
    )
    .min(1)
    .optional(),
});
export type OidcProvider = z.infer<typeof OidcProvider>;

const oidcProviders = z.string().transform((text, context) => {
  const refuse = (what: string) => {
    context.addIssue(`must be a JSON array of { id, name, issuer, clientId, clientSecret, scopes?, domains? }: ${what}`);
    return z.NEVER;
  };
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return refuse("it is no JSON");
  }
  const { success, data, error } = z.array(OidcProvider).safeParse(json);
  if (!success) return refuse(error.issues.map(({ path, message }) => `${path.join(".")} ${message}`).join("; "));
  return new Set(data.map(({ id }) => id)).size === data.length ? data : refuse("two have the same id");
});
/** JSON in a variable, of a shape. */
const json = <T extends z.ZodType>(shape: T, error: string) =>
  z
    .string()
    .transform((text, context) => {
      try {
        return JSON.parse(text) as unknown;
      } catch {
        context.addIssue(error);
        return z.NEVER;
      }
    })
    .pipe(shape);

/** An OIDC issuer whose JWTs are accepted, and the principals they stand for. */
const TrustedIssuer = z.strictObject({
  issuer: z.url({ protocol: /^https?$/ }),
  audience: z.string().min(1),
  jwksUri: z.url({ protocol: /^https?$/ }).optional(),
  rules: z
    .array(
      z.strictObject({
        claims: z.record(z.string(), z.string().min(1)).refine((claims) => Object.keys(claims).length > 0, "must name a claim"),
        principal: z.uuid(),
        scope: z.array(PermissionText).min(1),
        space: z.string().optional(),
      }),
    )
    .min(1),
});
export type TrustedIssuer = z.infer<typeof TrustedIssuer>;

/** A host name (RFC 1123 §2.1). */
const HOST_NAME = /^(?!.{254})[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?([.][a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?)*[.]?$/i;
/** An address, or a network of them: 10.0.0.0/8. */
const isAddress = (text: string): boolean => /^[^/]+(\/\d{1,3})?$/.test(text) && isIP(text.split("/")[0] ?? "") !== 0;
const wholeNumber = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d+$/, "must be a whole number")
    .transform(Number)
    .refine((n) => n >= min && n <= max, `must be from ${min} to ${max}`);

/**
 * Every setting of the server: this schema is the sole reader of the environment, and the settings
 * page of the docs is generated from it. (`meta.default` says in words what a computed default is.)
 */
export const Settings = z.object({
  HOST: z
    .string()
    .transform((host) => host.replace(/^\[(.*)\]$/, "$1"))
    .refine((host) => isIP(host) !== 0 || HOST_NAME.test(host), "must be an IP address or a host name of this machine")
    .default("127.0.0.1")
    .describe("Address to listen on; 0.0.0.0 or :: for all, which needs PUBLIC_URL."),
  PORT: wholeNumber(0, 65535).default(7070).describe("TCP port to listen on; 0 takes a free one."),
  PUBLIC_URL: origin
    .optional()
    .describe("How callers reach this server, if not by its address and port: the base of every address it publishes.")
    .meta({ default: "http://HOST:PORT" }),
  ALLOWED_ORIGINS: origins.describe(
    "Web origins, besides the server's own, whose pages may call with a Bearer token and read the answers (CORS), such as a page with a chat. A visitor's cookie never counts there. Commas between them.",
  ),
  COOKIE_ORIGINS: origins.describe(
    "Web origins, besides the server's own, whose pages may use the cookie of a signed-in visitor: they can do all that the visitor may, API keys included. Commas between them.",
  ),
  TRUST_PROXY: z
    .string()
    .default("0")
    .transform((text) => (/^\d+$/.test(text) ? Number(text) : text.split(",").map((part) => part.trim())))
    .refine(
      (value) => (typeof value === "number" ? value <= 10 : value.every(isAddress)),
      "must be a number of proxies, or their addresses with commas between",
    )
    .describe(
      "How many proxies stand before the server, or their addresses: only so much of X-Forwarded-For is believed. Too many, and callers choose their own address.",
    ),
  DATABASE_URL: z
    .url({ protocol: /^postgres(ql)?$/, error: "must be a postgres:// address" })
    .optional()
    .describe("A Postgres ≥ 15 to use. Left out, Gatehouse runs a Postgres of its own in the data folder."),
  GATEHOUSE_DATA: z
    .string()
    .refine(isAbsolute, "must be an absolute path")
    .optional()
    .describe("Folder for the embedded Postgres and the server's secret.")
    .meta({ default: XDG_DATA }),
  GATEHOUSE_SECRET: z
    .string()
    .min(32, "must have at least 32 characters")
    .optional()
    .describe("Signs the sessions of people, and encrypts the keys that sign tokens. Every server on one database needs the same.")
    .meta({ default: "for the embedded Postgres made once and kept in the data folder; with DATABASE_URL it must be set" }),
  SIGN_UP: z
    .enum(["closed", "open"])
    .default("closed")
    .describe("open: anybody may make an account, by an e-mail address that they then confirm. closed: operators make accounts."),
  SMTP_URL: z
    .url({ protocol: /^smtps?$/, error: "must be an smtp:// or smtps:// address" })
    .optional()
    .describe("Where to hand over mail (smtp://user:password@host:587): new passwords, addresses to confirm. Needs MAIL_FROM."),
  MAIL_FROM: z.string().min(3).optional().describe("Who mail is from, such as Gatehouse <gatehouse@example.com>. Needs SMTP_URL."),
  OIDC_PROVIDERS: oidcProviders
    .default([])
    .describe(
      "OpenID providers by which people may sign in: a JSON array of { id, name, issuer, clientId, clientSecret, scopes?, domains? }. Whoever signs in there gets an account: domains limits whose, by e-mail address.",
    ),
  FAILED_AUTH_LIMIT: wholeNumber(0, 1e9)
    .default(60)
    .describe("Wrong credentials a minute from one address, after which more of them are answered 429; 0 = no limit."),
  TRUSTED_ISSUERS: json(z.array(TrustedIssuer), "must be JSON: an array of issuers, see docs/operating.md")
    .default([])
    .describe("OIDC issuers whose JWTs are accepted as principals of this server: JSON, see docs/operating.md.")
    .meta({ default: "none" }),
  RATE_LIMIT: wholeNumber(0, 1e9)
    .default(6000)
    .describe("Requests per minute of each share of an address, see docs/operating.md; 0 = no limit."),
  CALL_RATE: wholeNumber(0, 1e9)
    .default(1000)
    .describe("Calls a second that one credential may make for long; a principal twice, a space four times as many. 0 = no limit."),
  MAX_STREAMS: wholeNumber(1, 1e6)
    .default(10_000)
    .describe("Event streams that this server holds open; a principal has half of them at most, a credential a twentieth."),
  MAX_WAITS: wholeNumber(1, 1e6)
    .default(10_000)
    .describe("Calls of workers that wait on this server for something to come; the same shares."),
  AUDIT_DELAY_MS: wholeNumber(0, 60_000)
    .default(500)
    .describe(
      "Milliseconds within which a denial is on record. They are written in groups; a server that crashes loses those of that time.",
    ),
  LIMITS: LimitsSetting.default(defaultLimits)
    .describe(
      "How many spaces one user may make, agents an owner and keys and living tokens a principal may have, and groups, members, grants and open invitations a space: name=number with commas between, 0 = no limit. The same on every server; what is left out has its default.",
    )
    .meta({
      default: Object.entries(defaultLimits)
        .map(([name, most]) => `${name}=${most}`)
        .join(","),
    }),
  BODY_TIMEOUT_MS: wholeNumber(100, 600_000).default(10_000).describe("Milliseconds within which a request's body must have arrived."),
  LEASE_SECONDS: wholeNumber(1, 300).default(15).describe("Seconds after which a worker that is not heard of loses its run to another."),
  SESSION_RETENTION_DAYS: wholeNumber(0, 36_500)
    .default(0)
    .describe("Days after the last event of a session when it is deleted, with its log, closed or not; 0 = never."),
  AUDIT_RETENTION_DAYS: wholeNumber(0, 36_500).default(0).describe("Days after which entries of the record are deleted; 0 = never."),
  LOG_LEVEL: z
    .enum(["fatal", "error", "warn", "info", "debug", "trace", "silent"])
    .default("info")
    .describe("Least severe kind of log line to write."),
  OTEL_EXPORTER_OTLP_ENDPOINT: z
    .url()
    .optional()
    .describe(
      "Where to send traces (OTLP over HTTP). The other standard OTEL_* variables are honoured too; with none of them, nothing is traced.",
    ),
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: z.url().optional().describe("The same, for traces alone."),
  OTEL_SERVICE_NAME: z
    .string()
    .optional()
    .describe("The name under which traces appear. Without it, service.name in OTEL_RESOURCE_ATTRIBUTES counts.")
    .meta({ default: "gatehouse" }),
  OTEL_SDK_DISABLED: z.enum(["true", "false"]).optional().describe("true: no traces, whatever else is set."),
  XDG_DATA_HOME: z
    .string()
    .optional()
    // XDG Base Directory Specification: "If an implementation encounters a relative path […] it should consider the path invalid and ignore it."
    .transform((folder) => (folder !== undefined && isAbsolute(folder) ? folder : undefined))
    .describe("Base of the data folder. A relative path counts as not set."),
});

/** A rate that nobody reaches. */
const NO_LIMIT = 1e9;

/** The settings of one server, read and checked. */
export interface Config {
  host: string;
  port: number;
  publicUrl: string | undefined;
  /** Web origins that may call with a Bearer token. */
  allowedOrigins: string[];
  /** Web origins that may use cookies. */
  cookieOrigins: string[];
  /** Proxies before the server: how many, or which. */
  trustProxy: number | string[];
  /** Absent: the embedded Postgres. */
  databaseUrl: string | undefined;
  dataDir: string;
  secret: string | undefined;
  signUp: "closed" | "open";
  /** Absent: no mail is sent. */
  smtpUrl: string | undefined;
  mailFrom: string | undefined;
  oidcProviders: OidcProvider[];
  /** Wrong credentials a minute from one address; 0 = no limit. */
  failedAuthLimit: number;
  trustedIssuers: TrustedIssuer[];
  /** Requests a minute from one address; 0 = no limit. */
  rateLimit: number;
  /** Calls a second of one credential. */
  callRate: number;
  maxStreams: number;
  maxWaits: number;
  auditDelayMs: number;
  limits: Limits;
  bodyTimeoutMs: number;
  leaseSeconds: number;
  /** Days; 0 = for good. */
  retention: { sessions: number; audit: number };
  logLevel: string;
  /** Whether an OTLP endpoint is configured. */
  traced: boolean;
  /** The service name to trace under, whatever OTEL_RESOURCE_ATTRIBUTES says. */
  serviceName: string | undefined;
}

/** Every mistake in the settings, in one error. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

/**
 * Reads the settings from an environment. An empty variable counts as absent.
 * @throws ConfigError naming every variable that is wrong, never the value of one.
 */
export function readConfig(env: Record<string, string | undefined> = process.env): Config {
  const present = Object.fromEntries(Object.entries(env).filter(([name, value]) => name in Settings.shape && value));
  const read = Settings.safeParse(present);
  if (!read.success) {
    const lines = read.error.issues.map(({ path, message }) => `  ${path[0]?.toString()}: ${message}`);
    throw new ConfigError(`These settings are wrong:\n${lines.join("\n")}\nSee docs/settings.md.`);
  }
  const settings = read.data;
  if ((settings.SMTP_URL === undefined) !== (settings.MAIL_FROM === undefined))
    throw new ConfigError("These settings are wrong:\n  SMTP_URL, MAIL_FROM: set both, or neither.\nSee docs/settings.md.");
  return {
    host: settings.HOST,
    port: settings.PORT,
    publicUrl: settings.PUBLIC_URL,
    allowedOrigins: settings.ALLOWED_ORIGINS,
    cookieOrigins: settings.COOKIE_ORIGINS,
    trustProxy: settings.TRUST_PROXY,
    databaseUrl: settings.DATABASE_URL,
    dataDir: settings.GATEHOUSE_DATA ?? join(settings.XDG_DATA_HOME ?? join(homeFolder(), ".local", "share"), "gatehouse"),
    secret: settings.GATEHOUSE_SECRET,
    signUp: settings.SIGN_UP,
    smtpUrl: settings.SMTP_URL,
    mailFrom: settings.MAIL_FROM,
    oidcProviders: settings.OIDC_PROVIDERS,
    failedAuthLimit: settings.FAILED_AUTH_LIMIT,
    trustedIssuers: settings.TRUSTED_ISSUERS,
    rateLimit: settings.RATE_LIMIT,
    callRate: settings.CALL_RATE || NO_LIMIT,
    maxStreams: settings.MAX_STREAMS,
    maxWaits: settings.MAX_WAITS,
    auditDelayMs: settings.AUDIT_DELAY_MS,
    limits: settings.LIMITS,
    bodyTimeoutMs: settings.BODY_TIMEOUT_MS,
    leaseSeconds: settings.LEASE_SECONDS,
    retention: { sessions: settings.SESSION_RETENTION_DAYS, audit: settings.AUDIT_RETENTION_DAYS },
    logLevel: settings.LOG_LEVEL,
    traced:
      settings.OTEL_SDK_DISABLED !== "true" &&
      (settings.OTEL_EXPORTER_OTLP_ENDPOINT ?? settings.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) !== undefined,
    serviceName: settings.OTEL_SERVICE_NAME?.trim() || undefined, // a blank one is none, as for OpenTelemetry
  };
}

/** The home folder. @throws ConfigError where it is relative, as it would be another one in each folder */
function homeFolder(): string {
  const home = homedir();
  if (!isAbsolute(home))
    throw new ConfigError("These settings are wrong:\n  HOME: must be an absolute path, or set GATEHOUSE_DATA to one.");
  return home;
}

/** The one ASCII form of a domain name (IDNA, RFC 5890), in lower case; undefined where it is none. */
export const asciiDomain = (domain: string): string | undefined =>
  /^[\p{L}\p{M}\p{N}.。．｡-]+$/u.test(domain) ? domainToASCII(domain) || undefined : undefined;

/** The host that a URL or a request names, in lower case, without the brackets that IPv6 has there (RFC 3986 §3.2.2). */
export const hostOf = ({ hostname }: { hostname: string }): string =>
  hostname
    .replace(/^\[|\]$/g, "")
    .replace(/\.$/, "")
    .toLowerCase();

/** Whether only this machine can reach the server. */
export const isLoopback = (host: string): boolean => host === "localhost" || host === "::1" || (isIPv4(host) && host.startsWith("127."));
