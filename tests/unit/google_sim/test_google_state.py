"""What the simulated Drive shows to whom, and what it writes into which log."""

import pytest

from drivewake.lab.google.changelog import Entry
from drivewake.lab.google.model import (
    AccessDeniedError,
    FileMissingError,
    InvalidOperationError,
    User,
)
from drivewake.lab.google.state import DriveState

NOW_NS = 1_700_000_000_000_000_000
NOW_MS = 1_700_000_000_000


def world() -> tuple[DriveState, User, User]:
    """Return a Drive with two users."""
    state = DriveState(seed=1)
    alice = state.add_user("alice@example.com", "Alice", NOW_MS)
    bob = state.add_user("bob@example.com", "Bob", NOW_MS)
    return state, alice, bob


def create(state: DriveState, actor: User, name: str, parent: str = "root") -> str:
    """Create a small file."""
    change = state.create(actor, name, parent, NOW_NS, mime_type="text/plain", data=b"x")
    return change.file_id


def folder(state: DriveState, actor: User, name: str, parent: str = "root") -> str:
    """Create a folder."""
    return state.create(actor, name, parent, NOW_NS).file_id


def share(state: DriveState, actor: User, file_id: str, email: str, role: str) -> None:
    """Share with one user and nobody else."""
    permission = state.permission("user", role, email, None)
    state.set_permissions(actor, file_id, [permission], NOW_NS)


def changed(user: User) -> list[str]:
    """Return the ids in the user's log, oldest first."""
    return [e.file_id for e in user.log.read(0, 1000)[0]]


def test_rename_and_move_in_one_call_is_one_version() -> None:
    """Google counts calls, not properties."""
    state, alice, _ = world()
    target, file_id = folder(state, alice, "to"), create(state, alice, "a")

    change = state.edit(alice, file_id, NOW_NS, name="b", parent_id=target)

    assert (2, "move+rename", "b", target) == (
        change.version,
        change.kind,
        state.files[file_id].name,
        state.files[file_id].parent.id,  # type: ignore[union-attr]
    )


def test_move_and_trash_leave_modified_time_alone() -> None:
    """ModifiedTime is no cursor: moves, trash and restore do not bump it."""
    state, alice, _ = world()
    target, file_id = folder(state, alice, "to"), create(state, alice, "a")
    later = NOW_NS + 10**12

    state.edit(alice, file_id, later, parent_id=target)
    state.trash(alice, file_id, later, trashed=True)
    state.trash(alice, file_id, later, trashed=False)

    assert (NOW_MS, 4) == (state.files[file_id].modified_ms, state.files[file_id].version)


def test_upload_keeps_the_callers_modified_time() -> None:
    """An upload may say when the file was modified, in the past or the future."""
    state, alice, _ = world()
    file_id = create(state, alice, "a")

    state.edit(alice, file_id, NOW_NS, data=b"new", modified_ms=-1000)

    assert state.files[file_id].modified_ms == -1000


def test_new_content_has_its_hashes_and_a_new_revision() -> None:
    """Hashes are those of the bytes."""
    state, alice, _ = world()
    file_id = create(state, alice, "a")
    before = state.files[file_id].content

    state.edit(alice, file_id, NOW_NS, data=b"hello")

    after = state.files[file_id].content
    assert before is not None
    assert after is not None
    assert before.revision_id != after.revision_id
    assert (5, "5d41402abc4b2a76b9719d911017c592") == (after.size_bytes, after.md5)


def test_access_is_inherited_from_any_folder_above() -> None:
    """Sharing a folder shows everything below it."""
    state, alice, bob = world()
    top = folder(state, alice, "top")
    deep = create(state, alice, "deep", folder(state, alice, "mid", top))
    with pytest.raises(FileMissingError):
        state.find(bob, deep)

    share(state, alice, top, "bob@example.com", "reader")

    assert deep == state.find(bob, deep).id


def test_only_the_shared_item_enters_the_log() -> None:
    """Permission changes are recorded only on the item changed; descendants get no entries."""
    state, alice, bob = world()
    top = folder(state, alice, "top")
    create(state, alice, "below", top)

    share(state, alice, top, "bob@example.com", "reader")

    assert [top] == changed(bob)


def test_a_reshare_is_not_in_an_ordinary_collaborators_log() -> None:
    """An ACL change reaches the owner and those it touches, nobody else."""
    state, alice, bob = world()
    carol = state.add_user("carol@example.com", "Carol", NOW_MS)
    file_id = create(state, alice, "a")
    share(state, alice, file_id, "bob@example.com", "reader")
    tip = bob.log.tip
    both = [
        state.permission("user", "reader", "bob@example.com", None),
        state.permission("user", "reader", "carol@example.com", None),
    ]

    state.set_permissions(alice, file_id, both, NOW_NS)

    assert [file_id] == changed(carol)
    assert [] == bob.log.read(tip, 10)[0]
    assert file_id in changed(alice)


