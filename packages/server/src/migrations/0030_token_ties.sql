-- A token names what it hangs on, and is worth nothing once any of that is gone. As foreign keys these took along any number of
-- tokens, while the key, the session or the member stayed. Only a token that is revoked takes along those minted from it.
alter table tokens drop constraint tokens_space_id_principal_id_fkey, drop constraint tokens_space_id_actor_id_fkey,
  drop constraint tokens_principal_id_fkey, drop constraint tokens_actor_id_fkey, drop constraint tokens_may_act_id_fkey,
  drop constraint tokens_only_session_id_fkey, drop constraint tokens_key_id_fkey, drop constraint tokens_actor_key_id_fkey,
  drop constraint tokens_session_id_fkey, drop constraint tokens_login_id_fkey,
  add column membership uuid, add column actor_membership uuid, add column may_act_membership uuid;
update tokens t set
  membership = (select membership from members m where m.space_id = t.space_id and m.principal_id = t.principal_id),
  actor_membership = (select membership from members m where m.space_id = t.space_id and m.principal_id = t.actor_id),
  may_act_membership = (select membership from members m where m.space_id = t.space_id and m.principal_id = t.may_act_id);
delete from tokens where may_act_id is not null and may_act_membership is null;
alter table tokens alter column membership set not null,
  add check ((actor_id is null) = (actor_membership is null)),
  add check ((may_act_id is null) = (may_act_membership is null));
drop index tokens_space_id_principal_id_idx, tokens_actor_id_idx;
create index on tokens (membership);
create index on tokens (actor_membership) where actor_membership is not null;
create index on tokens (may_act_membership) where may_act_membership is not null;

-- No token that was made before is good: the key was known to somebody by which it was signed.
create table tokens_since (at timestamptz not null);
insert into tokens_since values ('-infinity');

create view live_tokens as
  select t.* from tokens t where t.expires_at > now() and t.created_at > (select at from tokens_since)
    and exists (select from live_members m where m.membership = t.membership)
    and (t.actor_id is null or exists (select from live_members m where m.membership = t.actor_membership))
    and (t.may_act_id is null or exists (select from live_members m where m.membership = t.may_act_membership))
    and (t.only_session_id is null or exists (select from sessions s where s.id = t.only_session_id))
    and secret_lives(t.key_id, t.key_hash) and secret_lives(t.actor_key_id, t.actor_key_hash)
    and (t.session_id is null or exists (select from auth.session s where s.id = t.session_id and s."expiresAt" > now()))
    and (t.login_id is null or exists (
      select from auth."oauthAccessToken" l where l.id = t.login_id and l.revoked is null and l."expiresAt" > now()));

-- The time at which a token ends if nothing ends it before: with itself, a secret that it came from, or a key that made a membership.
create function ends_at(t live_tokens) returns timestamptz language sql stable as $$
  select least(t.expires_at,
    (select min(case when k.hash in (t.key_hash, t.actor_key_hash) then k.expires_at else least(k.expires_at, k.previous_expires_at) end)
      from api_keys k where k.id in (t.key_id, t.actor_key_id)),
    (select min(k.expires_at) from members m join api_keys k on k.id = m.key_id
      where m.membership in (t.membership, t.actor_membership, t.may_act_membership)))
$$;

-- As foreign keys did: a membership is held until the token is there, and where it is gone there is none.
create function membership_of(space uuid, principal uuid) returns uuid language plpgsql as $$
declare known uuid;
begin
  if principal is null then return null; end if;
  select m.membership into known from members m where m.space_id = space and m.principal_id = principal for key share;
  if not found then raise exception 'the token is for somebody who is not on the roster' using errcode = 'foreign_key_violation'; end if;
  return known;
end $$;
create function tie_token() returns trigger language plpgsql as $$
begin
  new.membership := membership_of(new.space_id, new.principal_id);
  new.actor_membership := membership_of(new.space_id, new.actor_id);
  new.may_act_membership := membership_of(new.space_id, new.may_act_id);
  return new;
end $$;
create trigger tie_token before insert on tokens for each row execute function tie_token();

