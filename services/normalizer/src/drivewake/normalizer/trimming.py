"""Makes room in DRIVE_RAW: removes what its partitions have settled, many at once.

A consumer's settled sequence is the broker's own word that everything of its partition up to
there was acknowledged, which happens after the commit. A partition is trimmed by its own
consumer's word alone, so one that stands still keeps its raws and nobody else's.
"""

from collections.abc import Callable, Collection
from typing import Final

from drivewake.contracts.subjects import NORMALIZER_RAW, RAW
from drivewake.normalizer import metrics
from drivewake.runtime.bus import Progress, Trimmer
from drivewake.runtime.errors import BusError, NotFoundError
from drivewake.runtime.lifecycle import Stop
from drivewake.runtime.logging import get_logger

EVERY_S: Final = 1.0
ALARM_FULLNESS: Final = 0.7
"""Above this the stream is about to refuse what the poller reads."""

_log = get_logger(__name__)


class KeepRoom:
    """Trims the partitions that this replica consumes, and watches how full the stream is.

    A consumer that is missing has settled nothing that we know of, one that was made anew
    has settled nothing yet: their partitions are left alone.
    """

    def __init__(self, trimmer: Trimmer, owned: Callable[[], Collection[int]]) -> None:
        self._trimmer = trimmer
        self._owned = owned
        self._trimmed: dict[int, int] = {}
        self._alarmed = False

    async def run(self, stop: Stop) -> None:
        """Trim every second until the stop; survives a broker that is away."""
        while not await stop.sleep(EVERY_S):
            try:
                await self.once()
            except BusError as error:
                _log.warning(f"cannot trim: {error}", action="trim_retry")

    async def once(self) -> None:
        """Trim once; raises BusError."""
        backlog = 0
        for partition in self._owned():
            progress = await self._progress(partition)
            if progress is not None:
                backlog += progress.waiting + progress.unsettled
                await self._trim(partition, progress.settled_sequence)
        metrics.BACKLOG.set(backlog)
        self._alarm(await self._trimmer.fullness(RAW))

    async def _progress(self, partition: int) -> Progress | None:
        consumer = NORMALIZER_RAW[partition]
        try:
            return await self._trimmer.progress(consumer)
        except NotFoundError:
            self._trimmed.pop(partition, None)
            _log.error(
                f"the consumer {consumer.name} is missing: nothing of its partition is consumed"
                " or removed until the provisioning step makes it again",
                action="trim_no_consumer",
                partition=partition,
            )
            return None

    async def _trim(self, partition: int, settled: int) -> None:
        if settled != self._trimmed.get(partition, 0):
            metrics.TRIMMED.add(await self._trimmer.trim(NORMALIZER_RAW[partition], settled))
            self._trimmed[partition] = settled

    def _alarm(self, fullness: float) -> None:
        metrics.RAW_FULLNESS.set(fullness)
        if fullness >= ALARM_FULLNESS and not self._alarmed:
            _log.error(
                f"DRIVE_RAW is {fullness:.0%} full: normalizers fall behind; at 100 % pollers"
                " wait. Add replicas, or see what keeps them (drivewake_normalizer_backlog)",
                action="raw_filling",
            )
        self._alarmed = fullness >= ALARM_FULLNESS
