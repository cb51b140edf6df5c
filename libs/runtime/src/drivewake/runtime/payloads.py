"""Messages that are too large for a stream: kept as blobs, claimed in the stream.

A blob is the message, encrypted under a key that follows from its bytes and its owner and stands
in the claim alone: the same message makes the same blob, so that a repeat adds nothing; who has
the storage reads nothing; and with the claim the blob is lost too. Its name is
`{tenant}/{connection}/{SHA-256 of the blob}`: one listing finds all of a tenant or connection.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from drivewake.contracts.claims import (
    MAX_PAYLOAD_BYTES,
    OFFLOAD_BYTES,
    Claim,
    decode_claim,
    encode_claim,
)
from drivewake.contracts.envelope import InvalidMessageError
from drivewake.contracts.ids import InvalidIdError, checked, new_id
from drivewake.runtime.blobs import Blobs
from drivewake.runtime.bus import Message, PublishAck, Publisher
from drivewake.runtime.clock import Clock
from drivewake.runtime.errors import BlobCorruptError, BlobTooLargeError

TAG_BYTES: Final = 16
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+/[0-9a-f]{64}")
_NONCE: Final = bytes(12)
"""No key encrypts two different texts: it is a hash of the text."""


class Payloads:
    """Keeps and fetches large messages. May raise BlobUnavailableError."""

    def __init__(self, blobs: Blobs, clock: Clock, *, source: str = "") -> None:
        self._blobs = blobs
        self._clock = clock
        self._source = source

    async def keep(self, tenant: str, connection: str, payload: bytes) -> Claim:
        """Keep a message durably; return what stands for it. Raises BlobTooLargeError."""
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise BlobTooLargeError
        owner = f"{checked(tenant)}/{checked(connection)}"
        key = hashlib.blake2b(
            payload, digest_size=32, key=hashlib.sha256(owner.encode()).digest(), person=b"dw-blob"
        ).digest()
        blob = AESGCM(key).encrypt(_NONCE, payload, owner.encode())
        name = f"{owner}/{hashlib.sha256(blob).hexdigest()}"
        await self._blobs.put(name, blob)
        return Claim(
            dataref=name,
            datasize=len(blob),
            datakey=base64.b64encode(key).decode(),
            id=new_id(),
            source=self._source,
            time=self._clock.now(),
            tenant=tenant,
            connection=connection,
        )

    async def redeem(self, body: bytes) -> bytes:
        """Return the message that a claim stands for.

        Raises InvalidMessageError (no claim), BlobMissingError, BlobTooLargeError before it
        fetches anything, BlobCorruptError (not the bytes that were kept).
        """
        claim = decode_claim(body)
        if not 0 < claim.datasize <= MAX_PAYLOAD_BYTES + TAG_BYTES:
            raise BlobTooLargeError(
                f"a payload of {claim.datasize} bytes is claimed, the limit is {MAX_PAYLOAD_BYTES}"
            )
        owner, key = _owner(claim), claim.key()
        blob = await self._blobs.get(claim.dataref, limit_bytes=claim.datasize)
        if claim.dataref != f"{owner}/{hashlib.sha256(blob).hexdigest()}":
            raise BlobCorruptError
        try:
            return AESGCM(key).decrypt(_NONCE, blob, owner.encode())
        except (InvalidTag, ValueError):
            raise BlobCorruptError from None


def _owner(claim: Claim) -> str:
    """Return whose blob it is; one of somebody else is never fetched."""
    try:
        owner = f"{checked(claim.tenant)}/{checked(claim.connection)}"
    except InvalidIdError as error:
        raise InvalidMessageError(str(error)) from error
    if _NAME.fullmatch(claim.dataref) is None or not claim.dataref.startswith(f"{owner}/"):
        raise InvalidMessageError("dataref names no blob of the claim's tenant and connection")
    return owner


class ClaimingPublisher:
    """A Publisher that keeps large messages as blobs first, and publishes claims for them.

    For subjects that end in `{tenant}.{connection}`. Raises BlobUnavailableError too.
    """

    def __init__(self, publisher: Publisher, payloads: Payloads) -> None:
        self._publisher = publisher
        self._payloads = payloads

    async def publish(self, message: Message, *, expected_last: int | None = None) -> PublishAck:
        """See bus.Publisher."""
        return await self._publisher.publish(
            await self._claimed(message), expected_last=expected_last
        )

    async def publish_batch(
        self, messages: Sequence[Message], *, expected_last: int | None = None
    ) -> PublishAck:
        """See bus.Publisher."""
        if any(len(message.data) > OFFLOAD_BYTES for message in messages):
            messages = [await self._claimed(message) for message in messages]
        return await self._publisher.publish_batch(messages, expected_last=expected_last)

    async def _claimed(self, message: Message) -> Message:
        if len(message.data) <= OFFLOAD_BYTES:
            return message
        tenant, connection = message.subject.split(".")[-2:]
        claim = await self._payloads.keep(tenant, connection, message.data)
        return msgspec.structs.replace(message, data=encode_claim(claim))
