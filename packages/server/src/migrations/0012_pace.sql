-- Adds what is said to a session: once, and with a run that will answer it, or not at all; else says what is wrong, and, of
-- too much, for how many seconds. An input that is there already counts for no limit.
drop function say(uuid, text, text, jsonb, uuid, text, integer);
create function say(session uuid, kind text, named text, data jsonb, by uuid, trace text, max_queued integer, max_a_minute integer,
  out place bigint, out which integer, out run uuid, out duplicate boolean, out problem text, out pause integer) language plpgsql as $$
declare here sessions; known turns; earlier timestamptz;
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
