"""What an operator and a person do with a running stack: look, connect an account, wait."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Final, Self, TypeVar

import aiohttp
import msgspec

from drivewake.contracts import subjects
from drivewake.contracts.records import ChannelRecord, LogRecord
from drivewake.lab.demo.browser import consent
from drivewake.lab.demo.stack import Stack
from drivewake.runtime.bus import KeyValueReader
from drivewake.runtime.nats import NatsBus, connect

LIVE_DEADLINE_S: Final = 30.0
TENANT: Final = "default"

T = TypeVar("T")


class DemoError(Exception):
    """The demo cannot go on; the text says why in one line."""


class Session:
    """Connections to a started stack, closed at the end of the block."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._open = AsyncExitStack()
        self._as_operator: NatsBus | None = None

    async def __aenter__(self) -> Self:
        """Return the session."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close everything that was opened."""
        await self._open.aclose()

    async def bus(self, user: str) -> NatsBus:
        """Connect to NATS as one of the users of the contracts."""
        seed = self._stack.users.seeds[user].read_text()
        bus = await connect(name="demo", url=self._stack.nats.url, seed=seed, user=user)
        self._open.push_async_callback(bus.close)
        return bus

    async def connect_account(self, account: str) -> None:
        """Connect as a person would: a link, Google's pages, the way back.

        Raises DemoError, ConsentError.
        """
        url = f"{self._stack.url('auth')}/v1/connections"
        async with aiohttp.ClientSession() as session:
            headers = {"Authorization": f"Bearer {await self._operators_token(session)}"}
            async with session.post(url, json={"tenant": TENANT}, headers=headers) as answer:
                if answer.status not in (HTTPStatus.OK, HTTPStatus.CREATED):
                    raise DemoError(f"auth gave no connect link: {answer.status}")
                link = (await answer.json())["url"]
        await consent(link, self._stack.url("auth"), account)

    async def _operators_token(self, session: aiohttp.ClientSession) -> str:
        """Return a token of the development issuer, as a program gets one: client credentials."""
        form = {
            "grant_type": "client_credentials", "client_id": "demo", "role": "operator",
            "tenant": TENANT, "client_secret": self._stack.issuer_secret,
        }  # fmt: skip
        async with session.post(f"{self._stack.url('issuer')}/token", data=form) as answer:
            if answer.status != HTTPStatus.OK:
                raise DemoError(f"the issuer gave no token: {answer.status}")
            return str((await answer.json())["access_token"])

    async def until_live(self) -> None:
        """Wait until the account's log is live and, with pushes, its channel is.

        Raises DemoError when that takes too long.
        """
        operator = await self._operator()
        logs = await operator.key_value(subjects.LOGS)
        await _first(logs, LogRecord, lambda record: record.phase == "live", "log")
        if self._stack.push:
            channels = await operator.key_value(subjects.CHANNELS)
            await _first(channels, ChannelRecord, _answers, "push channel")

    async def idle(self) -> bool:
        """Whether no message waits for a service, and none is being worked on."""
        operator = await self._operator()
        for consumer in subjects.CONSUMERS:
            place = await operator.link.api(f"CONSUMER.INFO.{consumer.stream}.{consumer.name}")
            if place["num_pending"] or place["num_ack_pending"]:
                return False
        return True

    async def _operator(self) -> NatsBus:
        if self._as_operator is None:
            self._as_operator = await self.bus("operator")
        return self._as_operator


def _answers(record: ChannelRecord) -> bool:
    return record.status == "live" and record.synced_at is not None


async def _first(
    bucket: KeyValueReader, kind: type[T], wanted: Callable[[T], bool], what: str
) -> T:
    """Wait for a record of a bucket that is as wanted. Raises DemoError when it is late."""
    last = "nothing"
    try:
        async with asyncio.timeout(LIVE_DEADLINE_S):
            async for entry in bucket.watch():
                if entry is None or entry.value is None:
                    continue
                last = entry.value.decode()
                record = msgspec.json.decode(entry.value, type=kind)
                if wanted(record):
                    return record
    except TimeoutError:
        pass
    raise DemoError(f"no live {what} within {LIVE_DEADLINE_S:g} s; last seen: {last}")
