"""The Postgres event store: append, read, relay and projections."""
