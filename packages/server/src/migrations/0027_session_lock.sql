-- Locks a session, for a statement that adds to it. Where another transaction holds it for longer than a moment, fails with
-- lock_not_available (55P03): the caller then waits in a transaction, and is judged again before anything is added.
create function lock_session(session uuid) returns uuid language plpgsql set lock_timeout = '100ms' as $$
begin
  perform from sessions s where s.id = session for update;
  return session;
end $$;
