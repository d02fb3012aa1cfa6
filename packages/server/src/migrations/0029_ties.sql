-- What a key has made counts for nothing from the moment at which the key is gone, as when it has expired, and is removed step by
-- step. To delete a key took along all that it had made, and kept its owner from being rid of it for as long as that took; and
-- whoever it had let in could do nothing meanwhile.
alter table members drop constraint members_key_id_fkey;
alter table group_members drop constraint group_members_key_id_fkey;
alter table grants drop constraint grants_key_id_fkey;
alter table invites drop constraint invites_key_id_fkey;

-- As in 0002, but that what hangs on a key which is gone is dead.
create or replace view live_members as
  select t.* from members t left join api_keys k on k.id = t.key_id
  where t.key_id is null or (k.id is not null and (k.expires_at is null or k.expires_at > now()));
create or replace view live_group_members as
  select t.* from group_members t left join api_keys k on k.id = t.key_id
  where t.key_id is null or (k.id is not null and (k.expires_at is null or k.expires_at > now()));
create or replace view live_grants as
  select t.* from grants t left join api_keys k on k.id = t.key_id
  where t.key_id is null or (k.id is not null and (k.expires_at is null or k.expires_at > now()));

alter table remains drop constraint remains_kind_check;
alter table remains add constraint remains_kind_check check (kind in ('session', 'space', 'key'));

-- Removes at most so many memberships that a key has made, and so many of what else it has made. Returns whether none is left. Who
-- is held before what they are in, as everything else takes both: whoever gives them something at this moment holds them, and may
-- wait for their place on the roster.
create function clear_key(key uuid, most_members integer, most integer) returns boolean language plpgsql as $$
declare spaces uuid[]; who uuid[]; most_tokens constant integer := 1000; ended integer;
begin
  select array_agg(m.space_id), array_agg(m.principal_id) into spaces, who
    from (select space_id, principal_id from members where key_id = key order by principal_id limit most_members) m;
  perform from principals p where p.id = any(who) order by p.id for update;
  -- Their tokens for the space first, which are worth nothing there any more: with the memberships would go however many there are.
  delete from tokens where ctid = any(array(
    select t.ctid from unnest(spaces, who) as one (space, principal) join tokens t on t.space_id = one.space and t.principal_id = one.principal
    union select t.ctid from unnest(spaces, who) as one (space, principal) join tokens t on t.space_id = one.space and t.actor_id = one.principal
    limit most_tokens));
  get diagnostics ended = row_count;
  if ended = most_tokens then return false; end if;
  delete from members m using unnest(spaces, who) as one (space, principal)
    where m.space_id = one.space and m.principal_id = one.principal and m.key_id = key;
  delete from group_members where ctid = any(array(select ctid from group_members where key_id = key limit most));
  delete from grants where ctid = any(array(select ctid from grants where key_id = key limit most));
  delete from invites where ctid = any(array(select ctid from invites where key_id = key limit most));
  return not exists (select from members where key_id = key) and not exists (select from group_members where key_id = key)
    and not exists (select from grants where key_id = key) and not exists (select from invites where key_id = key);
end $$;

drop trigger hold_whom_key_let_in on api_keys;
drop function hold_whom_key_let_in();
-- A transaction that ends very many keys leaves all of it for later.
create function leave_ties() returns trigger language plpgsql as $$
begin
  if current_setting('gatehouse.later', true) = 'on' or not clear_key(old.id, 20, 100) then insert into remains values (old.id, 'key') on conflict do nothing; end if;
  return null;
end $$;
create trigger leave_ties after delete on api_keys for each row execute function leave_ties();

create or replace function clear_remains() returns boolean language plpgsql as $$
declare here remains; cleared boolean;
begin
  -- Keys first, as what they have made counts where there are limits; and none waits until another is done.
  select * into here from remains order by kind = 'key' desc, random() limit 1 for update skip locked;
  if not found then return false; end if;
  cleared := case here.kind
    when 'session' then clear_session(here.id, 5000)
    when 'space' then clear_space(here.id, 20)
    when 'key' then clear_key(here.id, 20, 1000) end;
  if cleared then delete from remains where id = here.id; end if;
  return true;
end $$;
