import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** Opens a stream of server-sent events, as lean as can be: thousands of them must not weigh on who measures. @returns when it is open */
export async function openLine(url: string, path: string, headers: Record<string, string>, heard: (text: string) => void): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  await once(socket, "connect");
  const fields = Object.entries({ host: "bench", accept: "text/event-stream", ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.write(`GET ${path} HTTP/1.1\r\n${fields.join("")}\r\n`);
  socket.setEncoding("utf8");
  const [head] = await once(socket, "data");
  if (!String(head).startsWith("HTTP/1.1 200")) throw new Error(`${url}${path}: ${head}`);
  let begun = "";
  socket.on("data", (text: string) => {
    const end = (begun + text).lastIndexOf("\n\n") + 2;
    heard((begun + text).slice(0, end));
    begun = (begun + text).slice(end);
  });
  return socket;
}
