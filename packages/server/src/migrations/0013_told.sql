-- A server that makes a change forgets at once what has ended by it, and need not wait until it hears of it: the tags that a
-- transaction tells are kept with it as well, in the setting `gatehouse.told`, a line each. Too many of them are `*`: anything may have ended.
create function tell(tag text) returns void language plpgsql as $$
declare told text := coalesce(current_setting('gatehouse.told', true), '');
begin
  perform pg_notify('gatehouse', tag);
  if told = '*' or position(chr(10) || tag || chr(10) in chr(10) || told || chr(10)) > 0 then return; end if;
  perform set_config('gatehouse.told', case when told = '' then tag when length(told) > 4000 then '*' else told || chr(10) || tag end, true);
end $$;

create or replace function tell_row() returns trigger language plpgsql as $$
begin
  perform tell(tg_argv[0] || ':' || (to_jsonb(old) ->> tg_argv[1]));
  return null;
end $$;

create or replace function tell_space() returns trigger language plpgsql as $$
begin
  perform tell('s:' || space_id) from (select distinct space_id from changed) s;
  return null;
end $$;

create or replace function tell_space_of_group() returns trigger language plpgsql as $$
begin
  perform tell('s:' || space_id)
    from (select distinct g.space_id from changed c join principals g on g.id = c.group_id) s;
  return null;
end $$;
