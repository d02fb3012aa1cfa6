import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { SMTPServer } from "smtp-server";
import { until } from "./run.ts";

/** A mail as it arrived. */
interface Received {
  to: string;
  text: string;
}

/** What quoted-printable stands for (RFC 2045 §6.7). */
const unquoted = (raw: string): string =>
  raw.replace(/=\r\n/g, "").replace(/=([0-9A-F]{2})/g, (_all, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));

/** A real SMTP server that keeps what it is given; it wants a password. */
export async function openMailbox() {
  const mails: Received[] = [];
  const [user, pass] = ["gatehouse", "smtp secret 4711"];
  const smtp = new SMTPServer({
    disabledCommands: ["STARTTLS"],
    allowInsecureAuth: true,
    onAuth: (auth, _session, done) =>
      auth.username === user && auth.password === pass ? done(null, { user }) : done(new Error("wrong user or password")),
    onData(stream, session, done) {
      let raw = "";
      stream.setEncoding("utf8").on("data", (text: string) => {
        raw += text;
      });
      stream.on("end", () => {
        const text = /^content-transfer-encoding: quoted-printable/im.test(raw) ? unquoted(raw) : raw;
        for (const { address } of session.envelope.rcptTo) mails.push({ to: address, text });
        done();
      });
    },
  });
  smtp.on("error", () => {}); // a client that hangs up
  smtp.listen(0, "127.0.0.1");
  await once(smtp.server, "listening");
  const { port } = smtp.server.address() as AddressInfo;
  return {
    settings: {
      SMTP_URL: `smtp://${user}:${encodeURIComponent(pass)}@127.0.0.1:${port}`,
      MAIL_FROM: "Gatehouse <gatehouse@example.com>",
    },
    mails,
    /** The token in the next mail to an address, which is thrown away. */
    async token(to: string): Promise<string> {
      const mail = await until(`there is mail to ${to}`, () => mails.find((mail) => mail.to === to));
      mails.splice(mails.indexOf(mail), 1);
      return /#token=(\S+)/.exec(mail.text)?.[1] as string;
    },
    close: () => new Promise<void>((resolve) => smtp.close(resolve)),
  };
}
