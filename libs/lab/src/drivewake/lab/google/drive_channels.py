"""Push channels of Drive v3: how they are asked for, and `channels.stop`."""

import base64
import hashlib
import re
from typing import Any

from drivewake.lab.google.drive_base import DriveBase
from drivewake.lab.google.errors import ApiError, invalid_value, required
from drivewake.lab.google.gateway import Call, Endpoint
from drivewake.lab.google.grants import LOOPBACK
from drivewake.lab.google.push import Channel

_CHANNEL_ID = re.compile(r"[A-Za-z0-9\-_+/=]{1,64}")
_DEFAULT_CHANNEL_S = 3_600
MAX_CHANGES_S = 604_800
MAX_FILES_S = 86_400


class Channels(DriveBase):
    """Opening and ending channels."""

    def endpoints(self) -> dict[str, Endpoint]:
        """Return what is served, by method id."""
        return {"drive.channels.stop": Endpoint(self.stop, "other")}

    def open(self, call: Call, *, log: str, resource: str, path: str, max_s: int) -> dict[str, Any]:
        """Open the channel a call asks for on a log; `max_s` is how long it may live.

        Raises ApiError (400).
        """
        uri = f"https://www.googleapis.com/drive/v3/{path}?{call.request.query_string}"
        channel = self._channel(call, log, resource, uri, max_s)
        self._world.push.open(channel)
        return channel_resource(channel)

    def _channel(self, call: Call, log: str, resource: str, uri: str, max_s: int) -> Channel:
        body = call.body
        channel_id = body.get("id")
        if not isinstance(channel_id, str) or not channel_id:
            raise required("id")
        if not _CHANNEL_ID.fullmatch(channel_id):
            raise ApiError(
                400,
                "push.channelIdInvalid",
                "Channel id must match [A-Za-z0-9\\-_\\+/=]+ and have at most 64 characters",
            )
        if body.get("type") not in {"web_hook", "webhook"}:
            raise ApiError(400, "push.channelTypeInvalid", "Unknown channel type.")
        address = self._address(body.get("address"))
        token = body.get("token")
        if token is not None and (not isinstance(token, str) or len(token) > 256):
            raise ApiError(400, "push.channelTokenInvalid", "Channel token is too long.")
        if channel_id in self._world.push.used_ids:
            raise ApiError(400, "channelIdNotUnique", f"Channel id {channel_id} not unique")
        digest = hashlib.sha256(f"{call.user.user_id}/{resource}".encode()).digest()
        return Channel(
            id=channel_id,
            resource_id=base64.urlsafe_b64encode(digest[:20]).decode().rstrip("="),
            resource_uri=uri,
            address=address,
            token=token,
            expires_ms=self._expiration(body, max_s),
            log=log,
            user_email=call.user.email,
            client_id=call.token.client_id,
        )

    def _address(self, address: object) -> str:
        if not isinstance(address, str) or not address:
            raise required("address")
        plain_allowed = not self._world.options.https_only and address.startswith(LOOPBACK)
        if not address.startswith("https://") and not plain_allowed:
            text = f"WebHook callback must be HTTPS: {address}"
            raise ApiError(400, "push.webhookUrlNotHttps", text)
        return address

    def _expiration(self, body: dict[str, Any], max_s: int) -> int:
        now_ms = self._world.now_ms
        latest_ms = now_ms + max_s * 1000
        wanted: list[int] = []
        try:
            if body.get("expiration") is not None:
                wanted.append(int(body["expiration"]))
            ttl = (body.get("params") or {}).get("ttl")
            if ttl is not None:
                wanted.append(now_ms + int(ttl) * 1000)
        except (TypeError, ValueError, AttributeError):
            raise invalid_value("expiration") from None
        if any(at_ms <= now_ms for at_ms in wanted):
            raise invalid_value("expiration")
        return min([latest_ms, *(wanted or [now_ms + _DEFAULT_CHANNEL_S * 1000])])

    def stop(self, call: Call) -> None:
        """End a channel: the same user through the same client, else it is not found.

        A service account's channel may be ended by any user of that client.
        """
        robots = self._world.service_accounts.accounts
        channel = self._world.push.channels.get(str(call.body.get("id")))
        known = (
            channel is not None
            and channel.resource_id == call.body.get("resourceId")
            and channel.user_email in {call.user.email, *robots}
            and channel.client_id == call.token.client_id
        )
        if channel is None or not known:
            text = f"Channel '{call.body.get('id')}' not found for project"
            raise ApiError(404, "notFound", text)
        self._world.push.stop(channel)


def channel_resource(channel: Channel) -> dict[str, Any]:
    """Return a Channel as `watch` answers it."""
    shown = {
        "kind": "api#channel",
        "id": channel.id,
        "resourceId": channel.resource_id,
        "resourceUri": channel.resource_uri,
        "token": channel.token,
        "expiration": str(channel.expires_ms),
    }
    return {k: v for k, v in shown.items() if v is not None}
