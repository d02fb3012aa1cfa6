import type { Logger } from "pino";
import { type Config, isLoopback } from "../config.ts";
import { loggable } from "../telemetry.ts";

/** A mail to one person. */
interface Mail {
  to: string;
  subject: string;
  text: string;
}

/** Sends a mail, without waiting for it: how long that takes must not tell whether there is such a person. */
export type SendMail = (mail: Mail) => void;

const TIMEOUT_MS = 10_000;

/**
 * How mail leaves the server: by SMTP; with none configured, on a loopback address, it is printed in the log, for who is
 * at the machine.
 * @returns nothing to send with where neither holds; `close` waits for what is under way
 */
export async function createMailer(config: Config, log: Logger): Promise<{ sendMail: SendMail | undefined; close(): Promise<void> }> {
  const { smtpUrl, mailFrom } = config;
  if (smtpUrl === undefined) {
    const print: SendMail = ({ subject, text }) => log.warn({ subject, text }, "SMTP_URL is not set: this mail goes nowhere but here");
    return { sendMail: isLoopback(config.host) ? print : undefined, close: async () => {} };
  }
  const { createTransport } = await import("nodemailer"); // a server that sends no mail does not load it
  const timeouts = { connectionTimeout: TIMEOUT_MS, greetingTimeout: TIMEOUT_MS, socketTimeout: TIMEOUT_MS };
  const transport = createTransport({ url: smtpUrl, ...timeouts, disableFileAccess: true, disableUrlAccess: true });
  const underWay = new Set<Promise<void>>();
  const sendMail: SendMail = (mail) => {
    const sending: Promise<void> = transport
      .sendMail({ from: mailFrom, ...mail })
      .then(
        () => log.info({ subject: mail.subject }, "mail sent"),
        // Servers repeat addresses in what they answer.
        (error) =>
          log.error(
            { subject: mail.subject, cause: { ...(loggable(error) as object), message: undefined, stack: undefined } },
            "mail not sent",
          ),
      )
      .finally(() => underWay.delete(sending));
    underWay.add(sending);
  };
  return {
    sendMail,
    async close() {
      await Promise.all(underWay);
      transport.close();
    },
  };
}
