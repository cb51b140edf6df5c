"""Which call meets which fault is decided by rules, chance by the seed."""

from typing import Any

import msgspec
import pytest

from drivewake.lab.google.faults import Faults, Rule, read_scenario
from drivewake.lab.google.ledger import FaultFact, Ledger

S = 1_000_000_000
LIST = "drive.changes.list"


def met(faults: Faults, operation: str = LIST, now_ns: int = 0, **more: Any) -> list[str]:  # noqa: ANN401
    """Return the effects that a call meets."""
    who, path = more.pop("principal", "a@x"), more.pop("path", "/drive/v3/changes")
    return [rule.effect for rule in faults.meet(operation, who, path, now_ns, **more)]


def armed(*rules: Rule, seed: int = 0) -> Faults:
    """Return faults with rules in force since the beginning."""
    faults = Faults(seed, Ledger())
    for rule in rules:
        faults.add(rule, 0)
    return faults


def pattern(rule: Rule, calls: int = 8, seed: int = 0) -> str:
    """Return an x for each call that is hit, a dot for each that is not."""
    faults = armed(rule, seed=seed)
    return "".join("x" if met(faults) else "." for _ in range(calls))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Rule(effect="status"), "xxxxxxxx"),
        (Rule(effect="status", nth=3), "..x....."),
        (Rule(effect="status", every=3), "..x..x.."),
        (Rule(effect="status", times=2), "xx......"),
        (Rule(effect="status", every=2, times=2), ".x.x...."),
        (Rule(effect="status", share=0), "........"),
        (Rule(effect="status", operation="drive.files.*"), "........"),
        (Rule(effect="status", operation="drive.changes.*"), "xxxxxxxx"),
        (Rule(effect="status", principal="b@x"), "........"),
        (Rule(effect="status", path="*/changes"), "xxxxxxxx"),
    ],
)
def test_a_rule_hits_by_operation_principal_path_count(rule: Rule, expected: str) -> None:
    """Issue: status codes by endpoint, share or nth call."""
    assert expected == pattern(rule)


def test_a_share_is_seeded() -> None:
    """Same seed, same calls, same faults; another seed, other faults; about the share."""
    rule = Rule(effect="reset", share=0.3)

    assert pattern(rule, 400) == pattern(rule, 400)
    assert pattern(rule, 400) != pattern(rule, 400, seed=1)
    assert 80 < pattern(rule, 400).count("x") < 160


def test_a_rule_does_not_change_what_another_hits() -> None:
    """Each rule has a chance of its own."""
    alone = armed(Rule(effect="reset", share=0.5))
    both = armed(Rule(effect="reset", share=0.5), Rule(effect="slow", share=0.5))

    hits = [("reset" in met(alone), "reset" in met(both)) for _ in range(100)]
    assert all(one == other for one, other in hits)


def test_a_rule_begins_and_ends_in_time() -> None:
    """Issue: whole-service outage, for a time."""
    faults = armed(Rule(effect="status", after_s=10, for_s=5))

    hit = [bool(met(faults, now_ns=s * S)) for s in (9, 10, 14, 15)]
    assert [False, True, True, False] == hit


def test_an_expired_page_token_needs_a_page_token() -> None:
    """A first page cannot have one that expired."""
    faults = armed(Rule(effect="expired_page_token", nth=1))

    assert [] == met(faults)
    assert ["expired_page_token"] == met(faults, paged=True)


def test_push_rules_are_for_pushes_alone() -> None:
    """An outage of the API does not silence the channels, nor the other way round."""
    faults = armed(Rule(effect="push_silence"), Rule(effect="status"))

    assert ["status"] == met(faults)
    assert ["push_silence"] == [r.effect for r in faults.meet_push("a@x", "a@x", 0)]


def test_every_hit_is_in_the_ledger() -> None:
    """Which rule, whom, what."""
    ledger = Ledger()
    faults = Faults(0, ledger)
    rule_id = faults.add(Rule(effect="slow"), 0)
    met(faults, now_ns=7)

    assert [FaultFact(1, 7, rule_id, LIST, "a@x", "slow")] == list(ledger.after(0, 10)[0])


def test_rules_are_lifted_one_by_one_or_all() -> None:
    """DELETE with and without id."""
    faults = armed(Rule(effect="slow"), Rule(effect="reset"), Rule(effect="status"))

    assert 1 == faults.remove(2)
    assert ["slow", "status"] == met(faults)
    assert 2 == faults.remove()
    assert [] == met(faults)


@pytest.mark.parametrize(
    "wrong",
    [
        {"effect": "explode"},
        {"effect": "slow", "bogus": 1},
        {"effect": "slow", "share": 1.5},
        {"effect": "slow", "nth": 0},
        {"effect": "status", "status": 200},
        {"effect": "push_duplicate", "copies": 0},
        {},
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(wrong: dict[str, Any]) -> None:
    """A misspelt fault would be no fault, and the test with it would prove nothing."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Rule)


def test_a_scenario_file_holds_rules() -> None:
    """The same names as in the control API."""
    text = '[[fault]]\neffect = "status"\nstatus = 500\nafterS = 5\n[[fault]]\neffect = "slow"\n'

    first, second = read_scenario(text).fault
    assert (500, 5, "slow") == (first.status, first.after_s, second.effect)
    with pytest.raises(ValueError, match="bogus"):
        read_scenario("[[bogus]]\n")
