-- describe: every object of the schemas, as a text that can be compared
with relations as (
  select c.oid, c.relname, c.relkind, c.reloptions, c.relrowsecurity
  from pg_class c
  where c.relnamespace in ('eventstore'::regnamespace, 'drivewake'::regnamespace)
    and c.relname <> 'schema_migrations'
)
select definition from (
  select 1 as part, relname as name, format(E'table %s%s%s (\n%s\n)', relname,
    coalesce(' with ' || reloptions::text, ''),
    case when relrowsecurity then ', row security' else '' end,
    (select string_agg(format('  %s %s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
       case when a.attnotnull then ' not null' else '' end,
       coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')), E',\n' order by a.attnum)
     from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
     where a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped)) as definition
  from relations r where relkind in ('r', 'p')
  union all
  select 2, conname, format('constraint on %s: %s %s', conrelid::regclass, conname,
    pg_get_constraintdef(oid))
  from pg_constraint
  where connamespace = 'eventstore'::regnamespace and contype <> 'n'
    and conrelid <> coalesce(to_regclass('eventstore.schema_migrations')::oid, 0)
  union all
  select 3, indexname, indexdef from pg_indexes
  where schemaname = 'eventstore' and tablename <> 'schema_migrations'
  union all
  select 4, tgname || tgrelid::regclass::text, pg_get_triggerdef(oid) from pg_trigger
  where tgrelid in (select oid from relations) and not tgisinternal
  union all
  select 5, p.proname, pg_get_functiondef(p.oid) from pg_proc p
  where p.pronamespace = 'eventstore'::regnamespace
  union all
  select 6, relname, format(E'view %s%s:\n%s', oid::regclass,
    coalesce(' with ' || reloptions::text, ''), pg_get_viewdef(oid))
  from relations where relkind = 'v'
  union all
  select 7, polname || polrelid::regclass::text, format('policy %s on %s to %s: %s', polname,
    polrelid::regclass, polroles::regrole[], pg_get_expr(polqual, polrelid))
  from pg_policy where polrelid in (select oid from relations)
  union all
  select 8, relname, format('grants on %s: %s', relname,
    (select string_agg(format('%s %s', grantee::regrole, privilege_type), ', '
       order by grantee::regrole::text, privilege_type)
     from aclexplode(relacl) where grantee::regrole::text like 'drivewake%'))
  from pg_class where oid in (select oid from relations) and relkind in ('r', 'p', 'v')
  union all
  select 9, proname, format('execute on %s: %s', proname,
    (select string_agg(coalesce(nullif(grantee, 0)::regrole::text, 'public'), ', '
       order by grantee) from aclexplode(proacl)
     where grantee = 0 or grantee::regrole::text like 'drivewake%'))
  from pg_proc where pronamespace = 'eventstore'::regnamespace
) as described
order by part, name, definition;
