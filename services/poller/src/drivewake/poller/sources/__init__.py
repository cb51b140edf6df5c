"""Kinds of logs. A new one is a module here with a class that fulfils `ports.Source`."""

from drivewake.poller.sources.changes import ChangesSource

__all__ = ["ChangesSource"]
