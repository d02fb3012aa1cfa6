import { Readable } from "node:stream";
import { type ErrorCode, errors } from "@gatehouse/protocol";
import { isSpecType, STDIO_DEFAULT_MAX_BUFFER_SIZE } from "@modelcontextprotocol/server";
import { StdioServerTransport } from "@modelcontextprotocol/server/stdio";
import { exitCodes } from "../exit.ts";
import { note } from "../output.ts";

/** The most that one frame may be, in bytes: what the SDK takes of its own accord. */
const MAX_FRAME = STDIO_DEFAULT_MAX_BUFFER_SIZE;

/**
 * The line to the client: stdin and stdout, a message a line. The SDK's transport drops what is no message, so that its sender
 * waits for ever, and falls silent over a frame that is too large; so each frame is looked at before it has it.
 */
export const openWire = (): StdioServerTransport =>
  new StdioServerTransport(Readable.from(messages(process.stdin), { objectMode: false }), process.stdout, {
    maxBufferSize: Number.POSITIVE_INFINITY,
  });

/** The frames that are messages. It ends with stdin; and at a frame that is too large, as nobody can tell whose answer it is about. */
async function* messages(stdin: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of stdin) {
    rest = Buffer.concat([rest, chunk]);
    for (let end = rest.indexOf("\n"); end !== -1; end = rest.indexOf("\n")) {
      // Blanks and byte order marks around the message are taken off: they are not JSON (RFC 8259, section 8.1).
      const line = rest.subarray(0, end).toString().trim();
      rest = rest.subarray(end + 1);
      if (isMessage(line)) yield Buffer.from(`${line}\n`);
    }
    if (rest.length > MAX_FRAME) {
      process.exitCode = exitCodes.error;
      return refuse(
        null,
        "PAYLOAD_TOO_LARGE",
        `A message of more than ${MAX_FRAME} bytes came. me mcp has ended: start it again, and say less at once.`,
      );
    }
  }
}

/** Whether a line is a message; one that is not is answered, unless it is an answer or a notification itself. */
function isMessage(line: string): boolean {
  if (line === "") return false;
  try {
    const said: unknown = JSON.parse(line);
    if (isSpecType.JSONRPCMessage(said)) return true;
    const { id, method, result, error } = Object(said) as Record<string, unknown>;
    const asked = result === undefined && error === undefined && (id !== undefined || method === undefined);
    const named = typeof id === "string" || typeof id === "number" ? id : null;
    refuse(
      asked ? named : undefined,
      "INVALID_REQUEST",
      "A line came that is no message of MCP: params must be an object, an id and a progressToken text or a whole number.",
    );
  } catch {
    refuse(null, "PARSE_ERROR", "A line came that is no JSON. A message is one line of JSON.");
  }
  return false;
}

/** @param id of what is refused; undefined for what takes no answer */
function refuse(id: string | number | null | undefined, code: ErrorCode, message: string): void {
  note(`Error: ${message}`);
  if (id === undefined) return;
  process.stdout.write(`${JSON.stringify({ jsonrpc: "2.0", id, error: { code: errors[code].number, message, data: { code } } })}\n`);
}
