"""The provisioning step: creates every stream, bucket and consumer that services bind to.

Run it before the services and after every upgrade, as the NATS user `provision`:
`python -m drivewake.runtime.provision`. It changes in place and never deletes a message.
"""

import sys
from typing import Any, Final

from pydantic import Field

from drivewake.contracts.permissions import PROVISION_USER
from drivewake.contracts.subjects import (
    BUCKETS,
    CONSUMERS,
    STREAMS,
    Bucket,
    Consumer,
    Stream,
)
from drivewake.runtime.bus import Provisioner
from drivewake.runtime.errors import BusError
from drivewake.runtime.lifecycle import EXIT_FAILED, EXIT_OK, run_service
from drivewake.runtime.logging import configure, get_logger
from drivewake.runtime.nats import NatsBus, connect
from drivewake.runtime.settings import ServiceSettings, load

_NS: Final = 1_000_000_000
_NAME_IN_USE: Final = "(10058)"

_log = get_logger(__name__)


class NatsProvisioner:
    """Creates what services bind to. Idempotent; needs the `provision` user."""

    def __init__(self, bus: NatsBus) -> None:
        self._link = bus.link

    async def ensure_stream(self, stream: Stream, *, replicas: int = 1, scale: float = 1.0) -> None:
        """Create the stream, or bring it to its specification; `scale` multiplies its size."""
        await self._ensure(
            {
                "name": self._link.name(stream.name),
                "description": stream.description,
                "subjects": [self._link.subject(subject) for subject in stream.subjects],
                "retention": stream.retention,
                "discard": stream.discard,
                "max_age": stream.max_age_s * _NS,
                "max_bytes": int(stream.max_bytes * scale) or -1,
                "max_msgs_per_subject": stream.max_msgs_per_subject or -1,
                "max_msgs": -1,
                "max_consumers": -1,
                "storage": "file",
                "num_replicas": replicas,
                "duplicate_window": stream.duplicate_window_s * _NS,
                "allow_direct": stream.direct,
                "allow_msg_ttl": stream.message_ttl,
                "allow_atomic": stream.atomic,
                "allow_msg_schedules": stream.schedules,
                # nats-server sets this itself together with schedules.
                "allow_rollup_hdrs": stream.schedules,
            }
        )

    async def ensure_bucket(self, bucket: Bucket, *, replicas: int = 1, scale: float = 1.0) -> None:
        """Create the bucket, or bring it to its specification; `scale` multiplies its size."""
        name = self._link.name(bucket.name)
        await self._ensure(
            {
                "name": f"KV_{name}",
                "description": bucket.description,
                "subjects": [f"$KV.{name}.>"],
                "retention": "limits",
                "discard": "new",
                "max_msgs_per_subject": bucket.history,
                "max_bytes": int(bucket.max_bytes * scale) or -1,
                "max_msgs": -1,
                "max_consumers": -1,
                "storage": "file",
                "num_replicas": replicas,
                "allow_direct": True,
                "allow_rollup_hdrs": True,
                "deny_delete": True,
            }
        )

    async def _ensure(self, config: dict[str, Any]) -> None:
        name = config["name"]
        try:
            await self._link.api(f"STREAM.CREATE.{name}", config)
        except BusError as error:
            if _NAME_IN_USE not in str(error):
                raise
            if not await self._replaced(config):
                await self._link.api(f"STREAM.UPDATE.{name}", config)

    async def _replaced(self, config: dict[str, Any]) -> bool:
        """Make a work queue anew as a stream of another retention, if it is empty.

        nats-server cannot change that in place. The old stream first takes no subject any
        more, so that nothing can come between looking and deleting: publishers are refused
        for this moment and try again. Raises BusError if it holds messages.
        """
        name = config["name"]
        info = await self._link.api(f"STREAM.INFO.{name}")
        former = info["config"]
        if former["retention"] != "workqueue" or config["retention"] == "workqueue":
            return False
        closed = {**former, "subjects": [f"closed.{name}"]}
        state = (await self._link.api(f"STREAM.UPDATE.{name}", closed))["state"]
        if state["messages"]:
            await self._link.api(
                f"STREAM.UPDATE.{name}", {**former, "subjects": config["subjects"]}
            )
            raise BusError(
                f"{name} is a work queue of an earlier release and still holds"
                f" {state['messages']} messages: stop its writers, let its readers of that"
                " release empty it, then provision again"
            )
        await self._link.api(f"STREAM.DELETE.{name}")
        await self._link.api(f"STREAM.CREATE.{name}", config)
        _log.warning(f"{name} was an empty work queue and is made anew", action="stream_replaced")
        return True

    async def ensure_consumer(self, consumer: Consumer) -> None:
        """Create the consumer, or bring it to its specification, keeping its place."""
        stream = self._link.name(consumer.stream)
        filters = [self._link.subject(subject) for subject in consumer.filters]
        config: dict[str, Any] = {
            "name": consumer.name,
            "durable_name": consumer.name,
            "description": consumer.description,
            "ack_policy": "explicit",
            "deliver_policy": "all",
            "replay_policy": "instant",
            "ack_wait": int(consumer.ack_wait_s * _NS),
            "max_deliver": consumer.max_deliver,
            "max_ack_pending": consumer.max_ack_pending,
        }
        verb = f"CONSUMER.CREATE.{stream}.{consumer.name}"
        if len(filters) == 1:
            config["filter_subject"] = filters[0]
            verb = f"{verb}.{filters[0]}"
        else:
            config["filter_subjects"] = filters
        await self._link.api(verb, {"stream_name": stream, "config": config})


async def provision(
    provisioner: Provisioner | NatsBus, *, replicas: int = 1, scale: float = 1.0
) -> None:
    """Bring everything that `contracts.subjects` names to its specification."""
    maker = NatsProvisioner(provisioner) if isinstance(provisioner, NatsBus) else provisioner
    for stream in STREAMS:
        await maker.ensure_stream(stream, replicas=replicas, scale=scale)
    for bucket in BUCKETS:
        await maker.ensure_bucket(bucket, replicas=replicas, scale=scale)
    for consumer in CONSUMERS:
        await maker.ensure_consumer(consumer)


class ProvisionSettings(ServiceSettings):
    """Settings of the provisioning step; `scale` multiplies the sizes of streams and buckets."""

    nats_user: str = PROVISION_USER
    replicas: int = Field(default=1, ge=1, le=5)
    scale: float = Field(default=1.0, gt=0)


async def main() -> int:
    """Provision by environment; return the exit code."""
    settings = load(ProvisionSettings)
    configure("provision", settings.log_level, settings.log_format)
    try:
        bus = await connect(settings, name="provision")
        try:
            await provision(bus, replicas=settings.replicas, scale=settings.scale)
        finally:
            await bus.close()
    except BusError as error:
        _log.error(f"provisioning failed: {error}", action="provision_failed")
        return EXIT_FAILED
    _log.info(
        "streams, buckets and consumers are as specified",
        action="provisioned",
        streams=len(STREAMS),
        buckets=len(BUCKETS),
        consumers=len(CONSUMERS),
    )
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(run_service(main))
