"""Drive's watch channels: `sync` opens one, `change` (or `changed`) tells of a change.

Source: https://developers.google.com/workspace/drive/api/guides/push. Bodies are empty, or
small and not worth reading.
"""

from collections.abc import Callable

from drivewake.webhook.domain import read_push
from drivewake.webhook.ingress import Ingress
from drivewake.webhook.senders import Headers
from drivewake.webhook.tokens import Kind


class DriveSender:
    """Judges by the channel's token and record."""

    kind: Kind = "drive"
    max_body_bytes = 4096

    def __init__(self, ingress: Ingress) -> None:
        self._ingress = ingress

    async def answer(
        self, path: str, headers: Headers, body: bytes, source: Callable[[], str]
    ) -> int:
        """Answer as `Sender` says; what is in the body does not matter."""
        del body
        return await self._ingress.answer(read_push(path, headers, self.kind), source)
