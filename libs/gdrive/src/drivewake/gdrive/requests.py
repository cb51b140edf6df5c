"""Requests, built by google-api-python-client from its static discovery documents.

The library knows names, defaults, paths and encodings; it never sends: its http object
refuses. Building a resource object costs most of a millisecond, so they are made once and
kept; a method of a kept one costs about ten microseconds.
"""

import hashlib
import urllib.parse
from typing import Any, Final, NoReturn

from googleapiclient.discovery import build
from googleapiclient.http import HttpRequest
from googleapiclient.model import JsonModel

USER_FIELDS: Final = "displayName,emailAddress,permissionId,me"
PERMISSION_FIELDS: Final = (
    "id,type,role,emailAddress,domain,displayName,allowFileDiscovery,deleted,pendingOwner,"
    "expirationTime,view,permissionDetails,inheritedPermissionsDisabled"
)
FILE_FIELDS: Final = (
    "kind,id,name,mimeType,description,version,"
    "parents,driveId,spaces,shortcutDetails,properties,folderColorRgb,"
    "createdTime,modifiedTime,trashed,explicitlyTrashed,trashedTime,"
    "size,quotaBytesUsed,md5Checksum,sha1Checksum,sha256Checksum,headRevisionId,"
    "originalFilename,fileExtension,fullFileExtension,"
    "shared,writersCanShare,copyRequiresWriterPermission,contentRestrictions,"
    "inheritedPermissionsDisabled,hasAugmentedPermissions,linkShareMetadata,"
    "capabilities(canShare,canDownload,canReadRevisions),permissionIds,"
    f"permissions({PERMISSION_FIELDS}),"
    f"owners({USER_FIELDS}),lastModifyingUser({USER_FIELDS}),trashingUser({USER_FIELDS}),"
    f"sharingUser({USER_FIELDS})"
)
"""What is asked of every file, one mask for listing, changes and single reads.

No link and no resource key: they open the file for whoever holds them.
"""
DRIVE_FIELDS: Final = "kind,id,name,hidden,createdTime,orgUnitId,restrictions"
CHANGE_FIELDS: Final = (
    f"kind,changeType,time,removed,fileId,driveId,file({FILE_FIELDS}),drive({DRIVE_FIELDS})"
)
REVISION_FIELDS: Final = (
    "id,mimeType,modifiedTime,keepForever,published,size,md5Checksum,originalFilename,"
    f"lastModifyingUser({USER_FIELDS})"
)
REMARK_FIELDS: Final = "id,createdTime,modifiedTime,deleted,content,author(displayName,me)"
COMMENT_FIELDS: Final = (
    f"{REMARK_FIELDS},resolved,anchor,quotedFileContent,replies({REMARK_FIELDS},action)"
)
CHANGES_MASK: Final = f"nextPageToken,newStartPageToken,changes({CHANGE_FIELDS})"
FILES_MASK: Final = f"nextPageToken,incompleteSearch,files({FILE_FIELDS})"
MAX_URI_CHARS: Final = 2048
TOKEN_HERE: Final = "0pagetokenstandshere0"  # noqa: S105 - where one will stand
MAX_TEMPLATES: Final = 1000
USER_AGENT: Final = "drivewake/0.1"


class VerbatimModel(JsonModel):  # type: ignore[misc] # the library ships no types
    """Builds JSON requests, parses errors, and leaves a good answer as the bytes it is."""

    def deserialize(self, content: bytes) -> bytes:
        """Return the body unchanged; the caller decodes it into its type."""
        return content


class _NeverSends:
    """Stands where the library wants an http object."""

    def request(self, *_: object, **__: object) -> NoReturn:
        """Refuse: requests are sent by `transport` alone."""
        raise RuntimeError("the library must not send")


