import type { IncomingMessage } from "node:http";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import { readBody } from "../body.ts";
import { challenge, type House } from "../house.ts";
import { AUTH } from "../people/hand-over.ts";
import { countAttempt, type LimitName } from "../people/limits.ts";
import { type Refusal, toRefusal } from "../refusal.ts";
import { loggable, traceRequest } from "../telemetry.ts";
import type { SigningKeys } from "../tokens/signing-keys.ts";
import { fromRefusal, OAuthError } from "./error.ts";
import { EXCHANGE_GRANT, exchange, introspect, revoke } from "./exchange.ts";
import { count, type Endpoint, type Form, need, readForm } from "./form.ts";
import { beginDevice, byCode, byDevice, DEVICE_GRANT, refresh } from "./login.ts";
import { readMetadata, register } from "./register.ts";

const MAX_FORM_BYTES = 65_536;

/** How each grant type becomes a token. */
const grants: Record<string, Endpoint> = {
  authorization_code: byCode,
  refresh_token: refresh,
  [DEVICE_GRANT]: byDevice,
  [EXCHANGE_GRANT]: exchange,
};

/** Opens the endpoints that programs call (RFC 6749, 7009, 7662, 8628, 8693): forms, and OAuth's own errors. */
export const addOAuth =
  (keys: SigningKeys) =>
  async (app: FastifyInstance, house: House): Promise<void> => {
    app.get("/.well-known/jwks.json", { config: { rateLimit: false } }, async (_request, reply) =>
      reply.header("cache-control", "public, max-age=300").send(await keys.publicSet()),
    );
    await app.register(async (scope) => {
      scope.addContentTypeParser("application/x-www-form-urlencoded", (request: FastifyRequest, payload: IncomingMessage) =>
        readBody(request.headers, payload, MAX_FORM_BYTES, house.config.bodyTimeoutMs),
      );
      scope.post(
        "/api/v1/token",
        at(house, ({ grant_type }) => (grant_type === EXCHANGE_GRANT ? "exchange" : "token"), dispatch),
      );
      scope.post(
        "/api/v1/revoke",
        at(house, () => "exchange", revoke),
      );
      scope.post(
        "/api/v1/introspect",
        at(house, () => "exchange", introspect),
      );
      scope.post(
        "/api/v1/register",
        at(
          house,
          () => "register",
          (_house, _request, metadata) => register(house.doors.user.sql, metadata),
          readMetadata,
          201,
        ),
      );
      scope.post(
        `${AUTH}/device/code`,
        at(house, () => "deviceCode", beginDevice),
      );
    });
  };

const dispatch: Endpoint = async (house, request, form) => {
  const { grant_type } = need(form, { grant_type: z.string() });
  const grant = Object.hasOwn(grants, grant_type) ? grants[grant_type] : undefined;
  if (!grant) throw new OAuthError("unsupported_grant_type");
  return grant(house, request, form);
};

/** A request to an endpoint, counted and traced; with one line in the log, whatever comes of it. */
function at<Sent extends object = Form>(
  house: House,
  limitOf: (sent: Sent) => LimitName,
  endpoint: (house: House, request: FastifyRequest, sent: Sent) => ReturnType<Endpoint>,
  read: (request: FastifyRequest) => Sent = readForm as (request: FastifyRequest) => never,
  status = 200,
) {
  return async (request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const { log, sql } = house.doors.user;
    const line = { route: request.routeOptions.url, requestId: request.id, address: request.ip };
    await traceRequest({ method: "POST", route: line.route ?? "", headers: request.headers }, async () => {
      try {
        const sent = read(request);
        const { subject_token, token } = sent as Form;
        await count(countAttempt(sql, limitOf(sent), { address: request.ip, account: subject_token ?? token }));
        const answer = await endpoint(house, request, sent);
        log.info({ ...line, outcome: "OK" }, "sign-in");
        reply.code(status).send(answer);
      } catch (thrown) {
        const refusal = thrown instanceof OAuthError ? undefined : toRefusal(thrown);
        const error = thrown instanceof OAuthError ? thrown : fromRefusal(refusal as Refusal);
        if (refusal?.code === "INTERNAL_ERROR")
          log.error({ ...line, outcome: error.error, cause: loggable(refusal.cause) }, "sign-in failed");
        else log.info({ ...line, outcome: error.error }, "sign-in refused");
        if (error.status === 401) challenge(house, reply, 401);
        error.send(reply, request.id);
      }
      return { status: reply.statusCode };
    });
    return reply;
  };
}
