"""Which events a comment makes, compared with what was last known of it and its replies.

The rules:

- A comment and each of its replies is a remark by itself. The first time that it is seen it
  was added; a reply with an action resolved or reopened its comment instead.
- A remark's text follows the latest of Google's modification times (within one: the latest
  observation). The time of a comment is that of its newest reply too: not every new time is
  an edit.
- Deleted is final, whenever that is heard of. A remark that was only ever seen deleted was
  added, with a text that nobody knows, and deleted.
- A remark that is not listed says nothing: absence is no evidence.
"""

import datetime as dt
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from drivewake.contracts.keys import comment_parts, milliseconds
from drivewake.contracts.remarks import (
    CommentAdded,
    CommentDeleted,
    CommentEdited,
    CommentReopened,
    CommentResolved,
)
from drivewake.normalizer.domain.google_parts import Comment, Reply
from drivewake.normalizer.domain.revisions import person_of
from drivewake.normalizer.domain.told import Step, Told

KIND: Final = "comment"
ITSELF: Final = ""
"""Stands for the comment itself where ids of replies stand."""


class Remark(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a comment or reply: its text as of `modified_ms`, read at `at` (µs)."""

    modified_ms: int
    at: int
    content: str | None = None
    deleted: bool = False


Thread = dict[str, Remark]
"""A comment's head: its remarks by the id of the reply."""

_ACTIONS: Final = {"resolve": CommentResolved, "reopen": CommentReopened}
_decoder = msgspec.msgpack.Decoder(Thread)
_encoder = msgspec.msgpack.Encoder()


def encode_thread(thread: Thread) -> bytes:
    """Return the head as it is stored."""
    return _encoder.encode(thread)


def decode_thread(state: bytes) -> Thread:
    """Return a stored head; raise msgspec.MsgspecError if it is none."""
    return _decoder.decode(state)


def step(thread: Thread, tenant: str, file: str, comment: Comment, at: int) -> Step[Thread]:
    """Return the events of a comment as it was read at `at` (µs), and its head after it."""
    told: list[Told] = []
    known = dict(thread)
    for id_, seen in _remarks(comment):
        before = known.get(id_)
        after = _advanced(before, seen, at)
        known[id_] = after
        for data, when in _changes(file, comment, id_, seen, before, after):
            verb = data.__struct_config__.tag
            parts = comment_parts(tenant, file, comment.id, id_ or None, verb, milliseconds(when))
            told.append(Told(data, file, parts, when))
    return Step(tuple(told), known)


def _remarks(comment: Comment) -> Iterator[tuple[str, Comment | Reply]]:
    yield ITSELF, comment
    for reply in comment.replies:
        yield reply.id, reply


def _modified(seen: Comment | Reply) -> dt.datetime:
    return seen.modified_time or seen.created_time


def _advanced(known: Remark | None, seen: Comment | Reply, at: int) -> Remark:
    now = Remark(milliseconds(_modified(seen)), at, seen.content, seen.deleted)
    if now.deleted:
        now = msgspec.structs.replace(now, content=None)
    if known is None:
        return now
    if known.deleted or now.deleted:
        # Nothing can follow; the first word of it is kept.
        return known if known.deleted else now
    if (now.modified_ms, now.content) == (known.modified_ms, known.content):
        return known
    return max(known, now, key=lambda remark: (remark.modified_ms, remark.at))


def _changes(
    file: str,
    comment: Comment,
    id_: str,
    seen: Comment | Reply,
    before: Remark | None,
    after: Remark,
) -> Iterator[tuple[Any, dt.datetime]]:
    """Yield data of events, each with Google's time of it."""
    common: dict[str, Any] = {
        "file": file,
        "comment": comment.id,
        "reply": id_ or None,
        "author": person_of(seen.author),
        "content": after.content,
    }
    if before is None:
        yield _first(common, seen), seen.created_time
    modified = _modified(seen)
    if after.deleted:
        if before is None or not before.deleted:
            yield CommentDeleted(**common, modified_at=modified), modified
    elif before is not None and before.content != after.content:
        yield CommentEdited(**common, before=before.content, modified_at=modified), modified


def _first(common: dict[str, Any], seen: Comment | Reply) -> Any:  # noqa: ANN401 - one of three
    at = seen.created_time
    if isinstance(seen, Reply) and (kind := _ACTIONS.get(seen.action or "")) is not None:
        return kind(**common, modified_at=at)
    quoted = seen.quoted_file_content if isinstance(seen, Comment) else None
    return CommentAdded(
        **common,
        modified_at=at,
        created_at=at,
        assignee=seen.assignee_email_address,
        mentioned=seen.mentioned_email_addresses,
        quoted=None if quoted is None else quoted.value,
        anchor=seen.anchor if isinstance(seen, Comment) else None,
    )
