import { isIP } from "node:net";
import { hostOf } from "../../config.ts";
import { html } from "./html.ts";
import type { View } from "./page.ts";

/** The gate, in the colour of the text around it. */
const MARK = html`<svg class="mark" viewBox="0 0 32 32" aria-hidden="true"><path d="M3 28.5h26M6.5 28.5V15a9.5 9.5 0 0 1 19 0v13.5M11.5 28.5v-10a4.5 4.5 0 0 1 9 0v10M16 14v14.5" /></svg>`;

/**
 * One whole page around a view. Its script runs before the first paint: nothing moves after it.
 * @param person the id of whom it is made for: its script names them in all that it asks
 */
export function layout(publicUrl: string, { title, body, notice, problem, script }: View, next = "/account", person?: string): string {
  const { origin, hostname, host } = new URL(publicUrl);
  // A passkey belongs to a name: browsers make none for a bare address.
  const passkeys = isIP(hostOf({ hostname })) === 0;
  return html`<!doctype html>
<html lang="en" data-origin="${origin}" data-passkeys="${String(passkeys)}" data-next="${next}" data-person="${person}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${problem !== undefined && "Problem: "}${title} · Gatehouse</title>
<link rel="icon" type="image/svg+xml" href="/pages/mark.svg">
<link rel="stylesheet" href="/pages/style.css">
<script type="module" blocking="render" src="/pages/${script ?? "page.js"}"></script>
</head>
<body>
<header>${MARK}<span class="name">Gatehouse</span><span class="host fine">${host}</span></header>
<main>
<h1>${title}</h1>
<p id="problem" class="problem" role="alert" tabindex="-1">${problem}</p>
<p id="notice" class="notice" role="status" tabindex="-1" data-done="${notice}"></p>
${body}
${script !== undefined && html`<noscript><p class="problem">This page needs JavaScript. Allow it for ${host}, then load the page again.</p></noscript>`}
</main>
</body>
</html>
`.text;
}
