"""`robots.txt` of receivers: whether Google's push agent may post to an address."""

from urllib.parse import urljoin
from urllib.robotparser import RobotFileParser

import aiohttp

AGENT = "APIs-Google"
_MAX_REMEMBERED = 1_000
_MAX_BYTES = 500 * 1024


class Robots:
    """What receivers say, asked once an origin as long as the process lives.

    As RFC 9309 has it: a file that is not there allows all, one that the server fails to give
    forbids all. Who cannot be reached at all is allowed: the notification will find out.
    """

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._known: dict[str, RobotFileParser] = {}

    async def allow(self, address: str) -> bool:
        """Whether the agent may post there."""
        url = urljoin(address, "/robots.txt")
        if url not in self._known:
            if len(self._known) >= _MAX_REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[url] = await self._read(url)
        return self._known[url].can_fetch(AGENT, address)

    async def _read(self, url: str) -> RobotFileParser:
        rules = RobotFileParser(url)
        lines: list[str] = []
        try:
            async with self._session.get(url, headers={"User-Agent": AGENT}) as response:
                if response.status == 200:
                    body = await response.content.read(_MAX_BYTES)
                    lines = body.decode("utf-8", "replace").splitlines()
                elif response.status >= 500:
                    lines = ["User-agent: *", "Disallow: /"]
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            pass  # the notification itself says in the ledger that nobody is there
        rules.parse(lines)
        return rules
