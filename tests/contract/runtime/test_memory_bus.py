"""The bus in memory keeps every promise of a bus."""

from collections.abc import AsyncIterator

import pytest

from drivewake.lab.suites.bus import BusContract, World, prepare
from drivewake.runtime.memory import MemoryBus


class TestMemoryBus(BusContract):
    """The contract, in memory."""

    @pytest.fixture
    async def world(self) -> AsyncIterator[World]:
        """A fresh bus; both connections are the same object."""
        bus = MemoryBus(provisioned=False)
        await prepare(bus)
        yield World(bus=bus, other=bus)
        await bus.close()
