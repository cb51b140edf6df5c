"""Claim: stands in a stream for a message that is too large for it, and says where that is.

A CloudEvent without data and with the `dataref` extension ("claim check"):
https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/dataref.md. What `dataref`
names is the whole message, encrypted under `datakey`, which is kept nowhere else.
"""

import base64
import datetime as dt
from typing import Final

import msgspec

from drivewake.contracts.envelope import InvalidMessageError

OFFLOAD_BYTES: Final = 256 << 10
"""Messages above this are claimed, where there is a place for blobs."""
MAX_PAYLOAD_BYTES: Final = 16 << 20
"""Nobody fetches more than this, whatever a claim says."""
_BEGINNING: Final = b'{"specversion":"1.0","dataref":'


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Where a message is: `dataref` names the blob, `datasize` counts its bytes.

    The last part of the name is the SHA-256 of the blob as it is stored, in hex. `datakey` is
    an AES-256-GCM key in base64, used for this blob alone (nonce: zeros).
    """

    specversion: str = "1.0"
    dataref: str
    datasize: int
    datakey: str
    id: str
    source: str
    type: str = "drive.claim"
    time: dt.datetime
    tenant: str
    connection: str

    def key(self) -> bytes:
        """Return the key; raise InvalidMessageError if it is none."""
        try:
            return base64.b64decode(self.datakey, validate=True)
        except ValueError as error:
            raise InvalidMessageError("datakey is not base64") from error


_decoder = msgspec.json.Decoder(Claim)
_encoder = msgspec.json.Encoder()


def is_claim(body: bytes) -> bool:
    """Return whether a message stands for another one; costs next to nothing."""
    return body.startswith(_BEGINNING)


def encode_claim(claim: Claim) -> bytes:
    """Return the claim as CloudEvents JSON, `dataref` first."""
    return _encoder.encode(claim)


def decode_claim(body: bytes) -> Claim:
    """Return the claim in `body`; raise InvalidMessageError if it is not one."""
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidMessageError(f"not a claim: {error}") from error
