"""Kinds of logs. A new one is a module here with a class that fulfils `ports.Source`."""

from drivewake.poller.sources.activity import ActivitySource
from drivewake.poller.sources.changes import ChangesSource
from drivewake.poller.sources.enrichment import Enrichment, Memory

__all__ = ["ActivitySource", "ChangesSource", "Enrichment", "Memory"]
