-- connection: one connection of a tenant
select * from auth.connection where tenant = $1 and id = $2;

-- account: one connection, whoever's it is
select * from auth.connection where id = $1;

-- accounts: a page of connections, of one tenant or (null) of all
select * from auth.connection
where ($1::text is null or tenant = $1) and id > $2 order by id limit $3;

-- lock_connection: one connection, held until the end of the transaction
select * from auth.connection where id = $1 for update;

-- lock_principal: a principal's connection in a tenant, held until the end of the transaction
select * from auth.connection
where tenant = $1 and issuer = $2 and subject = $3 for update;

-- insert_connection: a principal that the tenant did not know, nothing if it does by now
insert into auth.connection (id, tenant, principal_kind, issuer, subject, status, reason, since,
  scopes, watched_folders, revision, created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
on conflict (tenant, issuer, subject) do nothing returning *;

-- update_connection: what a fact can change
update auth.connection set status = $2, reason = $3, since = $4, scopes = $5,
  watched_folders = $6, revision = $7, last_finding_at = $8, revoke_at = $9,
  revoke_attempts = $10
where id = $1;

-- label_connection: what an operator knows the account by
update auth.connection set label_key = $2, label = $3 where id = $1;

-- add_transition: a revision, waiting to be published
insert into auth.transition (connection, revision, tenant, principal_kind, status, reason, since,
  scopes, watched_folders, at)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- shares_principal: another living connection of the same principal
select exists (
  select from auth.connection mine join auth.connection other
    on other.issuer = mine.issuer and other.subject = mine.subject and other.id <> mine.id
  where mine.id = $1 and other.status in ('active', 'degraded', 'blocked'));

-- principal_lives: a living connection of a principal, in any tenant
select exists (
  select from auth.connection
  where issuer = $1 and subject = $2
    and status in ('active', 'degraded', 'blocked', 'reauthorization_required'));

-- due_revocations: connections whose revocation Google must be told now
select * from auth.connection where revoke_at <= $1 order by revoke_at limit $2;
