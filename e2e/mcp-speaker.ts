import { Client } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

// A client of `me mcp` in a process of its own, for tests that end it while it says something.
const [me, chatId, message, inputId] = process.argv.slice(2) as [string, string, string, string];
const client = new Client({ name: "tests", version: "1" }, { versionNegotiation: { mode: "auto" } });
const env = process.env as Record<string, string>;
await client.connect(new StdioClientTransport({ command: process.execPath, args: [me, "mcp"], env, stderr: "ignore" }));
await client.callTool({ name: "send_agent_message", arguments: { chatId, message, inputId } });
