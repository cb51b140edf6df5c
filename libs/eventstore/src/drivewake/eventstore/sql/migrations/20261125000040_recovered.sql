-- migrate:up

-- What a restored store took back from DRIVE_EVENT. The heads are older than that, so the same
-- facts will be decided again, at another time and so under another key: they are told by the
-- part of a key that names the fact, its last 80 bits.

create table eventstore.recovered (
  fact bytea primary key,
  at timestamptz not null default clock_timestamp()
);

comment on table eventstore.recovered is
  'Facts that are in the store before their heads know; not appended a second time.';

create table eventstore.resync (
  number bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp()
);

comment on table eventstore.resync is
  'How often the store went on after a restore: states of connections are then read again.';

grant select on eventstore.recovered to drivewake_writer, drivewake_reader;
grant select, insert on eventstore.recovered to drivewake_keeper;
grant select on eventstore.resync to drivewake_writer, drivewake_reader;
grant select, insert on eventstore.resync to drivewake_keeper;

-- migrate:down
