-- The token of one session, for a browser: a kind of its own, which goes with its session.
alter table tokens add column only_session_id uuid references sessions (id) on delete cascade;
create index on tokens (only_session_id) where only_session_id is not null;

-- What a session takes of a page, in bytes: at least what its metadata and tags take as JSON.
alter table sessions add column bytes integer not null
  generated always as (octet_length(metadata::text) + 400 * cardinality(tags) + 1000) stored;

-- The place at which a page of a log ends: behind `after`, with at most so many events and so many bytes, but at least one.
create function page_end(session uuid, after bigint, most integer, room integer) returns bigint language plpgsql stable as $$
declare e record; bytes bigint := 0; place bigint := after;
begin
  for e in select ev.seq, ev.data from session_events ev where ev.session_id = session and ev.seq > after order by ev.seq limit most loop
    bytes := bytes + octet_length(e.data::text) + 300;
    exit when bytes > room and place > after;
    place := e.seq;
  end loop;
  return place;
end $$;

-- Servers remember what a session is called by, workers and readers wait for what comes in it: all of them are told that it
-- is gone. Of a space that goes with all that is in it, they are told at once.
create function tell_session() returns trigger language plpgsql as $$
begin
  perform pg_notify('gatehouse_log', old.id::text);
  if exists (select from spaces where id = old.space_id) then
    perform tell('n:' || old.space_id || ' ' || old.id);
    if old.external_id is not null then perform tell('n:' || old.space_id || ' ' || old.external_id); end if;
  end if;
  return null;
end $$;
create trigger tell after delete on sessions for each row execute function tell_session();

