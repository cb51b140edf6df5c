"""Opaque identifiers that look like Google's and depend on the seed alone."""

import base64
import random


class Ids:
    """A seeded source of identifiers: same seed and same order of calls, same ids.

    Each kind of secret or id has its own stream of randomness (`stream`), so that the
    number of tokens handed out does not change the ids of the files created later.
    """

    def __init__(self, seed: int, stream: str) -> None:
        self._rng = random.Random(f"{seed}/{stream}")

    def _text(self, length: int) -> str:
        raw = self._rng.randbytes(length * 3 // 4 + 1)
        return base64.urlsafe_b64encode(raw).decode()[:length]

    def file(self) -> str:
        """Return a file id: 33 characters beginning with `1`."""
        return "1" + self._text(32)

    def root(self) -> str:
        """Return the id of a My Drive root; Google's end in the base64 of `ROOT`."""
        return "0A" + self._text(11) + "Uk9PVA"

    def drive(self) -> str:
        """Return a shared drive id, which is also the id of its root folder."""
        return "0A" + self._text(11) + "Uk9PVA"

    def revision(self) -> str:
        """Return a revision id as blobs have them."""
        return "0B" + self._text(49)

    def digits(self, length: int) -> str:
        """Return a decimal id that does not begin with zero."""
        return str(self._rng.randrange(10 ** (length - 1), 10**length))

    def secret(self, prefix: str, length: int) -> str:
        """Return a token: `prefix` and `length` url-safe characters."""
        return prefix + self._text(length)

    def between(self, low: int, high: int) -> int:
        """Return a number of the closed range."""
        return self._rng.randint(low, high)
