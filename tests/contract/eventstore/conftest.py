"""Databases with the event store's schema."""

from collections.abc import Callable

import pytest

from drivewake.lab.suites.eventstore import TEMPLATE, migrated


@pytest.fixture(scope="session")
def database_template(template_database: Callable[..., str]) -> str:
    """The template with the store's schema, made once a worker."""
    return template_database(TEMPLATE, migrated)
