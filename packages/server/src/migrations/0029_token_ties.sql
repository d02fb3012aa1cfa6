-- A token names the memberships that it hangs on, and the session that it is for, and is worth nothing once one of them is gone. As
-- foreign keys these took along any number of tokens, while the member, the agent or the session stayed.
alter table tokens drop constraint tokens_space_id_principal_id_fkey, drop constraint tokens_space_id_actor_id_fkey,
  drop constraint tokens_principal_id_fkey, drop constraint tokens_actor_id_fkey, drop constraint tokens_may_act_id_fkey,
  drop constraint tokens_only_session_id_fkey,
  add column membership uuid, add column actor_membership uuid, add column may_act_membership uuid;
update tokens t set
  membership = (select membership from members m where m.space_id = t.space_id and m.principal_id = t.principal_id),
  actor_membership = (select membership from members m where m.space_id = t.space_id and m.principal_id = t.actor_id),
  may_act_membership = (select membership from members m where m.space_id = t.space_id and m.principal_id = t.may_act_id);
delete from tokens where may_act_id is not null and may_act_membership is null;
alter table tokens alter column membership set not null,
  add check ((actor_id is null) = (actor_membership is null)),
  add check ((may_act_id is null) = (may_act_membership is null));
drop index tokens_space_id_principal_id_idx, tokens_actor_id_idx, tokens_only_session_id_idx;

create view live_tokens as
  select t.* from tokens t where t.expires_at > now()
    and exists (select from members m where m.membership = t.membership)
    and (t.actor_id is null or exists (select from members m where m.membership = t.actor_membership))
    and (t.may_act_id is null or exists (select from members m where m.membership = t.may_act_membership))
    and (t.only_session_id is null or exists (select from sessions s where s.id = t.only_session_id));

-- As foreign keys did: what a token is to hang on is held until the token is there, and where it is gone there is none.
create function membership_of(space uuid, principal uuid) returns uuid language plpgsql as $$
declare found_one uuid;
begin
  if principal is null then return null; end if;
  select m.membership into found_one from members m where m.space_id = space and m.principal_id = principal for key share;
  if not found then raise exception 'the token is for somebody who is not on the roster' using errcode = 'foreign_key_violation'; end if;
  return found_one;
end $$;
create function tie_token() returns trigger language plpgsql as $$
begin
  new.membership := membership_of(new.space_id, new.principal_id);
  new.actor_membership := membership_of(new.space_id, new.actor_id);
  new.may_act_membership := membership_of(new.space_id, new.may_act_id);
  perform from sessions where id = new.only_session_id for key share;
  if not found and new.only_session_id is not null then
    raise exception 'the session of the token is gone' using errcode = 'foreign_key_violation';
  end if;
  return new;
end $$;
create trigger tie_token before insert on tokens for each row execute function tie_token();

-- Who keeps a token in memory is told of the end of what it hangs on.
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

-- As in 0015; of tasks, also those that agents registered for others.
create or replace function take_everything(space uuid, who uuid[]) returns void language plpgsql as $$
declare keys uuid[] := array(select k.id from api_keys k where k.principal_id = any(who));
begin
  delete from members m where m.space_id = space and (m.principal_id = any(who) or m.key_id = any(keys));
  delete from grants g where g.space_id = space and (g.principal_id = any(who) or g.key_id = any(keys));
  delete from group_members gm using principals g
    where g.id = gm.group_id and g.space_id = space and (gm.principal_id = any(who) or gm.key_id = any(keys));
  delete from tasks t where t.space_id = space and (t.registered_by = any(who) or t.key_id = any(keys)
    or exists (select from task_ties i where i.task_id = t.id and i.key_id = any(keys))
    or exists (select from tokens k where k.id = t.token_id and k.actor_id = any(who)));
  delete from invites i where i.space_id = space and i.email in (select u.email from auth."user" u where u.id = any(who));
end $$;
