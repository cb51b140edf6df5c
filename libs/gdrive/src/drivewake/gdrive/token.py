"""AccessToken: a Google access token that does not show itself."""

import datetime as dt
import string
from typing import Final

_ALLOWED: Final = frozenset(string.ascii_letters + string.digits + "-._~+/=")


class AccessToken:
    """An access token of one connection, usable until `expires_at` (UTC).

    The value is read with `reveal()` alone; repr, str, pickle and comparisons do not show
    it. `id` names it towards auth (it is no secret).
    """

    __slots__ = ("__value", "connection", "expires_at", "id", "tenant")

    def __init__(
        self,
        value: str,
        *,
        tenant: str,
        connection: str,
        id: str,  # noqa: A002 - what it is called elsewhere too
        expires_at: dt.datetime,
    ) -> None:
        """Raise ValueError (without the value) for what cannot stand in a header (RFC 6750)."""
        if not value or not _ALLOWED.issuperset(value):
            raise ValueError("an access token holds a character that no header may carry")
        self.__value = value
        self.tenant = tenant
        self.connection = connection
        self.id = id
        self.expires_at = expires_at

    def reveal(self) -> str:
        """Return the secret, to put it into an Authorization header and nowhere else."""
        return self.__value

    def __repr__(self) -> str:
        return f"AccessToken(connection={self.connection!r}, id={self.id!r})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("an access token is not pickled")
