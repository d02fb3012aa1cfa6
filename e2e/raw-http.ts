import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** An answer as it came over the wire. */
export interface RawAnswer {
  status: number;
  headers: Headers;
  body: string;
}

/** Opens a plain TCP connection to a server: for what no HTTP client would send. */
export async function dial(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  // Half open: the server's end of the line is its own business.
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
  await once(socket, "connect");
  return socket;
}

/** Everything the server sends until it hangs up. A reset counts as hanging up: what came before it has come. */
export function received(socket: Socket): Promise<string> {
  let text = "";
  return new Promise((resolve) => {
    const done = () => {
      socket.destroy();
      resolve(text);
    };
    socket.setEncoding("latin1").on("data", (chunk) => (text += chunk));
    socket.once("end", done).once("error", done).once("close", done);
  });
}

/** Sends bytes as they are. @returns what came back until the server hung up */
export async function sendRaw(url: string, ...parts: (string | Uint8Array)[]): Promise<string> {
  const socket = await dial(url);
  const answer = received(socket);
  for (const part of parts) socket.write(part);
  return answer;
}

/** Splits what came back into its final answers; interim ones (1xx) are left out. */
export function readAnswers(wire: string): RawAnswer[] {
  const answers: RawAnswer[] = [];
  for (let rest = wire; rest !== ""; ) {
    const end = rest.indexOf("\r\n\r\n");
    const [line = "", ...fields] = rest.slice(0, end).split("\r\n");
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(line)?.[1]);
    if (end < 0 || !status) throw new Error(`not an HTTP answer: ${JSON.stringify(rest.slice(0, 200))}`);
    const headers = new Headers(
      fields.map((field) => [field.slice(0, field.indexOf(":")), field.slice(field.indexOf(":") + 1).trim()] as [string, string]),
    );
    const length = headers.has("content-length") ? Number(headers.get("content-length")) : headers.has("transfer-encoding") ? Infinity : 0;
    const body = rest.slice(end + 4, end + 4 + length);
    if (status >= 200) answers.push({ status, headers, body });
    rest = rest.slice(end + 4 + body.length);
  }
  return answers;
}

/** The one final answer to what was sent. */
export async function exchange(url: string, ...parts: (string | Uint8Array)[]): Promise<RawAnswer> {
  const answers = readAnswers(await sendRaw(url, ...parts));
  const [answer] = answers;
  if (!answer || answers.length > 1) throw new Error(`${answers.length} answers`);
  return answer;
}

/** The head of a request to the user RPC. */
export const head = (credential: string, ...fields: string[]): string =>
  [
    "POST /api/v1/user/rpc HTTP/1.1",
    "Host: gatehouse",
    "Content-Type: application/json",
    `Authorization: Bearer ${credential}`,
    ...fields,
    "\r\n",
  ].join("\r\n");
