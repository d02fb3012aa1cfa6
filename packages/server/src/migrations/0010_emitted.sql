-- Adds to the answers of turns, for the workers who hold their runs: each unless that batch is there already, else says what
-- is wrong with it. Many go together, for each commit is a write to the disk; of a run, one. Whoever locks many in no order
-- may wait for none of them: a session that somebody else holds is BUSY, and holds up no other.
drop function emit_chunks(uuid, bigint, uuid, integer, integer, jsonb);
create function emit_chunks(emissions jsonb) returns table (place bigint, stop boolean, problem text) language plpgsql
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
