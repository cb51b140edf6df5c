"""What the demo holds to be true at its end. Pure: evidence in, a table out."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

ONCE_A_VERSION = frozenset(
    f"file.{verb}"
    for verb in (
        "discovered", "content_changed", "renamed", "moved", "trashed", "restored", "removed"
    )
)  # fmt: skip


class Fact(msgspec.Struct, frozen=True):
    """One change in the simulator's ledger, as the connected account could see it.

    `removed` says that the account lost the file with it; `at_ns` is wall time since 1970.
    """

    file: str
    version: int
    at_ns: int
    removed: bool = False


class Seen(msgspec.Struct, frozen=True):
    """One event, from the store or from downstream. `version` 0: not about a file's version.

    `ends` says that the event tells of the file's removal; `at_ns` is when it was received
    (downstream alone).
    """

    id: str
    position: int
    type: str
    file: str
    version: int
    ends: bool
    at_ns: int = 0


class Evidence(msgspec.Struct, frozen=True):
    """All that the verdict is given. Trees map a path to the SHA-256 of its content.

    `taken` holds each (file, version) that a page of changes gave and whose page the reader
    took (it asked on from there): Google will not tell of these again. `jumps` counts reads
    from a place that no page had led to. `gaps` are the intervals of recorded gaps, in
    nanoseconds since 1970.
    """

    expected_tree: Mapping[str, str]
    tree: Mapping[str, str]
    facts: Sequence[Fact]
    taken: AbstractSet[tuple[str, int]]
    stored: Sequence[Seen]
    downstream: Sequence[Seen]
    gaps: Sequence[tuple[int, int]] = ()
    jumps: int = 0


class Line(msgspec.Struct, frozen=True):
    """One line of the verdict: what is claimed, whether it holds, and the figures."""

    claim: str
    holds: bool
    detail: str


class Account(msgspec.Struct, frozen=True):
    """What became of every fact: stored, coalesced by Google, inside a gap, or lost.

    `superseded` maps each coalesced (file, version) to the version that took its place,
    0 where the file's removal did.
    """

    stored: int
    superseded: Mapping[tuple[str, int], int]
    in_gap: int
    lost: Sequence[Fact]


def account(evidence: Evidence) -> Account:
    """Account for every fact of the ledger.

    A change log has one entry a file, the latest: what a reader was too late for was replaced
    by a later version, or by the file's removal. What a reader took must be stored.
    """
    versions: dict[str, set[int]] = defaultdict(set)
    ended: set[str] = set()
    for event in evidence.stored:
        if event.ends:
            ended.add(event.file)
        elif event.version:
            versions[event.file].add(event.version)
    removed = {fact.file for fact in evidence.facts if fact.removed}
    stored = in_gap = 0
    superseded: dict[tuple[str, int], int] = {}
    lost: list[Fact] = []
    for fact in evidence.facts:
        seen = versions.get(fact.file, set())
        later = min((version for version in seen if version > fact.version), default=0)
        gone = fact.file in removed and (fact.file in ended or not seen)
        if fact.file in ended if fact.removed else fact.version in seen:
            stored += 1
        elif (later or gone) and (fact.file, fact.version) not in evidence.taken:
            superseded[fact.file, fact.version] = later
        elif any(start <= fact.at_ns <= end for start, end in evidence.gaps):
            in_gap += 1
        else:
            lost.append(fact)
    return Account(stored=stored, superseded=superseded, in_gap=in_gap, lost=lost)


def percentiles_ms(facts: Sequence[Fact], downstream: Sequence[Seen]) -> tuple[float, float, int]:
    """Return p50 and p99 of change → downstream in milliseconds, and how many were measured.

    Measured where a fact's own version arrived; what Google coalesced never travelled.
    """
    arrived: dict[tuple[str, int], int] = {}
    for event in downstream:
        if event.version and event.at_ns and not event.ends:
            arrived.setdefault((event.file, event.version), event.at_ns)
    delays = sorted(
        (arrived[fact.file, fact.version] - fact.at_ns) / 1e6
        for fact in facts
        if not fact.removed and (fact.file, fact.version) in arrived
    )
    if not delays:
        return 0.0, 0.0, 0
    return (
        delays[len(delays) // 2],
        delays[min(len(delays) - 1, len(delays) * 99 // 100)],
        len(delays),
    )


def judge(evidence: Evidence) -> list[Line]:
    """Return the verdict, one line a claim."""
    return [
        _tree(evidence),
        _ledger(evidence),
        _read_through(evidence),
        _no_fact_twice(evidence),
        _once("store", evidence.stored),
        _once("downstream", evidence.downstream),
        _same_order(evidence),
        _rising(evidence),
    ]


def _tree(evidence: Evidence) -> Line:
    expected, tree = evidence.expected_tree, evidence.tree
    missing = expected.keys() - tree.keys()
    extra = tree.keys() - expected.keys()
    different = [path for path in expected.keys() & tree.keys() if expected[path] != tree[path]]
    detail = f"{len(tree):,} files"
    if missing or extra or different:
        examples = [repr(path) for path in sorted([*missing, *extra, *different])[:3]]
        detail = (
            f"{len(missing)} missing, {len(extra)} extra, {len(different)} different: "
            + ", ".join(examples)
        )
    return Line("current tree = git ls-tree", not (missing or extra or different), detail)


def _ledger(evidence: Evidence) -> Line:
    done = account(evidence)
    detail = (
        f"{len(evidence.facts):,} facts: {done.stored:,} stored, "
        f"{len(done.superseded):,} coalesced by Google, {done.in_gap:,} in a gap, "
        f"{len(done.lost):,} lost"
    )
    if done.lost:
        detail += f" (first: {done.lost[0].file} version {done.lost[0].version})"
    return Line("every fact accounted for", bool(evidence.facts) and not done.lost, detail)


def _read_through(evidence: Evidence) -> Line:
    """Refuse jumps: what a reader skips, later versions of the files would hide."""
    detail = f"{evidence.jumps} jumps, {len(evidence.gaps)} gaps"
    return Line("the log was read without a jump", not evidence.jumps, detail)


def _no_fact_twice(evidence: Evidence) -> Line:
    """Refuse one fact under two ids: two events of a type for one version of a file."""
    facts = Counter(
        (event.type, event.file, event.version)
        for event in evidence.stored
        if event.type in ONCE_A_VERSION
    )
    repeated = sum(count - 1 for count in facts.values())
    return Line("no fact under two ids", not repeated, f"{len(facts):,} facts, {repeated} twice")


def _once(where: str, events: Sequence[Seen]) -> Line:
    repeated = sum(count - 1 for count in Counter(event.id for event in events).values())
    return Line(
        f"no event twice in {where}", not repeated, f"{len(events):,} events, {repeated} twice"
    )


def _same_order(evidence: Evidence) -> Line:
    stored = [event.id for event in evidence.stored]
    received = [event.id for event in evidence.downstream]
    detail = f"{len(received):,} of {len(stored):,}"
    positions = [event.position for event in evidence.stored]
    dense = positions == list(range(1, len(positions) + 1))
    if not dense:
        detail += ", positions have holes"
    return Line("downstream = store, same order", dense and stored == received, detail)


def _rising(evidence: Evidence) -> Line:
    falls = 0
    last: dict[str, int] = {}
    for event in evidence.stored:
        if event.version and not event.ends:
            falls += event.version < last.get(event.file, 0)
            last[event.file] = event.version
    return Line("per file, versions only rise", not falls, f"{len(last):,} files, {falls} falls")
