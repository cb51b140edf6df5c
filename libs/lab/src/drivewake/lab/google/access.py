"""Who may do what: access inherited down the folders, cached per folder. Pure.

A file is visible to its owner, to whoever has a permission on it, and to whoever has one on
a folder above it; a shared drive's members have theirs on its root. Permission changes are
recorded on the changed item alone, so nothing is copied down: access is computed by looking
up. Folders that add nothing share the mapping of the folder above.
"""

from collections.abc import Iterable, Mapping

from drivewake.lab.google.model import ORGANIZER, OWNER, WRITER, File, User

_NOTHING: Mapping[str, int] = {}


class Access:
    """Effective access of files. `forget()` after any change of a folder's place or sharing."""

    def __init__(self) -> None:
        self._epoch = 0
        self._members: dict[str, tuple[User, ...]] = {}

    @property
    def epoch(self) -> int:
        """A number that changes whenever inherited access may have changed."""
        return self._epoch

    def add_principal(self, key: str, users: Iterable[User]) -> None:
        """Say which users stand behind a permission key: one for a user, many for a group."""
        self._members[key] = tuple(users)

    def members(self, key: str) -> tuple[User, ...]:
        """Return the users behind a key; none for a link or a domain."""
        return self._members.get(key, ())

    def forget(self) -> None:
        """Drop what was cached about folders."""
        self._epoch += 1

    def grants(self, file: File) -> Mapping[str, int]:
        """Return rank by permission key. The owner of a folder can write what is in it."""
        if not file.is_folder and file.parent is not None:
            above = file.parent
            if above.grants is not None and above.grants_epoch == self._epoch:
                return _own_grants(file, above.grants)
        unknown: list[File] = []
        at: File | None = file
        inherited = _NOTHING
        while at is not None:
            if at.grants is not None and at.grants_epoch == self._epoch:
                inherited = at.grants
                break
            unknown.append(at)
            at = at.parent
        for node in reversed(unknown):
            inherited = _own_grants(node, inherited)
            if node.is_folder:
                node.grants, node.grants_epoch = inherited, self._epoch
        return inherited

    def rank(self, user: User, file: File) -> int:
        """Return the user's highest rank on the file, 0 when it is hidden."""
        if file.owner is user:
            return OWNER
        grants = self.grants(file)
        return max([grants.get(key, 0) for key in user.keys])

    def audience(self, grants: Iterable[str]) -> list[User]:
        """Return the users whose logs learn of a change: named ones and members of groups.

        A link or a domain-wide share puts a file in nobody's log until it is opened.
        """
        seen: dict[str, User] = {}
        for key in grants:
            for user in self._members.get(key, ()):
                seen[user.email] = user
        return list(seen.values())


def _own_grants(node: File, inherited: Mapping[str, int]) -> Mapping[str, int]:
    owner = node.owner
    if node.extras is not None and node.extras.limited:
        inherited = {k: r for k, r in inherited.items() if r >= ORGANIZER}
    key = None if owner is None else owner.permission_id
    if node.shares is None and (key is None or inherited.get(key, 0) >= WRITER):
        return inherited
    own = dict(inherited)
    if key is not None:
        own[key] = max(own.get(key, 0), WRITER)
    for share in (node.shares or {}).values():
        own[share.key] = max(own.get(share.key, 0), share.rank)
    return own
