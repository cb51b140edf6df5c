"""What all of Drive v3's services share: finding what a call names, paging, recording."""

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from drivewake.lab.google.errors import ApiError, invalid_value
from drivewake.lab.google.fields import wants
from drivewake.lab.google.gateway import Call
from drivewake.lab.google.model import Change, File, FileMissingError
from drivewake.lab.google.world import SimulatedGoogle

T = TypeVar("T")
_TOKEN_PREFIX = "~!!~"  # noqa: S105 - how Google's listing page tokens begin
_KEYS_HEADER = "x-goog-drive-resource-keys"


class DriveBase:
    """One service of Drive. Every method takes an authorised call and returns JSON."""

    def __init__(self, world: SimulatedGoogle) -> None:
        self._world = world
        self._state = world.state

    def find(self, call: Call, parameter: str = "fileId") -> File:
        """Return the file a call names, if the caller sees it and asked as it must.

        What is in a shared drive exists only for callers that say `supportsAllDrives`, where
        the method has that parameter. Raises FileMissingError.
        """
        file_id = call.params[parameter]
        file = self._state.find(call.user, file_id, resource_keys(call))
        if file.drive is not None and not supports_drives(call):
            raise FileMissingError(file_id)
        return file

    def record(self, *changes: Change | None) -> None:
        """Write down what an operation changed."""
        self._world.record(c for c in changes if c is not None)


def resource_keys(call: Call) -> dict[str, str]:
    """Return resource key by file id, from `X-Goog-Drive-Resource-Keys: id/key,id/key`."""
    pairs = (
        p.strip().partition("/") for p in call.request.headers.get(_KEYS_HEADER, "").split(",")
    )
    return {file_id: key for file_id, _, key in pairs if key}


def supports_drives(call: Call) -> bool:
    """Whether the caller said that it knows shared drives, or the method never asks."""
    flags = [
        call.params[n] for n in ("supportsAllDrives", "supportsTeamDrives") if n in call.params
    ]
    return any(flags) or not flags


def includes_drives(call: Call) -> bool:
    """Whether the caller wants what is in shared drives too."""
    names = ("includeItemsFromAllDrives", "includeTeamDriveItems")
    return any(call.params.get(n) for n in names)


def asked_drive(call: Call, *, listing: bool = True) -> str | None:
    """Return the shared drive a call is about, None for the caller's own log or corpus.

    Raises ApiError (403) unless the caller says that it supports drives and, in listings,
    that it wants their items. The reason `supportsTeamDrivesRequired` is inferred.
    """
    drive_id: str | None = call.params.get("driveId") or call.params.get("teamDriveId")
    if drive_id is None:
        return None
    if not supports_drives(call):
        text = "The supportsAllDrives parameter must be set to true when driveId is specified."
        raise ApiError(403, "supportsTeamDrivesRequired", text)
    if listing and not includes_drives(call):
        refuse_without_items()
    return drive_id


def refuse_without_items() -> None:
    """Refuse a listing of drives by a caller that wants no drive items. Raises ApiError."""
    raise ApiError(
        403,
        "includeTeamDriveItemsRequired",
        "The includeItemsFromAllDrives parameter must be set to true when driveId is specified "
        "or corpora contains drive or allDrives.",
    )


def page(call: Call, items: Sequence[T], size: int | None) -> tuple[Iterable[T], dict[str, str]]:
    """Return one page of a listing and, while more follows, its `nextPageToken`.

    `size` None is everything. Raises ApiError (400 invalid pageToken).
    """
    token = call.params.get("pageToken")
    start = 0
    if token is not None:
        number = token.removeprefix(_TOKEN_PREFIX)
        if number == token or not number.isdecimal() or int(number) > len(items):
            raise invalid_value("pageToken")
        start = int(number)
    behind = len(items) if size is None else start + size
    following = {"nextPageToken": f"{_TOKEN_PREFIX}{behind}"} if behind < len(items) else {}
    return items[start:behind], following


def kept(call: Call, shown: dict[str, Any]) -> dict[str, Any]:
    """Return the wanted top level of an answer that is projected below already."""
    return {k: v for k, v in shown.items() if wants(call.mask, k)}
