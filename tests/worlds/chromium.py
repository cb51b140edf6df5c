"""A real headless Chromium, driven by its DevTools protocol: opens pages, presses keys, looks.

Source: https://chromedevtools.github.io/devtools-protocol/. No driver package is needed for this
little; the browser is the operating system's.
"""

import asyncio
import base64
import contextlib
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest

KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), "Space": (32, " ")}
WAIT_S = 20.0


class Chromium:
    """One page of a browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    async def call(self, method: str, **params: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Call a method of the protocol; raises RuntimeError with the browser's words."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(WAIT_S):
            while True:
                answer: dict[str, Any] = await self._socket.receive_json()
                if answer.get("id") == number:
                    if "error" in answer:
                        raise RuntimeError(f"{method}: {answer['error']}")
                    return dict(answer["result"])

    async def open(self, url: str) -> Self:
        """Go to a page."""
        await self.call("Page.navigate", url=url)
        return self

    async def ask(self, expression: str) -> Any:  # noqa: ANN401 - JSON
        """Return what an expression is in the page."""
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until an expression is true in the page; pages may change meanwhile."""
        async with asyncio.timeout(WAIT_S):
            while True:
                with contextlib.suppress(RuntimeError):
                    if await self.ask(f"document.readyState === 'complete' && ({expression})"):
                        return
                await asyncio.sleep(0.05)

    async def until_text(self, text: str) -> None:
        """Wait until the page shows a text."""
        await self.until(f"document.body.innerText.includes({text!r})")

    async def press(self, key: str) -> None:
        """Press a key."""
        code, text = KEYS[key]
        event = {"key": key, "windowsVirtualKeyCode": code, "text": text}
        await self.call("Input.dispatchKeyEvent", type="keyDown", **event)
        await self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    async def tab_to(self, label: str) -> None:
        """Press Tab until what has the focus is called `label`; AssertionError if nothing is."""
        seen = []
        for _ in range(40):
            await self.press("Tab")
            name = await self.ask(
                "(e => e.getAttribute('aria-label') || e.innerText || e.name || '')"
                "(document.activeElement)"
            )
            seen.append(str(name).strip())
            if label in str(name):
                assert await self.ask("getComputedStyle(document.activeElement).outlineStyle")
                return
        raise AssertionError(f"no Tab leads to {label!r}, only to {seen}")

    async def resize(self, width: int, height: int) -> None:
        """Give the page a size."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    async def picture(self, path: Path) -> None:
        """Write what the page looks like as PNG."""
        shot = await self.call("Page.captureScreenshot", format="png")
        await asyncio.to_thread(path.write_bytes, base64.b64decode(shot["data"]))


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[Chromium]:
    """Start a browser for the length of the block; skips the test where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium here (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory(prefix="drivewake-chromium-") as profile:
        process = await asyncio.create_subprocess_exec(
            program,
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-background-networking", "--disable-extensions"),
            *("--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with aiohttp.ClientSession() as session:
                port = await _port(Path(profile) / "DevToolsActivePort")
                async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                    pages = [one for one in await answer.json() if one["type"] == "page"]
                async with session.ws_connect(
                    pages[0]["webSocketDebuggerUrl"], max_msg_size=0
                ) as socket:
                    browser = Chromium(socket)
                    await browser.call("Page.enable")
                    yield browser
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _port(file: Path) -> int:
    async with asyncio.timeout(WAIT_S):
        while True:
            lines = await asyncio.to_thread(_lines, file)
            if lines:
                return int(lines[0])
            await asyncio.sleep(0.05)


def _lines(file: Path) -> list[str]:
    return file.read_text().split() if file.is_file() else []
