/** What a request to the server came to. */
export interface Answered {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests reach into answers of every kind
  body: any;
}

export type Jar = ReturnType<typeof openJar>;

/**
 * A cookie jar that sends what a browser on a page of the server would send.
 * @param address where it says to come from, for a server behind a proxy
 */
export function openJar(server: string, address?: string) {
  const cookies = new Map<string, string>();
  const send = async (url: string, init: { method?: string; headers?: Record<string, string>; body?: string } = {}): Promise<Answered> => {
    const target = new URL(url, server);
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    const answer = await fetch(target, {
      ...init,
      redirect: "manual",
      headers: { ...(cookie && { cookie }), ...(address && { "x-forwarded-for": address }), ...init.headers },
    });
    for (const set of answer.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(set) as unknown as [string, string, string];
      if (/max-age=0/i.test(set) || value === "") cookies.delete(name);
      else cookies.set(name, value);
    }
    const text = await answer.text();
    const json = /json/.test(answer.headers.get("content-type") ?? "");
    return { status: answer.status, headers: answer.headers, body: json ? JSON.parse(text) : text };
  };
  const post = (path: string, body: object, headers: Record<string, string> = {}) =>
    send(path, { method: "POST", headers: { origin: server, "content-type": "application/json", ...headers }, body: JSON.stringify(body) });
  return {
    cookies,
    get: (url: string) => send(url),
    post,
    form: (path: string, params: Record<string, string>) =>
      send(path, {
        method: "POST",
        headers: { "content-type": "application/x-www-form-urlencoded" },
        body: new URLSearchParams(params).toString(),
      }),
    signIn: (email: string, password: string) => post("/api/auth/sign-in/email", { email, password }),
    /** Whose session its cookies are. */
    async whoami(): Promise<string | undefined> {
      return (await send("/api/auth/get-session")).body?.user?.email;
    },
  };
}
