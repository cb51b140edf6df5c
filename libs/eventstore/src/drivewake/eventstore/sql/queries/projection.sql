-- live_version: the version of the live read model, null without one
select max(version) from checkpoint;

-- exists: whether a schema holds a read model
select to_regclass($1 || '.checkpoint') is not null;

-- checkpoint: where the read model stands in a lane, locked until the transaction ends
select position, version from checkpoint where lane = $1 for update;

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
