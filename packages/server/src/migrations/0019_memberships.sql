-- Each membership has a name of its own, which nobody is told: who returns to a space has another one. What a person allows a program hangs on it
-- from the moment they allow it, also while it is a code yet.
alter table members add column membership uuid not null unique default gen_random_uuid();

-- As in 0009; "referenceId" of a new login names a membership. It is held, so that it does not end meanwhile.
create or replace function auth.tokens_of_logins() returns trigger language plpgsql as $$
declare first boolean; space uuid;
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
    select m.space_id into space from members m
      where m.membership = new."referenceId"::uuid and m.principal_id = new."userId" for key share;
    insert into auth.logins (id, user_id, space_id) values (new."authorizationCodeId", new."userId", space)
      on conflict (id) do nothing;
  end if;
  if new.scopes ? 'offline_access' then new."sessionId" := null; end if;
  return new;
end $$;
