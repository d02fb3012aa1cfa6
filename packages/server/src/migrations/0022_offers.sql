-- An offer of an agent ends, for good, with whatever ends the acquaintance of its maker and its receiver.
create index on agent_offers (offered_by);
create function end_offers_of_strangers() returns trigger language plpgsql as $$
begin
  delete from agent_offers f using (
    select f.offered_by, f.to_id from gone join agent_offers f on f.offered_by = gone.principal_id
    union select f.offered_by, f.to_id from gone join agent_offers f on f.to_id = gone.principal_id) pair
  where f.offered_by = pair.offered_by and f.to_id = pair.to_id and not knows(pair.offered_by, pair.to_id, null);
  return null;
end $$;
create trigger end_offers after delete on members referencing old table as gone for each statement execute function end_offers_of_strangers();

-- Those that are only hidden by now: their makers know the receivers no more, or do not manage the agents.
delete from agent_offers f using principals a
  where a.id = f.agent_id and not (a.owner_id in (select managed_owners(f.offered_by)) and knows(f.offered_by, f.to_id, null));

-- Whoever gives an account a new password ends what was offered in its name: by its name after what ends its sessions, so
-- that an offer that a session is making at this moment is there by then.
create function auth.password_ends_offers() returns trigger language plpgsql as $$
begin
  delete from agent_offers where offered_by = new."userId";
  return null;
end $$;
create trigger new_password_ends_offers after insert on auth.account
  for each row when (new.password is not null) execute function auth.password_ends_offers();
create trigger password_ends_offers after update of password on auth.account
  for each row when (new.password is distinct from old.password) execute function auth.password_ends_offers();

-- A key that goes takes along whom it has let in: who before what they are in, as everything else takes both. Whoever gives
-- them something at this moment holds them, and may wait for their place on the roster.
create function hold_whom_key_let_in() returns trigger language plpgsql as $$
begin
  perform from principals p where p.id in (select m.principal_id from members m where m.key_id = old.id) order by p.id for update;
  return old;
end $$;
create trigger hold_whom_key_let_in before delete on api_keys for each row execute function hold_whom_key_let_in();
