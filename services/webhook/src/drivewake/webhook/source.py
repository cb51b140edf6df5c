"""Who sent a request, where proxies stand before us: no I/O.

Nothing is decided by it. It stands in the audit line, and one source's flood of those must not
hide another's.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import msgspec

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MAX_HOPS: Final = 16
MAX_SOURCES: Final = 1024
BURST_S: Final = 10.0
UNKNOWN: Final = "unknown"


def networks(text: str) -> tuple[Network, ...]:
    """Read addresses and networks with commas between them. Raises ValueError."""
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def source_of(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return the address that sent a request: the last one that no trusted proxy vouches for.

    `forwarded` are the values of X-Forwarded-For in their order. Only what a trusted proxy
    appended is believed: a stranger can write anything to the left of it.
    """
    hops = [hop.strip() for value in forwarded for hop in value.split(",")][-MAX_HOPS:]
    for address in (peer, *reversed(hops)):
        try:
            known = ipaddress.ip_address(address)
        except ValueError:
            return UNKNOWN
        source = str(known)
        if not any(known in network for network in trusted):
            break
    return source


class Allowance:
    """So many lines a second for each source and for all together, ten seconds' worth at once.

    The sources remembered are bounded: one that was forgotten begins anew, and the bound for
    all together holds whoever sends.
    """

    def __init__(self, *, source_per_s: float, all_per_s: float) -> None:
        self._source_per_s = source_per_s
        self._all_per_s = all_per_s
        self._sources: OrderedDict[str, _Bucket] = OrderedDict()
        self._all = _Bucket(all_per_s * BURST_S, 0.0)

    def take(self, source: str, now_s: float) -> bool:
        """Take one line of a source's allowance; return whether there was one."""
        bucket = self._sources.pop(source, None)
        bucket = bucket or _Bucket(self._source_per_s * BURST_S, now_s)
        self._sources[source] = bucket
        while len(self._sources) > MAX_SOURCES:
            self._sources.popitem(last=False)
        bucket.fill(now_s, self._source_per_s)
        self._all.fill(now_s, self._all_per_s)
        if min(bucket.left, self._all.left) < 1:
            return False
        bucket.left -= 1
        self._all.left -= 1
        return True


class _Bucket(msgspec.Struct):
    """What is left, and since when it has been filling."""

    left: float
    at_s: float

    def fill(self, now_s: float, per_s: float) -> None:
        self.left = min(self.left + (now_s - self.at_s) * per_s, per_s * BURST_S)
        self.at_s = now_s