def test_losing_access_moves_the_file_to_the_tail_of_the_log() -> None:
    """Who lost access finds the entry and can no longer read the file: removed."""
    state, alice, bob = world()
    file_id = create(state, alice, "a")
    share(state, alice, file_id, "bob@example.com", "reader")
    tip = bob.log.tip

    state.set_permissions(alice, file_id, [], NOW_NS)

    assert [Entry(tip, file_id, NOW_MS)] == bob.log.read(tip, 10)[0]
    with pytest.raises(FileMissingError):
        state.find(bob, file_id)


def test_moving_out_of_a_shared_folder_reaches_those_who_lose_sight() -> None:
    """A move is in the logs of who saw the file before or sees it after."""
    state, alice, bob = world()
    top = folder(state, alice, "top")
    share(state, alice, top, "bob@example.com", "reader")
    file_id = create(state, alice, "a", top)

    change = state.edit(alice, file_id, NOW_NS, parent_id="root")

    assert {"alice@example.com", "bob@example.com"} == set(change.logs)
    assert state.access.rank(bob, state.files[file_id]) == 0


def test_the_folders_owner_sees_what_others_put_in() -> None:
    """A writer's file belongs to the writer and is visible to the folder's owner."""
    state, alice, bob = world()
    top = folder(state, alice, "top")
    share(state, alice, top, "bob@example.com", "writer")

    file_id = create(state, bob, "of bob", top)

    assert file_id in changed(alice)
    assert file_id in [f.id for f in state.visible(alice)]
    with pytest.raises(AccessDeniedError):
        state.delete(alice, file_id, NOW_NS)


def test_deleting_a_folder_deletes_what_the_owner_has_below_and_orphans_the_rest() -> None:
    """What others own in it survives in their own My Drive."""
    state, alice, bob = world()
    top = folder(state, alice, "top")
    share(state, alice, top, "bob@example.com", "writer")
    mine, theirs = create(state, alice, "mine", top), create(state, bob, "theirs", top)

    state.delete(alice, top, NOW_NS)

    assert {mine, top}.isdisjoint(state.files)
    assert bob.root is state.files[theirs].parent


def test_trash_is_inherited_but_explicit_only_where_it_was_done() -> None:
    """A file in a trashed folder is trashed, not explicitly."""
    state, alice, _ = world()
    top = folder(state, alice, "top")
    below = create(state, alice, "below", top)

    state.trash(alice, top, NOW_NS, trashed=True)

    assert state.is_trashed(state.files[below])
    assert not state.files[below].explicitly_trashed


def test_a_folder_cannot_move_below_itself() -> None:
    """A cycle is refused and nothing changes."""
    state, alice, _ = world()
    top = folder(state, alice, "top")
    mid = folder(state, alice, "mid", top)

    with pytest.raises(InvalidOperationError):
        state.edit(alice, top, NOW_NS, parent_id=mid)

    assert state.files[top].version == 1


def test_very_deep_trees_do_not_exhaust_the_stack() -> None:
    """Nothing recurses over folders."""
    state, alice, _ = world()
    parent = "root"
    for number in range(3000):
        parent = folder(state, alice, str(number), parent)

    assert 3000 == len(state.visible(alice))
    assert not state.is_trashed(state.files[parent])


def test_a_link_share_opens_the_file_and_lists_it_nowhere() -> None:
    """Anyone with the link can get the file; nobody's listing or log holds it."""
    state, alice, bob = world()
    file_id = create(state, alice, "a")
    link = state.permission("anyone", "reader", None, None)

    state.set_permissions(alice, file_id, [link], NOW_NS)

    assert file_id == state.find(bob, file_id).id
    assert [] == state.visible(bob)
    assert [] == changed(bob)


def test_two_files_of_one_name_may_share_a_folder() -> None:
    """Drive has ids, names are labels: any text, repeated."""
    state, alice, _ = world()
    name = "línea\n'\"" * 700

    first, second = create(state, alice, name), create(state, alice, name)

    assert first != second
    assert [name, name] == [f.name for f in state.visible(alice)]


def test_same_seed_same_ids() -> None:
    """The world is a function of its seed and of what is done."""
    ids = []
    for _ in range(2):
        state, alice, _ = world()
        ids.append([create(state, alice, str(n)) for n in range(3)])

    assert ids[0] == ids[1]
