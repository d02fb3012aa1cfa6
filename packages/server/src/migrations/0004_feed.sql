-- Whoever keeps in memory what authority hangs on is told when that changes, on channel `gatehouse`, by the transaction
-- that changes it. What is told is a tag: `c:` and the id of a credential, `p:` of a principal, `s:` of a space. Equal
-- tags of one transaction are told once.

-- For a row with a tag of its own: its prefix, and the column with the id. Nobody can have kept what was not there yet.
create function tell_row() returns trigger language plpgsql as $$
begin
  perform pg_notify('gatehouse', tg_argv[0] || ':' || (to_jsonb(old) ->> tg_argv[1]));
  return null;
end $$;

-- Not last_used_at, which ends nothing.
create trigger tell after update of principal_id, hash, previous_hash, previous_expires_at, expires_at, ceiling or delete on api_keys
  for each row execute function tell_row('c', 'id');
create trigger tell after update of token, "userId", "expiresAt" or delete on auth.session
  for each row execute function tell_row('c', 'id');
create trigger tell after update of revoked, "expiresAt" or delete on auth."oauthAccessToken"
  for each row execute function tell_row('c', 'id');
create trigger tell after update of email on auth."user" for each row execute function tell_row('p', 'id');
create trigger tell after update of name, owner_id or delete on principals for each row execute function tell_row('p', 'id');
-- A group takes what its members held by it along.
create trigger tell_space after delete on principals
  for each row when (old.space_id is not null) execute function tell_row('s', 'space_id');
create trigger tell after update or delete on spaces for each row execute function tell_row('s', 'id');

-- For rows of a space, of which one statement may change very many: what it inserted, updated or deleted is `changed`.
create function tell_space() returns trigger language plpgsql as $$
begin
  perform pg_notify('gatehouse', 's:' || space_id) from (select distinct space_id from changed) s;
  return null;
end $$;
create function tell_space_of_group() returns trigger language plpgsql as $$
begin
  perform pg_notify('gatehouse', 's:' || space_id)
    from (select distinct g.space_id from changed c join principals g on g.id = c.group_id) s;
  return null;
end $$;
create trigger tell_insert after insert on members referencing new table as changed for each statement execute function tell_space();
create trigger tell_update after update on members referencing new table as changed for each statement execute function tell_space();
create trigger tell_delete after delete on members referencing old table as changed for each statement execute function tell_space();
create trigger tell_insert after insert on grants referencing new table as changed for each statement execute function tell_space();
create trigger tell_update after update on grants referencing new table as changed for each statement execute function tell_space();
create trigger tell_delete after delete on grants referencing old table as changed for each statement execute function tell_space();
create trigger tell_insert after insert on group_members referencing new table as changed for each statement execute function tell_space_of_group();
create trigger tell_update after update on group_members referencing new table as changed for each statement execute function tell_space_of_group();
create trigger tell_delete after delete on group_members referencing old table as changed for each statement execute function tell_space_of_group();
