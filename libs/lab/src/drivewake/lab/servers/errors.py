"""What can go wrong with a server or a process of the lab.

ServerError
├── ServerBinaryMissingError   the package that carries the binary is not installed
├── ServerPortInUseError       somebody else listens where this one should
└── ServerStateError           asked in the wrong state: no process, a second start
"""


class ServerError(Exception):
    """A server or process could not be started, stopped or used; one line says why."""


class ServerBinaryMissingError(ServerError):
    """The binary of a server is not there; the message names the package that brings it."""


class ServerPortInUseError(ServerError):
    """The fixed port is taken by somebody else."""


class ServerStateError(ServerError):
    """A call that makes no sense now: the process was never started, or still runs."""
