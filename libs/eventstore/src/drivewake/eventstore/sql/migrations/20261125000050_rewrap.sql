-- migrate:up

-- Put data keys, of which each is wrapped anew, in the place of what they were wrapped as. A key
-- that was erased or wrapped by somebody else meanwhile stays as it is. How many were replaced.
create function eventstore.rewrap_data_keys(
  p_tenants text[], p_connections text[], p_before bytea[], p_ring_key text, p_after bytea[]
) returns bigint
language plpgsql security definer
set search_path = eventstore, pg_temp as $$
declare
  replaced bigint;
begin
  -- First the tenants' own, as whoever erases does: so neither waits for the other in a circle.
  perform from data_key where tenant = any(p_tenants) and connection = ''
    order by tenant for update;
  update data_key k set ring_key = p_ring_key, wrapped = w.after
    from unnest(p_tenants, p_connections, p_before, p_after)
      as w (tenant, connection, before, after)
    where k.tenant = w.tenant and k.connection = w.connection and k.wrapped = w.before;
  get diagnostics replaced = row_count;
  return replaced;
end
$$;

revoke all on function eventstore.rewrap_data_keys from public;
-- Whoever writes here can make keys useless, and the eraser may delete them anyway.
grant execute on function eventstore.rewrap_data_keys to drivewake_eraser;

-- migrate:down
