-- The run that is alive, or a new one that waits for a worker: those who wait for runs of its task in its space are told,
-- and nobody else.
create or replace function ensure_run(session uuid, because text) returns uuid language plpgsql as $$
declare run uuid; made uuid; last integer;
begin
  select r.id into run from runs r where r.session_id = session and r.ended_at is null;
  if found then return run; end if;
  select coalesce(max(r.number), 0) into last from runs r where r.session_id = session;
  made := new_id();
  insert into runs (id, session_id, number, reason) values (made, session, last + 1, case when last = 0 then 'initial' else because end);
  perform log_event(session, 'out', 'run', null, made, null, jsonb_build_object('number', last + 1));
  perform pg_notify('gatehouse_log', 'work:' || s.space_id || ':' || s.task) from sessions s where s.id = session;
  return made;
end $$;
