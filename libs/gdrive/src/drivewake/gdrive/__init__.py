"""The only package that knows Google: requests, transport, errors."""
