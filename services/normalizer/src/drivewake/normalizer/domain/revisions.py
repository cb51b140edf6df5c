"""Which event a revision is: `revision.added`, the first time that it is seen.

A revision's head only says that it was told. What changes later about a revision (Google's
own formats go on growing the newest one) the file's own events tell.
"""

from typing import Final

from drivewake.contracts.event_base import Person
from drivewake.contracts.keys import revision_parts
from drivewake.contracts.remarks import RevisionAdded
from drivewake.normalizer.domain.google import User
from drivewake.normalizer.domain.google_parts import Revision
from drivewake.normalizer.domain.told import Step, Told

KIND: Final = "revision"


def step(known: bool, tenant: str, file: str, revision: Revision) -> Step[bool]:
    """Return the event of a revision, and that it is known now."""
    if known:
        return Step((), head=True)
    data = RevisionAdded(
        file=file,
        revision=revision.id,
        modified_at=revision.modified_time,
        mime_type=revision.mime_type,
        size_bytes=revision.size,
        md5=revision.md5_checksum,
        original_filename=revision.original_filename,
        keep_forever=revision.keep_forever,
        by=person_of(revision.last_modifying_user),
    )
    parts = revision_parts(tenant, file, revision.id)
    return Step((Told(data, file, parts, revision.modified_time),), head=True)


def person_of(user: User | None) -> Person | None:
    """Return what is kept of somebody, None of nobody."""
    if user is None:
        return None
    return Person(id=user.permission_id, name=user.display_name, email=user.email_address)
