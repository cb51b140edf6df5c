"""Whose descendants must be read anew, because a folder's ACL changed.

Google records a change of permissions on the folder alone: what lies below inherits it without
an entry of its own. The first reading of an ACL is no change; one that only inherited entries
changed is an ancestor's, whose own change asks for all below it.
"""

from typing import Final

from drivewake.contracts.events import FilePermissionsChanged
from drivewake.normalizer.domain.head import Head

FOLDER: Final = "application/vnd.google-apps.folder"


def inherits_below(before: Head, changed: FilePermissionsChanged) -> bool:
    """Say whether descendants inherit this change of a file that was known as `before`."""
    if before.known is None or before.known.acl is None or changed.file.mime_type != FOLDER:
        return False
    entries = (*changed.added, *changed.removed, *changed.changed)
    return not all(entry.inherited for entry in entries)
