"""The public face's OpenAPI document."""

import json
from importlib import metadata
from pathlib import Path

from drivewake.webhook.domain import ANSWERS
from drivewake.webhook.openapi import document

COMMITTED = Path(__file__).parents[3] / "services" / "webhook" / "openapi.json"


def test_the_openapi_document_is_current() -> None:
    """The committed document says what the code does (`python -m drivewake.webhook openapi`)."""
    assert document(metadata.version("drivewake-webhook")) == COMMITTED.read_text()


def test_it_names_every_answer_that_a_verdict_gets() -> None:
    """No status is given that it does not tell."""
    paths = json.loads(COMMITTED.read_text())["paths"]
    (drive,) = (path["post"] for name, path in paths.items() if "/drive/" in name)

    assert 3 == len(paths)
    assert {str(status) for status in ANSWERS.values()} <= set(drive["responses"])
