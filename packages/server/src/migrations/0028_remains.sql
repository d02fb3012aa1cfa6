-- To delete a row asks each table that refers to it: each has an index for that. A run goes with its session alone, and so does
-- a turn: no turn looks for its run.
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
-- Who made very much may go all the same: that they are gone is seen by who looks for them.
alter table grants drop constraint grants_granted_by_fkey;
alter table runs drop constraint runs_worker_id_fkey;
alter table sessions drop constraint sessions_created_by_fkey;

-- What is left of a session, or of a space, that was deleted: nobody can reach it any more, and it is removed step by step.
-- A deletion holds the credential it came by, and would hold it for as long as a long log, or a large space, takes.
create table remains (id uuid7 primary key, kind text not null check (kind in ('session', 'space')));

alter table session_events drop constraint session_events_session_id_fkey;
alter table turns drop constraint turns_session_id_fkey;
alter table sessions drop constraint sessions_space_id_fkey;

-- As the foreign key did: a space that is there stays until the session is, and in one that is gone nothing begins.
create function be_in_space() returns trigger language plpgsql as $$
begin
  perform from spaces where id = new.space_id for key share;
  if not found then raise exception 'the space of the session is gone' using errcode = 'foreign_key_violation'; end if;
  return new;
end $$;
create trigger be_in_space before insert on sessions for each row execute function be_in_space();

-- Removes at most so many rows of the log of a session that was deleted. Returns whether none is left.
create function clear_session(session uuid, most integer) returns boolean language plpgsql as $$
declare events integer; others integer;
begin
  delete from session_events where ctid = any(array(select ctid from session_events where session_id = session limit most));
  get diagnostics events = row_count;
  delete from turns where ctid = any(array(select ctid from turns where session_id = session limit most - events));
  get diagnostics others = row_count;
  return events + others < most;
end $$;

-- Removes at most so many sessions of a space that was deleted, but none that a call still holds. Returns whether none is left.
create function clear_space(space uuid, most integer) returns boolean language plpgsql as $$
begin
  delete from sessions where id in (select id from sessions where space_id = space limit most for update skip locked);
  return not exists (select from sessions where space_id = space);
end $$;

create function leave_log() returns trigger language plpgsql as $$
begin
  if not clear_session(old.id, 1000) then insert into remains values (old.id, 'session') on conflict do nothing; end if;
  return null;
end $$;
create trigger leave_log after delete on sessions for each row execute function leave_log();

create function leave_sessions() returns trigger language plpgsql as $$
begin
  if not clear_space(old.id, 20) then insert into remains values (old.id, 'space') on conflict do nothing; end if;
  return null;
end $$;
create trigger leave_sessions after delete on spaces for each row execute function leave_sessions();

-- One step, which servers share. Returns whether there was anything to remove.
create function clear_remains() returns boolean language plpgsql as $$
declare here remains; cleared boolean;
begin
  -- Keys first, as what they have made counts where there are limits; and none waits until another is done.
  select * into here from remains order by kind = 'key' desc, random() limit 1 for update skip locked;
  if not found then return false; end if;
  cleared := case here.kind when 'session' then clear_session(here.id, 5000) else clear_space(here.id, 20) end;
  if cleared then delete from remains where id = here.id; end if;
  return true;
end $$;
