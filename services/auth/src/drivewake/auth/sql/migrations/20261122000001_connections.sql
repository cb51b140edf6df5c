-- migrate:up
create schema if not exists auth;

-- A customer organisation; its id is a token of subjects.
create table auth.tenant (
  id text primary key check (id ~ '^[A-Za-z0-9_-]{1,64}$'),
  name text not null check (length(name) between 1 and 200),
  created_at timestamptz not null
);
insert into auth.tenant (id, name, created_at) values ('default', 'Default', now());

-- One principal of one tenant. The principal is the issuer's own id of it, never an address.
create table auth.connection (
  id text primary key check (id ~ '^[A-Za-z0-9_-]{1,64}$'),
  tenant text not null references auth.tenant (id),
  principal_kind text not null check (principal_kind in ('user', 'service_account')),
  issuer text not null,
  subject text not null check (length(subject) between 1 and 255),
  status text not null check (status in
    ('active', 'degraded', 'reauthorization_required', 'blocked', 'revoking', 'revoked')),
  reason text not null,
  since timestamptz not null,
  scopes text[] not null,
  watched_folders text[] not null,
  revision bigint not null check (revision >= 1),
  created_at timestamptz not null,
  last_finding_at timestamptz,
  revoke_at timestamptz,
  revoke_attempts integer not null default 0,
  label_key text,
  label bytea,
  unique (tenant, issuer, subject),
  check ((status = 'revoking') = (revoke_at is not null)),
  check ((label is null) = (label_key is null))
);
create index connection_tenant on auth.connection (tenant, id);
create index connection_principal on auth.connection (issuer, subject);
create index connection_revoking on auth.connection (revoke_at) where revoke_at is not null;

-- The current refresh token of a connection, sealed (AES-256-GCM, bound to tenant, connection
-- and purpose). The row goes when the token must not be used any more.
create table auth.refresh_token (
  connection text primary key references auth.connection (id),
  id text not null,
  tenant text not null,
  key_id text not null,
  sealed bytea not null,
  stored_at timestamptz not null
);
create index refresh_token_key on auth.refresh_token (key_id);

-- Every revision of every connection: history, and outbox while published_at is null.
create table auth.transition (
  connection text not null references auth.connection (id),
  revision bigint not null,
  number bigint generated always as identity,
  tenant text not null,
  principal_kind text not null,
  status text not null,
  reason text not null,
  since timestamptz not null,
  scopes text[] not null,
  watched_folders text[] not null,
  at timestamptz not null,
  published_at timestamptz,
  primary key (connection, revision)
);
create index transition_pending on auth.transition (number) where published_at is null;

-- Leave to connect one account; spent by the connection it makes.
create table auth.link (
  id text primary key,
  tenant text not null references auth.tenant (id),
  connection text references auth.connection (id),
  expires_at timestamptz not null,
  opened integer not null default 0,
  spent_at timestamptz
);
create index link_expiry on auth.link (expires_at);

-- One trip of a browser to Google and back.
create table auth.sign_in (
  id text primary key,
  link text not null references auth.link (id) on delete cascade,
  tenant text not null,
  connection text,
  browser bytea not null,
  key_id text not null,
  sealed bytea not null,
  expires_at timestamptz not null
);
create index sign_in_expiry on auth.sign_in (expires_at);
create index sign_in_link on auth.sign_in (link);

-- What the service may do, and nothing else; its login role is a member.
do $$ begin
  create role drivewake_auth nologin;
exception when duplicate_object or unique_violation then null;
end $$;
grant usage on schema auth to drivewake_auth;
grant select, insert on auth.tenant to drivewake_auth;
grant select, insert, update on auth.connection to drivewake_auth;
grant select, insert, update, delete on auth.refresh_token to drivewake_auth;
grant select, insert, update (published_at) on auth.transition to drivewake_auth;
grant select, insert, update, delete on auth.link to drivewake_auth;
grant select, insert, delete on auth.sign_in to drivewake_auth;

-- migrate:down
