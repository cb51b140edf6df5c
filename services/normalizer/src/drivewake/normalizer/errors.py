"""What can go wrong in the normalizer, as one tree.

    DrivewakeError
    ├── UndecidableError          one message cannot be decoded or decided: it is dead
    ├── ContendedError            heads move faster than they can be decided: try later
    └── ServiceStoppedError
        └── TooManyDeadError      so much is dead that the fault must be ours

The docstring of a class is its default message.
"""

from drivewake.runtime.errors import DrivewakeError, ServiceStoppedError


class UndecidableError(DrivewakeError):
    """The message cannot be decoded or decided."""


class ContendedError(DrivewakeError):
    """Heads moved faster than they could be decided; the messages come again."""


class TooManyDeadError(ServiceStoppedError):
    """Too many messages are dead: the service stops before it drains a good stream."""
