-- The scopes of the tokens above a token: each stays a layer of it, though its own scope need not lie within them.
alter table tokens add column under jsonb not null default '[]';

-- What agent workers offer to run, by the path that permissions name.
create table tasks (
  id uuid7 primary key,
  space_id uuid not null references spaces (id) on delete cascade,
  path text not null,
  description text not null default '',
  idle_timeout_seconds integer not null,
  registered_by uuid references principals (id) on delete set null,
  seen_at timestamptz not null default now(),
  created_at timestamptz not null default now(),
  constraint task_path unique (space_id, path)
);

-- One durable conversation with a task. Its row is locked by whatever is added to its log, so that the log has one order.
create table sessions (
  id uuid7 primary key,
  space_id uuid not null references spaces (id) on delete cascade,
  task text not null,
  external_id text,
  metadata jsonb not null default '{}',
  tags text[] not null default '{}',
  idle_timeout_seconds integer not null,
  expires_at timestamptz,
  closed_at timestamptz,
  close_reason text check (close_reason in ('closed', 'expired')),
  created_by uuid references principals (id) on delete set null,
  last_seq bigint not null default 0,
  last_turn integer not null default 0,
  created_at timestamptz not null default now(),
  constraint session_external_id unique (space_id, external_id),
  constraint closed_with_reason check ((closed_at is null) = (close_reason is null))
);
create index on sessions (space_id, id);
create index on sessions (expires_at) where closed_at is null;

-- One worker's hold of a session. At most one run of a session is alive, and each hold has an epoch of its own: what a
-- worker writes with an earlier one is refused.
create table runs (
  id uuid7 primary key,
  session_id uuid not null references sessions (id) on delete cascade,
  number integer not null,
  reason text not null check (reason in ('initial', 'continuation', 'upgrade')),
  epoch bigint not null default 0,
  worker text,
  worker_id uuid references principals (id) on delete set null,
  leased_until timestamptz,
  leased_at timestamptz,
  idle_since timestamptz,
  ended_at timestamptz,
  end_reason text check (end_reason in ('idle', 'lost', 'closed', 'handover', 'upgrade')),
  created_at timestamptz not null default now(),
  unique (session_id, number),
  constraint ended_with_reason check ((ended_at is null) = (end_reason is null))
);
create unique index one_live_run on runs (session_id) where ended_at is null;
create index waiting_runs on runs (id) where ended_at is null and leased_until is null;
create index leased_runs on runs (leased_until) where ended_at is null and leased_until is not null;
create sequence run_epoch;

-- One input and the answer to it.
create table turns (
  session_id uuid not null references sessions (id) on delete cascade,
  turn integer not null,
  input_id text not null,
  input_seq bigint not null,
  status text not null default 'queued' check (status in ('queued', 'running', 'complete', 'errored', 'stopped')),
  stop_asked boolean not null default false,
  attempts integer not null default 0,
  -- How many batches of chunks there are of its answer: one that is sent again counts once.
  batch integer not null default 0,
  run_id uuid references runs (id) on delete set null,
  ended_at timestamptz,
  primary key (session_id, turn),
  constraint input_once unique (session_id, input_id)
);
create unique index one_running_turn on turns (session_id) where status = 'running';
create index queued_turns on turns (session_id, turn) where status = 'queued';

-- The log: append-only, gapless, in one order for each session.
create table session_events (
  session_id uuid not null references sessions (id) on delete cascade,
  seq bigint not null,
  direction text not null check (direction in ('in', 'out')),
  kind text not null,
  turn integer,
  run_id uuid,
  by_id uuid,
  data jsonb not null,
  at timestamptz not null default clock_timestamp(),
  primary key (session_id, seq)
);
create trigger append_only before update on session_events for each statement execute function append_only();

-- Adds an event to a session's log, and tells whoever reads it. The session's row must be locked.
create function log_event(session uuid, direction text, kind text, turn integer, run uuid, by uuid, data jsonb) returns bigint
language plpgsql as $$
declare place bigint;
begin
  update sessions s set last_seq = s.last_seq + 1 where s.id = session returning s.last_seq into place;
  insert into session_events values (session, place, direction, kind, turn, run, by, data);
  perform pg_notify('gatehouse_log', session || ' ' || place);
  return place;
end $$;

-- UUIDv7 (RFC 9562 §5.7), for what is made inside of functions.
create function new_id() returns uuid language sql volatile as $$
  select encode(
    set_bit(set_bit(overlay(uuid_send(gen_random_uuid()) placing
      substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6), 52, 1), 53, 1), 'hex')::uuid
$$;

-- The run that is alive, or a new one that waits for a worker.
create function ensure_run(session uuid, because text) returns uuid language plpgsql as $$
declare run uuid; made uuid; last integer;
begin
  select r.id into run from runs r where r.session_id = session and r.ended_at is null;
  if found then return run; end if;
  select coalesce(max(r.number), 0) into last from runs r where r.session_id = session;
  made := new_id();
  insert into runs (id, session_id, number, reason) values (made, session, last + 1, case when last = 0 then 'initial' else because end);
  perform log_event(session, 'out', 'run', null, made, null, jsonb_build_object('number', last + 1));
  perform pg_notify('gatehouse_log', 'work');
  return made;
