-- Ids are UUIDv7, made by the server (RFC 9562 §5.7).
create domain uuid7 as uuid check (substr(value::text, 15, 1) = '7');

-- People sign in with better-auth, which owns this schema. Its user id is the principal id.
create schema auth;

create table auth."user" (
  id uuid7 primary key,
  name text not null,
  email text not null unique check (email = lower(email)),
  "emailVerified" boolean not null default false,
  image text,
  "createdAt" timestamptz not null default now(),
  "updatedAt" timestamptz not null default now()
);

create table auth.session (
  id uuid7 primary key,
  "userId" uuid not null references auth."user" (id) on delete cascade,
  token text not null unique,
  "expiresAt" timestamptz not null,
  "ipAddress" text,
  "userAgent" text,
  "createdAt" timestamptz not null default now(),
  "updatedAt" timestamptz not null default now()
);
create index on auth.session ("userId");

create table auth.account (
  id uuid7 primary key,
  "userId" uuid not null references auth."user" (id) on delete cascade,
  "accountId" text not null,
  "providerId" text not null,
  "accessToken" text,
  "refreshToken" text,
  "idToken" text,
  "accessTokenExpiresAt" timestamptz,
  "refreshTokenExpiresAt" timestamptz,
  scope text,
  password text,
  "createdAt" timestamptz not null default now(),
  "updatedAt" timestamptz not null default now(),
  unique ("providerId", "accountId")
);
create index on auth.account ("userId");

create table auth.verification (
  id uuid7 primary key,
  identifier text not null,
  value text not null,
  "expiresAt" timestamptz not null,
  "createdAt" timestamptz not null default now(),
  "updatedAt" timestamptz not null default now()
);
create index on auth.verification (identifier);

create table auth."rateLimit" (
  id uuid7 primary key,
  key text not null unique,
  count integer not null,
  "lastRequest" bigint not null
);

-- Whoever can be named: u = user, a = agent. An agent always has an owner, which is no agent: the
-- foreign key takes the owner's `can_own` along.
create table principals (
  id uuid7 primary key,
  kind text not null check (kind in ('u', 'a')),
  name text not null,
  owner_id uuid,
  can_own boolean generated always as (kind <> 'a') stored,
  owner_can_own boolean generated always as (owner_id is not null or null) stored,
  created_at timestamptz not null default now(),
  unique (id, can_own),
  constraint agent_has_owner check ((kind = 'a') = (owner_id is not null)),
  constraint owner_can_own foreign key (owner_id, owner_can_own) references principals (id, can_own)
);
create unique index agent_name on principals (owner_id, lower(name)) where kind = 'a';

-- A user is a principal from the statement that makes the user, and no longer than the user.
create function auth.user_is_principal() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into public.principals (id, kind, name) values (new.id, 'u', new.name);
  elsif tg_op = 'UPDATE' then
    update public.principals set name = new.name where id = new.id;
  else
    delete from public.principals where owner_id = old.id;
    delete from public.principals where id = old.id;
  end if;
  return null;
end $$;
create trigger user_is_principal after insert or update of name or delete on auth."user"
  for each row execute function auth.user_is_principal();

create table spaces (
  id uuid7 primary key,
  slug text not null constraint space_slug unique check (slug ~ '^[a-z0-9]{12}$'),
  name text not null,
  created_at timestamptz not null default now()
);

-- A space's roster.
create table members (
  space_id uuid not null references spaces (id) on delete cascade,
  principal_id uuid not null references principals (id) on delete cascade,
  admin boolean not null default false,
  created_at timestamptz not null default now(),
  primary key (space_id, principal_id)
);
create index on members (principal_id, space_id);

-- A space keeps a user who is admin. Checked at commit, one transaction at a time for each space:
-- the lock on the space makes concurrent demotions see each other.
create function keep_an_admin() returns trigger language plpgsql as $$
begin
  perform from spaces where id = old.space_id for no key update;
  if found and not exists (
    select from members m join principals p on p.id = m.principal_id
    where m.space_id = old.space_id and m.admin and p.kind = 'u'
  ) then
    raise exception 'the space would have no admin' using errcode = 'integrity_constraint_violation', constraint = 'last_admin';
  end if;
  return null;
end $$;
create constraint trigger keep_an_admin after update or delete on members
  deferrable initially deferred for each row when (old.admin) execute function keep_an_admin();

-- API keys: only the SHA-256 of the secret is kept. Between a rotation and the end of its overlap a
-- key has two secrets; it stays one key, so that revoking it kills both.
create table api_keys (
  id uuid7 primary key,
  principal_id uuid not null references principals (id) on delete cascade,
  name text not null,
  hash bytea not null constraint api_key_hash unique check (length(hash) = 32),
  hint text not null,
  previous_hash bytea unique check (length(previous_hash) = 32),
  previous_expires_at timestamptz,
  ceiling text[] check (cardinality(ceiling) > 0),
  expires_at timestamptz,
  last_used_at timestamptz,
  created_at timestamptz not null default now(),
  constraint previous_secret_expires check ((previous_hash is null) = (previous_expires_at is null))
);
create unique index api_key_name on api_keys (principal_id, lower(name));
