-- What better-auth's plugins keep, as 0001 has it: its names, our ids and rules. It writes lists as JSON.
create table auth.passkey (
  id uuid7 primary key,
  name text,
  "publicKey" text not null,
  "userId" uuid not null references auth."user" (id) on delete cascade,
  "credentialID" text not null unique,
  counter bigint not null,
  "deviceType" text not null,
  "backedUp" boolean not null,
  transports text,
  aaguid text,
  "createdAt" timestamptz not null default now()
);
create index on auth.passkey ("userId");

-- Programs that people sign in to (RFC 6749 §2).
create table auth."oauthClient" (
  id uuid7 primary key,
  "clientId" text not null unique,
  "clientSecret" text,
  "clientDiscoveryId" text,
  disabled boolean not null default false,
  "skipConsent" boolean,
  "enableEndSession" boolean,
  "subjectType" text,
  scopes jsonb,
  "clientCredentialsScopes" jsonb,
  "userId" uuid references auth."user" (id) on delete cascade,
  name text,
  uri text,
  icon text,
  contacts jsonb,
  tos text,
  policy text,
  "softwareId" text,
  "softwareVersion" text,
  "softwareStatement" text,
  "redirectUris" jsonb not null,
  "postLogoutRedirectUris" jsonb,
  "backchannelLogoutUri" text,
  "backchannelLogoutSessionRequired" boolean,
  "tokenEndpointAuthMethod" text,
  "applicationType" text,
  jwks text,
  "jwksUri" text,
  "grantTypes" jsonb,
  "responseTypes" jsonb,
  "requirePKCE" boolean,
  "dpopBoundAccessTokens" boolean,
  "referenceId" text,
  metadata jsonb,
  "createdAt" timestamptz not null default now(),
  "updatedAt" timestamptz not null default now()
);
create index on auth."oauthClient" ("userId");

create table auth."oauthResource" (
  id uuid7 primary key,
  identifier text not null unique,
  name text not null,
  "accessTokenTtl" integer,
  "refreshTokenTtl" integer,
  "signingAlgorithm" text,
  "signingKeyId" text,
  "allowedScopes" jsonb,
  "customClaims" jsonb,
  "dpopBoundAccessTokensRequired" boolean,
  disabled boolean not null default false,
  "policyVersion" integer not null default 1,
  metadata jsonb,
  "createdAt" timestamptz not null default now(),
  "updatedAt" timestamptz not null default now()
);

create table auth."oauthClientResource" (
  id uuid7 primary key,
  "clientId" text not null references auth."oauthClient" ("clientId") on delete cascade,
  "resourceId" text not null references auth."oauthResource" (identifier) on delete cascade,
  metadata jsonb,
  "createdAt" timestamptz not null default now(),
  unique ("clientId", "resourceId")
);
create index on auth."oauthClientResource" ("resourceId");

-- A login of a program: pairs of tokens, each refreshed from the one before. `token` is a SHA-256. The session in which it
-- was allowed may end before it.
create table auth."oauthRefreshToken" (
  id uuid7 primary key,
  token text not null unique,
  "clientId" text not null references auth."oauthClient" ("clientId") on delete cascade,
  "sessionId" uuid references auth.session (id) on delete set null,
  "userId" uuid not null references auth."user" (id) on delete cascade,
  "referenceId" text,
  "authorizationCodeId" text not null,
  resources jsonb,
  "requestedUserInfoClaims" jsonb,
  "expiresAt" timestamptz not null,
  "createdAt" timestamptz not null,
  revoked timestamptz,
  "rotatedAt" timestamptz,
  "rotationReplayResponse" text,
  "rotationReplayExpiresAt" timestamptz,
  "authTime" timestamptz,
  confirmation jsonb,
  scopes jsonb not null
);
create index on auth."oauthRefreshToken" ("userId");
create index on auth."oauthRefreshToken" ("sessionId");
create index on auth."oauthRefreshToken" ("authorizationCodeId");

create table auth."oauthAccessToken" (
  id uuid7 primary key,
  token text not null unique,
  "clientId" text not null references auth."oauthClient" ("clientId") on delete cascade,
  "sessionId" uuid references auth.session (id) on delete set null,
  "userId" uuid references auth."user" (id) on delete cascade,
  "referenceId" text,
  "authorizationCodeId" text not null,
  resources jsonb,
  "requestedUserInfoClaims" jsonb,
  "refreshId" uuid references auth."oauthRefreshToken" (id) on delete cascade,
  "expiresAt" timestamptz not null,
  "createdAt" timestamptz not null,
  revoked timestamptz,
  confirmation jsonb,
  scopes jsonb not null
);
create index on auth."oauthAccessToken" ("userId");
create index on auth."oauthAccessToken" ("sessionId");
create index on auth."oauthAccessToken" ("refreshId");
create index on auth."oauthAccessToken" ("authorizationCodeId");

