-- A login of a program: what all its tokens hang on, each of which was refreshed from another. What ends it deletes this
-- row, and so every token; one that is being made just then has nothing to hang on. A program that acts in one space is
-- signed in while the person is on its roster.
create table auth.logins (
  id text primary key, -- the "authorizationCodeId" of its tokens
  user_id uuid not null references auth."user" (id) on delete cascade,
  space_id uuid,
  created_at timestamptz not null default now(),
  foreign key (space_id, user_id) references members (space_id, principal_id) on delete cascade
);
create index on auth.logins (user_id);
create index on auth.logins (space_id, user_id) where space_id is not null;

with known as (
  select "authorizationCodeId" as id, "userId" as user_id, "referenceId"::uuid as space_id, "createdAt" as at from auth."oauthRefreshToken"
  union all select "authorizationCodeId", "userId", "referenceId"::uuid, "createdAt" from auth."oauthAccessToken")
insert into auth.logins (id, user_id, space_id, created_at)
  select k.id, k.user_id, k.space_id, min(k.at) from known k
  where k.space_id is null or exists (select from members m where m.space_id = k.space_id and m.principal_id = k.user_id)
  group by k.id, k.user_id, k.space_id;
delete from auth."oauthAccessToken" where "authorizationCodeId" not in (select id from auth.logins);
delete from auth."oauthRefreshToken" where "authorizationCodeId" not in (select id from auth.logins);
alter table auth."oauthRefreshToken" add foreign key ("authorizationCodeId") references auth.logins (id) on delete cascade;
alter table auth."oauthAccessToken" add foreign key ("authorizationCodeId") references auth.logins (id) on delete cascade;

-- As in 0003, and with the first token of a login the login begins: in the session in which it was allowed, or by a device
-- code. A code that is redeemed while that session ends is worth nothing.
create or replace function auth.tokens_of_logins() returns trigger language plpgsql as $$
declare first boolean;
begin
  if new."authorizationCodeId" is null and tg_table_name = 'oauthAccessToken' then
    select "authorizationCodeId" into new."authorizationCodeId" from auth."oauthRefreshToken" where id = new."refreshId";
  end if;
  first := new."authorizationCodeId" is null or new."sessionId" is not null;
  new."authorizationCodeId" := coalesce(new."authorizationCodeId", new.id::text);
  if new."sessionId" is not null then
    perform from auth.session where id = new."sessionId" for key share;
    if not found then raise foreign_key_violation using message = 'the session has ended in which this was allowed'; end if;
  end if;
  if first then
    -- Who has left the space meanwhile has let nobody into it: without one, such a login opens nothing.
    insert into auth.logins (id, user_id, space_id) values (new."authorizationCodeId", new."userId", (
        select m.space_id from members m where m.space_id = new."referenceId"::uuid and m.principal_id = new."userId"))
      on conflict (id) do nothing;
  end if;
  if new.scopes ? 'offline_access' then new."sessionId" := null; end if;
  return new;
end $$;

create or replace function auth.password_ends_logins() returns trigger language plpgsql as $$
begin
  delete from auth.session where "userId" = new."userId";
  delete from auth.logins where user_id = new."userId";
  delete from auth."deviceCode" where "userId" = new."userId";
  return null;
end $$;
