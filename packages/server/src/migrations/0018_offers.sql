-- The offers of a group's agents end with the right of who made them to speak for the group: they do not come back with it.
create function end_offers() returns trigger language plpgsql as $$
begin
  delete from agent_offers f using principals a
    where f.offered_by = old.principal_id and a.id = f.agent_id and a.owner_id = old.group_id;
  return null;
end $$;
create trigger end_offers after delete on group_members for each row when (old.admin) execute function end_offers();
create trigger end_offers_of_member after update of admin on group_members
  for each row when (old.admin and not new.admin) execute function end_offers();
