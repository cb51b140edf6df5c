"""What can go wrong in auth, as one tree under DrivewakeError.

    AuthError
    ├── StoreUnavailableError     the database is away; retry later
    ├── GoogleError
    │   ├── GoogleUnavailableError    away, slow, 5xx, 429 or not talking sense; retry later
    │   ├── GrantDeadError            invalid_grant: never retry
    │   ├── GrantBlockedError         an administrator forbids it: never retry
    │   └── ClientRejectedError       our client id, secret or redirect is wrong; an operator's job
    ├── IdentityError             the id_token does not prove who signed in
    ├── UntrustedTokenError       a signed token does not hold; the text says why, never what
    ├── IssuerUnavailableError    the issuer of callers' tokens does not answer; retry later
    ├── ForbiddenError            the caller is known and may not do this
    ├── SignInError               the person must start again; `page` says what to show
    ├── ConnectionEndingError     the connection is being revoked
    ├── TenantExistsError         there is such a tenant already
    ├── InvalidInputError         a caller of the HTTP API gave something unusable
    └── UnknownError              there is no such tenant or connection

Sealed secrets that do not open raise SecretError of `drivewake.runtime.errors`.

The docstring of a class is its default message. No message holds a secret or an address.
"""

from drivewake.runtime.errors import DrivewakeError


class AuthError(DrivewakeError):
    """Something failed in auth."""


class StoreUnavailableError(AuthError):
    """The database did not answer."""


class GoogleError(AuthError):
    """Google refused or failed; `code` is Google's own word for it, if it gave one."""

    def __init__(self, message: str = "", *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class GoogleUnavailableError(GoogleError):
    """Google did not answer, or nothing that makes sense."""


class GrantDeadError(GoogleError):
    """Google says that the grant is over."""


class GrantBlockedError(GoogleError):
    """An administrator at Google blocks this application."""


class ClientRejectedError(GoogleError):
    """Google does not accept this application's client id, secret or redirect address."""


class IdentityError(AuthError):
    """Google's id_token does not prove who signed in."""


class UntrustedTokenError(AuthError):
    """A signed token does not hold."""


class IssuerUnavailableError(AuthError):
    """The issuer did not answer, or nothing that makes sense."""


class ForbiddenError(AuthError):
    """The caller's roles do not allow this."""


class SignInError(AuthError):
    """The sign-in cannot go on; `page` names the page that explains it to the person."""

    def __init__(self, page: str, message: str = "", *, detail: str = "") -> None:
        super().__init__(message or f"sign-in ended at page {page}")
        self.page = page
        self.detail = detail


class ConnectionEndingError(AuthError):
    """The connection is being revoked; connect again when that is done."""


class TenantExistsError(AuthError):
    """There is such a tenant already."""


class InvalidInputError(AuthError):
    """The request cannot be understood."""


class UnknownError(AuthError):
    """There is no such tenant or connection."""
