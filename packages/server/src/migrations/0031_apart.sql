-- A call costs no more for what others have on the server.

-- A run is found by its space and its task: others' runs that wait are not looked through.
alter table runs add column space_id uuid, add column task text;
update runs r set space_id = s.space_id, task = s.task from sessions s where s.id = r.session_id;
alter table runs alter column space_id set not null, alter column task set not null;
create function place_run() returns trigger language plpgsql as $$
begin
  select s.space_id, s.task into new.space_id, new.task from sessions s where s.id = new.session_id;
  return new;
end $$;
create trigger place_run before insert on runs for each row execute function place_run();
drop index waiting_runs;
create index waiting_runs on runs (space_id, task, id) where ended_at is null and leased_until is null;

-- The run of some tasks that waits for the longest time and that nobody is taking. It is held.
create function free_run(space uuid, tasks text[]) returns uuid language plpgsql as $$
declare one text; free uuid;
begin
  for one in
    select t.task from unnest(tasks) t (task), lateral (
      select r.id from runs r
      where r.space_id = space and r.task = t.task and r.ended_at is null and r.leased_until is null order by r.id limit 1) oldest
    order by oldest.id
  loop
    select r.id into free from runs r
      where r.space_id = space and r.task = one and r.ended_at is null and r.leased_until is null
      order by r.id limit 1 for update skip locked;
    if found then return free; end if;
  end loop;
  return null;
end $$;

-- Runs whose workers are silent, those of each space by turns.
create function lost_runs(most integer) returns setof uuid language sql volatile as $$
  select id from (
    select id, leased_until, row_number() over (partition by space_id order by leased_until) as nth
    from runs where ended_at is null and leased_until < clock_timestamp()) lost
  order by nth, leased_until limit most
$$;

-- The end of a turn is found without reading the log.
create index turn_ends on session_events (session_id, turn) where kind = 'turn-end';

-- The key by which names are compared is made once, and not for each row that is looked at.
alter table principals add column folded_name text generated always as (name_key(name)) stored;
drop index group_name;
create unique index group_name on principals (space_id, folded_name) where kind = 'g';
drop index agent_name;
create unique index agent_name on principals (owner_id, folded_name) where kind = 'a';
create index on principals (folded_name);

-- As in 0015, but only the spaces are looked at that the agent is in, or has something in.
create or replace function leave_with_old_owner() returns trigger language plpgsql as $$
declare space uuid;
begin
  for space in
    select held.space_id from (
      select m.space_id from members m where m.principal_id = new.id
      union select g.space_id from grants g where g.principal_id = new.id
      union select p.space_id from group_members gm join principals p on p.id = gm.group_id where gm.principal_id = new.id) held
    where not exists (select from live_members m where m.space_id = held.space_id and m.principal_id = new.owner_id)
      and not exists (select from principals o where o.id = new.owner_id and o.space_id = held.space_id)
    order by held.space_id
  loop
    perform take_everything(space, array[new.id]);
  end loop;
  return null;
end $$;