class DriveRequests:
    """Drive v3 calls as unsent requests. `api_endpoint` is the root, or the whole base URL."""

    def __init__(self, api_endpoint: str) -> None:
        service: Any = build(
            "drive",
            "v3",
            http=_NeverSends(),
            static_discovery=True,
            cache_discovery=False,
            model=VerbatimModel(),
            client_options={"api_endpoint": base_url(api_endpoint, "drive/v3/")},
        )
        self._changes: Any = service.changes()
        self._channels: Any = service.channels()
        self._files: Any = service.files()
        self._drives: Any = service.drives()
        self._permissions: Any = service.permissions()
        self._revisions: Any = service.revisions()
        self._comments: Any = service.comments()
        self._about: Any = service.about()
        self._templates: dict[tuple[int, str | None], HttpRequest] = {}
        parts = urllib.parse.urlsplit(base_url(api_endpoint, "drive/v3/"))
        self.batch_uri = f"{parts.scheme}://{parts.netloc}/batch/drive/v3"

    def start_page_token(self, drive: str | None) -> HttpRequest:
        """Build changes.getStartPageToken."""
        return ready(
            self._changes.getStartPageToken(
                supportsAllDrives=True, fields="startPageToken", **_drive(drive)
            )
        )

    def list_changes(self, page_token: str, page_size: int, drive: str | None) -> HttpRequest:
        """Build changes.list: removals and items of shared drives included.

        The most frequent call of all: built once a log, after that only the token is set, which
        takes a twentieth of the time. Its headers are the template's: read them, don't write.
        """
        template = self._list_changes(page_size, drive)
        request = HttpRequest.__new__(HttpRequest)  # copy.copy takes several times as long
        vars(request).update(vars(template))
        token = urllib.parse.quote_plus(page_token)
        if template.body:
            request.body = template.body.replace(TOKEN_HERE, token)
            return request
        request.uri = template.uri.replace(TOKEN_HERE, token)
        if len(request.uri) <= MAX_URI_CHARS:
            return request
        request.headers = dict(template.headers)
        return ready(request)

    def _list_changes(self, page_size: int, drive: str | None) -> HttpRequest:
        key = (page_size, drive)
        found = self._templates.get(key)
        if found is not None:
            return found
        if len(self._templates) >= MAX_TEMPLATES:
            self._templates.clear()
        found = self._templates[key] = ready(
            self._changes.list(
                pageToken=TOKEN_HERE,
                pageSize=page_size,
                includeRemoved=True,
                includeItemsFromAllDrives=True,
                supportsAllDrives=True,
                fields=CHANGES_MASK,
                **_drive(drive),
            )
        )
        return found

    def watch_changes(
        self, page_token: str, channel: dict[str, str], drive: str | None
    ) -> HttpRequest:
        """Build changes.watch for the same log that `list_changes` reads."""
        return ready(
            self._changes.watch(
                pageToken=page_token,
                body=channel,
                includeRemoved=True,
                includeItemsFromAllDrives=True,
                supportsAllDrives=True,
                **_drive(drive),
            )
        )

    def stop_channel(self, channel_id: str, resource_id: str) -> HttpRequest:
        """Build channels.stop."""
        return ready(self._channels.stop(body={"id": channel_id, "resourceId": resource_id}))

    def list_files(
        self, page_token: str | None, page_size: int, drive: str | None = None, folder: str = ""
    ) -> HttpRequest:
        """Build files.list, trashed files included.

        Over everything the principal sees, over one shared drive, or over a folder's children.
        """
        return ready(
            self._files.list(
                pageSize=page_size,
                corpora="drive" if drive else "user",
                includeItemsFromAllDrives=True,
                supportsAllDrives=True,
                fields=FILES_MASK,
                **({"q": f"'{_quoted(folder)}' in parents"} if folder else {}),
                **({"pageToken": page_token} if page_token else {}),
                **_drive(drive),
            )
        )

    def get_file(self, file: str) -> HttpRequest:
        """Build files.get."""
        return ready(self._files.get(fileId=file, supportsAllDrives=True, fields=FILE_FIELDS))

    def list_permissions(self, file: str, page_token: str | None = None) -> HttpRequest:
        """Build permissions.list, the only way to an ACL inside shared drives."""
        return ready(
            self._permissions.list(
                fileId=file,
                pageSize=100,
                supportsAllDrives=True,
                fields=f"nextPageToken,permissions({PERMISSION_FIELDS})",
                **({"pageToken": page_token} if page_token else {}),
            )
        )

    def list_revisions(self, file: str, page_token: str | None = None) -> HttpRequest:
        """Build revisions.list."""
        return ready(
            self._revisions.list(
                fileId=file,
                pageSize=1000,
                fields=f"nextPageToken,revisions({REVISION_FIELDS})",
                **({"pageToken": page_token} if page_token else {}),
            )
        )

    def list_comments(
        self, file: str, since: str = "", page_token: str | None = None
    ) -> HttpRequest:
        """Build comments.list: replies and deleted ones included, modified `since` (RFC 3339)."""
        return ready(
            self._comments.list(
                fileId=file,
                pageSize=100,
                includeDeleted=True,
                fields=f"nextPageToken,comments({COMMENT_FIELDS})",
                **({"startModifiedTime": since} if since else {}),
                **({"pageToken": page_token} if page_token else {}),
            )
        )

    def list_drives(self, page_token: str | None = None) -> HttpRequest:
        """Build drives.list: the shared drives that the principal belongs to."""
        return ready(
            self._drives.list(
                pageSize=100,
                fields=f"nextPageToken,drives({DRIVE_FIELDS})",
                **({"pageToken": page_token} if page_token else {}),
            )
        )

    def about(self) -> HttpRequest:
        """Build about.get: who the principal is."""
        return ready(self._about.get(fields=f"user({USER_FIELDS})"))


