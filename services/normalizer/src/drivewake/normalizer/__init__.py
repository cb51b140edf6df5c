"""The service that decides, deduplicates and appends."""
