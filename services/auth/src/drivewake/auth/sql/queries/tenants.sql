-- tenants: all tenants
select id, name, created_at from auth.tenant order by id;

-- tenant: one tenant
select id, name, created_at from auth.tenant where id = $1;

-- add_tenant: a new tenant, nothing if the id is taken
insert into auth.tenant (id, name, created_at) values ($1, $2, $3)
on conflict (id) do nothing returning id;
