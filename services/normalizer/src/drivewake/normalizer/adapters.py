"""The normalizer's ports over NATS."""

from collections.abc import Sequence

from drivewake.contracts import subjects
from drivewake.contracts.envelope import HEADERS, Envelope
from drivewake.contracts.requests import MAX_DEPTH, REQUEST_TYPE, REQUESTS, Request
from drivewake.normalizer.burial import SERVICE
from drivewake.normalizer.decisions import Refetch
from drivewake.runtime.bus import Message, Publisher
from drivewake.runtime.clock import Clock
from drivewake.runtime.dead import Graveyard, dead_letter
from drivewake.runtime.errors import StreamFullError

SOURCE = "/drivewake/normalizer"


class BusRefetcher:
    """Requests into DRIVE_REQUEST.

    The poller takes them while it has room for raws, and we make that room: waiting for a full
    stream of requests could be waiting for ourselves. What finds no room becomes a dead letter,
    to be put back by an operator.
    """

    def __init__(self, publisher: Publisher, graveyard: Graveyard, clock: Clock) -> None:
        self._publisher = publisher
        self._graveyard = graveyard
        self._clock = clock

    async def refetch(self, wanted: Sequence[Refetch]) -> None:
        """See ports.Refetcher."""
        for one in wanted:
            message = _message(one)
            try:
                await self._publisher.publish(message)
            except StreamFullError as error:
                letter = dead_letter(
                    SERVICE,
                    f"what lies below a folder is not read anew: {error}",
                    self._clock.now(),
                    subject=message.subject,
                    data=message.data,
                    stream=subjects.REQUEST.name,
                    headers=message.headers,
                )
                await self._graveyard.bury([letter])


def _message(wanted: Refetch) -> Message:
    origin = wanted.origin
    request = Request(
        kind="folder",
        requested_at=origin.observed_at,
        target=wanted.folder,
        depth=MAX_DEPTH,
        reason="permissions_changed",
    )
    envelope = Envelope(
        id=wanted.id,
        source=SOURCE,
        type=REQUEST_TYPE,
        time=origin.observed_at,
        tenant=origin.tenant,
        connection=origin.connection,
        data=request,
        traceparent=origin.traceparent,
    )
    subject = subjects.request(origin.tenant, origin.connection, wanted.id)
    return Message(subject=subject, data=REQUESTS.encode(envelope), headers=HEADERS)
