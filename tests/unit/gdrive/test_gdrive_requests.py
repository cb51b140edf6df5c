"""Requests and answers, without a network."""

import copy
import datetime as dt
import pickle
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from googleapiclient.discovery_cache import get_static_doc
from hypothesis import given, settings
from hypothesis import strategies as st

from drivewake.gdrive.capture import Capture
from drivewake.gdrive.pages import decode_changes, decode_channel, decode_file, decode_files
from drivewake.gdrive.requests import (
    CHANGES_MASK,
    FILE_FIELDS,
    FILES_MASK,
    DriveRequests,
    base_url,
    fingerprint,
)
from drivewake.gdrive.token import AccessToken

SCHEMAS: dict[str, Any] = msgspec.json.decode(get_static_doc("drive", "v3"))["schemas"]
REQUESTS = DriveRequests("https://www.googleapis.com")
SECRET = "ya29.very-secret"


def token() -> AccessToken:
    """Return a token."""
    return AccessToken(
        SECRET, tenant="acme", connection="ann", id="t1", expires_at=dt.datetime.now(dt.UTC)
    )


def fields_of(mask: str) -> dict[str, Any]:
    """Parse `a,b(c,d)` into nested names."""
    text, at = mask, 0

    def level() -> dict[str, Any]:
        nonlocal at
        found: dict[str, Any] = {}
        name = ""
        while at < len(text):
            char = text[at]
            at += 1
            if char == "(":
                found[name] = level()
                name = ""
            elif char in ",)":
                if name:
                    found[name] = {}
                name = ""
                if char == ")":
                    return found
            else:
                name += char
        if name:
            found[name] = {}
        return found

    return level()


def check(mask: dict[str, Any], schema: str) -> None:
    """Fail unless all names are properties of the schema, all the way down."""
    properties = SCHEMAS[schema]["properties"]
    for name, below in mask.items():
        assert name in properties, f"{schema} has no {name}"
        if not below:
            continue
        described = properties[name]
        described = described.get("items", described)
        if "$ref" in described:
            check(below, described["$ref"])
        else:
            assert set(below) <= set(described["properties"]), name


@pytest.mark.parametrize(
    ("mask", "schema"),
    [(CHANGES_MASK, "ChangeList"), (FILES_MASK, "FileList"), (FILE_FIELDS, "File")],
)
def test_the_masks_ask_for_fields_that_exist(mask: str, schema: str) -> None:
    """Google refuses a whole call for one unknown field: its own document judges the masks."""
    check(fields_of(mask), schema)


def test_changes_are_asked_for_with_removals_and_shared_drives() -> None:
    """Both flags of shared drives are set, or their items stay away."""
    request = REQUESTS.list_changes("17", 1000, "0Adrive")
    query = parse_qs(urlsplit(request.uri).query)

    assert "/drive/v3/changes" == urlsplit(request.uri).path
    assert ["17"] == query["pageToken"]
    assert ["0Adrive"] == query["driveId"]
    for flag in ("includeRemoved", "includeItemsFromAllDrives", "supportsAllDrives"):
        assert ["true"] == query[flag]


def test_over_long_requests_travel_as_post() -> None:
    """What does not fit into a URL goes into the body, with the method in a header."""
    request = REQUESTS.list_changes("x" * 3000, 1000, None)

    assert ("POST", "GET") == (request.method, request.headers["x-http-method-override"])
    assert "" == urlsplit(request.uri).query
    assert "x" * 3000 in request.body


def test_an_over_long_token_leaves_the_next_call_as_it_was() -> None:
    """What is kept of changes.list to build it quickly is not touched by one odd token."""
    before = REQUESTS.list_changes("17", 1000, None)
    long = REQUESTS.list_changes("1" * 3000, 1000, None)
    after = REQUESTS.list_changes("17", 1000, None)

    assert ("POST", True) == (long.method, f"pageToken={'1' * 3000}" in long.body)
    assert ("GET", None, before.uri, before.headers) == (
        after.method,
        after.body,
        after.uri,
        after.headers,
    )
    assert "x-http-method-override" not in after.headers


def test_the_same_question_has_the_same_fingerprint() -> None:
    """Whatever the way it travels; another token is another question."""
    first, second = (REQUESTS.list_changes("17", 1000, None) for _ in range(2))

    assert fingerprint(first) == fingerprint(second)
    assert fingerprint(first) != fingerprint(REQUESTS.list_changes("18", 1000, None))


def test_the_library_never_sends() -> None:
    """Its execute() is a mistake, and says so."""
    with pytest.raises(RuntimeError, match="must not send"):
        REQUESTS.about().execute()


