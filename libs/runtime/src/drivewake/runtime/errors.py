"""What can go wrong below a service, as one tree.

    DrivewakeError
    ├── ConfigurationError      settings are missing or wrong; nothing to retry
    ├── BusError
    │   ├── BusUnavailableError     the broker is away or slow; retry later
    │   ├── ConflictError           an expected revision or sequence did not hold
    │   ├── NotFoundError           no such stream, consumer, message or key
    │   ├── StreamFullError         the stream is at its cap and refuses new messages
    │   ├── TooLargeError           the message is over the broker's limit
    │   └── BusPermissionError      this user may not do that
    ├── BlobError
    │   ├── BlobUnavailableError    the place for blobs is away or refuses; retry later
    │   ├── BlobMissingError        there is no such blob
    │   ├── BlobTooLargeError       it is larger than anybody fetches
    │   └── BlobCorruptError        it is not what was kept
    ├── SecretError
    │   ├── UnknownKeyError     sealed under a key that the keyring does not hold
    │   └── TamperedError       the sealed bytes or what they are bound to were changed
    └── ServiceStoppedError     a supervised task died; the process must end

The docstring of a class is its default message.
"""


class DrivewakeError(Exception):
    """Something failed in Drivewake."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class ConfigurationError(DrivewakeError):
    """The settings are missing or wrong."""


class BusError(DrivewakeError):
    """The message broker refused or failed."""


class BusUnavailableError(BusError):
    """The message broker did not answer in time."""


class ConflictError(BusError):
    """Somebody else wrote in between."""


class NotFoundError(BusError):
    """There is no such stream, consumer, message or key."""


class StreamFullError(BusError):
    """The stream is at its cap."""


class TooLargeError(BusError):
    """The message is larger than the broker takes."""


class BusPermissionError(BusError):
    """This user may not do that on the broker."""


class BlobError(DrivewakeError):
    """The place for blobs refused or failed."""


class BlobUnavailableError(BlobError):
    """The place for blobs did not answer."""


class BlobMissingError(BlobError):
    """The payload is not there."""


class BlobTooLargeError(BlobError):
    """The payload is larger than the limit."""


class BlobCorruptError(BlobError):
    """The payload is not what was kept: its hash or its key does not fit."""


class SecretError(DrivewakeError):
    """What was stored sealed cannot be opened."""


class UnknownKeyError(SecretError):
    """It is sealed under a key that is not in the keyring."""


class TamperedError(SecretError):
    """It was changed, or moved to where it does not belong."""


class ServiceStoppedError(DrivewakeError):
    """A supervised task ended before it was asked to."""
