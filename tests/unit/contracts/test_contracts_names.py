"""Ids, subjects, keys and permissions: names that must stay stable and safe."""

import datetime as dt
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivewake.contracts import asyncapi, keys, subjects
from drivewake.contracts.ids import (
    PARTITIONS,
    InvalidIdError,
    checked,
    log_id,
    new_id,
    partition_of,
)
from drivewake.contracts.permissions import GRANTS, inbox_prefix, permissions

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
SECRET = b"0123456789abcdef"
INSTANTS = st.datetimes(
    min_value=dt.datetime(1971, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=dt.datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(dt.UTC),
)


@pytest.mark.parametrize("token", ["", "*", ">", "a.b", "a b", "é", "a\n", "x" * 65])
def test_hostile_ids_never_reach_a_subject(token: str) -> None:
    """A wildcard, a dot, white space or an endless id is refused, and not echoed."""
    with pytest.raises(InvalidIdError) as caught:
        subjects.signal(token, "c", "l")
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize(
    ("subject", "owner"),
    [
        (subjects.raw(7, "7", "raw"), ("7", "raw")),
        (subjects.connection("t", "c"), ("t", "c")),
        (subjects.signal("t", "c", "l"), ("t", "c")),
        (subjects.schedule("t", "c", "l"), ("t", "c")),
        (subjects.request("t", "c", "r"), ("t", "c")),
        (subjects.answer("t", "c", "r"), ("t", "c")),
        (subjects.event("t", "file.renamed"), ("t", "")),
        (subjects.dead("webhook"), None),
        (subjects.token_rpc("poller"), None),
        ("elsewhere", None),
    ],
)
def test_owner_is_told_by_its_place_in_a_subject(
    subject: str, owner: tuple[str, str] | None
) -> None:
    """Whatever a tenant is called: a partition or a word of the scheme is not taken for it."""
    assert owner == subjects.owner_of(subject)


def test_new_ids_are_tokens_and_differ() -> None:
    """Fresh ids stand in subjects as they are and do not repeat."""
    ids = {new_id() for _ in range(1000)}
    assert 1000 == len(ids)
    assert ids == {checked(token) for token in ids}


def test_log_id_depends_on_every_part_and_on_their_borders() -> None:
    """No two different logs share an id because their parts run together."""
    ids = {
        log_id("c", "ab", "c"),
        log_id("c", "a", "bc"),
        log_id("ca", "b", "c"),
        log_id("c", "ab"),
    }
    assert len(ids) == 4


@given(st.text(), st.text())
def test_partition_is_stable_and_in_range(tenant: str, file: str) -> None:
    """The partition of a file is a function of tenant and file alone."""
    partition = partition_of(tenant, file)
    assert partition == partition_of(tenant, file)
    assert 0 <= partition < PARTITIONS


def test_partition_function_is_frozen() -> None:
    """Another version of the code sends a file to the same partition: these never change."""
    assert [8, 12, 6] == [partition_of("default", file) for file in ("a", "b", "c")]


def test_partitions_spread_evenly() -> None:
    """No partition gets more than twice its share of many files."""
    counts = [0] * PARTITIONS
    for number in range(16_000):
        counts[partition_of("t", f"file-{number}")] += 1
    assert max(counts) < 2000


@given(INSTANTS, st.text(), st.integers(min_value=0, max_value=2**63))
def test_key_is_a_uuid8_that_carries_its_time(at: dt.datetime, file: str, version: int) -> None:
    """A key falls between the bounds of its millisecond, and is the same each time."""
    key = keys.event_key(SECRET, at, *keys.file_state_parts("t", file, version, "file.moved"))
    again = keys.event_key(SECRET, at, *keys.file_state_parts("t", file, version, "file.moved"))
    assert key == again
    assert (key.version, key.variant) == (8, uuid.RFC_4122)
    after = keys.first_key_at(at + dt.timedelta(milliseconds=1))
    assert keys.first_key_at(at) <= key < after


def test_keys_differ_by_part_tenant_and_secret() -> None:
    """Any other fact, tenant or deployment gives another key."""
    made = {
        keys.event_key(secret, NOW, *keys.file_state_parts(tenant, file, version, kind))
        for secret in (SECRET, b"another-secret-0")
        for tenant in ("a", "b")
        for file in ("f", "g")
        for version in (1, 2)
        for kind in ("file.moved", "file.renamed")
    }
    assert len(made) == 32


def test_key_is_frozen() -> None:
    """Another version of the code names this fact the same: stored keys depend on it."""
    key = keys.event_key(SECRET, NOW, *keys.file_state_parts("t", "f", 1, "file.renamed"))
    assert str(key) == "019ca945-0a00-86eb-931e-6f11abeb6c40"


def test_asyncapi_document_is_current() -> None:
    """The committed document says what the code does; run `just contracts` if this fails."""
    assert asyncapi.PATH.read_bytes() == asyncapi.render()


def test_asyncapi_names_every_stream_subject() -> None:
    """Each subject of each stream is documented."""
    addresses = {
        "".join("*" if part.startswith("{") else part for part in _tokens(flow.address))
        for flow in asyncapi.STREAM_FLOWS
    }
    expected = {subject for stream in subjects.STREAMS for subject in stream.subjects}
    assert expected == addresses


def _tokens(address: str) -> list[str]:
    return [piece for token in address.split(".") for piece in (".", token)][1:]


def test_nobody_but_auth_answers_token_requests() -> None:
    """Only auth may listen where tokens are asked for, and only under its own name may ask."""
    for grant in GRANTS:
        allowed = permissions(grant)
        assert (subjects.TOKEN_RPC_ALL in allowed.subscribe) == (grant.user == "auth")
        asks = {subject for subject in allowed.publish if ".auth.token." in subject}
        assert asks <= {subjects.token_rpc(grant.user)}


def test_nobody_may_publish_or_listen_everywhere() -> None:
    """No allow list holds a bare wildcard, another's inbox or stream administration.

    But two: the normalizer removes raws that it has settled, the eraser whatever was erased.
    """
    purges = {"normalizer": {"RAW"}, "eraser": {"EVENT", "DEAD", "RAW", "SIGNAL", "REQUEST"}}
    for grant in GRANTS:
        allowed = permissions(grant)
        assert not {">", "*", "$JS.API.>", "$KV.>"} & {*allowed.publish, *allowed.subscribe}
        inboxes = {name for name in allowed.subscribe if name.startswith("_INBOX")}
        assert {f"{inbox_prefix(grant.user)}.>"} == inboxes
        administration = ("STREAM.CREATE", "STREAM.DELETE", "STREAM.UPDATE", "STREAM.PURGE")
        found = {name for name in allowed.publish if any(verb in name for verb in administration)}
        expected = purges.get(grant.user, set())
        assert {f"$JS.API.STREAM.PURGE.DRIVE_{name}" for name in expected} == found


def test_every_consumer_belongs_to_a_stream_and_a_grant() -> None:
    """A provisioned consumer filters its stream's subjects, and its owner may pull from it."""
    streams = {stream.name: stream for stream in subjects.STREAMS}
    pulls = {grant.user: grant.pulls for grant in GRANTS}
    for consumer in subjects.CONSUMERS:
        roots = {subject.rsplit(".v1", 1)[0] for subject in streams[consumer.stream].subjects}
        assert {filter_.rsplit(".v1", 1)[0] for filter_ in consumer.filters} <= roots
        assert consumer in pulls[consumer.owner]


def test_everything_that_stores_has_a_size() -> None:
    """No stream and no bucket may fill the disk (decision 0003)."""
    assert [] == [x.name for x in (*subjects.STREAMS, *subjects.BUCKETS) if not x.max_bytes]
