"""The bus over NATS keeps every promise of a bus, on the real server."""

from collections.abc import AsyncIterator

import pytest

from drivewake.lab.suites.bus import BusContract, World, prepare
from drivewake.runtime.nats import connect
from drivewake.runtime.provision import NatsProvisioner


class TestNatsBus(BusContract):
    """The contract, on the real server."""

    @pytest.fixture
    async def world(self, nats_url: str, prefix: str) -> AsyncIterator[World]:
        """Two connections under a prefix of their own."""
        bus = await connect(name="suite", url=nats_url, prefix=prefix)
        other = await connect(name="suite-other", url=nats_url, prefix=prefix)
        await prepare(NatsProvisioner(bus))
        yield World(bus=bus, other=other)
        await bus.close()
        await other.close()