-- All tokens of one login carry one "authorizationCodeId", so that they can end together. better-auth hands it on at every
-- refresh, but begins without one where the login came by a device code. A login that was allowed to stay does not hang on
-- the session it was allowed in.
create function auth.tokens_of_logins() returns trigger language plpgsql as $$
begin
  if new."authorizationCodeId" is null and tg_table_name = 'oauthAccessToken' then
    select "authorizationCodeId" into new."authorizationCodeId" from auth."oauthRefreshToken" where id = new."refreshId";
  end if;
  new."authorizationCodeId" := coalesce(new."authorizationCodeId", new.id::text);
  if new.scopes ? 'offline_access' then new."sessionId" := null; end if;
  return new;
end $$;
create trigger tokens_of_logins before insert on auth."oauthRefreshToken" for each row execute function auth.tokens_of_logins();
create trigger tokens_of_logins before insert on auth."oauthAccessToken" for each row execute function auth.tokens_of_logins();

create table auth."oauthConsent" (
  id uuid7 primary key,
  "clientId" text not null references auth."oauthClient" ("clientId") on delete cascade,
  "userId" uuid references auth."user" (id) on delete cascade,
  "referenceId" text,
  resources jsonb,
  "requestedUserInfoClaims" jsonb,
  scopes jsonb not null,
  "createdAt" timestamptz not null,
  "updatedAt" timestamptz not null
);
create index on auth."oauthConsent" ("userId", "clientId");

create table auth."oauthClientAssertion" (
  id text primary key, -- a digest of the assertion, made by better-auth
  "expiresAt" timestamptz not null
);

create table auth."deviceCode" (
  id uuid7 primary key,
  "deviceCode" text not null unique,
  "userCode" text not null unique,
  "userId" uuid references auth."user" (id) on delete cascade,
  "expiresAt" timestamptz not null,
  status text not null check (status in ('pending', 'approved', 'denied')),
  "lastPolledAt" timestamptz,
  "pollingInterval" integer,
  "clientId" text,
  scope text,
  resources jsonb,
  "oauthClientId" text references auth."oauthClient" ("clientId") on delete cascade
);
create index on auth."deviceCode" ("userId");

-- Whoever gives an account a new password ends what the old one opened: all sessions and logins, and those under way.
create function auth.password_ends_logins() returns trigger language plpgsql as $$
begin
  delete from auth.session where "userId" = new."userId";
  delete from auth."oauthAccessToken" where "userId" = new."userId";
  delete from auth."oauthRefreshToken" where "userId" = new."userId";
  delete from auth."deviceCode" where "userId" = new."userId";
  return null;
end $$;
create trigger new_password_ends_logins after insert on auth.account
  for each row when (new.password is not null) execute function auth.password_ends_logins();
create trigger password_ends_logins after update of password on auth.account
  for each row when (new.password is distinct from old.password) execute function auth.password_ends_logins();

-- From where people have signed in: guesses from elsewhere do not lock them out.
create table auth.known_addresses (
  user_id uuid not null references auth."user" (id) on delete cascade,
  address inet not null,
  last_at timestamptz not null default now(),
  primary key (user_id, address)
);
create function auth.know_address() returns trigger language plpgsql as $$
begin
  insert into auth.known_addresses (user_id, address) values (new."userId", new."ipAddress"::inet)
    on conflict (user_id, address) do update set last_at = now();
  return null;
end $$;
create trigger know_address after insert on auth.session
  for each row when (new."ipAddress" <> '') execute function auth.know_address();

-- How often something was tried, by whom: counted by all servers together. Takes the place of better-auth's own count.
drop table auth."rateLimit";
create unlogged table auth.attempts (
  key text primary key,
  count integer not null,
  since timestamptz not null
);

-- The command line, a public native client (RFC 8252): a port may stand in its redirect URIs.
insert into auth."oauthClient" (id, "clientId", name, "applicationType", "tokenEndpointAuthMethod", "requirePKCE", "skipConsent",
    "redirectUris", "grantTypes", "responseTypes", scopes)
  values ('01980000-0000-7000-8000-000000000001', 'me', 'The Gatehouse command line', 'native', 'none', true, false,
    '["http://127.0.0.1/callback", "http://[::1]/callback"]',
    '["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"]', '["code"]', '["account", "offline_access"]');