-- The first id (UUIDv7) that could be made at a moment: what is older has a smaller one.
create function first_id(moment timestamptz) returns uuid language sql immutable as $$
  select (lpad(to_hex((extract(epoch from moment) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid
$$;

-- The record takes no update and no delete but one: of what is older than the retention that a transaction names. The
-- privilege to delete is given for that transaction alone.
create function only_retention() returns trigger language plpgsql as $$
declare days integer := nullif(current_setting('gatehouse.audit_retention_days', true), '')::integer;
begin
  if days >= 1 and (to_jsonb(old) ->> tg_argv[0])::timestamptz < now() - make_interval(days => days) then return old; end if;
  raise exception 'the audit record is append-only' using errcode = 'insufficient_privilege';
end $$;
drop trigger append_only on audit;
create trigger append_only before update or truncate on audit for each statement execute function append_only();
create trigger only_retention before delete on audit for each row execute function only_retention('at');
drop trigger append_only on audit_denials;
create trigger append_only before truncate on audit_denials for each statement execute function append_only();
create trigger only_retention before delete on audit_denials for each row execute function only_retention('minute');

-- A task goes with the credential that registered it: with the key, with the token, or when that expires. A person who is
-- signed in, and registers it, keeps it.
alter table tasks
  add column key_id uuid references api_keys (id) on delete cascade,
  add column token_id uuid references tokens (id) on delete cascade,
  add column expires_at timestamptz;
create index on tasks (key_id) where key_id is not null;
create index on tasks (token_id) where token_id is not null;
create index on tasks (expires_at) where expires_at is not null;
create view live_tasks as select * from tasks where expires_at is null or expires_at > now();

-- Where its registrant may register it only by what keys have given them, it hangs on those keys as well.
create table task_ties (
  task_id uuid not null references tasks (id) on delete cascade,
  key_id uuid not null references api_keys (id) on delete cascade,
  primary key (task_id, key_id)
);
create index on task_ties (key_id);

-- A tie that goes with its key takes the task along.
create function tie_takes_task() returns trigger language plpgsql as $$
begin
  delete from tasks t where t.id = old.task_id and not exists (select from api_keys k where k.id = old.key_id);
  return null;
end $$;
create trigger tie_takes_task after delete on task_ties for each row execute function tie_takes_task();

-- Registers a task, unless that would be one too many: in its space, or of its key. Tasks of a space are added one by one.
-- One that hangs on nothing stays as it is, whatever is registered there that hangs on something.
create function register_task(space uuid, named text, told text, idle integer, by uuid, key uuid, token uuid, ties uuid[], ends timestamptz,
  most integer, most_of_key integer, out task uuid, out problem text) language plpgsql as $$
declare lasts boolean := key is null and token is null and ends is null and cardinality(ties) = 0;
begin
  if not exists (select from live_tasks t where t.space_id = space and t.path = named) then
    perform pg_advisory_xact_lock(7070004, hashtext(space::text));
    delete from tasks t where t.space_id = space and t.expires_at <= now();
    if (select count(*) from tasks t where t.space_id = space and t.path <> named) >= most then problem := 'space'; return; end if;
    if (select count(*) from tasks t where t.key_id = key and t.path <> named) >= most_of_key then problem := 'key'; return; end if;
  end if;
  insert into tasks (id, space_id, path, description, idle_timeout_seconds, registered_by, key_id, token_id, expires_at)
    values (new_id(), space, named, told, idle, by, key, token, ends)
    on conflict on constraint task_path do update set description = excluded.description, idle_timeout_seconds = excluded.idle_timeout_seconds,
      registered_by = excluded.registered_by, key_id = excluded.key_id, token_id = excluded.token_id, expires_at = excluded.expires_at, seen_at = now()
      where lasts or tasks.key_id is not null or tasks.token_id is not null or tasks.expires_at is not null
        or exists (select from task_ties i where i.task_id = tasks.id)
    returning id into task;
  if not found then
    update tasks t set seen_at = now() where t.space_id = space and t.path = named returning t.id into task;
    return;
  end if;
  delete from task_ties i where i.task_id = task;
  insert into task_ties (task_id, key_id) select task, unnest(ties);
end $$;

-- The same, for a run that was deleted with its session: it is held by nobody.
create or replace function emit_chunks(emissions jsonb) returns table (place bigint, stop boolean, problem text) language plpgsql
-- A few rows by their keys, however large the tables are: the planner can't know how few.
set enable_hashjoin = off set enable_mergejoin = off as $$
declare locked uuid[];
begin
  select coalesce(array_agg(l.id), '{}') into locked from (
    select s.id from jsonb_to_recordset(emissions) as e(run uuid) join runs r on r.id = e.run join sessions s on s.id = r.session_id
    for update of s skip locked) l;
  -- Judged by what there is since then.
  return query with judged as materialized (
    select e.*, r.session_id, t.stop_asked, t.batch as known, case
      when r.id is null then 'LEASE_LOST'
      when r.session_id = any(locked) is false then 'BUSY'
      when not coalesce(r.epoch = e.epoch and r.worker_id = e.worker and r.ended_at is null and r.leased_until > clock_timestamp(), false)
        then 'LEASE_LOST'
      when t.turn is null or e.batch > t.batch + 1 then 'CONFLICT' end as wrong
    from rows from (jsonb_to_recordset(emissions) as (run uuid, epoch bigint, worker uuid, turn integer, batch integer, chunks jsonb))
      with ordinality e(run, epoch, worker, turn, batch, chunks, nth)
    left join runs r on r.id = e.run
    left join turns t on t.session_id = r.session_id and t.turn = e.turn and t.run_id = r.id and t.status = 'running'),
  fresh as (select * from judged j where j.wrong is null and (j.batch is null or j.batch > j.known)),
  counted as (
    update turns t set batch = f.batch from fresh f where t.session_id = f.session_id and t.turn = f.turn and f.batch is not null),
  placed as (update sessions s set last_seq = s.last_seq + 1 from fresh f where s.id = f.session_id returning s.id, s.last_seq),
  added as (
    insert into session_events select p.id, p.last_seq, 'out', 'chunks', f.turn, f.run, null, f.chunks
    from fresh f join placed p on p.id = f.session_id)
  select coalesce(p.last_seq, s.last_seq), j.stop_asked, j.wrong
  from judged j left join placed p on p.id = j.session_id left join sessions s on s.id = j.session_id order by j.nth;
end $$;

-- The same, which names a session that was deleted, and a turn to follow that the session does not have.
create or replace function say(session uuid, kind text, named text, data jsonb, by uuid, trace text, max_queued integer, max_a_minute integer,
  out place bigint, out which integer, out run uuid, out duplicate boolean, out problem text, out pause integer) language plpgsql as $$
declare here sessions; known turns; earlier timestamptz;
begin
  select * into here from sessions s where s.id = session for update;
  if not found then problem := 'NOT_FOUND'; return; end if;
  problem := case when here.close_reason = 'closed' then 'SESSION_CLOSED'
    when here.close_reason = 'expired' or here.expires_at <= now() then 'SESSION_EXPIRED' end;
  if problem is not null then return; end if;
  select * into known from turns t where t.session_id = session and t.input_id = named;
  duplicate := found;
  if duplicate then
    place := known.input_seq;
    which := known.turn;
    run := coalesce(known.run_id, (select r.id from runs r where r.session_id = session and r.ended_at is null));
    if not exists (select from session_events e where e.session_id = session and e.seq = place and e.kind = say.kind and e.data = say.data)
      then problem := 'CONFLICT'; end if;
    return;
  end if;
  if (data ->> 'follows')::integer > here.last_turn then problem := 'INVALID_PARAMS'; return; end if;
  if (select count(*) from turns t where t.session_id = session and t.status = 'queued') >= max_queued then
    problem := 'RATE_LIMITED';
    return;
  end if;
  -- Each input has a turn, numbered without gaps: as many ago as a minute may have, the minute must have begun.
  select e.at into earlier from turns t join session_events e on e.session_id = t.session_id and e.seq = t.input_seq
    where t.session_id = session and t.turn = here.last_turn - max_a_minute + 1;
  if earlier > clock_timestamp() - interval '1 minute' then
    problem := 'RATE_LIMITED';
    pause := ceil(extract(epoch from earlier + interval '1 minute' - clock_timestamp()));
    return;
  end if;
  update sessions s set last_turn = s.last_turn + 1 where s.id = session returning s.last_turn into which;
  place := log_event(session, 'in', kind, which, null, by, data);
  insert into turns (session_id, turn, input_id, input_seq, traceparent) values (session, which, named, place, trace);
  run := ensure_run(session, 'continuation');
end $$;
