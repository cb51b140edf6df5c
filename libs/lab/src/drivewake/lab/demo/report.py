"""What a run measured, and how to look around in what is left running."""

from collections.abc import Iterator

from drivewake.lab.demo.run import Outcome
from drivewake.lab.demo.stack import Stack
from drivewake.lab.demo.verdict import percentiles_ms

MIB = 1 << 20


def figures(outcome: Outcome, stack: Stack, *, push: bool) -> Iterator[tuple[str, str]]:
    """Yield the figures of a run as (name, value)."""
    evidence, stages = outcome.evidence, outcome.stages_s
    replay_s = max(stages.get("replay", 0.0), 0.001)
    yield "stages", ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stages.items())
    rate = f"{outcome.actions / replay_s:,.0f}/s"
    yield "replay", f"{outcome.commits:,} commits, {outcome.actions:,} actions ({rate})"
    total_s = replay_s + stages.get("settle", 0.0)
    stored, received = len(evidence.stored), len(evidence.downstream)
    rate = f"{received / total_s:,.0f}/s"
    yield "events", f"{stored:,} stored, {received:,} downstream ({rate})"
    p50, p99, measured = percentiles_ms(evidence.facts, evidence.downstream)
    how = "with push" if push else "without push"
    yield (
        "change → downstream",
        f"p50 {p50:,.0f} ms, p99 {p99:,.0f} ms over {measured:,} versions, {how}",
    )
    for name, process in stack.processes.items():
        started, peak = stack.rss_at_start_bytes[name] // MIB, process.peak_rss_bytes() // MIB
        yield f"memory of {name}", f"{started} MiB at the start, {peak} MiB at the peak"


def how_to_look(stack: Stack) -> Iterator[str]:
    """Yield lines that say how to subscribe, query and stop."""
    seed = stack.users.seeds["downstream"]
    yield "  subscribe (README has the subscriber):"
    yield f"    NATS_URL={stack.nats.url} NATS_SEED={seed} python subscriber.py"
    yield "  follow with the operator command:"
    env = " ".join(f"{name}={value}" for name, value in stack.environment().items())
    yield f"    {env} .venv/bin/python -m drivewake.cli events tail"
    yield f"    {env} .venv/bin/python -m drivewake.cli status"
    yield "  query the event store:"
    yield f"    {stack.postgres.dsn('drivewake')}"
    yield "    select position, type, stream, data from eventstore.event order by position"
    yield f"  see, connect and end accounts: {stack.url('auth')}/console"
    yield f"  auth API: {stack.url('auth')}/v1, with a token of the development issuer:"
    yield (
        f"    curl -s {stack.url('issuer')}/token -d grant_type=client_credentials"
        f" -d client_secret={stack.issuer_secret}"
    )
    yield f"  simulated Google: {stack.url('google')}/_sim/counters"
    yield "  stop with Ctrl-C"
