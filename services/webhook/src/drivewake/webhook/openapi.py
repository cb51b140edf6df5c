"""The public face as an OpenAPI document: raw handlers appear in no schema by themselves."""

import json
from typing import Any, Final

from drivewake.webhook.domain import SECURITY_HEADERS
from drivewake.webhook.http import path_of
from drivewake.webhook.senders.calendar import CalendarSender
from drivewake.webhook.senders.drive import DriveSender
from drivewake.webhook.senders.workspace import WorkspaceSender

ANSWERS: Final = {
    "400": "what its sender never sends",
    "401": "token, channel, log or resource do not fit",
    "404": "no such channel or log, or its time is over",
    "408": "the body did not come in time",
    "413": "the body is too large",
    "503": "nothing was promised: send it again",
}
DURABLE: Final = "the signal is durable"


def document(version: str) -> str:
    """Return the OpenAPI document."""
    channel = [
        {"name": name.decode(), "in": "header", "required": True, "schema": {"type": "string"}}
        for name in sorted(SECURITY_HEADERS - {b"x-goog-resource-state"})
    ]
    event = {
        "security": [{"google": []}],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _envelope()}}},
    }
    paths = {
        **_path(DriveSender.kind, "200", {"summary": "A watch channel of Drive"}, channel),
        **_path(CalendarSender.kind, "200", {"summary": "A watch channel of Calendar"}, channel),
        **_path(
            WorkspaceSender.kind, "204", event | {"summary": "A Workspace Event by Pub/Sub"}, []
        ),
    }
    found = {
        "openapi": "3.1.0",
        "info": {"title": "Drivewake webhook", "version": version},
        "paths": paths,
        "components": {
            "securitySchemes": {
                "google": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            }
        },
    }
    return json.dumps(found, indent=2, sort_keys=True) + "\n"


def _path(
    kind: str, success: str, more: dict[str, Any], headers: list[dict[str, Any]]
) -> dict[str, Any]:
    ids = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in ("tenant", "connection", "log")
    ]
    answers = {status: {"description": text} for status, text in ANSWERS.items()}
    operation = {
        "operationId": kind,
        "parameters": [*ids, *headers],
        "responses": {success: {"description": DURABLE}, **answers},
        **more,
    }
    return {f"{path_of(kind)}/{{tenant}}/{{connection}}/{{log}}": {"post": operation}}


def _envelope() -> dict[str, Any]:
    text = {"type": "string"}
    names = ("ce-id", "ce-source", "ce-specversion", "ce-type")
    attributes = {
        "type": "object",
        "properties": dict.fromkeys(names, text),
        "required": list(names),
        "additionalProperties": text,
    }
    message = {
        "type": "object",
        "properties": {"attributes": attributes, "messageId": text, "data": text},
        "required": ["attributes", "messageId"],
    }
    return {"type": "object", "properties": {"message": message}, "required": ["message"]}
