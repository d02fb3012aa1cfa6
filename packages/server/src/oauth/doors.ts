import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { challenge, fromTransport, type House, JSON_TYPE, refuseOthers, takeBodies } from "../house.ts";
import { AUTH } from "../people/hand-over.ts";
import { countAttempt, type LimitName } from "../people/limits.ts";
import { type Refusal, toRefusal } from "../refusal.ts";
import { loggable, traceRequest } from "../telemetry.ts";
import type { SigningKeys } from "../tokens/signing-keys.ts";
import { fromRefusal, OAuthError } from "./error.ts";
import { EXCHANGE_GRANT, exchange } from "./exchange.ts";
import { count, type Endpoint, type Form, need, readForm } from "./form.ts";
import { beginDevice, byCode, byDevice, DEVICE_GRANT, refresh } from "./login.ts";
import { introspect, revoke } from "./presented.ts";
import { type Metadata, readMetadata, register } from "./register.ts";

const FORM_TYPE = "application/x-www-form-urlencoded";

/** How each grant type becomes a token. */
const grants: Record<string, Endpoint> = {
  authorization_code: byCode,
  refresh_token: refresh,
  [DEVICE_GRANT]: byDevice,
  [EXCHANGE_GRANT]: exchange,
};

/** Opens the endpoints that programs call (RFC 6749, 7009, 7591, 7662, 8628, 8693): in OAuth's own errors, all but one take forms. */
export const addOAuth =
  (keys: SigningKeys) =>
  async (app: FastifyInstance, house: House): Promise<void> => {
    app.get("/.well-known/jwks.json", { config: { rateLimit: false } }, async (_request, reply) =>
      reply.header("cache-control", "public, max-age=300").send(await keys.publicSet()),
    );
    await app.register(async (scope) => {
      speakOAuth(scope, house, JSON_TYPE);
      const registering = (_house: House, _request: FastifyRequest, metadata: Metadata) => register(house.doors.user.sql, metadata);
      open(scope, house, "/api/v1/register", { limitOf: () => "register", read: readMetadata, endpoint: registering, status: 201 });
    });
    await app.register(async (scope) => {
      speakOAuth(scope, house, FORM_TYPE);
      scope.removeAllContentTypeParsers();
      takeBodies(scope, house, FORM_TYPE);
      // Where a credential comes with the request, it is looked at before anything is counted.
      const limitOf = ({ grant_type }: Form) => (grant_type === EXCHANGE_GRANT ? undefined : "token");
      open(scope, house, "/api/v1/token", { limitOf, read: readForm, endpoint: dispatch });
      open(scope, house, "/api/v1/revoke", { reserved: true, read: readForm, endpoint: revoke });
      open(scope, house, "/api/v1/introspect", { read: readForm, endpoint: introspect });
      open(scope, house, `${AUTH}/device/code`, { limitOf: () => "deviceCode", read: readForm, endpoint: beginDevice });
    });
  };

const dispatch: Endpoint = async (house, request, form) => {
  const { grant_type } = need(form, { grant_type: z.string() });
  const grant = Object.hasOwn(grants, grant_type) ? grants[grant_type] : undefined;
  if (!grant) throw new OAuthError("unsupported_grant_type");
  return grant(house, request, form);
};

/** What is open at an address: how what was sent is read, what is counted, and what answers. */
interface Open<Sent> {
  read: (request: FastifyRequest) => Sent;
  limitOf?: (sent: Sent) => LimitName | undefined;
  endpoint: (house: House, request: FastifyRequest, sent: Sent) => ReturnType<Endpoint>;
  status?: number;
  /** Whether it has a share of an address's rate of its own. */
  reserved?: boolean;
}

/** Opens an endpoint to POST. */
function open<Sent>(scope: FastifyInstance, house: House, url: string, opening: Open<Sent>): void {
  const { read, limitOf, endpoint, status = 200, reserved = false } = opening;
  scope.post(url, { config: { reserved } }, (request, reply) =>
    answering(house, request, reply, async () => {
      const { log, sql } = house.doors.user;
      const sent = read(request);
      const limit = limitOf?.(sent);
      if (limit) await count(countAttempt(sql, limit, { address: request.ip }));
      const answer = await endpoint(house, request, sent);
      log.info({ ...lineOf(request), outcome: "OK" }, "sign-in");
      reply.code(status).send(answer);
    }),
  );
  refuseOthers(scope, url);
}

/** What never comes to an endpoint is refused in the words of OAuth too. @param type of what the endpoints take */
function speakOAuth(scope: FastifyInstance, house: House, type: string): void {
  scope.setErrorHandler((error, request, reply) =>
    answering(house, request, reply, async () => {
      throw fromTransport(error, type);
    }),
  );
}

const lineOf = ({ routeOptions, id, ip }: FastifyRequest) => ({ route: routeOptions.url, requestId: id, address: ip });

/** Answers a request in its span; with one line in the log, whatever comes of it. */
async function answering(house: House, request: FastifyRequest, reply: FastifyReply, run: () => Promise<void>): Promise<FastifyReply> {
  const { log } = house.doors.user;
  const line = lineOf(request);
  await traceRequest({ method: request.method, route: line.route ?? "", headers: request.headers }, async () => {
    try {
      await run();
    } catch (thrown) {
      const refusal = thrown instanceof OAuthError ? undefined : toRefusal(thrown);
      const error = thrown instanceof OAuthError ? thrown : fromRefusal(refusal as Refusal);
      if (refusal?.code === "INTERNAL_ERROR")
        log.error({ ...line, outcome: error.error, cause: loggable(refusal.cause) }, "sign-in failed");
      else log.info({ ...line, outcome: error.error }, "sign-in refused");
      if (error.error === "invalid_grant" || error.status === 401) request.wrongCredential = true;
      if (error.status === 401) challengeClient(house, request, reply);
      error.send(reply, request.id);
    }
    return { status: reply.statusCode };
  });
  return reply;
}

/** By the scheme that the client tried, if it tried one (RFC 6749 §5.2). */
function challengeClient(house: House, request: FastifyRequest, reply: FastifyReply): void {
  if (/^basic\b/i.test(request.headers.authorization ?? "")) reply.header("www-authenticate", 'Basic realm="Gatehouse", charset="UTF-8"');
  else challenge(house, reply, 401);
}
