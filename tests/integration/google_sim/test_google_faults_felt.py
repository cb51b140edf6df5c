"""Every commanded fault is felt by a client as the real one would be, and only while commanded."""

import base64
import email.utils
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from drivewake.lab.google import start_google_process

ALICE = "alice@example.com"
Act = Callable[..., list[dict[str, Any]]]
_PATIENCE_S = 20.0


@pytest.fixture
def alice(control: httpx.Client) -> httpx.Client:
    """The API as Alice, who has five files."""
    token = control.post("/_sim/tokens", json={"email": ALICE}).json()["access_token"]
    control.headers["Authorization"] = f"Bearer {token}"
    actions = [{"op": "create_file", "name": f"f{n}", "ref": f"f{n}"} for n in range(5)]
    control.post("/_sim/actions", json={"actor": ALICE, "actions": actions})
    return control


def command(control: httpx.Client, **rule: Any) -> int:  # noqa: ANN401 - JSON
    """Put a rule in force."""
    answer = control.post("/_sim/faults", json=rule)
    assert answer.status_code == 200, answer.text
    rule_id: int = answer.json()["ids"][0]
    return rule_id


def test_a_status_with_a_reason_comes_from_the_endpoint_alone(alice: httpx.Client) -> None:
    """Drive's envelope; other methods answer."""
    command(
        alice,
        effect="status",
        operation="drive.files.list",
        status=403,
        reason="rateLimitExceeded",
        message="Rate Limit Exceeded",
        retryAfterS=7,
    )
    refused = alice.get("/drive/v3/files")
    entry = refused.json()["error"]["errors"][0]

    assert (403, "7") == (refused.status_code, refused.headers["retry-after"])
    assert ("usageLimits", "rateLimitExceeded") == (entry["domain"], entry["reason"])
    assert 200 == alice.get("/drive/v3/about?fields=user").status_code


def test_an_outage_is_of_the_whole_service_until_it_is_lifted(alice: httpx.Client) -> None:
    """API and OAuth answer 503, callers without credentials too; the control API works."""
    command(alice, effect="status", status=503)
    paths = ("/drive/v3/files", "/oauth2/v3/certs", "/v1/userinfo")
    during = [alice.get(path).status_code for path in paths]
    nobody = httpx.get(f"{alice.base_url}/drive/v3/files").status_code
    alice.delete("/_sim/faults")

    assert [503, 503, 503, 503] == [*during, nobody]
    assert [200, 200, 200] == [alice.get(path).status_code for path in paths]


def test_a_reset_cuts_the_connection(alice: httpx.Client) -> None:
    """The client sees ECONNRESET; the next call works."""
    command(alice, effect="reset", operation="drive.files.list", times=1)

    with pytest.raises(httpx.ReadError):
        alice.get("/drive/v3/files")
    assert 5 == len(alice.get("/drive/v3/files").json()["files"])


def test_a_timeout_answers_nothing(alice: httpx.Client) -> None:
    """The client's own patience ends first."""
    command(alice, effect="timeout", operation="drive.files.list", seconds=30)

    with pytest.raises(httpx.ReadTimeout):
        alice.get("/drive/v3/files", timeout=0.3)


def test_a_truncated_body_breaks_off_in_the_middle(alice: httpx.Client) -> None:
    """The declared length is not reached."""
    command(alice, effect="truncate", operation="drive.files.list", times=1)

    with pytest.raises(httpx.TransportError):
        alice.get("/drive/v3/files")


