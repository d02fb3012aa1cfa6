-- Groups: principals of one space. They may own agents.
alter table principals drop constraint principals_kind_check;
alter table principals add constraint principals_kind_check check (kind in ('u', 'a', 'g'));
alter table principals add column space_id uuid references spaces (id) on delete cascade;
alter table principals add constraint group_has_space check ((kind = 'g') = (space_id is not null));
create unique index group_name on principals (space_id, lower(name)) where kind = 'g';

-- What a key makes is tied to it (key_id): it goes when the key is revoked, and counts for nothing
-- once the key has expired. What a person makes, signed in, is tied to nothing.
alter table members add column key_id uuid references api_keys (id) on delete cascade;
alter table members add constraint admin_lasts check (not admin or key_id is null);

create table group_members (
  group_id uuid not null references principals (id) on delete cascade,
  principal_id uuid not null references principals (id) on delete cascade,
  admin boolean not null default false,
  key_id uuid references api_keys (id) on delete cascade,
  created_at timestamptz not null default now(),
  primary key (group_id, principal_id),
  constraint group_admin_lasts check (not admin or key_id is null)
);
create index on group_members (principal_id);

create table grants (
  id uuid7 not null unique,
  space_id uuid not null references spaces (id) on delete cascade,
  principal_id uuid not null references principals (id) on delete cascade,
  permission text not null,
  granted_by uuid references principals (id) on delete set null,
  key_id uuid references api_keys (id) on delete cascade,
  created_at timestamptz not null default now(),
  primary key (principal_id, space_id, permission)
);
create index on grants (space_id, id);
create index on grants (key_id) where key_id is not null;
create index on members (key_id) where key_id is not null;
create index on group_members (key_id) where key_id is not null;

create function key_lives(id uuid) returns boolean language sql stable as $$
  select id is null or exists (select from api_keys k where k.id = $1 and (k.expires_at is null or k.expires_at > now()))
$$;
-- Joined to the keys, and not by key_lives(), which would be called for every row.
create view live_members as
  select t.* from members t left join api_keys k on k.id = t.key_id where k.expires_at is null or k.expires_at > now();
create view live_group_members as
  select t.* from group_members t left join api_keys k on k.id = t.key_id where k.expires_at is null or k.expires_at > now();
create view live_grants as
  select t.* from grants t left join api_keys k on k.id = t.key_id where k.expires_at is null or k.expires_at > now();

-- Who leaves a space loses all they had there, so that nothing comes back with them by surprise: the
-- invitations they made as well, or one of them would be their way back.
create function leave_takes_everything() returns trigger language plpgsql as $$
begin
  perform from spaces where id = old.space_id;
  if not found then return null; end if; -- it goes with all that is in it
  -- Whatever is being given to them at this moment refers to them: wait until it is there, and take it too.
  perform from principals where id = old.principal_id for update;
  delete from grants where space_id = old.space_id and principal_id = old.principal_id;
  delete from group_members gm using principals g
    where g.id = gm.group_id and g.space_id = old.space_id and gm.principal_id = old.principal_id;
  delete from invites where space_id = old.space_id and invited_by = old.principal_id;
  return null;
end $$;
create trigger leave_takes_everything after delete on members for each row execute function leave_takes_everything();

-- What a principal holds in a space, given that it is a member there: its own grants, those of its
-- groups, everything for an admin; to read the groups it is in, and to administer those it is admin of.
-- What it holds lastingly is that without what keys have made: only of this can it make more.
-- It reads by index, from the holder on, however the planner guesses: grants are looked up by an array of holders, and
-- "offset 0" keeps the groups from being joined to all there are. What others hold is never read.
create function held(space uuid, holder uuid, is_admin boolean, lasting boolean default false) returns text[] language sql stable as $$
  with mine as materialized (
    select gm.group_id, gm.admin from live_group_members gm
    where gm.principal_id = holder and not (lasting and gm.key_id is not null)
      and exists (select from principals p where p.id = gm.group_id and p.space_id = space offset 0))
  select array(
    select 'admin' where is_admin
    union select permission from live_grants
      where space_id = space and principal_id = any(array(select holder union all select group_id from mine))
        and not (lasting and key_id is not null)
    union select case when admin then 'admin' else 'read' end || ':groups:' || group_id from mine
    union select 'read:groups:' || p.id from principals p where p.id = holder and p.kind = 'g' and p.space_id = space
    order by 1)
$$;

-- The owners whose agents a user may manage in person: the user, and the groups they administer in
-- spaces they are in, but for those where a key has put them: a key they make for an agent outlives it.
create function managed_owners(manager uuid) returns setof uuid language sql stable as $$
  select manager
  union
  select gm.group_id from live_group_members gm
    join principals g on g.id = gm.group_id
    join members m on m.space_id = g.space_id and m.principal_id = gm.principal_id and m.key_id is null
    where gm.principal_id = manager and gm.admin
