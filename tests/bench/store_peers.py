"""The peers that the store is measured against, fetched into a folder of the bench's own.

Nothing of theirs is part of the product. Each function returns what the peer needs, or raises
PeerMissingError with the reason, and the bench then says so in place of the peer's row.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

from drivewake.lab.environments import find_uv

ROOT: Final = Path(__file__).parents[2]
FOLDER: Final = ROOT / ".run" / "bench"
EVENTSOURCING: Final = ("eventsourcing==9.5.6", "psycopg[binary,pool]==3.3.9")
MESSAGE_DB: Final = ("@eventide/message-db@1.3.1",)
EMMETT: Final = (
    "@event-driven-io/emmett-postgresql@0.42.0",
    "@event-driven-io/emmett@0.42.0",
    "@event-driven-io/pongo@0.16.11",
)
VERSIONS: Final = {
    "eventsourcing": "9.5.6",
    "@eventide/message-db": "1.3.1",
    "@event-driven-io/emmett-postgresql": "0.42.0",
}
_TIMEOUT_S: Final = 600.0


class PeerMissingError(Exception):
    """A peer cannot be had here."""


def eventsourcing() -> Path:
    """Return a Python that has `eventsourcing` and the driver it uses."""
    uv, home = find_uv(ROOT), FOLDER / "eventsourcing"
    if uv is None:
        raise PeerMissingError("there is no uv to install it with")
    python = home / "bin" / "python"
    if not python.exists():
        _run(str(uv), "venv", "--quiet", str(home))
    _run(str(uv), "pip", "install", "--quiet", "--python", str(python), *EVENTSOURCING)
    return python


def message_db() -> list[str]:
    """Return the statements that install message-db, without its extension and its role.

    The extension gave PostgreSQL before 13 a `gen_random_uuid`, the role guards nothing here.
    """
    home = _npm("message-db", MESSAGE_DB) / "@eventide" / "message-db" / "database"
    names = ["schema/message-store", "types/message", "tables/messages"]
    names += [
        *("functions/hash-64", "functions/category", "functions/is-category", "functions/id"),
        *("functions/cardinal-id", "functions/stream-version", "functions/acquire-lock"),
        "functions/write-message",
    ]
    files = [home / f"{name}.sql" for name in names] + sorted(home.glob("indexes/*.sql"))
    path = "set search_path to message_store, public;"
    return [f"{path}\n{file.read_text()}" for file in files]


def emmett() -> list[str]:
    """Return the statements that install emmett's event store."""
    modules = _npm("emmett", EMMETT)
    script = modules.parent / "schema.mjs"
    script.write_text(
        "import { schemaSQL } from '@event-driven-io/emmett-postgresql';\n"
        "process.stdout.write(JSON.stringify(schemaSQL));\n"
    )
    statements: list[str] = json.loads(_run(_found("node"), str(script)))
    return statements


MARTEN: Final = """
create schema peer;
create table peer.stream (
  id varchar primary key, type varchar, version bigint not null, tenant_id varchar not null,
  changed timestamptz not null default now(), archived boolean not null default false
);
create sequence peer.event_number;
create table peer.event (
  number bigint primary key, id uuid not null, stream varchar not null
    references peer.stream on delete cascade,
  version bigint not null, data jsonb not null, type varchar not null,
  at timestamptz not null default now(), tenant_id varchar not null, headers jsonb,
  archived boolean not null default false
);
create unique index on peer.event (tenant_id, stream, version);
create function peer.quick_append(
  p_stream varchar, p_tenant varchar, ids uuid[], types varchar[], bodies jsonb[], heads jsonb[]
) returns bigint[] language plpgsql as $$
declare
  at bigint;
  gone boolean;
  next bigint;
  numbers bigint[] := '{}';
begin
  select s.version, s.archived into at, gone from peer.stream s where s.id = p_stream;
  if at is null then
    at := 0;
    insert into peer.stream (id, version, tenant_id) values (p_stream, 0, p_tenant);
  elsif gone then
    raise exception 'the stream is archived';
  end if;
  for i in 1 .. cardinality(ids) loop
    next := nextval('peer.event_number');
    numbers := numbers || next;
    at := at + 1;
    insert into peer.event (number, id, stream, version, data, type, tenant_id, headers)
    values (next, ids[i], p_stream, at, bodies[i], types[i], p_tenant, heads[i]);
  end loop;
  update peer.stream set version = at, changed = now() where id = p_stream;
  return numbers;
end $$;
"""
"""What Marten's quick append does, in SQL of our own: Marten itself needs .NET to write its own.

A row a stream, events numbered by a sequence and inserted in a loop of one function, which is
called once a batch. Of Marten's indexes the optional one on ids is left out: it gains speed by it.
"""


def _npm(name: str, packages: tuple[str, ...]) -> Path:
    home = FOLDER / name
    home.mkdir(parents=True, exist_ok=True)
    (home / "package.json").write_text('{"private": true, "type": "module"}')
    quiet = ("--no-audit", "--no-fund", "--loglevel=error", "--ignore-scripts")
    _run(_found("npm"), "install", *quiet, "--prefix", str(home), *packages)
    return home / "node_modules"


def _found(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise PeerMissingError(f"there is no {program} on PATH")
    return found


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode != 0:
        words = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise PeerMissingError(f"{Path(command[0]).name} failed: {words}")
    return done.stdout
