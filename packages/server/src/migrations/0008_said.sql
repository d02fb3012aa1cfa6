-- Adds an event to a session's log, and tells whoever reads it. The session's row must be locked. Of chunks the server
-- tells: transactions that notify are committed one after the other, each with a write to the disk of its own.
create or replace function log_event(session uuid, direction text, kind text, turn integer, run uuid, by uuid, data jsonb) returns bigint
language plpgsql as $$
declare place bigint;
begin
  update sessions s set last_seq = s.last_seq + 1 where s.id = session returning s.last_seq into place;
  insert into session_events values (session, place, direction, kind, turn, run, by, data);
  if kind <> 'chunks' then perform pg_notify('gatehouse_log', session::text); end if;
  return place;
end $$;

-- Adds what is said to a session: once, and with a run that will answer it, or not at all; else says what is wrong.
create function say(session uuid, kind text, named text, data jsonb, by uuid, trace text, max_queued integer,
  out place bigint, out which integer, out run uuid, out duplicate boolean, out problem text) language plpgsql as $$
declare here sessions; known turns;
begin
  select * into here from sessions s where s.id = session for update;
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
  if (select count(*) from turns t where t.session_id = session and t.status = 'queued') >= max_queued then
    problem := 'RATE_LIMITED';
    return;
  end if;
  update sessions s set last_turn = s.last_turn + 1 where s.id = session returning s.last_turn into which;
  place := log_event(session, 'in', kind, which, null, by, data);
  insert into turns (session_id, turn, input_id, input_seq, traceparent) values (session, which, named, place, trace);
  run := ensure_run(session, 'continuation');
end $$;

-- The turn that a run is in, or the next one, which begins; or that the run is over; or how long there is still to wait.
create function next_input(run uuid, held bigint, holder uuid, lease_seconds integer, max_attempts integer,
  out which integer, out attempt integer, out named text, out kind text, out data jsonb, out trace text, out ended text, out wait_ms integer, out problem text)
language plpgsql as $$
declare here sessions; mine runs; waiting turns; idle_for integer;
begin
  select s.* into here from sessions s where s.id = (select r.session_id from runs r where r.id = run) for update;
  if not holds_run(run, held, holder) then problem := 'LEASE_LOST'; return; end if;
  select * into waiting from turns t where t.session_id = here.id and t.status in ('running', 'queued') order by t.turn limit 1;
  -- Who asks lives.
  update runs r set leased_until = clock_timestamp() + make_interval(secs => lease_seconds),
      idle_since = case when waiting.turn is null then coalesce(r.idle_since, clock_timestamp()) end
    where r.id = run returning * into mine;
  if here.closed_at is not null then
    perform end_run(run, 'closed', max_attempts);
    ended := 'closed';
  elsif waiting.turn is not null then
    which := waiting.turn;
    named := waiting.input_id;
    trace := waiting.traceparent;
    attempt := waiting.attempts;
    if waiting.status = 'queued' then
      attempt := attempt + 1;
      update turns t set status = 'running', run_id = run, attempts = attempt, batch = 0 where t.session_id = here.id and t.turn = which;
      perform log_event(here.id, 'out', 'turn-start', which, run, null, jsonb_build_object('attempt', attempt));
    end if;
    select e.kind, e.data into kind, data from session_events e where e.session_id = here.id and e.seq = waiting.input_seq;
  else
    idle_for := extract(epoch from clock_timestamp() - mine.idle_since) * 1000;
    wait_ms := here.idle_timeout_seconds * 1000 - idle_for;
    if wait_ms <= 0 then
      perform end_run(run, 'idle', max_attempts);
      ended := 'idle';
    end if;
  end if;
end $$;
