import { join } from "node:path";
import { homeFolder } from "../home.ts";
import type { Settings } from "../settings.ts";

/** A client of MCP that can be set up: where its configuration is, and in what form. */
export interface McpClient {
  title: string;
  /** For everything that a person does with it. */
  file(settings: Settings): string;
  /** For one folder alone, beneath it; absent where the client knows no such thing. */
  projectFile?: string;
  format: "json" | "toml";
  /** What its servers stand under. */
  servers: string;
  /** Whether an entry says by what it is reached. */
  typed?: true;
  /** What makes it see the change. */
  next: string;
}

const inHome =
  (...path: string[]) =>
  () =>
    join(homeFolder(), ...path);

export const mcpClients: Readonly<Record<string, McpClient>> = {
  claude: {
    title: "Claude Code",
    file: inHome(".claude.json"),
    projectFile: ".mcp.json",
    format: "json",
    servers: "mcpServers",
    typed: true,
    next: "Start claude anew; /mcp shows it.",
  },
  "claude-desktop": {
    title: "Claude Desktop",
    file: ({ programsDir }) => join(programsDir, "Claude", "claude_desktop_config.json"),
    format: "json",
    servers: "mcpServers",
    next: "Start Claude anew.",
  },
  cursor: {
    title: "Cursor",
    file: inHome(".cursor", "mcp.json"),
    projectFile: join(".cursor", "mcp.json"),
    format: "json",
    servers: "mcpServers",
    next: "Cursor shows it in its settings, under MCP.",
  },
  vscode: {
    title: "VS Code",
    file: ({ programsDir }) => join(programsDir, "Code", "User", "mcp.json"),
    projectFile: join(".vscode", "mcp.json"),
    format: "json",
    servers: "servers",
    typed: true,
    next: 'In VS Code: "MCP: List Servers".',
  },
  codex: {
    title: "Codex",
    file: ({ codexDir = join(homeFolder(), ".codex") }) => join(codexDir, "config.toml"),
    projectFile: join(".codex", "config.toml"),
    format: "toml",
    servers: "mcp_servers",
    next: "Start codex anew; /mcp shows it.",
  },
};
