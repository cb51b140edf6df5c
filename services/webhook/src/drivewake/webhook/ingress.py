"""One push: judged, made durable, answered. No call to Google, no database on this path."""

from collections.abc import Callable
from typing import Final

from drivewake.runtime import telemetry
from drivewake.runtime.clock import Clock, SystemClock
from drivewake.runtime.errors import BusError
from drivewake.runtime.logging import get_logger
from drivewake.webhook.commit import GroupCommit, NotCommittedError
from drivewake.webhook.domain import ANSWERS, OK, UNAVAILABLE, Push, judge
from drivewake.webhook.keeper import Keeper
from drivewake.webhook.metrics import COUNT_POKE, PUSHES
from drivewake.webhook.registry import Channels, Heard
from drivewake.webhook.source import Allowance
from drivewake.webhook.tokens import Keyring, Subject

SOURCE_AUDIT_PER_S: Final = 1.0
AUDIT_PER_S: Final = 5.0
_log = get_logger(__name__)


class Ingress:
    """Answers pushes by their verdict; 200 only after the broker holds the signal."""

    def __init__(
        self,
        keys: Keyring,
        channels: Channels,
        commit: GroupCommit,
        keeper: Keeper,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._keys = keys
        self._channels = channels
        self._commit = commit
        self._keeper = keeper
        self._clock = clock or SystemClock()
        self._audit = Allowance(source_per_s=SOURCE_AUDIT_PER_S, all_per_s=AUDIT_PER_S)
        # What a genuine subscription tells of itself is not drowned by strangers.
        self._genuine = Allowance(source_per_s=AUDIT_PER_S, all_per_s=AUDIT_PER_S)

    async def answer(self, push: Push, source: Callable[[], str]) -> int:
        """Return the status for a push; `source` tells who sent it, asked for audit lines alone."""
        now = self._clock.now()
        record = self._channels.registry.get(push.channel)
        verdict = judge(push, record, self._keys, now, looked_up=False)
        if verdict == "look_up":
            try:
                record = await self._channels.look_up(push.channel)
            except BusError:
                PUSHES.add(verdict="overload")
                return UNAVAILABLE
            verdict = judge(push, record, self._keys, now, looked_up=True)
        if verdict != "poke":
            PUSHES.add(verdict=verdict)
            if verdict == "orphan" and push.kind == "drive":
                self._keeper.orphan(push)
            self.tell(push.kind, verdict, push.subject, source(), channel=push.channel)
            return ANSWERS[verdict]
        if not await self.poke(push.subject):
            return UNAVAILABLE
        heard = Heard(resource=push.resource, at=now, sync=push.state == "sync")
        self._keeper.heard(push.channel, record, heard)
        return OK

    async def poke(self, subject: Subject) -> bool:
        """Return True once a signal for the log is durable, False if it may not be."""
        COUNT_POKE()
        try:
            if telemetry.recording():
                with telemetry.continue_trace(None, "push"):
                    await self._commit.submit(subject, telemetry.traceparent())
            else:
                await self._commit.submit(subject)
        except NotCommittedError:
            PUSHES.add(verdict="overload")
            return False
        return True

    def tell(self, kind: str, verdict: str, subject: Subject, source: str, **more: str) -> None:
        """Leave an audit line; a flood of them is counted in the metric alone."""
        told = verdict == "lifecycle"
        allowance = self._genuine if told else self._audit
        if allowance.take(source, self._clock.monotonic_s()):
            _log.warning(
                "a subscription tells of itself" if told else "a push was turned away",
                action="push_lifecycle" if told else "push_refused",
                kind=kind,
                verdict=verdict,
                source=source,
                tenant=subject.tenant,
                connection=subject.connection,
                log=subject.log,
                **more,
            )
