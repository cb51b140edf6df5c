-- migrate:up

-- Personal fields are stored sealed under a data key of the connection that saw them (heads:
-- of the tenant); deleting a key makes them unreadable wherever they are, in backups too.

alter table eventstore.event add column sealed bytea;
-- Data becomes null only when a keyring is given, which is after all run this version.
-- squawk-ignore ban-drop-not-null
alter table eventstore.event alter column data drop not null;

comment on column eventstore.event.sealed is
  'The data, encrypted (see sealing.py); data is null then.';

create table eventstore.data_key (
  tenant text not null,
  connection text not null,
  ring_key text,
  wrapped bytea,
  made_at timestamptz not null default clock_timestamp(),
  erased_at timestamptz,
  primary key (tenant, connection),
  check ((wrapped is null) = (erased_at is not null) and (wrapped is null) = (ring_key is null))
);

comment on table eventstore.data_key is
  'Data keys, wrapped under a keyring that the database does not have. Connection '''' is the '
  'tenant itself. An erased key leaves its row: nothing is sealed for its owner any more.';

create table eventstore.key_epoch (
  only_row boolean primary key default true check (only_row),
  epoch bigint not null default 0
);

comment on table eventstore.key_epoch is
  'Rises with every erasure: a batch that was sealed in an older epoch is refused.';

insert into eventstore.key_epoch default values;

create table eventstore.erasure (
  id text primary key,
  tenant text not null,
  connection text not null,
  asked_by text not null,
  asked_at timestamptz not null default clock_timestamp(),
  keys_gone_at timestamptz,
  finished_at timestamptz,
  counts json,
  unique (tenant, connection)
);

comment on table eventstore.erasure is
  'What was erased, when and for whom, without anything personal.';

-- The epoch as the last commit left it, also when asked at the end of a statement that waited.
create function eventstore.current_key_epoch() returns bigint
language plpgsql security definer
set search_path = eventstore, pg_temp as $$
begin
  return (select epoch from key_epoch);
end
$$;

-- Keep a new key, unless the owner has one or had; return what is there then. The key of the
-- tenant itself must be made before those of its connections.
create function eventstore.keep_data_key(
  p_tenant text, p_connection text, p_ring_key text, p_wrapped bytea,
  out ring_key text, out wrapped bytea
)
language plpgsql security definer
set search_path = eventstore, pg_temp as $$
declare
  of_tenant record;
begin
  if p_connection <> '' then
    select k.erased_at into of_tenant from data_key k
      where k.tenant = p_tenant and k.connection = '' for share;
    if not found then
      raise exception 'the tenant has no key yet' using errcode = 'foreign_key_violation';
    end if;
    if of_tenant.erased_at is not null then
      return;
    end if;
  end if;
  insert into data_key as k (tenant, connection, ring_key, wrapped)
    values (p_tenant, p_connection, p_ring_key, p_wrapped) on conflict do nothing;
  select k.ring_key, k.wrapped into keep_data_key.ring_key, keep_data_key.wrapped
    from data_key k where k.tenant = p_tenant and k.connection = p_connection;
end
$$;

-- Delete the keys of a connection, or of a tenant and all its connections ('').
-- After the commit nothing that was sealed with them can be appended: whoever appends holds
-- the lane's table, which is locked here, and compares the epoch.
create function eventstore.erase_data_keys(p_erasure text, out erased bigint)
language plpgsql security definer
set search_path = eventstore, pg_temp as $$
declare
  what record;
begin
  lock table lane in exclusive mode;
  select * into strict what from erasure where id = p_erasure for update;
  insert into data_key (tenant, connection, erased_at)
    values (what.tenant, what.connection, clock_timestamp()) on conflict do nothing;
  perform from data_key where tenant = what.tenant and connection = '' for update;
  update data_key k set wrapped = null, ring_key = null, erased_at = clock_timestamp()
    where k.tenant = what.tenant and k.erased_at is null
      and (what.connection = '' or k.connection = what.connection);
  get diagnostics erased = row_count;
  update key_epoch set epoch = epoch + 1;
  update erasure set keys_gone_at = coalesce(keys_gone_at, clock_timestamp())
    where id = p_erasure;
end
$$;

-- Open the record of an erasure, or return the one there is.
create function eventstore.begin_erasure(
  p_id text, p_tenant text, p_connection text, p_asked_by text
) returns eventstore.erasure
language sql security definer
set search_path = eventstore, pg_temp as $$
  insert into erasure as e (id, tenant, connection, asked_by)
    values (p_id, p_tenant, p_connection, p_asked_by)
    on conflict (tenant, connection) do update set finished_at = null
  returning e.*
$$;

create function eventstore.finish_erasure(p_id text, p_counts json) returns void
language sql security definer
set search_path = eventstore, pg_temp as $$
  update erasure set finished_at = clock_timestamp(), counts = p_counts where id = p_id
$$;

-- Delete heads that are at these revisions; return the ids of those that were not, and stay.
-- Only what an erasure that is under way covers.
create function eventstore.drop_heads(
  p_erasure text, p_kind text, ids text[], revisions bigint[]
) returns setof text
language plpgsql security definer
set search_path = eventstore, pg_temp as $$
begin
  lock table lane in exclusive mode;
  return query
    with wanted as (
      select e.tenant, w.id, w.revision
      from erasure e, unnest(ids, revisions) as w (id, revision)
      where e.id = p_erasure and e.finished_at is null
    ), gone as (
      delete from head h using wanted w
      where h.tenant = w.tenant and h.kind = p_kind and h.id = w.id and h.revision = w.revision
      returning h.id
    )
    select h.id from head h join wanted w on h.tenant = w.tenant and h.id = w.id
    where h.kind = p_kind and h.id not in (select g.id from gone g);
end
$$;

-- Delete a chunk of what an erasure covers as a whole: of a tenant heads, marks and cursors, of
-- a connection its cursors and the heads of its kinds. Returns how many rows; 0 when none is left.
create function eventstore.drop_chunk(p_erasure text, p_kinds text[], p_limit integer)
returns bigint
language plpgsql security definer
set search_path = eventstore, pg_temp as $$
declare
  what record;
  deleted bigint;
begin
  select * into strict what from erasure where id = p_erasure and finished_at is null;
  delete from head h using (
    select tenant, kind, id from head
    where tenant = what.tenant
      and (what.connection = '' or kind = any (p_kinds)
        or (kind = 'connection' and id = what.connection))
    limit p_limit
  ) as c
  where h.tenant = c.tenant and h.kind = c.kind and h.id = c.id;
  get diagnostics deleted = row_count;
  if deleted > 0 then
    return deleted;
  end if;
  delete from mark m using applied a
    where what.connection <> '' and m.tenant = what.tenant and a.tenant = m.tenant
      and a.log = m.log and a.connection = what.connection;
  delete from mark where what.connection = '' and tenant = what.tenant;
  delete from applied
    where tenant = what.tenant and (what.connection = '' or connection = what.connection);
  return 0;
end
$$;

do $$
begin
  if not exists (select from pg_roles where rolname = 'drivewake_eraser') then
    begin
      create role drivewake_eraser nologin;
    exception when duplicate_object or unique_violation then
      null;  -- made by another database in this very moment
    end;
  end if;
end
$$;

revoke all on function
  eventstore.current_key_epoch, eventstore.keep_data_key, eventstore.erase_data_keys,
  eventstore.begin_erasure, eventstore.finish_erasure, eventstore.drop_heads,
  eventstore.drop_chunk
from public;

grant select on eventstore.data_key, eventstore.key_epoch
to drivewake_writer, drivewake_reader, drivewake_projector;
grant select on eventstore.erasure to drivewake_writer, drivewake_reader;
grant execute on function eventstore.current_key_epoch, eventstore.keep_data_key
to drivewake_writer;

-- The eraser deletes keys and what can be made anew. Events it cannot touch, like anybody.
-- It also appends what remains to be told, so it is given to a user together with the writer.
grant usage on schema eventstore to drivewake_eraser;
grant select on
  eventstore.data_key, eventstore.key_epoch, eventstore.erasure, eventstore.lane, eventstore.head,
  eventstore.applied
to drivewake_eraser;
grant maintain on eventstore.data_key, eventstore.head to drivewake_eraser;
grant execute on function
  eventstore.erase_data_keys, eventstore.begin_erasure, eventstore.finish_erasure,
  eventstore.drop_heads, eventstore.drop_chunk
to drivewake_eraser;

-- migrate:down
