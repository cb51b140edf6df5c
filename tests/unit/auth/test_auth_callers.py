"""What tokens of callers say, and how much a caller may ask for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivewake.auth.callers import Claims, caller_of, check_times
from drivewake.auth.errors import UntrustedTokenError
from drivewake.auth.limits import Buckets

WHERE = Claims(issuer="i", audience="a")


@pytest.mark.parametrize(
    ("roles", "role"),
    [
        (["reader"], "reader"),
        (["admin", "reader"], "admin"),
        (["operator", "x"], "operator"),
        ("admin", "admin"),
    ],
    ids=str,
)
def test_the_highest_role_counts(roles: object, role: str) -> None:
    """Roles may come as a list or as one word."""
    assert role == caller_of({"sub": "s", "tenant": "t", "roles": roles}, WHERE).role


def test_claims_may_lie_deep_and_under_other_names() -> None:
    """Keycloak nests roles, others prefix them or name claims by address."""
    where = Claims(
        issuer="i", audience="a", roles="realm_access.roles", tenant="https://x.example/t",
        role_prefix="drivewake-",
    )  # fmt: skip
    claims = {
        "sub": "s",
        "realm_access": {"roles": ["admin", "drivewake-operator"]},
        "https://x.example/t": "acme",
    }
    caller = caller_of(claims, where)
    assert ("operator", "acme") == (caller.role, caller.tenant)
    assert (True, False) == (caller.sees("acme"), caller.sees("default"))


def test_a_star_is_all_tenants() -> None:
    """Who runs the installation sees everybody."""
    caller = caller_of({"sub": "s", "tenant": "*", "roles": ["reader"]}, WHERE)
    assert caller.sees("whoever")


any_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.sampled_from(["admin"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(sub=any_json, tenant=any_json, roles=any_json)
def test_whatever_claims_hold_is_a_caller_or_refused(sub: Any, tenant: Any, roles: Any) -> None:  # noqa: ANN401
    """No shape of a claim breaks the reader, and who gets in has a role and a tenant."""
    try:
        caller = caller_of({"sub": sub, "tenant": tenant, "roles": roles}, WHERE)
    except UntrustedTokenError:
        return
    assert caller.role == "admin"
    assert caller.tenant is None or caller.tenant == tenant


@given(exp=any_json, now_s=st.floats(0, 2e9))
def test_only_an_expiry_ahead_holds(exp: Any, now_s: float) -> None:  # noqa: ANN401
    """Not a number (NaN too), or past by more than the leeway: refused."""
    try:
        check_times({"exp": exp}, now_s, 60)
    except UntrustedTokenError:
        return
    assert exp > now_s - 60


def test_a_bucket_fills_at_its_rate() -> None:
    """A burst at once, then one at a time; the wait that is told is the one that is needed."""
    buckets = Buckets(2.0, 3)
    assert [0, 0, 0, 0.5] == [buckets.take("a", 100.0) for _ in range(4)]
    assert pytest.approx(0.25) == buckets.take("a", 100.25)
    assert [0, 0.5] == [buckets.take("a", 100.5) for _ in range(2)]
    assert 0 == buckets.take("b", 100.5)
    assert [0, 0, 0, 0.5] == [buckets.take("a", 200.0) for _ in range(4)]


def test_buckets_are_not_collected_without_end() -> None:
    """The caller that was silent longest is forgotten."""
    buckets = Buckets(1.0, 1, capacity=2)
    for caller in "abc":
        buckets.take(caller, 0.0)
    assert 2 == len(buckets)
