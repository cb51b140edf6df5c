"""TCP ports for servers that are killed and come back to the same one."""

import secrets
import socket
from pathlib import Path

from drivewake.lab.servers.errors import ServerError, ServerPortInUseError

HOST = "127.0.0.1"
_LOWEST = 15_000
_HIGHEST = 32_000
_ATTEMPTS = 200


def _highest() -> int:
    """Return the last port below those that the kernel gives to outgoing connections.

    A client that keeps reconnecting to a dead server on such a port can be given that port as
    its own, connect to itself and so keep the server from coming back.
    """
    try:
        first_ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]
    except (OSError, IndexError):
        return _HIGHEST
    return max(_LOWEST + 1000, min(_HIGHEST, int(first_ephemeral) - 1))


def is_free(port: int) -> bool:
    """Whether a server could listen on the port of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
        return True


def free_port() -> int:
    """Return a port that nobody listens on, outside the range of outgoing connections.

    Somebody else may take it before its user does; servers here then try another one.
    """
    span = _highest() - _LOWEST
    for _ in range(_ATTEMPTS):
        port = _LOWEST + secrets.randbelow(span)
        if is_free(port):
            return port
    raise ServerError(f"no free port between {_LOWEST} and {_highest()}")


def require_free(port: int, who: str) -> None:
    """Raise ServerPortInUseError when ``who`` could not listen on a port it must have."""
    if not is_free(port):
        raise ServerPortInUseError(f"{who}: port {port} of {HOST} is in use")
