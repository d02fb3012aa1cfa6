-- A space's service: the principal as which the space's own server side calls, by secret keys. One for each space, made
-- with its first key; it is on the roster, and holds what it was granted, like any member.
alter table principals drop constraint principals_kind_check;
alter table principals add constraint principals_kind_check check (kind in ('u', 'a', 'g', 's'));
alter table principals drop constraint group_has_space;
alter table principals add constraint has_space check ((kind in ('g', 's')) = (space_id is not null));
create unique index one_service on principals (space_id) where kind = 's';

-- The keys that sign tokens: the private half is encrypted under the server's secret. A key is published before it signs
-- and stays published while a token it signed may live.
create table signing_keys (
  id uuid7 primary key,
  public_jwk jsonb not null,
  encrypted text not null,
  signs_from timestamptz not null,
  created_at timestamptz not null default now()
);

-- Every token (JWT) that was minted, until it expires. A JWT says who it is for; this row says whether it lives. It hangs
-- on what it came from, so that it goes in the statement that ends that: the key, the session, the token it was exchanged
-- for, the membership of the one it speaks for and of the agent that acts for them.
create table tokens (
  id uuid7 primary key,
  principal_id uuid not null references principals (id) on delete cascade,
  space_id uuid not null,
  scope text[] not null check (cardinality(scope) > 0),
  expires_at timestamptz not null,
  key_id uuid references api_keys (id) on delete cascade,
  -- Which of a rotated key's secrets: with the end of its overlap, what came from it ends.
  key_hash bytea,
  session_id uuid references auth.session (id) on delete cascade,
  login_id uuid references auth."oauthAccessToken" (id) on delete cascade,
  parent_id uuid references tokens (id) on delete cascade,
  -- Only with this agent's own credential is it good for anything.
  may_act_id uuid references principals (id) on delete cascade,
  -- The agent that acts for the principal, and the key it came with.
  actor_id uuid references principals (id) on delete cascade,
  actor_key_id uuid references api_keys (id) on delete cascade,
  actor_key_hash bytea,
  created_at timestamptz not null default now(),
  foreign key (space_id, principal_id) references members (space_id, principal_id) on delete cascade,
  foreign key (space_id, actor_id) references members (space_id, principal_id) on delete cascade,
  constraint secret_of_key check ((key_id is null) = (key_hash is null)),
  constraint acts_by_key check ((actor_id is null) = (actor_key_id is null) and (actor_id is null) = (actor_key_hash is null))
);
create index on tokens (expires_at);
create index on tokens (space_id, principal_id);
create index on tokens (key_id) where key_id is not null;
create index on tokens (session_id) where session_id is not null;
create index on tokens (login_id) where login_id is not null;
create index on tokens (parent_id) where parent_id is not null;
create index on tokens (actor_id) where actor_id is not null;
create index on tokens (actor_key_id) where actor_key_id is not null;
create index on tokens (may_act_id) where may_act_id is not null;
create index on tokens (principal_id);

-- Whether a secret of a key is good: its present one, or the one before within the overlap.
create function secret_lives(key uuid, secret bytea) returns boolean language sql stable as $$
  select key is null or exists (
    select from api_keys k where k.id = key and (k.expires_at is null or k.expires_at > now())
      and (k.hash = secret or (k.previous_hash = secret and k.previous_expires_at > now())))
$$;

alter table audit add column acting_id uuid;
alter table audit_denials add column acting_id uuid;

create trigger tell after update or delete on tokens for each row execute function tell_row('c', 'id');
