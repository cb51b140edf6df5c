"""Push channels deliver what Google delivers: sync, then headers without a body."""

import base64
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import msgspec
import pytest
from googleapiclient.errors import HttpError

from drivewake.lab.google import PROFILES, Options, RunningGoogle, start_google

ALICE, BOB = "alice@example.com", "bob@example.com"
DriveOf = Callable[[str], Any]
Act = Callable[..., list[dict[str, Any]]]
_PATIENCE_S = 20.0


class Receiver:
    """A web hook that keeps what it got and answers from a script, then with 200."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.robots = ""
        receiver = self

        class Hook(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-length", str(len(receiver.robots)))
                self.end_headers()
                self.wfile.write(receiver.robots.encode())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                receiver.got.append((dict(self.headers.items()), body))
                status = receiver.statuses.pop(0) if receiver.statuses else 200
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        self.url = f"http://127.0.0.1:{self.server.server_port}/push"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        """Stop listening."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def wait(self, count: int) -> list[dict[str, str]]:
        """Return the headers of the first `count` notifications once they are there."""
        give_up = time.monotonic() + _PATIENCE_S
        while len(self.got) < count and time.monotonic() < give_up:
            time.sleep(0.01)
        assert len(self.got) >= count, self.got
        return [headers for headers, _ in self.got[:count]]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A web hook on loopback."""
    hook = Receiver()
    yield hook
    hook.close()


def file_action(name: str) -> dict[str, Any]:
    """Return an action that creates a file."""
    content = base64.b64encode(name.encode()).decode()
    return {"op": "create_file", "ref": name, "name": name, "content": content}


def watch(drive: Any, receiver: Receiver, **body: Any) -> dict[str, Any]:  # noqa: ANN401
    """Open a channel on the caller's changes."""
    token = drive.changes().getStartPageToken().execute()["startPageToken"]
    wanted = {"id": "channel-1", "type": "web_hook", "address": receiver.url, **body}
    answer: dict[str, Any] = drive.changes().watch(pageToken=token, body=wanted).execute()
    return answer


def pushes(control: httpx.Client, outcome: str, count: int) -> list[dict[str, Any]]:
    """Return the ledger's attempts with an outcome once there are `count`."""
    give_up = time.monotonic() + _PATIENCE_S
    while True:
        facts = control.get("/_sim/ledger", params={"types": "push"}).json()["facts"]
        found = [f for f in facts if f["outcome"] == outcome]
        if len(found) >= count or time.monotonic() > give_up:
            assert len(found) >= count, facts
            return found
        time.sleep(0.01)


def test_sync_then_changes_with_googles_headers_and_no_body(
    drive_of: DriveOf, act: Act, receiver: Receiver
) -> None:
    """Message 1 is sync; each change follows with the channel's headers."""
    channel = watch(drive_of(ALICE), receiver, token="secret")

    act(ALICE, file_action("a"))

    sync, change = receiver.wait(2)
    assert {b""} == {body for _, body in receiver.got}
    assert ("sync", "1") == (sync["X-Goog-Resource-State"], sync["X-Goog-Message-Number"])
    assert ("change", "channel-1", "secret", channel["resourceId"], channel["resourceUri"]) == (
        change["X-Goog-Resource-State"],
        change["X-Goog-Channel-ID"],
        change["X-Goog-Channel-Token"],
        change["X-Goog-Resource-ID"],
        change["X-Goog-Resource-URI"],
    )
    assert change["User-Agent"].startswith("APIs-Google")
    assert change["X-Goog-Channel-Expiration"].endswith(" GMT")


def test_message_numbers_rise_and_skip(drive_of: DriveOf, act: Act, receiver: Receiver) -> None:
    """Increasing, not sequential."""
    watch(drive_of(ALICE), receiver)

    act(ALICE, *(file_action(str(n)) for n in range(30)))

    numbers = [int(h["X-Goog-Message-Number"]) for h in receiver.wait(31)]
    assert sorted(set(numbers)) == numbers
    assert numbers[-1] > 31


