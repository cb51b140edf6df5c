"""What every Bus must do: each promise of `drivewake.runtime.bus`, tried.

Use: subclass `BusContract` in a test file with a fixture `world`, fresh for each test: two
connections to one broker for which `prepare` was called.
"""

from drivewake.lab.suites.bus_asking import ClosingContract, DoorbellContract, RequesterContract
from drivewake.lab.suites.bus_pulling import PullerContract
from drivewake.lab.suites.bus_reading import KeyValueReaderContract, StreamReaderContract
from drivewake.lab.suites.bus_trimming import TrimmerContract
from drivewake.lab.suites.bus_world import World, prepare
from drivewake.lab.suites.bus_writing import (
    KeyValueContract,
    PublisherContract,
    SchedulerContract,
)

__all__ = ["BusContract", "World", "prepare"]


class BusContract(
    PublisherContract,
    SchedulerContract,
    KeyValueContract,
    PullerContract,
    StreamReaderContract,
    TrimmerContract,
    KeyValueReaderContract,
    RequesterContract,
    DoorbellContract,
    ClosingContract,
):
    """All of it."""
