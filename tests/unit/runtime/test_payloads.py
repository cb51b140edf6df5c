"""Large messages: kept once, encrypted, bounded, and never believed."""

from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivewake.contracts.claims import (
    MAX_PAYLOAD_BYTES,
    OFFLOAD_BYTES,
    Claim,
    decode_claim,
    encode_claim,
    is_claim,
)
from drivewake.contracts.envelope import InvalidMessageError
from drivewake.contracts.subjects import RAW
from drivewake.runtime.blobs import ObjectBlobs
from drivewake.runtime.bus import Message
from drivewake.runtime.clock import SystemClock
from drivewake.runtime.errors import BlobCorruptError, BlobMissingError, BlobTooLargeError
from drivewake.runtime.memory import MemoryBus
from drivewake.runtime.payloads import ClaimingPublisher, Payloads

SUBJECT = "drive.raw.v1.3.acme.c1"


@pytest.fixture
def blobs() -> ObjectBlobs:
    """An empty place."""
    return ObjectBlobs.open("memory:")


@pytest.fixture
def payloads(blobs: ObjectBlobs) -> Payloads:
    """What keeps and fetches."""
    return Payloads(blobs, SystemClock(), source="/test")


def changed(claim: Claim, **fields: object) -> bytes:
    """Return a claim with other fields, as it would arrive."""
    return encode_claim(msgspec.structs.replace(claim, **fields))


@given(st.binary(min_size=1, max_size=2000))
async def test_payload_comes_back(payload: bytes) -> None:
    """Keeping and redeeming are inverse, and a repeat makes the same blob."""
    blobs = ObjectBlobs.open("memory:")
    payloads = Payloads(blobs, SystemClock(), source="/test")
    claim, again = [await payloads.keep("acme", "c1", payload) for _ in range(2)]
    assert payload == await payloads.redeem(encode_claim(claim))
    assert claim.dataref == again.dataref
    assert is_claim(encode_claim(claim))
    assert 1 == len([info async for info in blobs.list("acme/c1")])


async def test_storage_holds_nothing_readable(blobs: ObjectBlobs, payloads: Payloads) -> None:
    """A blob does not show its payload; the same payload of another owner is another blob."""
    claim = await payloads.keep("acme", "c1", b"a canary " * 100)
    other = await payloads.keep("acme", "c2", b"a canary " * 100)
    assert b"canary" not in await blobs.get(claim.dataref, limit_bytes=10_000)
    assert claim.datakey != other.datakey


async def test_payload_of_a_gigabyte_is_refused_unread(payloads: Payloads) -> None:
    """What a claim says is enough to refuse it; nothing is fetched, nothing allocated."""
    claim = await payloads.keep("acme", "c1", b"x")
    with pytest.raises(BlobTooLargeError, match="1073741824"):
        await payloads.redeem(changed(claim, datasize=1 << 30))
    with pytest.raises(BlobTooLargeError):
        await payloads.keep("acme", "c1", bytes(MAX_PAYLOAD_BYTES + 1))


async def test_larger_blob_than_claimed_is_refused(blobs: ObjectBlobs, payloads: Payloads) -> None:
    """A blob that grew behind our back is not read to its end."""
    claim = await payloads.keep("acme", "c1", b"x" * 100)
    await blobs.put(claim.dataref, bytes(5 << 20))
    with pytest.raises(BlobTooLargeError):
        await payloads.redeem(encode_claim(claim))


async def test_missing_or_changed_blob_is_told(blobs: ObjectBlobs, payloads: Payloads) -> None:
    """Gone, cut, or one bit changed: each has its word."""
    claim = await payloads.keep("acme", "c1", b"x" * 100)
    blob = await blobs.get(claim.dataref, limit_bytes=200)
    for wrong in (blob[:-1], bytes([blob[0] ^ 1]) + blob[1:], b""):
        await blobs.put(claim.dataref, wrong)
        with pytest.raises(BlobCorruptError):
            await payloads.redeem(encode_claim(claim))
    await blobs.delete(claim.dataref)
    with pytest.raises(BlobMissingError):
        await payloads.redeem(encode_claim(claim))


async def test_wrong_key_opens_nothing(payloads: Payloads) -> None:
    """Another key, no key, a short one: corrupt or invalid, never a crash."""
    claim = await payloads.keep("acme", "c1", b"x" * 100)
    for key in ("", "AAAA", "A" * 43 + "="):
        with pytest.raises(BlobCorruptError):
            await payloads.redeem(changed(claim, datakey=key))
    with pytest.raises(InvalidMessageError):
        await payloads.redeem(changed(claim, datakey="no base64!"))


@pytest.mark.parametrize("name", ["other/c1/x", "acme/c2/x", "acme/c1/../../x", "", "/etc/passwd"])
async def test_claim_reaches_its_own_blobs_alone(payloads: Payloads, name: str) -> None:
    """A claim of one connection never fetches what is another's, or no blob at all."""
    claim = await payloads.keep("acme", "c1", b"x")
    with pytest.raises(InvalidMessageError):
        await payloads.redeem(changed(claim, dataref=name))


async def test_large_messages_alone_are_claimed(payloads: Payloads) -> None:
    """In one batch, in order: small ones as they are, large ones as claims on their subject."""
    bus = MemoryBus()
    await bus.ensure_stream(RAW, replicas=1, scale=1)
    bodies = [b"small", b"l" * (OFFLOAD_BYTES + 1), b"s" * OFFLOAD_BYTES]
    publisher = ClaimingPublisher(bus, payloads)
    await publisher.publish_batch([Message(subject=SUBJECT, data=body) for body in bodies])
    stored = [bus_message async for bus_message in _all(bus)]
    assert [False, True, False] == [is_claim(body) for body in stored]
    assert bodies[1] == await payloads.redeem(stored[1])
    assert ("acme", "c1") == (decode_claim(stored[1]).tenant, decode_claim(stored[1]).connection)


async def _all(bus: MemoryBus) -> AsyncIterator[bytes]:
    async for message in bus.follow(RAW.name):
        if message is None:
            return
        yield message.data
