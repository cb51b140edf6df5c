"""The stage on which pollers are tried; it stands in tests/worlds."""

from poller_stage import poller_google, stage

__all__ = ["poller_google", "stage"]
