-- To delete a row asks each table that refers to it: each has an index for that. Runs and turns go with their session alone, so
-- turns need no key to their run.
create index on invite_groups (group_id);
create index on invites (key_id) where key_id is not null;
create index on principals (owner_id) where owner_id is not null;
create index on principals (space_id) where space_id is not null;
create index on tasks (registered_by) where registered_by is not null;
create index on auth."deviceCode" ("oauthClientId");
create index on auth."oauthAccessToken" ("clientId");
create index on auth."oauthConsent" ("clientId");
create index on auth."oauthRefreshToken" ("clientId");
alter table turns drop constraint turns_run_id_fkey;
-- Principals may be named by any number of these. Readers join them to principals, and show a name where there still is one.
alter table grants drop constraint grants_granted_by_fkey;
alter table runs drop constraint runs_worker_id_fkey;
alter table sessions drop constraint sessions_created_by_fkey;

-- Deleted sessions, spaces and keys of which rows are left: nobody can reach those rows any more, and they are removed step by step.
-- A deletion holds the credential it came by, and cascades would hold it for as long as a long log or a large space takes; to
-- delete a key took along all that it had made, and held everybody whom it had let in.
create table remains (
  of uuid primary key,
  kind text not null check (kind in ('session', 'space', 'key', 'tokens', 'spoiled')),
  -- Its place in line: what is not done in one step goes behind the others.
  place bigint not null generated always as identity
);
create index on remains (kind, place);

alter table session_events drop constraint session_events_session_id_fkey;
alter table turns drop constraint turns_session_id_fkey;
alter table sessions drop constraint sessions_space_id_fkey;
alter table members drop constraint members_key_id_fkey;
alter table group_members drop constraint group_members_key_id_fkey;
alter table grants drop constraint grants_key_id_fkey;
alter table invites drop constraint invites_key_id_fkey;

-- As the foreign key did: a space that is there stays until the session is, and in one that is gone nothing begins.
create function be_in_space() returns trigger language plpgsql as $$
begin
  perform from spaces where id = new.space_id for key share;
  if not found then raise exception 'the space of the session is gone' using errcode = 'foreign_key_violation'; end if;
  return new;
end $$;
create trigger be_in_space before insert on sessions for each row execute function be_in_space();

-- As in 0002, but rows of a key that is gone, or was revoked with all others, are dead like those of a key that has expired.
create or replace view live_members as
  select t.* from members t left join api_keys k on k.id = t.key_id
  where t.key_id is null or (k.id is not null and (k.expires_at is null or k.expires_at > now())
    and not exists (select from all_revoked r where r.principal_id = k.principal_id and r.at >= k.created_at));
create or replace view live_group_members as
  select t.* from group_members t left join api_keys k on k.id = t.key_id
  where t.key_id is null or (k.id is not null and (k.expires_at is null or k.expires_at > now())
    and not exists (select from all_revoked r where r.principal_id = k.principal_id and r.at >= k.created_at));
create or replace view live_grants as
  select t.* from grants t left join api_keys k on k.id = t.key_id
  where t.key_id is null or (k.id is not null and (k.expires_at is null or k.expires_at > now())
    and not exists (select from all_revoked r where r.principal_id = k.principal_id and r.at >= k.created_at));

-- The keys by which others come in as a person, or as an agent that the person manages.
create function keys_of(person uuid) returns setof api_keys language sql stable as $$
  select k.* from api_keys k join principals p on p.id = k.principal_id
  where p.id = person or p.owner_id in (select managed_owners(person))
$$;

-- Removes some rows of the log of a session that was deleted. Returns whether none is left.
create function clear_session(session uuid) returns boolean language plpgsql as $$
declare most constant integer := 1000; events integer; others integer;
begin
  delete from session_events where ctid = any(array(select ctid from session_events where session_id = session limit most));
  get diagnostics events = row_count;
  delete from turns where ctid = any(array(select ctid from turns where session_id = session limit most - events));
  get diagnostics others = row_count;
  return events + others < most;
end $$;

-- Removes some sessions of a space that was deleted, but none that a call still holds. Returns whether none is left.
create function clear_space(space uuid) returns boolean language plpgsql as $$
begin
  delete from sessions where id in (select id from sessions where space_id = space limit 20 for update skip locked);
  return not exists (select from sessions where space_id = space);
