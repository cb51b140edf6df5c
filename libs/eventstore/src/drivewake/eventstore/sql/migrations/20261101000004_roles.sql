-- migrate:up

-- Three group roles without login; who runs a service grants its user one or more of them.
-- Roles belong to the whole cluster: another database may have made them already.

do $$
declare
  wanted text;
begin
  foreach wanted in array array['drivewake_writer', 'drivewake_reader', 'drivewake_projector']
  loop
    if not exists (select from pg_roles where rolname = wanted) then
      begin
        execute format('create role %I nologin', wanted);
      exception when duplicate_object or unique_violation then
        null;  -- made by another database in this very moment
      end;
    end if;
  end loop;
end
$$;

revoke all on all functions in schema eventstore from public;
grant usage on schema eventstore to drivewake_writer, drivewake_reader, drivewake_projector;

-- The writer appends, and nothing else: everything beside the rows themselves goes through
-- functions that keep the rules.
grant insert on eventstore.event to drivewake_writer;
grant select on eventstore.head, eventstore.applied to drivewake_writer;
grant execute on function
  eventstore.ensure_month, eventstore.append_begin, eventstore.advance_heads,
  eventstore.set_marks, eventstore.set_applied
to drivewake_writer;

-- The reader reads, and saves its place.
grant select on eventstore.event, eventstore.lane, eventstore.head, eventstore.applied,
  eventstore.checkpoint
to drivewake_reader;
grant execute on function eventstore.save_checkpoint, eventstore.key_at to drivewake_reader;

-- A projector reads events and keeps each read model in a schema of its own.
grant select on eventstore.event, eventstore.lane to drivewake_projector;
do $$
begin
  execute format('grant create on database %I to drivewake_projector', current_database());
end
$$;

-- migrate:down
