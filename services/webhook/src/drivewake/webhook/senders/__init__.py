"""Who may poke us, each kind one module with the same face.

`drive` and `calendar` are Google's watch channels, `workspace` is the push of Pub/Sub.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case, as the server read them."""


class Sender(Protocol):
    """One kind of notification, served under `/v1/notifications/{kind}`.

    Bodies over `max_body_bytes` never reach it.
    """

    @property
    def kind(self) -> str:
        """What it is called in the path."""
        ...

    @property
    def max_body_bytes(self) -> int:
        """How much of a body may come."""
        ...

    async def answer(
        self, path: str, headers: Headers, body: bytes, source: Callable[[], str]
    ) -> int:
        """Return the status; 2xx only once the signal of a genuine notification is durable.

        `path` is what follows the kind, `/T/C/L/`; `source` tells who sent it. Raises
        InvalidPushError for what its sender never sends.
        """
        ...
