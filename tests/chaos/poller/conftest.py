"""The stage of the integration tests, for crashes."""

from poller_stage import poller_google, stage

__all__ = ["poller_google", "stage"]