end $$;

-- Removes some of what a key had made that was deleted, but nothing that somebody else holds just now. Returns whether none is left.
-- Members are taken off later: that waits for what they do. Principals are held before their memberships, as everything else takes
-- both: a call that gives them something at this moment holds them, and may wait for their place on the roster.
create function clear_key(key uuid, members_too boolean) returns boolean language plpgsql as $$
declare spaces uuid[]; principals uuid[];
begin
  if members_too then
    -- Their agents first, which leave with them: however many those are, a step takes few.
    select array_agg(m.space_id), array_agg(m.principal_id) into spaces, principals from (
      select a.space_id, a.principal_id from members m join principals p on p.owner_id = m.principal_id
        join members a on a.space_id = m.space_id and a.principal_id = p.id
      where m.key_id = key limit 20 for update of p skip locked) m;
    if spaces is null and not exists (
      select from members m join principals p on p.owner_id = m.principal_id join members a on a.space_id = m.space_id and a.principal_id = p.id
      where m.key_id = key) then
      select array_agg(m.space_id), array_agg(m.principal_id) into spaces, principals from (
        select m.space_id, m.principal_id from members m join principals p on p.id = m.principal_id
        where m.key_id = key order by m.principal_id limit 20 for update of p skip locked) m;
    end if;
    delete from members m using unnest(spaces, principals) as one (space, principal)
      where m.space_id = one.space and m.principal_id = one.principal;
  end if;
  delete from group_members where ctid = any(array(select ctid from group_members where key_id = key limit 100 for update skip locked));
  delete from grants where ctid = any(array(select ctid from grants where key_id = key limit 100 for update skip locked));
  delete from invites where ctid = any(array(select ctid from invites where key_id = key limit 100 for update skip locked));
  return not exists (select from members where key_id = key) and not exists (select from group_members where key_id = key)
    and not exists (select from grants where key_id = key) and not exists (select from invites where key_id = key);
end $$;

-- One step. The first is part of the deletion, which most need no other of: it waits for nobody. Returns whether none is left.
create function clear_some(kind text, id uuid, first boolean) returns boolean language sql as $$
  select case kind when 'session' then clear_session(id) when 'space' then clear_space(id) when 'key' then clear_key(id, not first) end
$$;

-- A transaction that deletes very many leaves the first step for later, too.
create function leave_remains() returns trigger language plpgsql as $$
begin
  if current_setting('gatehouse.later', true) = 'on' or not clear_some(tg_argv[0], old.id, true) then
    insert into remains (of, kind) values (old.id, tg_argv[0]) on conflict do nothing;
  end if;
  return null;
end $$;
create trigger leave_log after delete on sessions for each row execute function leave_remains('session');
create trigger leave_sessions after delete on spaces for each row execute function leave_remains('space');
drop trigger hold_whom_key_let_in on api_keys;
drop function hold_whom_key_let_in();
create trigger leave_ties after delete on api_keys for each row execute function leave_remains('key');

-- Some steps of deletions that are not done, which servers share: each kind has its turn, and each deletion of a kind. Returns
-- whether there were any, and why one failed: that one goes behind the others, and undoes none of their steps.
create function clear_remains(out worked boolean, out failure text) language plpgsql as $$
declare here remains; done boolean; began timestamptz := clock_timestamp(); kind_now text;
begin
  worked := false;
  perform set_config('lock_timeout', '1s', true);
  while clock_timestamp() < began + interval '20 milliseconds' loop
    here := null;
    for kind_now in select k from unnest(array['session', 'space', 'key', 'tokens', 'spoiled']) k order by random() loop
      select * into here from remains where kind = kind_now order by place limit 1 for update skip locked;
      exit when found;
    end loop;
    exit when here.of is null;
    worked := true;
    begin
      done := clear_some(here.kind, here.of, false);
    exception
      when lock_not_available or deadlock_detected then done := false;
      when others or query_canceled then
        done := false;
        failure := sqlerrm;
    end;
    if done then delete from remains where of = here.of;
    else update remains set place = default where of = here.of; end if;
    exit when not done;
  end loop;
end $$;
