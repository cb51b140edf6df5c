"""The raws that the normalizer's bench feeds: a seeded life of many files.

Each raw is a drive.v3 Change as the poller's field mask asks for it, about 1.6 KiB. Of every
hundred: files discovered with an ACL (4 events), contents changed (1), renames (1), repeats of
what is known (none: recognised), removals (2).
"""

import datetime as dt
import random
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from drivewake.contracts import subjects
from drivewake.contracts.envelope import HEADERS, Envelope
from drivewake.contracts.ids import partition_of
from drivewake.contracts.raw import RAW_TYPE, RAWS, Raw
from drivewake.runtime.bus import Message

MIX: Final = {"discovered": 20, "content": 35, "renamed": 10, "repeat": 30, "removed": 5}
EVENTS: Final = {"discovered": 4, "content": 1, "renamed": 1, "repeat": 0, "removed": 2}
START: Final = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
PLACES: Final = tuple(
    (f"tenant{number % 2}", f"connection{number}", f"log{number}") for number in range(4)
)
TRACEPARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def mix_text() -> str:
    """Return the mix in words."""
    return ", ".join(f"{share} % {what}" for what, share in MIX.items())


class Load:
    """Makes raws; `facts` counts what must come of those made so far."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._files: list[list[dict[str, Any]]] = [[] for _ in PLACES]
        self._number = 0
        self.events = 0
        self.recognised = 0

    @property
    def facts(self) -> int:
        """Events to be stored, and raws to be recognised as known."""
        return self.events + self.recognised

    def messages(self, count: int) -> Iterator[Message]:
        """Yield the next raws, ready to publish."""
        kinds, weights = list(MIX), list(MIX.values())
        for _ in range(count):
            self._number += 1
            place = self._random.randrange(len(PLACES))
            files = self._files[place]
            kind = self._random.choices(kinds, weights)[0] if files else "discovered"
            self.events += EVENTS[kind]
            self.recognised += kind == "repeat"
            yield self._message(place, *self._change(place, kind))

    def _change(self, place: int, kind: str) -> tuple[str, dict[str, Any]]:
        files = self._files[place]
        at = self._random.randrange(len(files)) if files else 0
        if kind == "removed":
            files[at], files[-1] = files[-1], files[at]
            gone = files.pop()["id"]
            return gone, {**_CHANGE, "removed": True, "fileId": gone}
        if kind == "discovered":
            file = _file(PLACES[place][1], self._number)
            files.append(file)
        else:
            file = files[at]
        if kind == "content":
            file |= {"md5Checksum": f"{self._number:032x}", "headRevisionId": f"r{self._number}"}
            file |= {"size": str(self._number), "modifiedTime": _time(self._number)}
        elif kind == "renamed":
            file["name"] = f"Report {self._number}.pdf"
        if kind in {"content", "renamed"}:
            file["version"] = str(int(file["version"]) + 3)
        return file["id"], {**_CHANGE, "fileId": file["id"], "file": file}

    def _message(self, place: int, item: str, change: dict[str, Any]) -> Message:
        tenant, connection, log = PLACES[place]
        observed_at = START + dt.timedelta(milliseconds=self._number)
        change["time"] = _time(self._number)
        envelope = Envelope(
            id=f"{self._number:032x}",
            source="/drivewake/poller",
            type=RAW_TYPE,
            time=observed_at,
            tenant=tenant,
            connection=connection,
            traceparent=TRACEPARENT,
            data=Raw(
                source="changes",
                log=log,
                item=item,
                observed_at=observed_at,
                body=msgspec.Raw(msgspec.json.encode(change)),
                cursor=str(self._number // 100),
            ),
        )
        return Message(
            subject=subjects.raw(partition_of(tenant, item), tenant, connection),
            data=RAWS.encode(envelope),
            headers={**HEADERS, "traceparent": TRACEPARENT},
        )


def _time(number: int) -> str:
    return f"{START + dt.timedelta(milliseconds=number):%Y-%m-%dT%H:%M:%S}.{number % 1000:03d}Z"


def _user(name: str) -> dict[str, Any]:
    return {
        "displayName": name.title(),
        "emailAddress": f"{name}@example.com",
        "permissionId": f"1234567890123{len(name)}",
        "me": False,
    }


def _permission(name: str, role: str) -> dict[str, Any]:
    user = _user(name)
    del user["me"]
    return {"type": "user", "role": role, "deleted": False, "pendingOwner": False} | {
        "id" if key == "permissionId" else key: value for key, value in user.items()
    }


_CHANGE: Final[dict[str, Any]] = {"kind": "drive#change", "changeType": "file", "removed": False}


def _file(owner: str, number: int) -> dict[str, Any]:
    file_id = f"1{owner[:10]}{number:022x}"
    return {
        "kind": "drive#file",
        "id": file_id,
        "name": f"Report {number}.pdf",
        "mimeType": "application/pdf",
        "version": "1",
        "parents": [f"0{owner[:10]}{number % 97:022x}"],
        "spaces": ["drive"],
        "createdTime": _time(number),
        "modifiedTime": _time(number),
        "trashed": False,
        "explicitlyTrashed": False,
        "size": "12345",
        "quotaBytesUsed": "12345",
        "md5Checksum": f"{number:032x}",
        "sha1Checksum": f"{number:040x}",
        "sha256Checksum": f"{number:064x}",
        "headRevisionId": f"0B{number:040x}",
        "originalFilename": f"Report {number}.pdf",
        "fileExtension": "pdf",
        "fullFileExtension": "pdf",
        "shared": True,
        "writersCanShare": True,
        "copyRequiresWriterPermission": False,
        "capabilities": {"canShare": True, "canDownload": True},
        "permissionIds": ["12345678901235", "12345678901238"],
        "permissions": [_permission(owner, "owner"), _permission("bob", "writer")],
        "owners": [_user(owner)],
        "lastModifyingUser": _user("bob"),
    }
