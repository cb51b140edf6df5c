-- migrate:up

-- A service account that acts for people of a Workspace (domain-wide delegation). Its key is
-- sealed; a new key is another `grant_id`, so that a refusal of the old one concludes nothing.
create table auth.service_account (
  id text primary key check (id ~ '^[A-Za-z0-9_-]{1,64}$'),
  tenant text not null references auth.tenant (id),
  email text not null,
  client_id text not null,
  grant_id text not null,
  key_id text not null,
  sealed bytea not null,
  added_at timestamptz not null,
  unique (tenant, email)
);

-- Which service account a connection is had by; whom it acts for is the connection's address.
create table auth.delegation (
  connection text primary key references auth.connection (id),
  service_account text not null references auth.service_account (id),
  granted_at timestamptz not null
);
create index delegation_account on auth.delegation (service_account);
grant select, insert, update on auth.service_account to drivewake_auth;
grant select, insert, update, delete on auth.delegation to drivewake_auth;

-- migrate:down
-- forward only
