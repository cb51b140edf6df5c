"""Shared drives, activity, and what is read beside changes, on a real broker."""

import asyncio
from typing import Any

from poller_stage import SLEEPY, Person, Stage, check_framed

from drivewake.lab.google.actions import (
    Comment,
    CreateDrive,
    CreateFile,
    CreateFolder,
    SetPermissions,
    Share,
    Update,
)
from drivewake.lab.google.faults import Rule

SOON: dict[str, Any] = {"activity_settle_s": 0.0, "activity_gap_retry_s": 0.3}


def shared_with(*people: Person, role: str = "writer") -> tuple[Share, ...]:
    """Return the members of a drive, or the readers of a file."""
    return tuple(Share(type="user", role=role, email_address=one.email) for one in people)


def members(*people: Person) -> tuple[Share, ...]:
    """Return members who may organize the drive."""
    return shared_with(*people, role="organizer")


def facts(raws: list[Any], log: str) -> list[str]:
    """Return the facts of a log as its first partition hears them."""
    mine = [one for one in raws if one.raw.log == log and one.raw.source == "log"]
    return [one.fact.fact for one in mine if one.partition == 0]


async def read_to_its_end(person: Person, drive: str) -> None:
    """Wait until the log of a shared drive stands behind everything that happened there."""
    world = person.stage.google.world
    tip = person.stage.google.call(lambda: str(world.state.drives[drive].log.tip))
    await person.log_of("drive_changes", drive, lambda one: one.cursor == tip and not one.owner)


async def test_shared_drive_is_followed_from_joining_to_leaving(stage: Stage) -> None:
    """Who joins gets a log that is listed and followed; who leaves has it ended by a fact."""
    owner, guest = stage.person(), stage.person()
    await stage.poller()
    await guest.connect()
    await guest.caught_up()
    (drive,) = owner.act(CreateDrive(name="team", ref=owner.connection))
    (before,) = owner.act(CreateFile(name="a", content=b"a", parent=drive["id"]))
    owner.act(SetPermissions(file=drive["id"], permissions=members(owner, guest)))
    log = await guest.log_of("drive_changes", drive["id"], lambda one: one.phase == "live")
    (after,) = owner.act(CreateFile(name="b", content=b"b", parent=drive["id"]))
    await read_to_its_end(guest, drive["id"])
    raws = await guest.all_raws()
    check_framed(raws)
    seen = {(one.raw.item, one.raw.source) for one in raws if one.raw.log == log.log}
    assert {(before["id"], "snapshot"), (after["id"], "changes")} <= seen
    assert drive["id"] in {one.raw.item for one in raws if one.raw.source == "drive"}

    owner.act(SetPermissions(file=drive["id"], permissions=members(owner)))
    await guest.log_of("drive_changes", drive["id"], lambda one: one.stopped)
    raws = await guest.all_raws()
    assert ["snapshot_started", "snapshot_completed"] == facts(raws, log.log)[-2:]
    await guest.until(lambda one: one.snapshot is None and one.relist_at is None)
    relisted = [one for one in await guest.raws() if one.raw.source == "log"]
    assert 0 == relisted[-1].fact.drives  # whose listing names no drive any more

    owner.act(SetPermissions(file=drive["id"], permissions=members(owner, guest)))
    again = await guest.log_of("drive_changes", drive["id"], lambda one: one.phase == "live")
    assert not again.left


async def test_file_that_moves_out_of_a_shared_drive_is_not_told_as_gone(stage: Stage) -> None:
    """To the drive's log it is removed; who still sees it is told so instead."""
    owner = stage.person()
    await stage.poller()
    (drive,) = owner.act(CreateDrive(name="team", ref=owner.connection))
    ids = [
        one["id"]
        for one in owner.act(
            CreateFile(name="moves", content=b"a", parent=drive["id"]),
            CreateFile(name="goes", content=b"b", parent=drive["id"]),
        )
    ]
    await owner.connect()
    log = await owner.log_of("drive_changes", drive["id"], lambda one: one.phase == "live")
    owner.act(Update(file=ids[0], parent="root"))
    owner.stage.google.call(owner.stage.google.world.state.delete, *_by(owner, ids[1]))
    owner.act(CreateFile(name="last", content=b"c", parent=drive["id"]))
    await read_to_its_end(owner, drive["id"])
    raws = [one for one in await owner.all_raws() if one.raw.log == log.log]
    removed = {one.raw.item for one in raws if one.body.get("removed")}
    assert ids[0] not in removed
    assert ids[0] in {one.raw.item for one in raws if one.raw.source == "file"}


