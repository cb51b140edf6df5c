-- migrate:up

-- Who did what, when and why; each row sealed to the one before it (drivewake.contracts.audit).
-- The service's role may add and read, and nothing else.
create table auth.audit (
  number bigint primary key,
  at timestamptz not null,
  since timestamptz not null,
  who text not null,
  action text not null,
  outcome text not null,
  why text not null,
  tenant text not null,
  connection text not null,
  count bigint not null check (count >= 1),
  trace text not null,
  hash text not null
);
create index audit_tenant on auth.audit (tenant, number);
grant select, insert on auth.audit to drivewake_auth;

-- migrate:down
-- forward only
