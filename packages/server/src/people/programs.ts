import type { House } from "../house.ts";

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

/** The logins of a person that are not over, the latest first. @param most how many */
export const loginsOf = ({ doors }: House, person: string, most: number) => doors.user.sql<Login[]>`
  with tokens as (
    select "authorizationCodeId" as login, "clientId", scopes from auth."oauthAccessToken"
      where "userId" = ${person} and revoked is null and "expiresAt" > now()
    union all select "authorizationCodeId", "clientId", scopes from auth."oauthRefreshToken"
      where "userId" = ${person} and revoked is null and "expiresAt" > now())
  select l.id, c.name as program, s.name as space, t.scopes, l.created_at as since
  from auth.logins l join (select distinct on (login) * from tokens) t on t.login = l.id
  join auth."oauthClient" c on c."clientId" = t."clientId" left join spaces s on s.id = l.space_id
  order by l.created_at desc limit ${most}`;
