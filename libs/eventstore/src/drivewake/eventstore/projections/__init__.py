"""Read models that come with the store."""
