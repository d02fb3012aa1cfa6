import { expect, test } from "vitest";
import { hashOf } from "./authenticate.ts";

const token = (letter: string) => `${letter.repeat(32)}.${"s".repeat(43)}=`;
const plain = (letter: string) => `gatehouse.session_token=${encodeURIComponent(token(letter))}`;
const origin = "https://gatehouse.example";

test("the cookie that no other host can set counts, whatever others say beside it", () => {
  const own = `__Host-${plain("a")}`;
  const name = hashOf({ cookie: own, origin });
  for (const cookie of [`${plain("b")}; ${own}`, `gatehouse.session_token=junk; ${own}`, `${own}; ${plain("b")}`, `x=1; ${own}; y`])
    expect(hashOf({ cookie, origin }), cookie).toBe(name);
  expect(hashOf({ cookie: plain("b"), origin })).not.toBe(name);
});

test("one credential has another name at each door, from each origin, and for each subject", () => {
  const names = [
    hashOf({ cookie: plain("a"), origin }),
    hashOf({ cookie: plain("a"), origin, resource: "/mcp" }),
    hashOf({ cookie: plain("a"), origin: "https://elsewhere.example" }),
    hashOf({ authorization: `Bearer ${token("a")}` }),
    hashOf({ authorization: `Bearer ${token("a")}`, resource: "/mcp" }),
    hashOf({ authorization: `Bearer ${token("a")}`, subject: "t" }),
    hashOf({ authorization: `Bearer ${token("a")}`, toEnd: true }),
    hashOf({ authorization: token("a") }),
  ];
  expect(new Set(names).size).toBe(names.length);
});
