"""What Drive answers, typed where we look at it and verbatim where we hand it on."""

import datetime as dt
from typing import Final

import msgspec

MAX_DIGITS: Final = 14  # of milliseconds since 1970: enough for the year 5000


class Capabilities(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """What the viewer may do with a file, as far as we ask."""

    can_read_revisions: bool = False


class Look(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """What we look at of a File resource, as Google names it."""

    id: str = ""
    version: str = ""
    mime_type: str = ""
    drive_id: str = ""
    head_revision_id: str = ""
    modified_time: str = ""
    has_augmented_permissions: bool = False
    capabilities: Capabilities = Capabilities()


class Item(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One Change or File resource, verbatim in `body`, with what is needed to route it.

    `id` is the file's id, or the shared drive's for a change of the drive itself
    (`is_drive`); empty if Google named neither: such an item belongs to the dead letters.
    `look` is what we look at of the file, None if there is none. `body` is a view of the whole
    page: copy it to keep it for long.
    """

    id: str
    body: msgspec.Raw
    removed: bool = False
    is_drive: bool = False
    look: Look | None = None


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


class DrivesPage(msgspec.Struct, frozen=True, kw_only=True):
    """Shared drives that the principal belongs to, each verbatim in `body`."""

    items: tuple[Item, ...]
    next_page_token: str | None
    request: str
    observed_at: dt.datetime


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of one kind that a file has, each verbatim: permissions, revisions, comments."""

    items: tuple[msgspec.Raw, ...]
    observed_at: dt.datetime
    request: str


class ActivityPage(msgspec.Struct, frozen=True, kw_only=True):
    """Activities, each with the ids of the items it was done to, verbatim in `body`."""

    activities: tuple["Activity", ...]
    next_page_token: str | None
    request: str
    observed_at: dt.datetime


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """One DriveActivity, and the ids of its targets (files, folders, shared drives)."""

    targets: tuple[str, ...]
    body: msgspec.Raw


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


class _ChangeHead(msgspec.Struct, rename="camel", gc=False):
    file_id: str = ""
    drive_id: str = ""
    change_type: str = ""
    removed: bool = False


class _Change(_ChangeHead, rename="camel", gc=False):
    file: Look | None = None


class _FileHead(msgspec.Struct):
    id: str


class _PartList(msgspec.Struct, rename="camel"):
    permissions: list[msgspec.Raw] | None = None
    revisions: list[msgspec.Raw] | None = None
    comments: list[msgspec.Raw] | None = None
    next_page_token: str = ""


class _DriveList(msgspec.Struct, rename="camel"):
    drives: list[msgspec.Raw]
    next_page_token: str = ""


class _ActivityList(msgspec.Struct, rename="camel"):
    activities: list[msgspec.Raw] = []
    next_page_token: str = ""


class _Named(msgspec.Struct):
    name: str = ""


class _Parented(msgspec.Struct):
    parent: _Named | None = None


class _Target(msgspec.Struct, rename="camel"):
    drive_item: _Named | None = None
    drive: _Named | None = None
    file_comment: _Parented | None = None


class _Targets(msgspec.Struct):
    targets: list[_Target] = []


class _FileList(msgspec.Struct, rename="camel"):
    files: list[msgspec.Raw] | None = None
    next_page_token: str = ""
    incomplete_search: bool | None = None


class _StartPageToken(msgspec.Struct, rename="camel"):
    start_page_token: str


class _Channel(msgspec.Struct, rename="camel"):
    resource_id: str
    expiration: str | int = ""


_change_list = msgspec.json.Decoder(_ChangeList)
_changed = msgspec.json.Decoder(_Change)
_change_head = msgspec.json.Decoder(_ChangeHead)
_file_head = msgspec.json.Decoder(_FileHead)
_file_list = msgspec.json.Decoder(_FileList)
_look = msgspec.json.Decoder(Look)
_part_list = msgspec.json.Decoder(_PartList)
_drive_list = msgspec.json.Decoder(_DriveList)
_activity_list = msgspec.json.Decoder(_ActivityList)
_targets = msgspec.json.Decoder(_Targets)
_start = msgspec.json.Decoder(_StartPageToken)
_channel = msgspec.json.Decoder(_Channel)

# Each decoder raises msgspec.MsgspecError or UnicodeDecodeError for what is not its answer.


def decode_changes(body: bytes) -> tuple[tuple[Item, ...], str, str]:
    """Return the items of changes.list, its next page token and its new start page token."""
    _check_text(body)
    page = _change_list.decode(body)
    if bool(page.next_page_token) == bool(page.new_start_page_token):
        raise msgspec.ValidationError("exactly one of the two page tokens was expected")
    items = tuple([_change(raw) for raw in page.changes])
    return items, page.next_page_token, page.new_start_page_token


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
    item = _file(msgspec.Raw(body))
    if not item.id:
        raise msgspec.ValidationError("the file has no id")
    return item


def decode_part(body: bytes) -> tuple[tuple[msgspec.Raw, ...], str]:
    """Return the items of a list of permissions, revisions or comments, and its next token."""
    _check_text(body)
    page = _part_list.decode(body)
    for found in (page.permissions, page.revisions, page.comments):
        if found is not None:
            return tuple(found), page.next_page_token
    raise msgspec.ValidationError("neither permissions nor revisions nor comments are there")


def decode_drives(body: bytes) -> tuple[tuple[Item, ...], str]:
    """Return the items of drives.list and its next page token."""
    _check_text(body)
    page = _drive_list.decode(body)
    items = tuple(
        Item(id=_file_head.decode(drive).id, body=drive, is_drive=True) for drive in page.drives
    )
    return items, page.next_page_token


def decode_activities(body: bytes) -> tuple[tuple[Activity, ...], str]:
    """Return the activities of activity.query and its next page token; both may be absent."""
    _check_text(body)
    page = _activity_list.decode(body)
    return tuple(map(_activity, page.activities)), page.next_page_token


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
    look: Look | None = None
    head: _ChangeHead
    try:
        head = changed = _changed.decode(raw)
        look = changed.file
    except msgspec.ValidationError:
        try:  # an odd file is routed all the same
            head = _change_head.decode(raw)
        except msgspec.ValidationError:
            return Item(id="", body=raw)
    if head.change_type == "drive" or (not head.file_id and head.drive_id):
        return Item(id=head.drive_id, body=raw, removed=head.removed, is_drive=True)
    return Item(id=head.file_id, body=raw, removed=head.removed, look=look)


def _file(raw: msgspec.Raw) -> Item:
    try:
        look = _look.decode(raw)
    except msgspec.ValidationError:
        try:
            return Item(id=_file_head.decode(raw).id, body=raw)
        except msgspec.ValidationError:
            return Item(id="", body=raw)
    return Item(id=look.id, body=raw, look=look)


def _activity(raw: msgspec.Raw) -> Activity:
    """Return an activity; one whose targets cannot be read has none."""
    try:
        found = _targets.decode(raw).targets
    except msgspec.ValidationError:
        found = []
    return Activity(targets=tuple(dict.fromkeys(filter(None, map(_target_id, found)))), body=raw)


def _target_id(target: _Target) -> str:
    """Return the id behind `items/ID` or `drives/ID`; a comment's is its file's."""
    parent = target.file_comment.parent if target.file_comment else None
    named = target.drive_item or parent or target.drive
    return "" if named is None else named.name.partition("/")[2]
