-- merge_nodes: apply what a batch of events says of files; an older version changes nothing
merge into node n
using json_to_recordset($1) as p (
  tenant text, file text, name text, mime_type text, drive text, parents text[], version bigint,
  trashed boolean, removed boolean, has_content boolean, md5 text, sha1 text, sha256 text,
  size_bytes bigint, head_revision text, position bigint
) on n.tenant = p.tenant and n.file = p.file
when matched and p.version >= n.version then update set
  name = p.name,
  mime_type = p.mime_type,
  drive = coalesce(p.drive, n.drive),
  parents = coalesce(p.parents, n.parents),
  version = p.version,
  trashed = coalesce(p.trashed, n.trashed),
  removed = coalesce(p.removed, n.removed),
  md5 = case when p.has_content then p.md5 else n.md5 end,
  sha1 = case when p.has_content then p.sha1 else n.sha1 end,
  sha256 = case when p.has_content then p.sha256 else n.sha256 end,
  size_bytes = case when p.has_content then p.size_bytes else n.size_bytes end,
  head_revision = case when p.has_content then p.head_revision else n.head_revision end,
  position = p.position
when not matched then insert (
  tenant, file, name, mime_type, drive, parents, version, trashed, removed,
  md5, sha1, sha256, size_bytes, head_revision, position
) values (
  p.tenant, p.file, p.name, p.mime_type, p.drive, coalesce(p.parents, '{}'), p.version,
  coalesce(p.trashed, false), coalesce(p.removed, false),
  p.md5, p.sha1, p.sha256, p.size_bytes, p.head_revision, p.position
);

-- merge_sightings: apply what a batch of events says of who can see which file
merge into sighting s
using json_to_recordset($1) as p (
  tenant text, connection text, file text, epoch bigint, visible boolean
) on s.tenant = p.tenant and s.connection = p.connection and s.file = p.file
when matched and p.epoch >= s.epoch then update set epoch = p.epoch, visible = p.visible
when not matched then insert (tenant, connection, file, epoch, visible)
values (p.tenant, p.connection, p.file, p.epoch, p.visible);

-- live_nodes: files and folders that are not gone, of one viewer or all
select n.file, n.name, n.mime_type, n.parents, n.version, n.trashed,
  n.md5, n.sha1, n.sha256, n.size_bytes
from current_tree.node n
where n.tenant = $1 and not n.removed
  and ($2 = '' or exists (
    select from current_tree.sighting s
    where s.tenant = n.tenant and s.connection = $2 and s.file = n.file and s.visible
  ))
order by n.file;

-- place: up to which position the tree is true
select position from current_tree.checkpoint where lane = $1;
