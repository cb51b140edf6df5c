"""Calendar's watch channels: `sync` opens one, `exists` and `not_exists` tell of a change.

Source: https://developers.google.com/workspace/calendar/api/guides/push. The headers are
Drive's, so the judgement is too; the token is not: it vouches for its kind.
"""

from drivewake.webhook.senders.drive import DriveSender
from drivewake.webhook.tokens import Kind


class CalendarSender(DriveSender):
    """As Drive's, with tokens of its own; a channel without a record is not stopped by us."""

    kind: Kind = "calendar"
