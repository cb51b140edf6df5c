"""Verbs of the `drivewake` command about the event store, found by entry point."""