-- Servers that keep a token in memory are told of the end of what it hangs on.
create trigger tell_membership after delete on members for each row execute function tell_row('c', 'membership');
create or replace function tell_session() returns trigger language plpgsql as $$
begin
  perform pg_notify('gatehouse_log', old.id::text);
  if exists (select from spaces where id = old.space_id) then
    perform tell('c:' || old.id);
    perform tell('n:' || old.space_id || ' ' || old.id);
    if old.external_id is not null then perform tell('n:' || old.space_id || ' ' || old.external_id); end if;
  end if;
  return null;
end $$;

-- Dead tokens are removed as in 0029: some with the session or the key that they hang on, all others step by step.
create function tokens_from(source uuid) returns setof tid language sql stable as $$
  select ctid from tokens where key_id = source
  union all select ctid from tokens where actor_key_id = source
  union all select ctid from tokens where session_id = source
  union all select ctid from tokens where login_id = source
  union all select ctid from tokens where only_session_id = source
  union all select ctid from tokens where membership = source
  union all select ctid from tokens where actor_membership = source
  union all select ctid from tokens where may_act_membership = source
$$;
-- Returns whether none is left: of two servers that remove the same rows for two reasons, one finds fewer than there were.
create function clear_tokens(source uuid) returns boolean language plpgsql as $$
begin
  delete from tokens where ctid = any(array(select * from tokens_from(source) limit 1000));
  return not exists (select from tokens_from(source));
end $$;
create function clear_spoiled_tokens() returns boolean language plpgsql as $$
declare before uuid := first_id((select at from tokens_since));
begin
  delete from tokens where ctid = any(array(select t.ctid from tokens t where t.id < before order by t.id limit 1000));
  return not exists (select from tokens t where t.id < before);
end $$;
create or replace function clear_some(kind text, id uuid, first boolean) returns boolean language sql as $$
  select case kind
    when 'session' then clear_session(id) and clear_tokens(id)
    when 'space' then clear_space(id)
    when 'key' then clear_key(id, not first) and clear_tokens(id)
    when 'tokens' then clear_tokens(id)
    when 'spoiled' then clear_spoiled_tokens() end
$$;
create function leave_tokens() returns trigger language plpgsql as $$
declare source uuid := (to_jsonb(old) ->> tg_argv[0])::uuid;
begin
  if (case tg_table_name
    when 'members' then exists (select from tokens where membership = source) or exists (select from tokens where actor_membership = source)
      or exists (select from tokens where may_act_membership = source)
    when 'session' then exists (select from tokens where session_id = source)
    else exists (select from tokens where login_id = source) end)
  then insert into remains (of, kind) values (source, 'tokens') on conflict do nothing; end if;
  return null;
end $$;
create trigger leave_tokens after delete on members for each row execute function leave_tokens('membership');
create trigger leave_tokens after delete on auth.session for each row execute function leave_tokens('id');
create trigger leave_tokens after delete on auth."oauthAccessToken" for each row execute function leave_tokens('id');

-- As in 0023, and a task goes with the key and the token that registered it, and with the keys that lent what that took, as soon as
-- they are dead.
create or replace function live_tasks(rules text[]) returns setof tasks language sql stable as $$
  select * from tasks t where (t.expires_at is null or t.expires_at > now()) and (t.rule is null or t.rule = any(rules))
    and key_lives(t.key_id) and not exists (select from task_ties i where i.task_id = t.id and not key_lives(i.key_id))
    and (t.token_id is null or exists (select from live_tokens k where k.id = t.token_id offset 0))
$$;

-- As in 0015, but tokens are dead without their memberships.
create or replace function take_everything(space uuid, who uuid[]) returns void language plpgsql as $$
declare keys uuid[] := array(select k.id from api_keys k where k.principal_id = any(who));
begin
  delete from members m where m.space_id = space and (m.principal_id = any(who) or m.key_id = any(keys));
  delete from grants g where g.space_id = space and (g.principal_id = any(who) or g.key_id = any(keys));
  delete from group_members gm using principals g
    where g.id = gm.group_id and g.space_id = space and (gm.principal_id = any(who) or gm.key_id = any(keys));
  delete from tasks t where t.space_id = space and (t.registered_by = any(who) or t.key_id = any(keys)
    or exists (select from task_ties i where i.task_id = t.id and i.key_id = any(keys)));
  delete from invites i where i.space_id = space and i.email in (select u.email from auth."user" u where u.id = any(who));
end $$;