def test_only_the_watched_log_pokes(drive_of: DriveOf, act: Act, receiver: Receiver) -> None:
    """Bob's files are no business of Alice's channel."""
    watch(drive_of(ALICE), receiver)
    receiver.wait(1)

    act(BOB, file_action("of bob"))
    act(ALICE, file_action("of alice"))

    assert ["sync", "change"] == [h["X-Goog-Resource-State"] for h in receiver.wait(2)]
    assert len(receiver.got) == 2


def test_the_resource_id_is_stable_across_channels(drive_of: DriveOf, receiver: Receiver) -> None:
    """Two channels on one log have one resource."""
    drive = drive_of(ALICE)

    first, second = watch(drive, receiver, id="one"), watch(drive, receiver, id="two")

    assert first["resourceId"] == second["resourceId"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"address": "http://example.com/"}, "push.webhookUrlNotHttps"),
        ({"id": "no spaces"}, "push.channelIdInvalid"),
        ({"id": "x" * 65}, "push.channelIdInvalid"),
        ({"id": ""}, "required"),
        ({"address": ""}, "required"),
        ({"token": "t" * 257}, "push.channelTokenInvalid"),
        ({"expiration": "1"}, "invalid"),
    ],
)
def test_a_wrong_watch_is_refused(
    drive_of: DriveOf, receiver: Receiver, body: dict[str, Any], reason: str
) -> None:
    """400 with the reason that the field reports."""
    with pytest.raises(HttpError) as caught:
        watch(drive_of(ALICE), receiver, **body)

    assert (400, reason) == (caught.value.status_code, caught.value.error_details[0]["reason"])


def test_a_channel_id_is_used_up_even_after_stop(drive_of: DriveOf, receiver: Receiver) -> None:
    """400 channelIdNotUnique; stop answers 204 without a body."""
    drive = drive_of(ALICE)
    channel = watch(drive, receiver)
    stop = {"id": channel["id"], "resourceId": channel["resourceId"]}
    assert "" == drive.channels().stop(body=stop).execute()

    with pytest.raises(HttpError) as caught:
        watch(drive, receiver)

    assert "channelIdNotUnique" == caught.value.error_details[0]["reason"]


def test_a_stopped_channel_is_silent_and_others_cannot_stop_it(
    drive_of: DriveOf, act: Act, receiver: Receiver, control: httpx.Client
) -> None:
    """Only the same user through the same client ends a channel."""
    drive = drive_of(ALICE)
    channel = watch(drive, receiver)
    receiver.wait(1)
    stop = {"id": channel["id"], "resourceId": channel["resourceId"]}
    with pytest.raises(HttpError) as caught:
        drive_of(BOB).channels().stop(body=stop).execute()
    assert 404 == caught.value.status_code

    drive.channels().stop(body=stop).execute()
    act(ALICE, file_action("a"))

    assert 0 == control.get("/_sim/counters").json()["channels"]
    assert 1 == len(receiver.got)


def test_expiration_defaults_to_an_hour_and_is_cut_to_a_week(
    drive_of: DriveOf, receiver: Receiver
) -> None:
    """More restrictive of request and limit wins."""
    drive = drive_of(ALICE)
    now_ms = time.time_ns() // 1_000_000

    default = int(watch(drive, receiver, id="one")["expiration"])
    cut = int(watch(drive, receiver, id="two", expiration=str(now_ms + 10**10))["expiration"])

    assert 3_600_000 == pytest.approx(default - now_ms, abs=60_000)
    assert 604_800_000 == pytest.approx(cut - now_ms, abs=60_000)


