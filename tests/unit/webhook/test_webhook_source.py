import ipaddress

import pytest

from drivewake.webhook.source import MAX_SOURCES, Allowance, networks, source_of

TRUSTED = networks("10.0.0.0/8, 192.0.2.1")


@pytest.mark.parametrize(
    ("expected", "peer", "forwarded"),
    [
        ("203.0.113.9", "203.0.113.9", ["198.51.100.1"]),
        ("198.51.100.1", "10.1.2.3", ["198.51.100.1"]),
        ("198.51.100.1", "10.1.2.3", ["1.1.1.1, 198.51.100.1", "192.0.2.1"]),
        ("10.1.2.3", "10.1.2.3", []),
        ("unknown", "10.1.2.3", ["<script>"]),
        ("unknown", "", []),
    ],
)
def test_only_what_trusted_proxies_appended_is_believed(
    expected: str, peer: str, forwarded: list[str]
) -> None:
    """Whoever speaks to us directly is the source; what he claims about others is not."""
    assert expected == source_of(peer, forwarded, TRUSTED)


def test_networks_are_read_or_refused() -> None:
    """Addresses are networks of one."""
    assert (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("192.0.2.1/32")) == TRUSTED
    with pytest.raises(ValueError, match="not-a-network"):
        networks("not-a-network")


def test_one_sources_flood_leaves_lines_for_others() -> None:
    """Ten lines at once, then one a second; another source has its own."""
    allowance = Allowance(source_per_s=1, all_per_s=5)

    assert [True] * 10 + [False] * 90 == [allowance.take("a", 0.0) for _ in range(100)]
    assert allowance.take("b", 0.0)
    assert allowance.take("a", 1.0)


def test_a_flood_from_everywhere_is_bounded_too() -> None:
    """Whoever sends, all together have fifty lines at once; memory is bounded."""
    allowance = Allowance(source_per_s=1, all_per_s=5)

    assert 50 == sum(allowance.take(f"s{number}", 0.0) for number in range(3 * MAX_SOURCES))
    assert len(allowance._sources) <= MAX_SOURCES
