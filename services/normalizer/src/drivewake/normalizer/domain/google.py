"""drive.v3 resources as far as they count, with their types.

Source: discovery document of drive.v3, revision 20261106. 64-bit integers travel as strings
there, so decoders of these types are not strict. Unknown fields are ignored: a newer Google
breaks nothing. Fields that are not canonical are not declared: they cannot be considered.
"""

import datetime as dt
import re
from typing import Annotated, Final, TypeVar

import msgspec

T = TypeVar("T")
Id = Annotated[str, msgspec.Meta(pattern="^[!-~]{1,256}$")]
"""An opaque id of Google's: printable ASCII; ours in keys of heads, so bounded."""


class Resource(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base: Google's names are camel case; what is absent is None."""


class User(Resource, frozen=True, gc=False):
    """A person, without `me` (depends on the viewer) and `photoLink` (lives for minutes)."""

    permission_id: str | None = None
    display_name: str | None = None
    email_address: str | None = None


class ShortcutDetails(Resource, frozen=True):
    """What a shortcut points to, without its resource key: that opens the target."""

    target_id: str | None = None
    target_mime_type: str | None = None


class ContentRestriction(Resource, frozen=True):
    """Why the content is read-only."""

    read_only: bool | None = None
    reason: str | None = None
    type: str | None = None
    restriction_time: str | None = None
    owner_restricted: bool | None = None
    system_restricted: bool | None = None
    restricting_user: User | None = None


class DownloadRestriction(Resource, frozen=True):
    """Who may not download."""

    restricted_for_readers: bool | None = None
    restricted_for_writers: bool | None = None


class DownloadRestrictions(Resource, frozen=True):
    """The file's own restriction; the effective one depends on its drive and on rules."""

    item_download_restriction: DownloadRestriction | None = None


class LinkShare(Resource, frozen=True):
    """Whether links must carry a resource key."""

    security_update_eligible: bool | None = None
    security_update_enabled: bool | None = None


class ClientEncryption(Resource, frozen=True):
    """Whether the content is encrypted by its owner; how, is nobody's business here."""

    encryption_state: str | None = None


class PermissionDetail(Resource, frozen=True, gc=False):
    """One reason for a permission in a shared drive."""

    inherited: bool = False
    inherited_from: str | None = None


class Permission(Resource, frozen=True, gc=False):
    """One entry of an ACL."""

    id: str
    type: str
    role: str
    email_address: str | None = None
    domain: str | None = None
    allow_file_discovery: bool = False
    expiration_time: str | None = None
    permission_details: tuple[PermissionDetail, ...] = ()


class File(Resource, frozen=True, gc=False):
    """A file. `version` and `name` are always there if they were asked for.

    Whether `id` can be one is left to `is_id`: a pattern took a third of the time of decoding.
    """

    id: str
    version: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    name: str
    mime_type: str
    parents: tuple[str, ...] | None = None
    drive_id: str | None = None
    trashed: bool = False
    created_time: Annotated[dt.datetime, msgspec.Meta(tz=True)] | None = None
    modified_time: Annotated[dt.datetime, msgspec.Meta(tz=True)] | None = None
    md5_checksum: str | None = msgspec.field(default=None, name="md5Checksum")
    sha1_checksum: str | None = msgspec.field(default=None, name="sha1Checksum")
    sha256_checksum: str | None = msgspec.field(default=None, name="sha256Checksum")
    size: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    head_revision_id: str | None = None
    permissions: tuple[Permission, ...] | None = None
    client_encryption_details: ClientEncryption | None = None
    content_restrictions: list[ContentRestriction] | None = None
    copy_requires_writer_permission: bool | None = None
    description: str | None = None
    download_restrictions: DownloadRestrictions | None = None
    has_augmented_permissions: bool | None = None
    inherited_permissions_disabled: bool | None = None
    last_modifying_user: User | None = None
    link_share_metadata: LinkShare | None = None
    original_filename: str | None = None
    owners: list[User] | None = None
    properties: dict[str, str] | None = None
    shared: bool | None = None
    shortcut_details: ShortcutDetails | None = None
    writers_can_share: bool | None = None


class Change(Resource, frozen=True, gc=False):
    """One entry of a change log; `file` is absent when `removed`, mostly; ids as of a File."""

    change_type: str = "file"
    removed: bool = False
    file_id: str | None = None
    time: dt.datetime | None = None
    file: File | None = None


class PermissionList(Resource, frozen=True):
    """The whole ACL of a file, joined over its pages."""

    permissions: tuple[Permission, ...]


_file = msgspec.json.Decoder(File, strict=False)
_permissions = msgspec.json.Decoder(PermissionList, strict=False)
_change = msgspec.json.Decoder(Change, strict=False)


_ID: Final = re.compile("[!-~]{1,256}")


def is_id(text: str) -> bool:
    """Say whether a text can be an id of Google's."""
    return _ID.fullmatch(text) is not None


class InvalidResourceError(ValueError):
    """Google's JSON is not the resource that it should be; the text says where it differs."""


def decode_file(body: msgspec.Raw) -> File:
    """Return the File resource in `body`; raise InvalidResourceError."""
    return decode(_file, body)


def decode_change(body: msgspec.Raw) -> Change:
    """Return the Change resource in `body`; raise InvalidResourceError."""
    return decode(_change, body)


def decode_permissions(body: msgspec.Raw) -> tuple[Permission, ...]:
    """Return the permissions in `body`, a PermissionList; raise InvalidResourceError."""
    return decode(_permissions, body).permissions


def decode(decoder: msgspec.json.Decoder[T], body: msgspec.Raw) -> T:
    """Return the resource in `body`; raise InvalidResourceError."""
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidResourceError(
            f"not the resource of Google that it should be: {error}"
        ) from error