def base_url(api_endpoint: str, service_path: str) -> str:
    """Return the base URL of a service: a bare root gets the service's path appended."""
    parts = urllib.parse.urlsplit(api_endpoint)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise ValueError("api_endpoint must be an http or https URL")
    path = parts.path.rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}/" + ("" if path else service_path)


def ready(request: HttpRequest) -> HttpRequest:
    """Return the request as `execute()` would send it: over-long GETs travel as POST."""
    request.headers["user-agent"] = f"{USER_AGENT} (gzip)"
    if request.method == "GET" and len(request.uri) > MAX_URI_CHARS:
        parts = urllib.parse.urlsplit(request.uri)
        request.method = "POST"
        request.headers["x-http-method-override"] = "GET"
        request.headers["content-type"] = "application/x-www-form-urlencoded"
        request.uri = urllib.parse.urlunsplit(parts._replace(query="", fragment=""))
        request.body = parts.query
    return request


def fingerprint(request: HttpRequest) -> str:
    """Return a short hash of what was asked: the same question has the same fingerprint."""
    address, _, query = request.uri.partition("?")
    path = address[address.find("/", address.find("//") + 2) :]
    query = query or str(request.body or "")
    text = "\n".join([request.methodId, path, *sorted(query.split("&"))])
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class ActivityRequests:
    """Drive Activity v2 calls as unsent requests; `api_endpoint` as in DriveRequests."""

    def __init__(self, api_endpoint: str) -> None:
        service: Any = build(
            "driveactivity",
            "v2",
            http=_NeverSends(),
            static_discovery=True,
            cache_discovery=False,
            model=VerbatimModel(),
            client_options={"api_endpoint": api_endpoint.rstrip("/") + "/"},
        )
        self._activity: Any = service.activity()

    def query(self, body: dict[str, Any]) -> HttpRequest:
        """Build activity.query."""
        return ready(self._activity.query(body=body))


def _quoted(value: str) -> str:
    """Return a value fit for a string in Drive's query language."""
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _drive(drive: str | None) -> dict[str, str]:
    return {"driveId": drive} if drive else {}
