"""What the keeper knows of connections and logs, from the streams alone."""

import msgspec

from drivewake.contracts.connections import CONNECTIONS, Status
from drivewake.contracts.envelope import InvalidMessageError
from drivewake.contracts.records import LogRecord
from drivewake.runtime.bus import Entry, StoredMessage
from drivewake.runtime.logging import get_logger
from drivewake.webhook.tokens import Subject

_decoder = msgspec.json.Decoder(LogRecord)
_log = get_logger(__name__)


class World:
    """Connections by state and logs by record. Each `take_` returns the logs concerned."""

    def __init__(self) -> None:
        self._status: dict[tuple[str, str], Status] = {}
        self._logs: dict[Subject, LogRecord] = {}
        self._keys: dict[str, Subject] = {}
        self._by_connection: dict[tuple[str, str], set[Subject]] = {}

    def status(self, subject: Subject) -> Status | None:
        """Return the state of a log's connection, None if nothing was heard of it."""
        return self._status.get((subject.tenant, subject.connection))

    def log(self, subject: Subject) -> LogRecord | None:
        """Return the record of a log."""
        return self._logs.get(subject)

    def subjects(self) -> list[Subject]:
        """Return all logs."""
        return list(self._logs)

    def take_connection(self, message: StoredMessage) -> set[Subject]:
        """Learn the state of a connection."""
        try:
            envelope = CONNECTIONS.decode(message.data)
        except InvalidMessageError as error:
            _log.error(
                "a connection message is unreadable",
                action="connection_unreadable",
                sequence=message.sequence,
                error=str(error),
            )
            return set()
        key = (envelope.tenant, envelope.connection)
        self._status[key] = envelope.data.status
        return set(self._by_connection.get(key, ()))

    def take_log(self, entry: Entry) -> set[Subject]:
        """Learn the record of a log."""
        known = self._keys.get(entry.key)
        if entry.value is None:
            if known is None:
                return set()
            self._logs.pop(known, None)
            self._by_connection.get((known.tenant, known.connection), set()).discard(known)
            del self._keys[entry.key]
            return {known}
        try:
            record = _decoder.decode(entry.value)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            _log.error(
                "a log record is unreadable",
                action="log_unreadable",
                key=entry.key,
                error=str(error),
            )
            return set()
        subject = Subject(record.tenant, record.connection, record.log)
        before = self._logs.get(subject)
        self._logs[subject] = record
        self._keys[entry.key] = subject
        self._by_connection.setdefault((subject.tenant, subject.connection), set()).add(subject)
        return set() if before is not None and _same(before, record) else {subject}


def _same(before: LogRecord, after: LogRecord) -> bool:
    """Say whether nothing changed that decides about channels: cursors move with every poll."""
    return (before.phase, bool(before.cursor), before.paused, before.stopped) == (
        after.phase,
        bool(after.cursor),
        after.paused,
        after.stopped,
    )
