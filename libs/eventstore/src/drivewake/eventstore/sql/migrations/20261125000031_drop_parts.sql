-- migrate:up

-- Delete heads of what hangs on files (ids `{file} {part}`) whose file has no head any more.
create function eventstore.drop_parts(p_erasure text, p_kinds text[]) returns bigint
language plpgsql security definer
set search_path = eventstore, pg_temp as $$
declare
  deleted bigint;
begin
  delete from head h using erasure e
    where e.id = p_erasure and e.finished_at is null
      and h.tenant = e.tenant and h.kind = any (p_kinds)
      and not exists (
        select from head f
        where f.tenant = h.tenant and f.kind = 'file' and f.id = split_part(h.id, ' ', 1)
      );
  get diagnostics deleted = row_count;
  return deleted;
end
$$;

revoke all on function eventstore.drop_parts from public;
grant execute on function eventstore.drop_parts to drivewake_eraser;

-- migrate:down
