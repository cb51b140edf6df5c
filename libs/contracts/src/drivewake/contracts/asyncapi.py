"""AsyncAPI 3.0 document of everything that travels between services and to downstream.

Generated from the message types and subjects themselves; committed beside this file as
`asyncapi.json` and compared in a test, so that the document cannot lie.
Source: https://www.asyncapi.com/docs/reference/specification/v3.0.0.

    python -m drivewake.contracts.asyncapi [--check]
"""

import re
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from drivewake.contracts import subjects
from drivewake.contracts.connections import Connection
from drivewake.contracts.control import ControlReply, ControlRequest, StatusReply, StatusRequest
from drivewake.contracts.dead import DeadLetter
from drivewake.contracts.envelope import CONTENT_TYPE, Envelope
from drivewake.contracts.events import Event
from drivewake.contracts.raw import LogFact, Raw
from drivewake.contracts.requests import Answer, Request
from drivewake.contracts.rpc import Refusal, ReportReply, ReportRequest, TokenReply, TokenRequest
from drivewake.contracts.signals import Signal

PATH: Final = Path(__file__).with_name("asyncapi.json")
REF: Final = "#/components/schemas/{name}"


class Flow(NamedTuple):
    """One kind of message: where it travels, who sends it, who receives it."""

    channel: str
    address: str
    message: type
    senders: tuple[str, ...]
    receivers: tuple[str, ...]
    stream: subjects.Stream
    summary: str


STREAM_FLOWS: Final = (
    Flow(
        "connection", "drive.connection.v1.{tenant}.{connection}", Envelope[Connection],
        ("auth",), ("webhook", "poller", "normalizer"), subjects.CONNECTION,
        "The whole state of a connection, at each transition.",
    ),
    Flow(
        "signal", "drive.signal.v1.{tenant}.{connection}.{log}", Envelope[Signal],
        ("webhook", "poller", "operator"), ("poller",), subjects.SIGNAL,
        "Look at this log.",
    ),
    Flow(
        "schedule", "drive.schedule.v1.{tenant}.{connection}.{log}", Envelope[Signal],
        ("poller",), (), subjects.SIGNAL,
        "A signal to come: JetStream publishes it on the signal's subject in time.",
    ),
    Flow(
        "raw", "drive.raw.v1.{partition}.{tenant}.{connection}", Envelope[Raw],
        ("poller",), ("normalizer",), subjects.RAW,
        "One item as Google returned it.",
    ),
    Flow(
        "request", "drive.request.v1.{tenant}.{connection}.{request}", Envelope[Request],
        ("operator", "normalizer"), ("poller",), subjects.REQUEST,
        "Read this, by itself, and say how it went.",
    ),
    Flow(
        "answer", "drive.answer.v1.{tenant}.{connection}.{request}", Envelope[Answer],
        ("poller",), ("operator",), subjects.ANSWER,
        "How a request goes, or went, and what it cost.",
    ),
    Flow(
        "event", "drive.event.v1.{tenant}.{noun}.{verb}", Event,
        ("normalizer",), ("downstream",), subjects.EVENT,
        "One normalised fact, in store order. This is what downstream teams subscribe to.",
    ),
    Flow(
        "dead", "drive.dead.v1.{service}", DeadLetter,
        ("webhook", "poller", "normalizer"), ("operator",), subjects.DEAD,
        "What could not be handled, with the reason.",
    ),
)  # fmt: skip


def document() -> dict[str, Any]:
    """Return the AsyncAPI document as plain values."""
    types = [flow.message for flow in STREAM_FLOWS]
    rpc = [
        *(TokenRequest, TokenReply, ReportRequest, ReportReply, Refusal),
        *(ControlRequest, ControlReply, StatusRequest, StatusReply),
    ]
    found, schemas = msgspec.json.schema_components([*types, *rpc, LogFact], ref_template=REF)
    names = {kind: ref["$ref"] for kind, ref in zip([*types, *rpc], found, strict=False)}
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    for flow in STREAM_FLOWS:
        _describe(flow, names, channels, operations, messages)
    for channel, address, request, replies in (
        ("token", "drive.rpc.v1.auth.token.{caller}", TokenRequest, (TokenReply, Refusal)),
        ("report", "drive.rpc.v1.auth.report.{caller}", ReportRequest, (ReportReply, Refusal)),
        ("control", subjects.CONTROL_RPC, ControlRequest, (ControlReply,)),
        ("status", subjects.STATUS_RPC, StatusRequest, (StatusReply,)),
    ):
        messages[f"{channel}_request"] = {"payload": {"$ref": names[request]}}
        messages[f"{channel}_reply"] = {
            "payload": {"oneOf": [{"$ref": names[reply]} for reply in replies]}
        }
        channels[channel] = {
            "address": address,
            "parameters": {name: {} for name in re.findall(r"\{(\w+)\}", address)},
            "messages": {"request": {"$ref": f"#/components/messages/{channel}_request"}},
        }
        channels[f"{channel}_reply"] = {
            "address": None,
            "messages": {"reply": {"$ref": f"#/components/messages/{channel}_reply"}},
        }
        operations[f"ask_{channel}"] = {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{channel}"},
            "reply": {"channel": {"$ref": f"#/channels/{channel}_reply"}},
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Drivewake",
            "version": "1.0.0",
            "description": "Google Drive as an ordered, deduplicated, replayable history.",
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": schemas,
        },
    }


def _describe(
    flow: Flow,
    names: dict[type, str],
    channels: dict[str, Any],
    operations: dict[str, Any],
    messages: dict[str, Any],
) -> None:
    messages[flow.channel] = {"summary": flow.summary, "payload": {"$ref": names[flow.message]}}
    channels[flow.channel] = {
        "address": flow.address,
        "description": flow.summary,
        "parameters": {name: {} for name in re.findall(r"\{(\w+)\}", flow.address)},
        "messages": {flow.channel: {"$ref": f"#/components/messages/{flow.channel}"}},
        "x-stream": msgspec.to_builtins(flow.stream),
    }
    for action, users in (("send", flow.senders), ("receive", flow.receivers)):
        for user in users:
            operations[f"{user}_{action}s_{flow.channel}"] = {
                "action": action,
                "channel": {"$ref": f"#/channels/{flow.channel}"},
            }


def render() -> bytes:
    """Return the document as stable, readable JSON."""
    text = msgspec.json.format(msgspec.json.encode(document(), order="deterministic"), indent=2)
    return text + b"\n"


def main() -> int:
    """Write the document, or with --check say whether the committed one is current."""
    if "--check" in sys.argv[1:]:
        if PATH.read_bytes() == render():
            return 0
        sys.stderr.write(f"{PATH} is out of date: run `just contracts`\n")
        return 1
    PATH.write_bytes(render())
    return 0


if __name__ == "__main__":
    sys.exit(main())
