"""Content of files leaving Drive: `alt=media`, `files.export`, `files.download`, operations."""

from collections import OrderedDict
from typing import Any

from drivewake.lab.google.drive_base import DriveBase
from drivewake.lab.google.errors import ApiError, insufficient_scopes
from drivewake.lab.google.formats import EXPORTS, export
from drivewake.lab.google.gateway import Call, Endpoint
from drivewake.lab.google.http import Response
from drivewake.lab.google.media import media_response
from drivewake.lab.google.model import ORGANIZER, OWNER, WRITER, File
from drivewake.lab.google.world import SimulatedGoogle

_MAX_EXPORT_BYTES = 10 * 2**20
_MAX_OPERATIONS = 1_000
_OPERATION = "operation"


class Contents(DriveBase):
    """Downloads and exports."""

    def __init__(self, world: SimulatedGoogle) -> None:
        super().__init__(world)
        self._operations: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def endpoints(self) -> dict[str, Endpoint]:
        """Return what is served, by method id."""
        return {
            "drive.files.export": Endpoint(self.export, "download"),
            "drive.files.download": Endpoint(self.begin_download, "download"),
            "drive.operations.get": Endpoint(self.operation, "read"),
        }

    def download(self, call: Call, file: File) -> Response:
        """Return a blob's bytes; whoever follows a link with it has opened the file."""
        check_content_scope(call)
        if file.content is None:
            raise ApiError(
                403,
                "fileNotDownloadable",
                "Only files with binary content can be downloaded. Use Export with Docs Editors "
                "files.",
                location="alt",
            )
        rank = self._state.access.rank(call.user, file)
        if file.more.copy_restricted and rank < WRITER:
            text = "This file cannot be downloaded by the user."
            raise ApiError(403, "cannotDownloadFile", text)
        trusted = rank >= (ORGANIZER if file.drive is not None else OWNER)
        if file.more.abusive and not (call.params.get("acknowledgeAbuse") and trusted):
            text = "This file has been identified as malware or spam and cannot be downloaded."
            raise ApiError(403, "cannotDownloadAbusiveFile", text)
        self.record(self._state.open(call.user, file, self._world.now_ns()))
        return media_response(call.request, file.content.data, file.mime_type, file.name)

    def export(self, call: Call) -> Response:
        """Return a Google document in another format, of at most 10 MB."""
        check_content_scope(call)
        file = self.find(call)
        mime_type = call.params["mimeType"]
        data = self._exported(file, mime_type)
        operation = call.request.query.get(_OPERATION)
        if len(data) > _MAX_EXPORT_BYTES and operation not in self._operations:
            text = "This file is too large to be exported."
            raise ApiError(403, "exportSizeLimitExceeded", text)
        return media_response(call.request, data, mime_type, file.name)

    def _exported(self, file: File, mime_type: str) -> bytes:
        if file.mime_type not in EXPORTS:
            text = "Export only supports Docs Editors files."
            raise ApiError(403, "fileNotExportable", text)
        if mime_type not in EXPORTS[file.mime_type]:
            text = "The requested conversion is not supported."
            raise ApiError(400, "badRequest", text, location="convertTo")
        return export(file.more.body or b"", mime_type)

    def begin_download(self, call: Call) -> dict[str, Any]:
        """Start a long-running download, which has no size limit; here it is done at once."""
        file = self.find(call)
        mime_type = call.params.get("mimeType")
        if file.content is None:
            self._exported(file, mime_type or "application/pdf")
        name = f"drv-{len(self._operations) + 1}-{file.id}"
        base = f"{call.request.origin}/drive/v3/files/{file.id}"
        address = f"{base}?alt=media&supportsAllDrives=true"
        if file.content is None:
            address = f"{base}/export?mimeType={mime_type or 'application/pdf'}"
        response = {
            "@type": "type.googleapis.com/google.apps.drive.v3.DownloadFileResponse",
            "downloadUri": f"{address}&{_OPERATION}={name}",
            "partialDownloadAllowed": True,
        }
        operation = {"name": name, "done": True, "response": response}
        self._operations[name] = operation
        if len(self._operations) > _MAX_OPERATIONS:
            self._operations.popitem(last=False)
        return operation

    def operation(self, call: Call) -> dict[str, Any]:
        """Return a long-running operation."""
        found = self._operations.get(call.params["name"])
        if found is None:
            raise ApiError(404, "notFound", f"Operation not found: {call.params['name']}.")
        return found


def check_content_scope(call: Call) -> None:
    """Refuse content to a token that covers metadata alone. Raises ApiError (403)."""
    if all(".metadata" in scope or "/drive" not in scope for scope in call.token.scopes):
        raise insufficient_scopes()
