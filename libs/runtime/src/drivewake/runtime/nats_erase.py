"""Removing messages for good, over JetStream."""

from typing import Final

from drivewake.contracts.subjects import Bucket, Stream
from drivewake.runtime.errors import BusUnavailableError, NotFoundError
from drivewake.runtime.nats import NatsBus

PURGE_TIMEOUT_S: Final = 30.0


class NatsEraser:
    """See bus.Eraser."""

    def __init__(self, bus: NatsBus) -> None:
        self._link = bus.link

    async def erase(self, stream: Stream, sequence: int) -> None:
        """See bus.Eraser."""
        verb = f"STREAM.MSG.DELETE.{self._link.name(stream.name)}"
        try:
            # Without `no_erase` the server overwrites the bytes on its disk.
            await self._link.api(verb, {"seq": sequence})
        except NotFoundError:
            return
        except BusUnavailableError as error:
            # nats-server says this of a message that it removed, with the code of any failure.
            if "no message found" not in str(error):
                raise

    async def purge(self, stream: Stream, subject: str) -> int:
        """See bus.Eraser."""
        request = {"filter": self._link.subject(subject)}
        verb = f"STREAM.PURGE.{self._link.name(stream.name)}"
        answer = await self._link.api(verb, request, timeout_s=PURGE_TIMEOUT_S)
        return int(answer["purged"])

    async def forget(self, bucket: Bucket, key: str) -> None:
        """See bus.Eraser."""
        subject = f"$KV.{self._link.name(bucket.name)}.{key}"
        await self._link.ask(subject, headers={"KV-Operation": "PURGE", "Nats-Rollup": "sub"})
