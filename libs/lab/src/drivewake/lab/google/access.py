"""Who may do what: access inherited down the folders, cached per folder. Pure.

A file is visible to its owner, to whoever has a permission on it, and to whoever has one on
a folder above it. Permission changes are recorded on the changed item alone, so nothing is
copied down: access is computed by looking up.
"""

from collections.abc import Iterable, Mapping

from drivewake.lab.google.model import OWNER, WRITER, File, User


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

    def forget(self) -> None:
        """Drop what was cached about folders."""
        self._epoch += 1

    def grants(self, file: File) -> Mapping[str, int]:
        """Return rank by permission key. The owner of a folder can write what is in it."""
        unknown: list[File] = []
        at: File | None = file
        inherited: Mapping[str, int] = {}
        while at is not None:
            if at.grants is not None and at.grants_epoch == self._epoch:
                inherited = at.grants
                break
            unknown.append(at)
            at = at.parent
        for node in reversed(unknown):
            own = _own_grants(node, inherited)
            if node.is_folder:
                node.grants, node.grants_epoch = own, self._epoch
            inherited = own
        return inherited

    def rank(self, user: User, file: File) -> int:
        """Return the user's highest rank on the file, 0 when it is hidden."""
        if file.owner is user:
            return OWNER
        grants = self.grants(file)
        return max((grants.get(key, 0) for key in user.keys), default=0)

    def audience(self, grants: Mapping[str, int]) -> list[User]:
        """Return the users whose logs learn of a change: named ones and members of groups.

        A link or a domain-wide share puts a file in nobody's log until it is opened.
        """
        seen: dict[str, User] = {}
        for key in grants:
            for user in self._members.get(key, ()):
                seen[user.email] = user
        return list(seen.values())


def _own_grants(node: File, inherited: Mapping[str, int]) -> dict[str, int]:
    own = dict(inherited)
    key = node.owner.permission_id
    own[key] = max(own.get(key, 0), WRITER)
    for share in (node.shares or {}).values():
        own[share.key] = max(own.get(share.key, 0), share.rank)
    return own