def _by(person: Person, file: str) -> tuple[Any, str, int]:
    world = person.stage.google.world
    return world.state.user(person.email), file, world.now_ns()


async def test_what_changed_is_read_whole_and_once(stage: Stage) -> None:
    """Permissions of a drive's item, revisions of new content, comments; each version once."""
    owner = stage.person()
    (drive,) = owner.act(CreateDrive(name="team", ref=owner.connection))
    (file,) = owner.act(CreateFile(name="a", content=b"a", parent=drive["id"]))
    await stage.poller(**SLEEPY)
    await owner.connect()
    log = await owner.log_of("drive_changes", drive["id"], lambda one: one.phase == "live")
    owner.act(Update(file=file["id"], content=b"other"), Comment(file=file["id"], content="hi"))
    lists = ("permissions", "revisions", "comments")

    async def signalled(kinds: set[str]) -> dict[str, list[Any]]:
        await owner.signal(log=log.log)
        async with asyncio.timeout(30):
            while True:
                raws = [one for one in await owner.all_raws() if one.raw.item == file["id"]]
                found = {kind: [one for one in raws if one.raw.source == kind] for kind in lists}
                if kinds <= {kind for kind, some in found.items() if some}:
                    return found
                await asyncio.sleep(0.05)

    found = await signalled(set(lists))
    (acl,) = found["permissions"]
    assert owner.email in {one["emailAddress"] for one in acl.body["permissions"]}
    assert acl.raw.version > 0
    assert 2 == len(found["revisions"])
    assert ["hi"] == [one.body["content"] for one in found["comments"]]

    calls = {kind: stage.requests(f"drive.{kind}.list", owner) for kind in lists}
    await owner.signal()  # the user's own log tells the same version
    await owner.signal(log=log.log)
    await asyncio.sleep(0.7)
    assert calls == {kind: stage.requests(f"drive.{kind}.list", owner) for kind in lists}
    owner.act(Update(file=file["id"], name="renamed"))
    await owner.signal(log=log.log)
    async with asyncio.timeout(30):
        while stage.requests("drive.permissions.list", owner) == calls["permissions"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert calls["revisions"] == stage.requests("drive.revisions.list", owner)


async def test_activity_is_read_in_closed_windows(stage: Stage) -> None:
    """What somebody did in the Drive is told, each action of each file."""
    person = stage.person(activity=True)
    (folder,) = person.act(CreateFolder(name="f", ref=f"{person.connection}-f"))
    (file,) = person.act(CreateFile(name="a", content=b"a", parent=folder["id"]))
    person.act(Update(file=file["id"], name="b"))
    await stage.poller(**SOON)
    await person.connect()
    log = await person.log_of("activity", "", lambda one: one.last_change_at is not None)
    person.act(Update(file=file["id"], name="c"))
    async with asyncio.timeout(30):
        while True:
            raws = [one for one in await person.all_raws() if one.raw.log == log.log]
            done = {(one.raw.item, *one.body["primaryActionDetail"]) for one in raws}
            mine = {str(one.body) for one in raws if one.raw.item == file["id"]}
            if len(mine) >= 3:
                break
            await asyncio.sleep(0.05)
    expected = {(folder["id"], "create"), (file["id"], "create"), (file["id"], "rename")}
    assert expected <= done


async def test_poisoned_window_is_a_gap_that_is_closed_later(stage: Stage) -> None:
    """500s of one folder and span: all around is told, the gap names the rest until it heals."""
    person = stage.person(activity=True)
    (folder,) = person.act(CreateFolder(name="f", ref=f"{person.connection}-f"))
    google = stage.google
    rule = google.call(
        google.world.faults.add,
        Rule(effect="activity_internal", principal=person.email, folder=folder["id"]),
        google.world.now_ns(),
    )
    person.act(CreateFile(name="a", content=b"a", parent=folder["id"]))
    (beside,) = person.act(CreateFile(name="beside", content=b"a"))
    person.watched = (folder["id"],)
    await stage.poller(**SOON)
    await person.connect()
    log = await person.log_of("activity", folder["id"], lambda one: bool(one.gaps))
    opened = [one for one in await person.all_raws() if one.raw.source == "log"]
    gap = next(one.fact for one in opened if one.fact.fact == "gap_opened")
    assert gap.missing_from is not None
    assert gap.missing_to is not None
    google.call(google.world.faults.remove, rule)
    await person.log_of("activity", folder["id"], lambda one: not one.gaps and not one.slices)
    raws = [one for one in await person.all_raws() if one.raw.log == log.log]
    assert "gap_closed" in {one.fact.fact for one in raws if one.raw.source == "log"}
    assert beside["id"] not in {one.raw.item for one in raws}