end $$;

-- Whether a worker's hold of a run is the present one, and not over.
create function holds_run(run uuid, held bigint, holder uuid) returns boolean language sql volatile as $$
  select exists (select from runs r where r.id = run and r.epoch = held and r.worker_id = holder and r.ended_at is null
    and r.leased_until > clock_timestamp())
$$;

-- Ends a run that is alive: a turn it left is delivered again, by a run that goes on; unless the session is over, when
-- every turn that has no end is stopped.
create function end_run(run uuid, because text, max_attempts integer) returns void language plpgsql as $$
declare held runs; here sessions; left_turn turns;
begin
  -- The session before the run, always: whatever adds to the log takes them in this order.
  perform from sessions s where s.id = (select r.session_id from runs r where r.id = run) for update;
  update runs r set ended_at = now(), end_reason = because, leased_until = null where r.id = run and r.ended_at is null returning * into held;
  if not found then return; end if;
  select * into here from sessions s where s.id = held.session_id;
  perform log_event(here.id, 'out', 'run-end', null, run, null, jsonb_build_object('reason', because));
  for left_turn in select * from turns t where t.session_id = here.id and t.status in ('queued', 'running') order by t.turn loop
    if here.closed_at is not null then
      perform finish_turn(here.id, left_turn.turn, run, 'stopped', null);
    elsif left_turn.status = 'running' and left_turn.stop_asked then
      perform finish_turn(here.id, left_turn.turn, run, 'stopped', null);
    elsif left_turn.status = 'running' and left_turn.attempts >= max_attempts then
      perform finish_turn(here.id, left_turn.turn, run, 'errored', 'the worker was lost too often');
    elsif left_turn.status = 'running' then
      update turns t set status = 'queued', run_id = null where t.session_id = here.id and t.turn = left_turn.turn;
      perform log_event(here.id, 'out', 'turn-lost', left_turn.turn, run, null, '{}');
    end if;
  end loop;
  if here.closed_at is null and exists (select from turns t where t.session_id = here.id and t.status = 'queued') then
    perform ensure_run(here.id, case when because = 'upgrade' then 'upgrade' else 'continuation' end);
  end if;
end $$;

-- Ends a turn, once.
create function finish_turn(session uuid, which integer, run uuid, outcome text, message text) returns boolean language plpgsql as $$
begin
  update turns t set status = outcome, ended_at = now(), run_id = run
    where t.session_id = session and t.turn = which and t.status in ('queued', 'running');
  if not found then return false; end if;
  perform log_event(session, 'out', 'turn-end', which, run, null,
    jsonb_strip_nulls(jsonb_build_object('outcome', outcome, 'error', message)));
  return true;
end $$;

-- Closes a session for good, once: its run ends, and every turn that has no end is stopped.
create function close_session(session uuid, because text, by uuid) returns void language plpgsql as $$
declare live uuid; left_turn turns;
begin
  perform from sessions s where s.id = session for update;
  update sessions s set closed_at = now(), close_reason = because where s.id = session and s.closed_at is null;
  if not found then return; end if;
  select r.id into live from runs r where r.session_id = session and r.ended_at is null;
  if found then
    perform end_run(live, 'closed', 0);
  else
    for left_turn in select * from turns t where t.session_id = session and t.status = 'queued' order by t.turn loop
      perform finish_turn(session, left_turn.turn, null, 'stopped', null);
    end loop;
  end if;
  -- The last of the log: whoever has read it has read all.
  perform log_event(session, 'in', 'close', null, null, by, jsonb_build_object('reason', because));
end $$;

-- Adds to the answer of a turn, for the worker who holds the run, unless that batch is there already; else says what is wrong.
create function emit_chunks(run uuid, held bigint, worker uuid, which integer, number integer, chunks jsonb,
  out place bigint, out stop boolean, out problem text) language plpgsql as $$
declare session uuid; known integer;
begin
  select r.session_id into session from runs r where r.id = run;
  perform from sessions s where s.id = session for update;
  if not holds_run(run, held, worker) then problem := 'LEASE_LOST'; return; end if;
  select t.stop_asked, t.batch into stop, known from turns t
    where t.session_id = session and t.turn = which and t.status = 'running' and t.run_id = run;
  if not found or number > known + 1 then problem := 'CONFLICT'; return; end if;
  if number <= known then
    select s.last_seq into place from sessions s where s.id = session;
    return;
  end if;
  if number is not null then update turns t set batch = number where t.session_id = session and t.turn = which; end if;
  place := log_event(session, 'out', 'chunks', which, run, null, chunks);
end $$;

-- Ends a run whose lease is over, unless its worker has been heard of by now.
create function end_lost_run(run uuid, max_attempts integer) returns void language plpgsql as $$
begin
  perform from sessions s where s.id = (select r.session_id from runs r where r.id = run) for update;
  perform from runs r where r.id = run and r.ended_at is null and r.leased_until < clock_timestamp() for update;
  if found then perform end_run(run, 'lost', max_attempts); end if;
end $$;
