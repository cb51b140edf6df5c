"""Whatever is sent along the OpenAPI document, no answer is a server's failure."""

import asyncio
import json
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.core.result import Ok

from drivewake.auth.app import openapi_document

World = Any  # the fixture of conftest.py
BOUNDED = settings(
    max_examples=12,
    database=None,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


async def test_no_request_along_the_document_is_a_servers_failure(world: World) -> None:
    """Every path and method, with generated and with broken input: never 5xx, never a hang."""
    connection = await world.connect()
    token = world.issuer.access_token()

    def fuzz() -> dict[str, set[int]]:
        schema = schemathesis.openapi.from_dict(json.loads(openapi_document()))
        answers: dict[str, set[int]] = {}

        def send(case: Any) -> None:  # noqa: ANN401 - a schemathesis case
            if "connection" in (case.path_parameters or {}):
                case.path_parameters["connection"] = connection
            answer = case.call(
                base_url=world.url,
                headers={"Authorization": f"Bearer {token}"},
                timeout=10,
                allow_redirects=False,
            )
            label = f"{case.operation.method.upper()} {case.operation.path}"
            answers.setdefault(label, set()).add(answer.status_code)

        for found in schema.get_all_operations():
            assert isinstance(found, Ok)
            BOUNDED(given(case=found.ok().as_strategy())(send))()
        return answers

    answers = await asyncio.to_thread(fuzz)
    assert len(answers) >= 15
    failed = {label: statuses for label, statuses in answers.items() if max(statuses) >= 500}
    assert {} == failed
    assert 200 in answers["GET /v1/connections"]
