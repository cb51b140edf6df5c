"""Google's own description of its methods: the discovery documents of google-api-python-client.

Paths, parameters, scopes and the fields that exist are read from there, so the simulator
cannot drift from what Google says of itself.
"""

import json
from importlib.resources import files
from typing import Any, NamedTuple

_DOCUMENTS = "googleapiclient.discovery_cache.documents"


class Node(NamedTuple):
    """What may stand below a field: named fields, anything (a map), or nothing (a scalar)."""

    fields: "dict[str, Node] | None"
    is_map: bool = False


class Parameter(NamedTuple):
    """A query or path parameter as Google declares it."""

    name: str
    type: str
    required: bool
    default: str | None
    minimum: int | None
    maximum: int | None
    coerced: bool
    """Whether Google cuts what is beyond the maximum instead of refusing it."""


class Method(NamedTuple):
    """One API method; `path` has `{braces}` and no leading slash."""

    id: str
    http_method: str
    path: str
    parameters: dict[str, Parameter]
    scopes: frozenset[str]
    response: Node
    needs_fields: bool
    upload_paths: tuple[str, ...]
    read_only: frozenset[str]
    """Fields of the request body that only Google writes."""


class Service:
    """A service's methods by id, for example `drive.changes.list`."""

    def __init__(self, name: str, version: str) -> None:
        text = (files(_DOCUMENTS) / f"{name}.{version}.json").read_bytes()
        document: dict[str, Any] = json.loads(text)
        self.base_path = "/" + document["servicePath"]
        self._schemas: dict[str, Any] = document["schemas"]
        self._nodes: dict[str, Node] = {}
        self.methods: dict[str, Method] = {}
        self._collect(document)

    def _collect(self, resource: dict[str, Any]) -> None:
        for raw in resource.get("methods", {}).values():
            response = raw.get("response", {}).get("$ref")
            protocols = raw.get("mediaUpload", {}).get("protocols", {})
            self.methods[raw["id"]] = Method(
                raw["id"],
                raw["httpMethod"],
                raw["path"],
                {n: _parameter(n, p) for n, p in raw.get("parameters", {}).items()},
                frozenset(raw.get("scopes", ())),
                self._schema(response) if response else Node({}),
                "Required: The `fields` parameter" in raw.get("description", ""),
                tuple(protocol["path"] for protocol in protocols.values()),
                self._read_only(raw.get("request", {}).get("$ref")),
            )
        for child in resource.get("resources", {}).values():
            self._collect(child)

    def _read_only(self, name: str | None) -> frozenset[str]:
        properties = {} if name is None else self._schemas[name].get("properties", {})
        return frozenset(
            key
            for key, raw in properties.items()
            if raw.get("readOnly") or raw.get("description", "").startswith("Output only")
        )

    def _schema(self, name: str) -> Node:
        if name not in self._nodes:
            fields: dict[str, Node] = {}
            self._nodes[name] = Node(fields)  # before its fields: schemas may contain themselves
            for key, raw in self._schemas[name].get("properties", {}).items():
                fields[key] = self._node(raw)
        return self._nodes[name]

    def _node(self, raw: dict[str, Any]) -> Node:
        if "$ref" in raw:
            return self._schema(raw["$ref"])
        if raw.get("type") == "array":
            return self._node(raw["items"])
        if raw.get("type") == "object":
            if "properties" in raw:
                return Node({k: self._node(v) for k, v in raw["properties"].items()})
            return Node(None, is_map=True)
        return Node(None, is_map=raw.get("type") == "any")


def _parameter(name: str, raw: dict[str, Any]) -> Parameter:
    return Parameter(
        name,
        raw["type"],
        raw.get("required", False),
        raw.get("default"),
        int(raw["minimum"]) if "minimum" in raw else None,
        int(raw["maximum"]) if "maximum" in raw else None,
        "coerced" in raw.get("description", ""),
    )
