import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { retried } from "../change.ts";
import type { House } from "../house.ts";
import { tryReadJson } from "../json.ts";
import { Refusal } from "../refusal.ts";
import { refused } from "./doors.ts";
import { AUTH, signedIn } from "./hand-over.ts";

/** A program that a person has signed in to, once. */
export interface Login {
  /** What all its tokens have in common: no secret, and good for nothing but to end it. */
  id: string;
  program: string;
  /** The name of the space that it acts in; null for the command line. */
  space: string | null;
  scopes: string[];
  since: string;
}

/** The logins of a person that are not over, the latest first. */
export const loginsOf = ({ doors }: House, person: string) => doors.user.sql<Login[]>`
  with tokens as (
    select "authorizationCodeId" as login, "clientId", scopes from auth."oauthAccessToken"
      where "userId" = ${person} and revoked is null and "expiresAt" > now()
    union all select "authorizationCodeId", "clientId", scopes from auth."oauthRefreshToken"
      where "userId" = ${person} and revoked is null and "expiresAt" > now())
  select l.id, c.name as program, s.name as space, t.scopes, l.created_at as since
  from auth.logins l join (select distinct on (login) * from tokens) t on t.login = l.id
  join auth."oauthClient" c on c."clientId" = t."clientId" left join spaces s on s.id = l.space_id
  order by l.created_at desc`;

const End = z.strictObject({ id: z.string().max(128) });

/** Opens the way for people to sign a program out that they no longer want to act for them. */
export function addPrograms(app: FastifyInstance, house: House): void {
  app.post(`${AUTH}/programs/end`, async (request, reply) => {
    const { sql, feed, log } = house.doors.user;
    const line = { route: "/programs/end", requestId: request.id, address: request.ip };
    try {
      const found = await signedIn(house, request, "POST");
      if (!found) throw new Refusal("UNAUTHENTICATED");
      const { id } = End.parse(tryReadJson(request.body));
      await retried(() => sql`delete from auth.logins where id = ${id} and user_id = ${found.user.id}`).finally(() => feed.doubt());
      log.info({ ...line, principal: found.user.id }, "signed a program out");
      return reply.send({});
    } catch (thrown) {
      return refused(house, reply, thrown instanceof z.ZodError ? new Refusal("INVALID_PARAMS", 'Send {"id": "<login>"}.') : thrown, line);
    }
  });
}