def test_truncated_json_ends_in_order_and_cannot_be_read(alice: httpx.Client) -> None:
    """A complete answer with half of a document."""
    whole = alice.get("/drive/v3/files").content
    command(alice, effect="truncate_json", operation="drive.files.list", keep=0.25)
    cut = alice.get("/drive/v3/files")

    assert (200, whole[: len(whole) // 4]) == (cut.status_code, cut.content)


def test_a_slow_body_comes_whole_in_pieces(alice: httpx.Client) -> None:
    """The headers come first, then ten pieces over the commanded time."""
    whole = alice.get("/drive/v3/files").content
    command(alice, effect="slow", operation="drive.files.list", seconds=0.5)
    with alice.stream("GET", "/drive/v3/files") as answer:
        pieces = list(answer.iter_raw())

    assert whole == b"".join(pieces)
    assert len(pieces) > 3


def test_a_wrong_content_type_is_a_page_for_people(alice: httpx.Client) -> None:
    """200 with HTML, as proxies and captive portals answer."""
    command(alice, effect="content_type", operation="drive.files.list")
    answer = alice.get("/drive/v3/files")

    assert (200, "text/html; charset=UTF-8") == (
        answer.status_code,
        answer.headers["content-type"],
    )
    assert answer.text.startswith("<!doctype html>")


def test_an_expired_page_token_is_a_400_at_page_token(alice: httpx.Client) -> None:
    """Changes: unparsable token -> 400 reason=invalid location=pageToken."""
    token = alice.get("/drive/v3/changes/startPageToken").json()["startPageToken"]
    command(alice, effect="expired_page_token", operation="drive.changes.list")
    answer = alice.get("/drive/v3/changes", params={"pageToken": token})
    entry = answer.json()["error"]["errors"][0]

    assert (400, "invalid", "pageToken") == (
        answer.status_code,
        entry["reason"],
        entry["location"],
    )


def test_a_lost_cursor_may_be_410_or_404_too(alice: httpx.Client) -> None:
    """Changes: treat 400-pageToken, 404 and 410 as cursor lost."""
    for status in (404, 410):
        command(alice, effect="status", operation="drive.changes.list", status=status, times=1)
        answer = alice.get("/drive/v3/changes", params={"pageToken": "1"})
        assert status == answer.status_code
    assert 200 == alice.get("/drive/v3/changes", params={"pageToken": "1"}).status_code


def test_a_bogus_page_token_is_handed_out_and_refused_later(alice: httpx.Client) -> None:
    """The page is good, its token leads nowhere."""
    command(alice, effect="bogus_page_token", operation="drive.changes.list")
    page = alice.get("/drive/v3/changes", params={"pageToken": "1", "pageSize": 2}).json()
    refused = alice.get("/drive/v3/changes", params={"pageToken": page["nextPageToken"]})

    assert 2 == len(page["changes"])
    assert 400 == refused.status_code


def test_an_incomplete_search_leaves_files_out_and_says_so(alice: httpx.Client) -> None:
    """Changes: incompleteSearch=true => listing is not evidence of absence."""
    command(alice, effect="incomplete_search", operation="drive.files.list")
    page = alice.get("/drive/v3/files").json()

    assert (True, 3) == (page["incompleteSearch"], len(page["files"]))


def test_a_skewed_clock_is_in_the_date_header(alice: httpx.Client) -> None:
    """An hour ahead of the same server's other answers."""
    command(alice, effect="clock_skew", operation="drive.files.list", seconds=3600)
    skewed = email.utils.parsedate_to_datetime(alice.get("/drive/v3/files").headers["date"])
    honest = email.utils.parsedate_to_datetime(alice.get("/v1/userinfo").headers["date"])

    assert 3590 < (skewed - honest).total_seconds() <= 3600


def test_the_token_endpoint_fails_in_its_own_words(alice: httpx.Client) -> None:
    """OAuth's flat error object."""
    command(alice, effect="status", operation="oauth.token", reason="internal_failure")
    answer = alice.post("/token", data={"grant_type": "refresh_token"})

    assert (503, "internal_failure") == (answer.status_code, answer.json()["error"])


def test_rules_show_how_often_they_hit_and_the_ledger_agrees(alice: httpx.Client) -> None:
    """GET /_sim/faults, facts of type fault, and the refusal among the requests."""
    command(alice, effect="status", operation="drive.files.*", every=2)
    statuses = [alice.get("/drive/v3/files").status_code for _ in range(4)]
    shown = alice.get("/_sim/faults").json()["faults"][0]
    facts = alice.get("/_sim/ledger?types=fault").json()["facts"]
    requests = alice.get("/_sim/ledger?types=request").json()["facts"]

    assert [200, 503, 200, 503] == statuses
    assert (4, 2) == (shown["seen"], shown["hits"])
    assert [("drive.files.list", ALICE)] * 2 == [(f["operation"], f["principal"]) for f in facts]
    assert 2 == sum(f["reason"] == "backendError" for f in requests)


class Hook:
    """A web hook that keeps the message numbers it got, in order of arrival."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.states: list[str] = []
        self.changed: list[str | None] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.states.append(self.headers["X-Goog-Resource-State"])
                hook.changed.append(self.headers["X-Goog-Changed"])
                hook.numbers.append(int(self.headers["X-Goog-Message-Number"]))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/push"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        """Stop listening."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    """A web hook on loopback."""
    found = Hook()
    yield found
    found.close()


def watch(alice: httpx.Client, hook: Hook) -> None:
    """Open a channel on Alice's log and wait for its sync."""
    body = {"id": "c", "type": "web_hook", "address": hook.url}
    answer = alice.post("/drive/v3/changes/watch", params={"pageToken": "1"}, json=body)
    assert answer.status_code == 200, answer.text
    wait(lambda: hook.numbers == [1])


def wait(ready: Callable[[], bool]) -> None:
    """Wait until something is so."""
    give_up = time.monotonic() + _PATIENCE_S
    while not ready() and time.monotonic() < give_up:
        time.sleep(0.01)
    assert ready()


def change(alice: httpx.Client, name: str) -> None:
    """Let Alice make a file."""
    content = base64.b64encode(name.encode()).decode()
    action = {"op": "create_file", "name": name, "content": content}
    alice.post("/_sim/actions", json={"actor": ALICE, "actions": [action]})


def test_duplicate_notifications_have_the_same_number(alice: httpx.Client, hook: Hook) -> None:
    """Issue: duplicates on command."""
    watch(alice, hook)
    command(alice, effect="push_duplicate", copies=2)
    change(alice, "x")
    wait(lambda: len(hook.numbers) == 4)

    assert 1 == len(set(hook.numbers[1:]))


def test_silent_channels_send_nothing_and_the_ledger_knows(alice: httpx.Client, hook: Hook) -> None:
    """Issue: silence on command; what was silenced never comes, what follows does."""
    watch(alice, hook)
    command(alice, effect="push_silence", times=1)
    change(alice, "silenced")
    change(alice, "told")
    wait(lambda: len(hook.numbers) == 2)
    facts = alice.get("/_sim/ledger?types=push").json()["facts"]
    silenced = [f["message_number"] for f in facts if f["outcome"] == "silenced"]

    assert 1 == len(silenced)
    assert silenced[0] < hook.numbers[1]


def test_reordered_notifications_arrive_in_the_wrong_order(alice: httpx.Client, hook: Hook) -> None:
    """Issue: reordering on command; the held one comes right behind the next."""
    watch(alice, hook)
    command(alice, effect="push_reorder", times=1, seconds=600)
    change(alice, "first")
    change(alice, "second")
    wait(lambda: len(hook.numbers) == 3)

    assert hook.numbers[1] > hook.numbers[2]


def test_delayed_notifications_are_overtaken(alice: httpx.Client, hook: Hook) -> None:
    """Issue: delays on command."""
    watch(alice, hook)
    command(alice, effect="push_delay", times=1, seconds=0.5)
    change(alice, "late")
    change(alice, "early")
    wait(lambda: len(hook.numbers) == 3)

    assert hook.numbers[1] > hook.numbers[2]


def test_a_sync_may_arrive_before_the_answer_of_watch(alice: httpx.Client, hook: Hook) -> None:
    """Push: a client must know its channel before Google has answered."""
    command(alice, effect="late", operation="drive.changes.watch", seconds=1)
    body = {"id": "c", "type": "web_hook", "address": hook.url}
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(alice.post, "/drive/v3/changes/watch?pageToken=1", json=body)
        wait(lambda: hook.numbers == [1])
        answered = asked.done()

    assert not answered
    assert 200 == asked.result().status_code


def test_states_and_parts_may_be_spelled_the_other_way(alice: httpx.Client, hook: Hook) -> None:
    """Push: Google's pages print `change` and `changed`, a comma with and without a blank."""
    made = alice.post("/drive/v3/files", json={"name": "f"}).json()["id"]
    watch(alice, hook)
    body = {"id": "f", "type": "web_hook", "address": hook.url}
    alice.post(f"/drive/v3/files/{made}/watch", json=body).raise_for_status()
    wait(lambda: len(hook.numbers) == 2)
    command(alice, effect="push_spelling")
    action = {"op": "update", "file": made, "content": "aGVsbG8="}
    alice.post("/_sim/actions", json={"actor": ALICE, "actions": [action]}).raise_for_status()
    wait(lambda: len(hook.numbers) == 4)

    assert {("changed", None), ("update", "content, properties")} == {
        *zip(hook.states[2:], hook.changed[2:], strict=True)
    }


def test_a_scenario_file_and_a_story_are_there_from_the_start(tmp_path: Path) -> None:
    """`drivewake-google-sim --scenario FILE --story FILE`."""
    scenario, story = tmp_path / "faults.toml", tmp_path / "story.txt"
    scenario.write_text('[[fault]]\neffect = "status"\noperation = "drive.about.get"\n', "utf-8")
    story.write_text(f"person {ALICE}\nalice file f as f\n", "utf-8")
    with (
        start_google_process(["--scenario", str(scenario), "--story", str(story)]) as google,
        httpx.Client(base_url=google.base_url) as client,
    ):
        token = client.post("/_sim/tokens", json={"email": ALICE}).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"

        assert 503 == client.get("/drive/v3/about?fields=user").status_code
        assert ["f"] == [f["name"] for f in client.get("/drive/v3/files").json()["files"]]


@pytest.mark.parametrize(
    ("option", "text", "complaint"),
    [
        ("--scenario", "[[fault]]\neffect = 'explode'\n", "explode"),
        ("--story", "alice dances\n", "line 1"),
    ],
)
def test_a_file_with_a_mistake_stops_the_start(
    tmp_path: Path, option: str, text: str, complaint: str
) -> None:
    """Exit code 2 and a line that names the file."""
    path = tmp_path / "wrong"
    path.write_text(text, "utf-8")
    command_line = [sys.executable, "-m", "drivewake.lab.google", option, str(path)]
    done = subprocess.run(command_line, capture_output=True, text=True, check=False)

    assert 2 == done.returncode
    assert str(path) in done.stderr
    assert complaint in done.stderr
