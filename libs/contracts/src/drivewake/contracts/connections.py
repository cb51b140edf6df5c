"""Connection: the whole state of one connection, published at each transition. No secret."""

import datetime as dt
from typing import Literal

import msgspec

from drivewake.contracts.envelope import Codec, Envelope

Status = Literal["active", "degraded", "reauthorization_required", "blocked", "revoking", "revoked"]
PrincipalKind = Literal["user", "service_account"]


class Connection(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What other services know of a connection; `revision` rises by one a transition."""

    status: Status
    principal_kind: PrincipalKind
    scopes: tuple[str, ...]
    revision: int
    since: dt.datetime
    reason: str = ""
    watched_folders: tuple[str, ...] = ()


CONNECTION_TYPE = "drive.connection"
CONNECTIONS = Codec(Envelope[Connection])
