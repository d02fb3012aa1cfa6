-- Ends all that principals have in a space: memberships, groups, grants, and invitations to their addresses; and all that
-- their keys have made there. Invitations that they made go with their memberships.
create function take_everything(space uuid, who uuid[]) returns void language plpgsql as $$
declare keys uuid[] := array(select k.id from api_keys k where k.principal_id = any(who));
begin
  delete from members m where m.space_id = space and (m.principal_id = any(who) or m.key_id = any(keys));
  delete from grants g where g.space_id = space and (g.principal_id = any(who) or g.key_id = any(keys));
  delete from group_members gm using principals g
    where g.id = gm.group_id and g.space_id = space and (gm.principal_id = any(who) or gm.key_id = any(keys));
  delete from invites i where i.space_id = space and i.email in (select u.email from auth."user" u where u.id = any(who));
end $$;

-- As in 0002; and a member's agents leave with them, so that nothing comes back with them: neither what an agent was
-- granted, nor an invitation that an agent's key has made.
create or replace function leave_takes_everything() returns trigger language plpgsql as $$
begin
  perform from spaces where id = old.space_id;
  if not found then return null; end if; -- it goes with all that is in it
  -- Whatever is being given to them at this moment refers to them: wait until it is there, and take it too.
  perform from principals where id = old.principal_id for update;
  perform from principals where owner_id = old.principal_id order by id for update;
  perform take_everything(old.space_id, array(
    select old.principal_id union all select p.id from principals p where p.owner_id = old.principal_id));
  return null;
end $$;

-- An agent that changes hands stays where its new owner is, too. Elsewhere it could do nothing until its old owner had it
-- back: then it would have what it was granted before.
create function leave_with_old_owner() returns trigger language plpgsql as $$
declare space uuid;
begin
  for space in
    select s.id from spaces s where (
        exists (select from members m where m.space_id = s.id and m.principal_id = new.id)
        or exists (select from grants g where g.space_id = s.id and g.principal_id = new.id)
        or exists (select from group_members gm join principals p on p.id = gm.group_id where p.space_id = s.id and gm.principal_id = new.id))
      and not exists (select from live_members m where m.space_id = s.id and m.principal_id = new.owner_id)
      and not exists (select from principals o where o.id = new.owner_id and o.space_id = s.id)
  loop
    perform take_everything(space, array[new.id]);
  end loop;
  return null;
end $$;
create trigger leave_with_old_owner after update of owner_id on principals
  for each row when (old.owner_id <> new.owner_id) execute function leave_with_old_owner();

-- An invitation hangs on the membership of its maker.
delete from invites i where not exists (select from members m where m.space_id = i.space_id and m.principal_id = i.invited_by);
alter table invites alter column invited_by set not null;
alter table invites drop constraint invites_invited_by_fkey;
alter table invites add foreign key (space_id, invited_by) references members (space_id, principal_id) on delete cascade;
create index on invites (space_id, invited_by);
drop index invites_space_id_idx;

-- As in 0002, but to know somebody by another space than that of the call takes memberships of both that no key has made:
-- what is made of such knowledge in a space of one's own would outlive the key.
create or replace function knows(caller uuid, other uuid, space uuid) returns boolean language sql stable as $$
  with mine as materialized (
    select m.space_id from members m join principals c on c.id = m.principal_id left join principals o on o.id = c.owner_id
    where m.principal_id = caller and m.key_id is null and (c.kind <> 'a' or o.space_id = m.space_id
      or exists (select from members om where om.space_id = m.space_id and om.principal_id = o.id and om.key_id is null offset 0))),
  asked as materialized (
    select coalesce(p.owner_id, other) as owner, coalesce(p.space_id, other) as home
    from (select) as nothing left join principals p on p.id = other)
  select owner in (select managed_owners(caller))
    or exists (select from live_members m where m.space_id = space and m.principal_id in (owner, other))
    or exists (select from principals g where g.id = owner and g.space_id = space)
    or exists (select from mine where mine.space_id = home
      or exists (select from members m where m.space_id = mine.space_id and m.principal_id = other and m.key_id is null offset 0))
  from asked
$$;
