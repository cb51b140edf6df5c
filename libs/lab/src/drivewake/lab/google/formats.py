"""What Google's own documents can be exported as, and what can be imported. Pure.

Exports carry the text of the document and the framing of the format, no layout: enough to
tell formats apart, to have a size and to survive a round trip, not to look at.
"""

import html

DOCUMENT = "application/vnd.google-apps.document"
SPREADSHEET = "application/vnd.google-apps.spreadsheet"
PRESENTATION = "application/vnd.google-apps.presentation"
DRAWING = "application/vnd.google-apps.drawing"

_OFFICE = "application/vnd.openxmlformats-officedocument."
_OPEN = "application/vnd.oasis.opendocument."
PDF = "application/pdf"
EXPORTS: dict[str, tuple[str, ...]] = {
    DOCUMENT: (
        "application/rtf",
        f"{_OPEN}text",
        "text/html",
        PDF,
        "text/markdown",
        "application/epub+zip",
        "application/zip",
        f"{_OFFICE}wordprocessingml.document",
        "text/plain",
    ),
    SPREADSHEET: (
        f"{_OPEN}spreadsheet",
        "text/tab-separated-values",
        PDF,
        f"{_OFFICE}spreadsheetml.sheet",
        "text/csv",
        "application/zip",
    ),
    PRESENTATION: (
        f"{_OPEN}presentation",
        PDF,
        f"{_OFFICE}presentationml.presentation",
        "text/plain",
    ),
    DRAWING: ("image/svg+xml", "image/png", PDF, "image/jpeg"),
}
IMPORTS: dict[str, tuple[str, ...]] = {
    "text/plain": (DOCUMENT,),
    "text/html": (DOCUMENT,),
    "text/markdown": (DOCUMENT,),
    "text/csv": (SPREADSHEET,),
    "text/tab-separated-values": (SPREADSHEET,),
    f"{_OFFICE}wordprocessingml.document": (DOCUMENT,),
    f"{_OFFICE}spreadsheetml.sheet": (SPREADSHEET,),
    f"{_OFFICE}presentationml.presentation": (PRESENTATION,),
}


def export(body: bytes, mime_type: str) -> bytes:
    """Return a document's text framed as `mime_type`."""
    if mime_type == "text/html":
        text = html.escape(body.decode("utf-8", "replace"))
        return f"<html><head></head><body><p>{text}</p></body></html>".encode()
    if mime_type == PDF:
        return b"%PDF-1.4\n" + body + b"\n%%EOF\n"
    if mime_type == "text/plain":
        return b"\xef\xbb\xbf" + body  # Google's plain text begins with a byte order mark
    if mime_type.startswith("text/"):
        return body
    return mime_type.encode() + b"\n" + body
