/** Reads server-sent events (WHATWG HTML §9.2) as they come: of each its id, its event and its data. */
export async function* eventsOf(answer: Response): AsyncGenerator<{ id: string; event: string; data: string }> {
  let text = "";
  for await (const chunk of answer.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const lines = text.slice(0, end).split("\n");
      text = text.slice(end + 2);
      const field = (name: string) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2) ?? "";
      if (!lines[0]?.startsWith(":")) yield { id: field("id"), event: field("event"), data: field("data") };
    }
  }
}
