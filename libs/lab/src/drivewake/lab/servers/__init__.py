"""Real servers and processes for tests, benches and the demo: each dies with its maker.

`NatsServer` and `PostgresServer` are the real programs, out of Python packages; `ManagedProcess`
is any module of ours. All are started and stopped synchronously, in well under a second, also
from asyncio code.
"""

from drivewake.lab.servers.errors import (
    ServerBinaryMissingError,
    ServerError,
    ServerPortInUseError,
    ServerStateError,
)
from drivewake.lab.servers.managed import ManagedProcess, answers_ok, peak_rss_bytes
from drivewake.lab.servers.nats import NatsServer, nats_server_binary
from drivewake.lab.servers.ports import free_port
from drivewake.lab.servers.postgres import PostgresServer
from drivewake.lab.servers.postgres_files import postgres_binaries
from drivewake.lab.servers.scratch import ScratchDirectory

__all__ = [
    "ManagedProcess",
    "NatsServer",
    "PostgresServer",
    "ScratchDirectory",
    "ServerBinaryMissingError",
    "ServerError",
    "ServerPortInUseError",
    "ServerStateError",
    "answers_ok",
    "free_port",
    "nats_server_binary",
    "peak_rss_bytes",
    "postgres_binaries",
]
