"""Stories and organisations can be asked for over HTTP and on the command line."""

import httpx

from drivewake.lab.google import start_google_process


def test_a_story_can_be_told_over_http(control: httpx.Client) -> None:
    """The world already knows Alice; a mistake is a 400 with its line."""
    story = "person alice@example.com\nalice folder Plans as plans\nalice file f in plans as f\n"
    told = control.post("/_sim/stories", content=story)
    refused = control.post("/_sim/stories", content="alice dances\n")

    assert {"steps": 2} == told.json()
    assert {"plans", "f"} == set(control.get("/_sim/refs").json()["refs"])
    assert (400, "line 1: no such person: alice") == (
        refused.status_code,
        refused.json()["error"],
    )


def test_an_organisation_can_be_founded_over_http(control: httpx.Client) -> None:
    """Its people can be asked for tokens and see their files."""
    body = {"seed": 3, "people": 12, "domain": "corp.example"}
    made = control.post("/_sim/organisations", json=body).json()
    first = made["people"][0]["email"]
    seen = control.get("/_sim/state", params={"principal": first}).json()["files"]

    assert 12 == len(made["people"])
    assert first.endswith("@corp.example")
    assert len(seen) > 5
    assert 400 == control.post("/_sim/organisations", json={"people": 1}).status_code


def test_an_organisation_is_there_from_the_start() -> None:
    """`drivewake-google-sim --organisation 10`."""
    with (
        start_google_process(["--organisation", "10", "--seed", "4"]) as google,
        httpx.Client(base_url=google.base_url) as client,
    ):
        assert 10 == len(client.get("/_sim/health").json()["users"])
        assert client.get("/_sim/counters").json()["ledger"]["change"] > 100
