"""The service that reads Google and emits raw facts."""
