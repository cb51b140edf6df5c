-- migrate:up

-- Downstream teams read with SQL: each of their roles sees the events of one tenant, and
-- nothing else. A view, because COPY refuses a table with row-level security, and the append
-- is a COPY; read models, which are merged into, have row-level security by the same table.

do $$
begin
  if not exists (select from pg_roles where rolname = 'drivewake_tenant') then
    begin
      create role drivewake_tenant nologin;
    exception when duplicate_object or unique_violation then
      null;  -- made by another database in this very moment
    end;
  end if;
end
$$;

create table eventstore.tenant_reader (
  reader name primary key,
  tenant text not null
);

comment on table eventstore.tenant_reader is
  'Which tenant a role may read; written by admit_reader.';

alter table eventstore.tenant_reader enable row level security;

create policy own_row on eventstore.tenant_reader for select to drivewake_tenant
using (reader = current_user);

grant usage on schema eventstore to drivewake_tenant;
grant select on eventstore.tenant_reader to drivewake_tenant;

create schema drivewake;

comment on schema drivewake is 'What downstream reads with SQL; each role sees one tenant.';

-- A barrier: no condition of the asker is tried on a row of another tenant.
create view drivewake.event with (security_barrier) as
select e.lane, e.position, e.key as id, e.type, e.tenant, e.connection, e.stream as subject,
  e.occurred_at, e.data, e.metadata
from eventstore.event e
where e.tenant = (select t.tenant from eventstore.tenant_reader t where t.reader = current_user);

comment on view drivewake.event is
  'Events of the asker''s tenant; read on by (lane, position). Personal fields may be sealed.';

grant usage on schema drivewake to drivewake_tenant;
grant select on drivewake.event to drivewake_tenant;

-- Let a role read one tenant (instead of the one it could read before). The owner calls it.
create function eventstore.admit_reader(p_reader name, p_tenant text) returns void
language plpgsql
set search_path = eventstore, pg_temp as $$
begin
  execute format('grant drivewake_tenant to %I', p_reader);
  insert into tenant_reader (reader, tenant) values (p_reader, p_tenant)
  on conflict (reader) do update set tenant = excluded.tenant;
end
$$;

-- The next role of that name must be admitted again. Its login is dropped by whoever made it.
create function eventstore.dismiss_reader(p_reader name) returns void
language plpgsql
set search_path = eventstore, pg_temp as $$
begin
  delete from tenant_reader where reader = p_reader;
  execute format('revoke drivewake_tenant from %I', p_reader);
end
$$;

revoke all on function eventstore.admit_reader, eventstore.dismiss_reader from public;

-- migrate:down
