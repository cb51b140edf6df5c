-- service_accounts: all service accounts, of one tenant or (null) of all
select id, tenant, email, client_id, added_at,
  (select count(*) from auth.delegation where service_account = service_account.id) as connections
from auth.service_account where $1::text is null or tenant = $1 order by id;

-- service_account: one service account with its key
select * from auth.service_account where id = $1;

-- service_account_id: the service account of a tenant and address, held until the end
select id from auth.service_account where tenant = $1 and email = $2 for update;

-- put_service_account: a new service account, or a new key of a known one
insert into auth.service_account (id, tenant, email, client_id, grant_id, key_id, sealed, added_at)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (tenant, email) do update set client_id = excluded.client_id,
  grant_id = excluded.grant_id, key_id = excluded.key_id, sealed = excluded.sealed;

-- put_delegation: a connection is had by this service account
insert into auth.delegation (connection, service_account, granted_at) values ($1, $2, $3)
on conflict (connection) do update set service_account = excluded.service_account,
  granted_at = excluded.granted_at;

-- delegation: what an access token of such a connection is had by
select service_account.id as account, service_account.email, service_account.grant_id,
  service_account.key_id, service_account.sealed, connection.id, connection.tenant,
  connection.label_key, connection.label
from auth.delegation join auth.service_account on service_account.id = delegation.service_account
join auth.connection on connection.id = delegation.connection
where delegation.connection = $1 and connection.label is not null;

-- shred_delegation: it must not be used any more
delete from auth.delegation where connection = $1;
