import { Command } from "commander";
import packageJson from "../package.json" with { type: "json" };
import { describe, exitCodes, whenUnread } from "./exit.ts";
import { json, note } from "./output.ts";

// One that is empty says nothing, as everywhere: the runtime takes it for a yes.
if (process.env.FORCE_COLOR === "") delete process.env.FORCE_COLOR;

const program = new Command("me")
  .description("Gatehouse: one door for people and their AI agents.")
  .version(packageJson.version, "-V, --version", "print the version")
  // An option behind a command is that command's: `me mcp install --server URL`.
  .enablePositionalOptions()
  .configureHelp({ showGlobalOptions: true })
  .showHelpAfterError("(add --help for what this command takes)")
  .addHelpText(
    "after",
    `
Environment: ME_SERVER, ME_API_KEY, ME_SPACE, ME_KEYCHAIN, BROWSER.
Exit codes:  ${Object.entries(exitCodes)
      .map(([ending, code]) => `${code} ${ending}`)
      .join(", ")}.

Examples:
  $ me up
  $ me login
  $ me whoami
  $ me agent create support-bot
  $ me chat echo`,
  )
  .exitOverride();

// A client waits for `me mcp`: what that does not need is not loaded for it.
if (process.argv[2] === "mcp") (await import("./mcp.ts")).addMcp(program);
else (await import("./commands.ts")).addCommands(program);

whenUnread();
try {
  await program.parseAsync();
} catch (error) {
  const { ending, code, message, data } = describe(error);
  if (message) note(process.argv.includes("--json") ? json({ error: { code, message, ...data } }, 0) : `Error: ${message}`);
  process.exitCode = exitCodes[ending];
}
