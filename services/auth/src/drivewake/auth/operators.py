"""Who may call the HTTP API: for now, whoever holds the operator's token."""

import hashlib
import hmac

from pydantic import SecretStr

from drivewake.auth.ports import Operator


class StaticToken:
    """Implements the port Authenticator with one shared bearer token."""

    def __init__(self, token: SecretStr) -> None:
        # Comparing digests takes the same time for every wrong token, whatever its length.
        self._digest = hashlib.sha256(token.get_secret_value().encode()).digest()

    async def authenticate(self, bearer: str) -> Operator | None:
        """Return the operator if the token is the right one."""
        digest = hashlib.sha256(bearer.encode("utf-8", "replace")).digest()
        return Operator(name="operator") if hmac.compare_digest(digest, self._digest) else None