def test_an_endpoint_may_be_a_root_or_a_whole_base() -> None:
    """A root gets the service's path, a path is taken as it is."""
    assert "http://h:1/drive/v3/" == base_url("http://h:1", "drive/v3/")
    assert "http://h:1/drive/v3/" == base_url("http://h:1/", "drive/v3/")
    assert "http://h:1/other/" == base_url("http://h:1/other", "drive/v3/")
    with pytest.raises(ValueError, match="http"):
        base_url("ftp://h", "x")


def test_items_are_verbatim_with_their_ids() -> None:
    """Odd spacing, unknown fields and number forms survive byte for byte."""
    first = '{ "fileId":"f1", "removed" : true, "new": 1.50, "n":"\\u00e9é"}'
    second = '{"changeType":"drive","driveId":"d1","drive":{}}'
    third = '{"fileId":7}'
    body = f'{{"newStartPageToken":"9","changes":[{first},\n{second},{third}]}}'.encode()
    items, following, start = decode_changes(body)

    assert ("", "9") == (following, start)
    assert [first.encode(), second.encode(), third.encode()] == [bytes(i.body) for i in items]
    assert [("f1", False, True), ("d1", True, False), ("", False, False)] == [
        (item.id, item.is_drive, item.removed) for item in items
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b"null",
        b'{"changes":[]}',
        b'{"changes":[],"nextPageToken":"1","newStartPageToken":"2"}',
        b'{"changes":{},"newStartPageToken":"2"}',
        b'{"changes":[{"fileId":"f"}],"newStartPageToken":"2"',
        b'{"changes":[{"fileId":"f","name":"\xff"}],"newStartPageToken":"2"}',
        b"[" * 100_000,
    ],
)
def test_pages_that_are_none_are_refused(body: bytes) -> None:
    """Cut, empty, of another shape or encoding: never a page."""
    with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError, RecursionError)):
        decode_changes(body)


def test_an_empty_object_is_not_an_empty_drive() -> None:
    """A listing needs a sign of being one; incompleteness is told."""
    with pytest.raises(msgspec.ValidationError):
        decode_files(b"{}")
    with pytest.raises(msgspec.ValidationError):
        decode_file(b"{}")

    assert ((), "", False) == decode_files(b'{"files":[]}')
    assert ((), "x", True) == decode_files(b'{"incompleteSearch":true,"nextPageToken":"x"}')


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_make_the_decoders_fail_otherwise(body: bytes) -> None:
    """Whatever comes raises one of two errors, or is an answer."""
    for decode in (decode_changes, decode_files, decode_file, decode_channel):
        try:
            decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue


def test_a_channels_expiry_may_be_missing_or_odd() -> None:
    """Google sends milliseconds as text."""
    assert ("r", 17) == decode_channel(b'{"resourceId":"r","expiration":"17"}')
    assert ("r", 17) == decode_channel(b'{"resourceId":"r","expiration":17}')
    assert ("r", None) == decode_channel(b'{"resourceId":"r"}')
    assert ("r", None) == decode_channel('{"resourceId":"r","expiration":"٣"}'.encode())


def test_a_token_does_not_show_itself() -> None:
    """No repr, format, copy or pickle of a token holds it."""
    made = token()

    assert "AccessToken(connection='ann', id='t1')" == repr(made) == str(made) == f"{made}"
    assert SECRET == made.reveal()
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(made)
    with pytest.raises(TypeError):
        msgspec.json.encode(made)


@pytest.mark.parametrize("value", ["", "a b", "a\r\nX: y", "é", "a\x00"])
def test_no_token_breaks_out_of_its_header(value: str) -> None:
    """What cannot stand in a header is refused, unrepeated."""
    with pytest.raises(ValueError, match="no header may carry") as refused:
        AccessToken(value, tenant="t", connection="c", id="i", expires_at=dt.datetime.now(dt.UTC))

    assert not value or value not in str(refused.value)


def test_a_capture_is_a_curl_line_without_secrets() -> None:
    """Whoever reads it can repeat the call with tokens of their own."""
    lines: list[str] = []
    request = REQUESTS.watch_changes(
        "17", {"id": "c", "token": "hmac-secret", "address": "a"}, None
    )
    request.headers["authorization"] = f"Bearer {SECRET}"
    headers = {"x-guploader-uploadid": "req-1", "content-type": "application/json"}
    Capture(lines.append).write(request, 403, headers, b'{"error":"Bearer abc"}')
    (line,) = lines

    assert line.startswith("curl --compressed -X POST ")
    assert "authorization: Bearer $TOKEN" in line
    assert '"token": "$CHANNEL_TOKEN"' in line
    assert "# 403, 22 bytes x-guploader-uploadid=req-1" in line
    for secret in (SECRET, "hmac-secret", "Bearer abc"):
        assert secret not in line
