-- The time at which a person revoked all ways into their account, and all keys of their agents: keys and codes that were made before
-- are dead, however many there are, until they are deleted.
create table all_revoked (principal_id uuid primary key, at timestamptz not null);
create function tell_new() returns trigger language plpgsql as $$
begin
  perform tell('p:' || new.principal_id);
  return null;
end $$;
create trigger tell after insert or update on all_revoked for each row execute function tell_new();

create or replace function secret_lives(key uuid, secret bytea) returns boolean language sql stable as $$
  select key is null or exists (
    select from api_keys k where k.id = key and (k.expires_at is null or k.expires_at > now())
      and (k.hash = secret or (k.previous_hash = secret and k.previous_expires_at > now()))
      and not exists (select from all_revoked r where r.principal_id = k.principal_id and r.at >= k.created_at))
$$;

-- As in 0015. The person is held first: whoever signs in meanwhile refers to them, and waits; and before them their logins, since
-- whoever renews one holds it, and waits for the person.
create or replace function auth.password_ends_logins() returns trigger language plpgsql as $$
begin
  perform from auth.logins where user_id = new."userId" order by id for update;
  perform from auth."user" where id = new."userId" for update;
  delete from auth.session where "userId" = new."userId";
  delete from auth.logins where user_id = new."userId";
  delete from auth."deviceCode" where "userId" = new."userId";
  delete from auth.verification where value = new."userId"::text;
  return null;
end $$;

-- As in 0002: what such a key made is dead with it.
create or replace function key_lives(id uuid) returns boolean language sql stable as $$
  select id is null or exists (
    select from api_keys k where k.id = $1 and (k.expires_at is null or k.expires_at > now())
      and not exists (select from all_revoked r where r.principal_id = k.principal_id and r.at >= k.created_at))
$$;