def test_only_four_statuses_are_retried(drive_of: DriveOf, act: Act, receiver: Receiver) -> None:
    """503 comes again with its number, 404 and 302 do not."""
    drive = drive_of(ALICE)
    receiver.statuses = [200, 503, 404, 302]
    watch(drive, receiver)
    receiver.wait(1)

    act(ALICE, file_action("a"), file_action("b"), file_action("c"))

    numbers = [h["X-Goog-Message-Number"] for h in receiver.wait(5)]
    assert numbers[1] == numbers[4]
    assert 4 == len(set(numbers))


def test_an_unreachable_receiver_is_noted_and_not_retried(
    drive_of: DriveOf, act: Act, control: httpx.Client
) -> None:
    """The ledger says it; a client must find the change by polling."""
    hook = Receiver()
    hook.close()
    watch(drive_of(ALICE), hook)

    act(ALICE, file_action("a"))

    facts = pushes(control, "unreachable", 2)
    assert [("sync", 1), ("change", 1)] == [(f["state"], f["attempt"]) for f in facts]


def test_changes_can_be_gathered_into_one_notification(receiver: Receiver) -> None:
    """With a window, a burst is one poke that stands for all its changes."""
    profile = msgspec.structs.replace(PROFILES["relaxed"], push_coalesce_ms=300)
    with (
        start_google(Options(users=(ALICE,), profile=profile)) as google,
        httpx.Client(base_url=google.base_url) as control,
    ):
        watch_directly(google, control, receiver)
        actions = [file_action(str(n)) for n in range(50)]
        control.post("/_sim/actions", json={"actor": ALICE, "actions": actions})

        facts = pushes(control, "delivered", 2)

    assert [0, 50] == [f["changes"] for f in facts]


@pytest.mark.parametrize(
    ("robots", "outcome"),
    [
        ("User-agent: *\nDisallow: /push\n", "disallowed"),
        ("User-agent: APIs-Google\nDisallow: /\n", "disallowed"),
        ("User-agent: *\nDisallow: /\n\nUser-agent: APIs-Google\nAllow: /\n", "delivered"),
        ("", "delivered"),
    ],
)
def test_robots_txt_of_a_receiver_is_obeyed(receiver: Receiver, robots: str, outcome: str) -> None:
    """Push: Google's agent heeds robots.txt; here as an option."""
    receiver.robots = robots
    profile = msgspec.structs.replace(PROFILES["relaxed"], obeys_robots=True)
    with (
        start_google(Options(users=(ALICE,), profile=profile)) as google,
        httpx.Client(base_url=google.base_url) as control,
    ):
        watch_directly(google, control, receiver)

        (fact,) = pushes(control, outcome, 1)

    assert "sync" == fact["state"]
    assert (outcome == "delivered") == (len(receiver.got) == 1)


def test_a_full_queue_drops_the_oldest_and_says_so(receiver: Receiver) -> None:
    """What one channel may have waiting is bounded."""
    profile = msgspec.structs.replace(PROFILES["relaxed"], push_queue=5, push_delay_ms=3_600_000)
    with (
        start_google(Options(users=(ALICE,), profile=profile)) as google,
        httpx.Client(base_url=google.base_url) as control,
    ):
        watch_directly(google, control, receiver)
        receiver.wait(1)
        actions = [file_action(str(n)) for n in range(12)]
        control.post("/_sim/actions", json={"actor": ALICE, "actions": actions})

        assert 7 == len(pushes(control, "dropped", 7))
        assert 5 == control.get("/_sim/counters").json()["pushWaiting"]


def watch_directly(google: RunningGoogle, control: httpx.Client, receiver: Receiver) -> None:
    """Open a channel without Google's client."""
    token = control.post("/_sim/tokens", json={"email": ALICE}).json()["access_token"]
    answer = control.post(
        "/drive/v3/changes/watch",
        params={"pageToken": "1"},
        headers={"Authorization": f"Bearer {token}"},
        json={"id": "direct", "type": "web_hook", "address": receiver.url},
    )
    assert answer.status_code == 200, answer.text
    assert google.base_url
