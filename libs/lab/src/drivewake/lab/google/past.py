"""A Drive as it was: what one principal could see at a past instant or change. Pure.

What changed since is taken from the history, all else from the present. Only what the
principal could have seen is made anew, so that a question costs what its answer holds and what
has happened since, whatever else there is.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from drivewake.lab.google.changelog import ChangeLog
from drivewake.lab.google.history import Before, Image, Opening
from drivewake.lab.google.model import (
    Extras,
    File,
    Group,
    InvalidOperationError,
    SharedDrive,
    User,
)
from drivewake.lab.google.state import DriveState


def state_then(
    state: DriveState, email: str, *, at_ns: int | None = None, seq: int | None = None
) -> tuple[DriveState, int]:
    """Return a state with one principal and all that it could see, and its last change.

    `at_ns` is after all that happened up to that nanosecond, `seq` right before the change
    that followed the one of that number. The state is for reading: `visible`, `access`,
    `is_trashed`. Raises InvalidOperationError for who was not there, and for a change to come.
    """
    history = state.history
    if (at_ns is None) == (seq is None):
        raise InvalidOperationError("A past state has an instant or a change, one of them.")
    if seq is not None:
        if not 0 <= seq <= state.seq:
            raise InvalidOperationError(f"No change has the number {seq}; the last is {state.seq}.")
        place = history.after_change(seq)
    else:
        place = history.after_instant(at_ns or 0)
        seq = history.seq_at(place, state.seq)
    return _Then(state, history.since(place)).seen_by(email), seq


class _Then:
    """Files, people, groups and drives as they were, made when they are asked for."""

    def __init__(self, state: DriveState, undone: Iterable[Before]) -> None:
        self._now = state
        self._images: dict[str, Image | None] = {}
        self._unopened: set[Opening] = set()
        self._members: dict[str, Mapping[str, User]] = {}
        for before in undone:
            if isinstance(before, str):
                self._images.setdefault(before, None)
            elif isinstance(before, Image):
                self._images.setdefault(before.id, before)
            elif isinstance(before, Opening):
                self._unopened.add(before)
            else:
                self._members.setdefault(before.key, before.members)
        self._children: defaultdict[str, list[str]] = defaultdict(list)
        self._shelved: defaultdict[str, list[str]] = defaultdict(list)
        self._opened: defaultdict[str, list[str]] = defaultdict(list)
        self._owned: defaultdict[str, list[str]] = defaultdict(list)
        self._drives: list[str] = []
        for image in self._images.values():
            if image is not None:
                self._place(image)
        self._files: dict[str, File] = {}
        self._users: dict[str, User] = {}
        self._made_drives: dict[str, SharedDrive] = {}

    def seen_by(self, email: str) -> DriveState:
        """Return a state with this principal. Raises InvalidOperationError."""
        real = self._now.user(email)
        email = real.email
        if real.root.id in self._images and self._images[real.root.id] is None:
            raise InvalidOperationError(f"There was no such user yet: {email}")
        then, user = DriveState(), self._user(real)
        user.root = self._file(real.root.id)
        user.owned = self._shelf(real.owned, self._owned[real.email])
        user.shared_with = self._shelf(real.shared_with, self._shelved[real.permission_id])
        opened = self._shelf(real.opened, self._opened[real.email])
        user.opened = {i: f for i, f in opened.items() if Opening(i, email) not in self._unopened}
        user.groups = tuple(self._group(key) for key in self._groups_of(real))
        then.users = {user.email: user}
        then.principals = self._now.principals
        drive_ids = [i for i in self._now.drives if i not in self._images] + self._drives
        then.drives = {i: self._drive(i) for i in drive_ids}
        shelves = (user.owned, user.shared_with, user.opened, *(g.shared_with for g in user.groups))
        tops = [user.root, *(drive.root for drive in then.drives_of(user))]
        self._fill([*tops, *(file for shelf in shelves for file in shelf.values())])
        return then

    # --- inside -----------------------------------------------------------------------

    def _place(self, image: Image) -> None:
        """Note where a changed file was to be found."""
        if image.parent_id is None:
            if image.drive_id is not None:
                self._drives.append(image.id)
            return
        self._children[image.parent_id].append(image.id)
        for key in image.shares or ():
            self._shelved[key].append(image.id)
        for email in image.openers:
            self._opened[email].append(image.id)
        if image.owner is not None:
            self._owned[image.owner.email].append(image.id)

    def _shelf(self, present: Iterable[str], former: Iterable[str]) -> dict[str, File]:
        ids = [*(i for i in present if i not in self._images), *former]
        return {file_id: self._file(file_id) for file_id in ids}

    def _fill(self, pending: list[File]) -> None:
        """Put into folders what was in them, all the way down."""
        filled: set[str] = set()
        while pending:
            folder = pending.pop()
            if folder.children is None or folder.id in filled:
                continue
            filled.add(folder.id)
            real = self._now.files.get(folder.id)
            present = () if real is None else real.children or ()
            folder.children.update(self._shelf(present, self._children[folder.id]))
            pending.extend(folder.children.values())

    def _image(self, file_id: str) -> Image:
        return self._images.get(file_id) or Image.of(self._now.files[file_id])

    def _file(self, file_id: str) -> File:
        """Return a file, the folders above it made first."""
        chain: list[Image] = []
        at: str | None = file_id
        while at is not None and at not in self._files:
            chain.append(self._image(at))
            at = chain[-1].parent_id
        for image in reversed(chain):
            self._files[image.id] = self._made(image)
        return self._files[file_id]

    def _made(self, image: Image) -> File:
        top = image.parent_id is None
        return File(
            id=image.id,
            ordinal=image.ordinal,
            name=image.name,
            mime_type=image.mime_type,
            owner=None if image.owner is None else self._user(image.owner),
            parent=None if image.parent_id is None else self._files[image.parent_id],
            created_ms=image.created_ms,
            modified_ms=image.modified_ms,
            last_modifying_user=self._user(image.last_modifying_user),
            version=image.version,
            content=image.content,
            shares=None if image.shares is None else dict(image.shares),
            explicitly_trashed=image.trashed,
            drive=None if top or image.drive_id is None else self._drive(image.drive_id),
            extras=Extras(limited=True) if image.limited else None,
            children={} if image.is_folder else None,
        )

    def _drive(self, drive_id: str) -> SharedDrive:
        if drive_id not in self._made_drives:
            root = self._file(drive_id)
            drive = SharedDrive(root, ChangeLog(f"drive:{drive_id}", 0), root.created_ms)
            root.drive = self._made_drives[drive_id] = drive
        return self._made_drives[drive_id]

    def _user(self, real: User) -> User:
        """Return a user with the keys of the groups it was in."""
        if real.email not in self._users:
            present = {group.permission_id for group in real.groups}
            keys = [key for key in real.keys if key not in present] + self._groups_of(real)
            self._users[real.email] = User(
                real.email, real.name, real.user_id, real.permission_id, real.log, tuple(keys)
            )
        return self._users[real.email]

    def _groups_of(self, real: User) -> list[str]:
        present = [g.permission_id for g in real.groups if g.permission_id not in self._members]
        return present + [key for key, members in self._members.items() if real.email in members]

    def _group(self, key: str) -> Group:
        real = self._now.principals[key]
        shared = self._shelf(real.shared_with, self._shelved[key])
        return Group(real.email, real.name, key, shared_with=shared)
