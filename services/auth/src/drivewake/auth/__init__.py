"""The service that owns connections and tokens."""
