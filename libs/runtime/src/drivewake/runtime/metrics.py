"""The catalogue of metrics: each is declared once, with its unit, meaning and labels.

    POLLS = Counter("poller_polls", meaning="Polls of a log.", labels={"outcome": ("ok", "failed")})
    POLLS.add(outcome="ok")

Names are `drivewake_{name}_{unit}` (counters end in `_total`), as Prometheus wants them. A
label has a fixed set of values, declared with it: no id, name or address ever becomes a
label, and a value outside the set counts as `other`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST

Unit = Literal["", "seconds", "bytes", "units", "ratio"]
CONTENT_TYPE: Final = CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8")
"""Of the text format; web frameworks add the charset themselves."""

OTHER: Final = "other"
MAX_LABEL_VALUES: Final = 64

DURATION_BUCKETS_S: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
    *(10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0),
)
SIZE_BUCKETS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 5000.0)

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
REGISTRY: Final = CollectorRegistry(auto_describe=False)
prometheus_client.ProcessCollector(registry=REGISTRY)
prometheus_client.GCCollector(registry=REGISTRY)

Labels = Mapping[str, Sequence[str]]


def exposition(registry: CollectorRegistry = REGISTRY) -> bytes:
    """Return all metrics of the process in Prometheus' text format."""
    return prometheus_client.generate_latest(registry)


class _Metric:
    """What all kinds share: a checked name and bounded labels."""

    def __init__(self, name: str, *, unit: Unit, meaning: str, labels: Labels | None) -> None:
        self.labels = {key: frozenset(values) for key, values in (labels or {}).items()}
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"metric {name!r}: only a-z, 0-9 and single _ between words")
        if not meaning.endswith("."):
            raise ValueError(f"metric {name}: the meaning is a sentence")
        for label, values in self.labels.items():
            if _NAME.fullmatch(label) is None or not 0 < len(values) <= MAX_LABEL_VALUES:
                raise ValueError(f"metric {name}: label {label!r} needs 1 to 64 fixed values")
        self.name = f"drivewake_{name}" + (f"_{unit}" if unit else "")
        self.unit = unit
        self.meaning = meaning

    def _values(self, given: Mapping[str, str]) -> dict[str, str]:
        """Return the labels with unknown values turned into `other`; names must be all there."""
        if given.keys() != self.labels.keys():
            raise ValueError(f"metric {self.name} has the labels {sorted(self.labels)}")
        return {key: value if value in self.labels[key] else OTHER for key, value in given.items()}


class Counter(_Metric):
    """A number that only rises."""

    def __init__(
        self,
        name: str,
        *,
        meaning: str,
        unit: Unit = "",
        labels: Labels | None = None,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        super().__init__(name, unit=unit, meaning=meaning, labels=labels)
        self._metric = prometheus_client.Counter(
            self.name, meaning, labelnames=tuple(self.labels), registry=registry
        )

    def add(self, amount: float = 1, **labels: str) -> None:
        """Count."""
        values = self._values(labels)
        (self._metric.labels(**values) if values else self._metric).inc(amount)

    def adder(self, **labels: str) -> Callable[[], None]:
        """Return what counts one under these labels: for hot paths, which look up nothing."""
        values = self._values(labels)
        return (self._metric.labels(**values) if values else self._metric).inc


class Gauge(_Metric):
    """A number that rises and falls."""

    def __init__(
        self,
        name: str,
        *,
        meaning: str,
        unit: Unit = "",
        labels: Labels | None = None,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        super().__init__(name, unit=unit, meaning=meaning, labels=labels)
        self._metric = prometheus_client.Gauge(
            self.name, meaning, labelnames=tuple(self.labels), registry=registry
        )

    def set(self, value: float, **labels: str) -> None:
        """Set the value."""
        values = self._values(labels)
        (self._metric.labels(**values) if values else self._metric).set(value)

    def add(self, amount: float = 1, **labels: str) -> None:
        """Change the value by an amount, which may be negative."""
        values = self._values(labels)
        (self._metric.labels(**values) if values else self._metric).inc(amount)


class Histogram(_Metric):
    """A distribution, durations in seconds unless told otherwise."""

    def __init__(
        self,
        name: str,
        *,
        meaning: str,
        unit: Unit = "seconds",
        labels: Labels | None = None,
        buckets: Sequence[float] = DURATION_BUCKETS_S,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        super().__init__(name, unit=unit, meaning=meaning, labels=labels)
        self._metric = prometheus_client.Histogram(
            self.name, meaning, labelnames=tuple(self.labels), buckets=buckets, registry=registry
        )

    def observe(self, value: float, **labels: str) -> None:
        """Record one value, in the metric's unit."""
        values = self._values(labels)
        (self._metric.labels(**values) if values else self._metric).observe(value)