$$;

-- Whether a caller may know of a principal: the one rule by which an id is told from nothing, and a name from an id.
-- Known are the caller and the agents they manage; who is in a space with them, and its groups; and in the space that a
-- call is about (null = none) the agents of its members and groups. An agent sees nobody where its owner is not.
-- A stranger and nobody take the same time: the same is looked up for both, in each of the caller's spaces by its whole
-- key, so that it costs nothing to be in others. "offset 0" keeps the planner from beginning with theirs.
create function knows(caller uuid, other uuid, space uuid) returns boolean language sql stable as $$
  with mine as materialized (
    select m.space_id from live_members m join principals c on c.id = m.principal_id left join principals o on o.id = c.owner_id
    where m.principal_id = caller and (c.kind <> 'a' or o.space_id = m.space_id
      or exists (select from live_members om where om.space_id = m.space_id and om.principal_id = o.id offset 0))),
  asked as materialized (
    select coalesce(p.owner_id, other) as owner, coalesce(p.space_id, other) as home
    from (select) as nothing left join principals p on p.id = other)
  select owner in (select managed_owners(caller))
    or exists (select from live_members m where m.space_id = space and m.principal_id = owner)
    or exists (select from principals g where g.id = owner and g.space_id = space)
    or exists (select from mine where mine.space_id = home
      or exists (select from live_members m where m.space_id = mine.space_id and m.principal_id = other offset 0))
  from asked
$$;

create table invites (
  id uuid7 primary key,
  space_id uuid not null references spaces (id) on delete cascade,
  email text check (email = lower(email)),
  token_hash bytea unique check (length(token_hash) = 32),
  invited_by uuid references principals (id) on delete set null,
  key_id uuid references api_keys (id) on delete cascade,
  expires_at timestamptz not null,
  created_at timestamptz not null default now(),
  constraint email_or_link check ((email is null) <> (token_hash is null))
);
create index on invites (space_id);
create unique index invite_email on invites (space_id, email);

create table invite_groups (
  invite_id uuid not null references invites (id) on delete cascade,
  group_id uuid not null references principals (id) on delete cascade,
  primary key (invite_id, group_id)
);

-- An agent that is offered to another owner, who has not said yes yet.
create table agent_offers (
  agent_id uuid primary key references principals (id) on delete cascade,
  to_id uuid not null references principals (id) on delete cascade,
  offered_by uuid not null references principals (id) on delete cascade,
  created_at timestamptz not null default now()
);
create index on agent_offers (to_id);

-- The record of changes: rows are added, and never changed.
create table audit (
  id uuid7 primary key,
  place bigint not null,
  at timestamptz not null default now(),
  space_id uuid,
  actor_id uuid not null,
  actor_kind text not null,
  actor_name text not null,
  credential_id uuid not null,
  via text not null,
  owner_id uuid,
  method text not null,
  target text,
  outcome text not null,
  request_id text not null,
  trace_id text
);
create index on audit (space_id, place);
create function append_only() returns trigger language plpgsql as $$
begin
  raise exception 'the audit record is append-only' using errcode = 'insufficient_privilege';
end $$;
create trigger append_only before update or delete or truncate on audit for each statement execute function append_only();
revoke update, delete, truncate on audit from current_user;

-- Denials, one row for each actor, credential, method and minute: repeating one fills no disk.
create table audit_denials (
  id uuid7 primary key,
  place bigint not null,
  minute timestamptz not null,
  space_id uuid,
  actor_id uuid not null,
  actor_kind text not null,
  actor_name text not null,
  credential_id uuid not null,
  via text not null,
  owner_id uuid,
  method text not null,
  reason text,
  count integer not null default 1,
  request_id text not null,
  trace_id text,
  unique nulls not distinct (actor_id, credential_id, method, space_id, minute)
);
create index on audit_denials (space_id, place);
create trigger append_only before delete or truncate on audit_denials for each statement execute function append_only();
create trigger only_counted before update on audit_denials for each row
  when (new.count <= old.count or to_jsonb(new) - 'count' <> to_jsonb(old) - 'count') execute function append_only();
revoke update, delete, truncate on audit_denials from current_user;
grant update (count) on audit_denials to current_user;

-- An entry takes its place in the record of a space when all before it are committed: the lock is held until its own
-- commit. So whoever has read up to a place has missed nothing before it. What is checked at commit is checked before
-- the lock is taken: who holds it waits for nobody.
create sequence audit_place;
create function take_place() returns trigger language plpgsql as $$
begin
  set constraints all immediate;
  perform pg_advisory_xact_lock(7070002, hashtext(new.space_id::text));
  new.place := nextval('audit_place');
  return new;
end $$;
create trigger take_place before insert on audit for each row execute function take_place();
create trigger take_place before insert on audit_denials for each row execute function take_place();
