-- live_version: the version of the live read model, null without one
select max(version) from checkpoint;

-- exists: whether a schema holds a read model
select to_regclass($1 || '.checkpoint') is not null;

-- checkpoint: where the read model stands in a lane, locked until the transaction ends
select position, version from checkpoint where lane = $1 for update;

-- place: where the read model stands in a lane
select position, version from checkpoint where lane = $1;

-- advance: move the read model's place
update checkpoint set position = $2, applied_at = clock_timestamp() where lane = $1;

-- checkpoint_table: the place and version of a read model, in its own schema
create table checkpoint (
  lane smallint primary key,
  position bigint not null,
  version integer not null,
  applied_at timestamptz not null default clock_timestamp()
) with (fillfactor = 50);

-- start: the beginning of a lane
insert into checkpoint (lane, position, version) values ($1, 0, $2) on conflict do nothing;

-- tenant_tables: which tables of a read model say whose their rows are
select quote_ident(c.relname) as name from pg_class c
join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped
where c.relnamespace = $1::regnamespace and c.relkind in ('r', 'p');

-- separate_tenants: let a role that reads one tenant see that tenant's rows alone
alter table {table} enable row level security;
create policy all_tenants on {table} for select to drivewake_reader using (true);
create policy own_tenant on {table} for select to drivewake_tenant using (
  tenant = (select r.tenant from eventstore.tenant_reader r where r.reader = current_user)
);
grant select on {table} to drivewake_tenant;
