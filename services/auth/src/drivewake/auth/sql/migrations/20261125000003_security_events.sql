-- migrate:up

-- How Google names a refresh token in a security event, so that it can be found without being
-- opened: SHA-256 of its first 16 characters, and SHA-512 of its SHA-512.
alter table auth.refresh_token add column prefix_mark bytea, add column double_mark bytea;
-- A row a connection: an index is made in a moment.
-- squawk-ignore require-concurrent-index-creation
create index refresh_token_prefix_mark on auth.refresh_token (prefix_mark);
-- squawk-ignore require-concurrent-index-creation
create index refresh_token_double_mark on auth.refresh_token (double_mark);

-- Security events of Google that were acted upon.
create table auth.security_event (
  jti text primary key,
  received_at timestamptz not null
);
create index security_event_age on auth.security_event (received_at);
grant select, insert, delete on auth.security_event to drivewake_auth;

-- migrate:down
-- forward only
