-- refresh_token: the current refresh token of a connection
select * from auth.refresh_token where connection = $1;

-- lock_refresh_token: the id of the current refresh token, held until the end of the transaction
select id from auth.refresh_token where connection = $1 for update;

-- put_refresh_token: a new grant takes the place of any other
insert into auth.refresh_token (connection, id, tenant, key_id, sealed, stored_at, prefix_mark,
  double_mark)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (connection) do update set id = excluded.id, tenant = excluded.tenant,
  key_id = excluded.key_id, sealed = excluded.sealed, stored_at = excluded.stored_at,
  prefix_mark = excluded.prefix_mark, double_mark = excluded.double_mark;

-- replace_refresh_token: another token or another key for the grant that is still current
update auth.refresh_token set id = $3, key_id = $4, sealed = $5, prefix_mark = $6,
  double_mark = $7
where connection = $1 and id = $2 returning id;

-- shred_refresh_token: it must not be used any more
delete from auth.refresh_token where connection = $1;
