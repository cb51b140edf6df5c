-- The present state of every file that was ever seen, and who can see it.

create table node (
  tenant text not null,
  file text not null,
  name text not null,
  mime_type text not null,
  drive text,
  parents text[] not null,
  version bigint not null,
  trashed boolean not null,
  removed boolean not null,
  md5 text,
  sha1 text,
  sha256 text,
  size_bytes bigint,
  head_revision text,
  position bigint not null,
  primary key (tenant, file)
) with (fillfactor = 80);

comment on column node.position is 'Of the event that changed the row last.';

create table sighting (
  tenant text not null,
  connection text not null,
  file text not null,
  epoch bigint not null,
  visible boolean not null,
  primary key (tenant, connection, file)
) with (fillfactor = 80);
