-- key_counts: how many secrets lie under each key
select key_id, sum(secrets)::bigint as secrets from (
  select key_id, count(*) as secrets from auth.refresh_token group by key_id
  union all
  select label_key, count(*) from auth.connection where label_key is not null group by label_key
  union all
  select key_id, count(*) from auth.service_account group by key_id
) as kept group by key_id order by key_id;

-- under_other_keys: a page of secrets that lie under another key than the given one
select purpose, owner, tenant, key_id, sealed from (
  select 'account' as purpose, id as owner, tenant, label_key as key_id, label as sealed
  from auth.connection where label_key <> $1
  union all
  select 'refresh_token', connection, tenant, key_id, sealed
  from auth.refresh_token where key_id <> $1
  union all
  select 'service_account', id, tenant, key_id, sealed
  from auth.service_account where key_id <> $1
) as kept where (purpose, owner) > ($2, $3) order by purpose, owner limit $4;

-- reseal_refresh_token: the same secret under another key, unless it was replaced meanwhile
update auth.refresh_token set key_id = $3, sealed = $4 where connection = $1 and sealed = $2;

-- reseal_service_account: the same
update auth.service_account set key_id = $3, sealed = $4 where id = $1 and sealed = $2;

-- reseal_account: the same
update auth.connection set label_key = $3, label = $4 where id = $1 and label = $2;
