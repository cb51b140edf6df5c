"""The simulated Google of the integration tests, for tests that kill brokers."""

from webhook_world import google

__all__ = ["google"]
