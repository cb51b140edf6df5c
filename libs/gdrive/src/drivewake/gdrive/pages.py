"""What Drive answers, typed where we look at it and verbatim where we hand it on."""

import datetime as dt
from typing import Final

import msgspec

MAX_DIGITS: Final = 14  # of milliseconds since 1970: enough for the year 5000


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One Change or File resource, verbatim in `body`, with what is needed to route it.

    `id` is the file's id, or the shared drive's for a change of the drive itself
    (`is_drive`); empty if Google named neither: such an item belongs to the dead letters.
    `body` is a view of the whole page: copy it to keep it for long.
    """

    id: str
    body: msgspec.Raw
    removed: bool = False
    is_drive: bool = False


class ChangesPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of changes. Exactly one of the two tokens is set.

    `next_page_token`: more to read now. `new_start_page_token`: the end; start there next
    time. `request` is the fingerprint of the call, `observed_at` the instant just before Google
    was asked: what it told is at least as new.
    """

    items: tuple[Item, ...]
    next_page_token: str | None
    new_start_page_token: str | None
    request: str
    observed_at: dt.datetime


class FilesPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a listing; `incomplete` means: no evidence of absence."""

    items: tuple[Item, ...]
    next_page_token: str | None
    incomplete: bool
    request: str
    observed_at: dt.datetime


class FileAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One file, verbatim."""

    item: Item
    request: str
    observed_at: dt.datetime


class WatchAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A push channel that Google opened; `expires_at` is Google's, which may be sooner."""

    resource_id: str
    expires_at: dt.datetime


class _ChangeList(msgspec.Struct, rename="camel"):
    changes: list[msgspec.Raw] = []
    next_page_token: str = ""
    new_start_page_token: str = ""


class _ChangeHead(msgspec.Struct, rename="camel"):
    file_id: str = ""
    drive_id: str = ""
    change_type: str = ""
    removed: bool = False


class _FileList(msgspec.Struct, rename="camel"):
    files: list[msgspec.Raw] | None = None
    next_page_token: str = ""
    incomplete_search: bool | None = None


class _FileHead(msgspec.Struct):
    id: str


class _StartPageToken(msgspec.Struct, rename="camel"):
    start_page_token: str


class _Channel(msgspec.Struct, rename="camel"):
    resource_id: str
    expiration: str | int = ""


_change_list = msgspec.json.Decoder(_ChangeList)
_change_head = msgspec.json.Decoder(_ChangeHead)
_file_list = msgspec.json.Decoder(_FileList)
_file_head = msgspec.json.Decoder(_FileHead)
_start = msgspec.json.Decoder(_StartPageToken)
_channel = msgspec.json.Decoder(_Channel)

# Each decoder raises msgspec.MsgspecError or UnicodeDecodeError for what is not its answer.


def decode_changes(body: bytes) -> tuple[tuple[Item, ...], str, str]:
    """Return the items of changes.list, its next page token and its new start page token."""
    _check_text(body)
    page = _change_list.decode(body)
    if bool(page.next_page_token) == bool(page.new_start_page_token):
        raise msgspec.ValidationError("exactly one of the two page tokens was expected")
    return tuple(map(_change, page.changes)), page.next_page_token, page.new_start_page_token


def decode_files(body: bytes) -> tuple[tuple[Item, ...], str, bool]:
    """Return the items of files.list, its next page token, and whether it is incomplete."""
    _check_text(body)
    page = _file_list.decode(body)
    if page.files is None and page.incomplete_search is None:
        # An empty object must not pass for an empty Drive.
        raise msgspec.ValidationError("neither files nor incompleteSearch is there")
    items = tuple(map(_file, page.files or ()))
    return items, page.next_page_token, bool(page.incomplete_search)


def decode_file(body: bytes) -> Item:
    """Return the one file of files.get."""
    _check_text(body)
    return Item(id=_file_head.decode(body).id, body=msgspec.Raw(body))


def decode_start(body: bytes) -> str:
    """Return the token of changes.getStartPageToken."""
    return _start.decode(body).start_page_token


def decode_channel(body: bytes) -> tuple[str, int | None]:
    """Return the resource id of a channel, and its expiry in ms since 1970 if it is told."""
    channel = _channel.decode(body)
    expiration = str(channel.expiration)
    known = expiration.isascii() and expiration.isdigit() and len(expiration) <= MAX_DIGITS
    return channel.resource_id, int(expiration) if known else None


def _check_text(body: bytes) -> None:
    """Refuse what is not UTF-8: the decoder skips the strings that it is not asked for."""
    if not body.isascii():
        body.decode()


def _change(raw: msgspec.Raw) -> Item:
    try:
        head = _change_head.decode(raw)
    except msgspec.ValidationError:
        return Item(id="", body=raw)
    if head.change_type == "drive" or (not head.file_id and head.drive_id):
        return Item(id=head.drive_id, body=raw, removed=head.removed, is_drive=True)
    return Item(id=head.file_id, body=raw, removed=head.removed)


def _file(raw: msgspec.Raw) -> Item:
    try:
        return Item(id=_file_head.decode(raw).id, body=raw)
    except msgspec.ValidationError:
        return Item(id="", body=raw)
