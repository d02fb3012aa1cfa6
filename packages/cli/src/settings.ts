import { isAbsolute, join } from "node:path";
import { serverAddress } from "@gatehouse/client";
import { z } from "zod";
import { CliError } from "./exit.ts";
import { homeFolder } from "./home.ts";

const Address = z.string().transform((text, context) => {
  try {
    return serverAddress(text);
  } catch (error) {
    context.addIssue(`is wrong. ${(error as Error).message}`);
    return z.NEVER;
  }
});

/** A base folder, which counts as not set where it is relative (XDG Base Directory Specification). */
const baseFolder = z
  .string()
  .optional()
  .transform((folder) => (folder !== undefined && isAbsolute(folder) ? folder : undefined));

/** Every variable the command line reads. */
const Environment = z.object({
  ME_SERVER: Address.optional(),
  ME_API_KEY: z.string().optional(),
  ME_SPACE: z.string().optional(),
  ME_KEYCHAIN: z.enum(["on", "off"], "must be on or off").default("on"),
  BROWSER: z.string().optional(),
  DISPLAY: z.string().optional(),
  WAYLAND_DISPLAY: z.string().optional(),
  XDG_CONFIG_HOME: baseFolder,
  CODEX_HOME: baseFolder,
  npm_lifecycle_event: z.string().optional(),
  OTEL_EXPORTER_OTLP_ENDPOINT: z.string().optional(),
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: z.string().optional(),
  OTEL_SDK_DISABLED: z.string().optional(),
});

/** The settings of one run of `me`. */
export interface Settings {
  /** As `serverAddress` has it; from --server or ME_SERVER. */
  server: string | undefined;
  apiKey: string | undefined;
  space: string | undefined;
  /** Folder of the credential store. */
  configDir: string;
  /** Where desktop programs keep their settings: a folder of each. */
  programsDir: string;
  /** Where Codex keeps its own, if not in the home folder. */
  codexDir: string | undefined;
  /** Whether logins may rest in the operating system's keychain. */
  keychain: boolean;
  /** The program that opens an address in a browser; absent where there is no screen to open one on. */
  browser: string | undefined;
  /** Whether BROWSER names it. */
  browserNamed: boolean;
  traced: boolean;
  /** Whether the script `start` of package.json runs us, rather than a person or a service manager. */
  startedByScript: boolean;
}

/**
 * Reads the environment and the global options. An empty variable counts as absent.
 * @throws CliError when one of them is wrong
 */
export function readSettings(options: { server?: string | undefined }, env: Record<string, string | undefined> = process.env): Settings {
  const read = Environment.safeParse(Object.fromEntries(Object.entries(env).filter(([, value]) => value)));
  if (!read.success)
    throw new CliError("usage", read.error.issues.map(({ path, message }) => `${path[0]?.toString()} ${message}`).join("\n"));
  const flag = options.server === undefined ? undefined : Address.safeParse(options.server);
  if (flag && !flag.success) throw new CliError("usage", `--server ${flag.error.issues[0]?.message}`);
  const { data } = read;
  const configHome = data.XDG_CONFIG_HOME ?? join(homeFolder(), ".config");
  return {
    server: flag?.data ?? data.ME_SERVER,
    apiKey: data.ME_API_KEY,
    space: data.ME_SPACE,
    configDir: join(configHome, "gatehouse"),
    programsDir: process.platform === "darwin" ? join(homeFolder(), "Library", "Application Support") : configHome,
    codexDir: data.CODEX_HOME,
    keychain: data.ME_KEYCHAIN === "on",
    browser: data.BROWSER ?? (process.platform === "darwin" ? "open" : (data.DISPLAY ?? data.WAYLAND_DISPLAY) && "xdg-open"),
    browserNamed: data.BROWSER !== undefined,
    startedByScript: data.npm_lifecycle_event === "start",
    traced:
      data.OTEL_SDK_DISABLED !== "true" && (data.OTEL_EXPORTER_OTLP_ENDPOINT ?? data.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) !== undefined,
  };
}
