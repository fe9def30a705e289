"""What a scrape of `/metrics` gets: counters, gauges and histograms as Prometheus text, format 0.0.4.

One look-up and one addition per observation, under 1 us, so that the hot path can afford a dozen. Text is made only
when somebody asks for it.

Guarantee: memory is bounded whatever clients send. A label keeps the first 200 values it sees, shared by all metrics
of one `Metrics`, and a metric keeps at most 5,000 series; whatever comes after is counted under `other`, so sums stay
right. An observation that is no number (NaN, negative, infinite) is dropped and counted, never raised.

Trap: made for one event loop. Observe a metric from one thread only; for what another thread counts, use `reading`.
Each process has its own numbers: behind one port shared by several, a scrape gets a random one of them.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (2026-11-21), text format 0.0.4.
"""

import logging
import os
import re
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf, isfinite, isnan
from pathlib import Path
from typing import Literal, TypeVar

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The content type to answer a scrape with."""

LATENCY_S = (
    *(0.001, 0.0025, 0.005),
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
"""Bucket bounds of latency in full and to the first token.

Source: open-telemetry/semantic-conventions-genai, docs/gen-ai/gen-ai-metrics.md at 004902b,
`gen_ai.client.operation.duration` and `.time_to_first_chunk`; the three below 10 ms are ours, for small models.
"""


Labels = tuple[str, ...]
"""The values of a metric's labels, in the order in which they were declared."""

OTHER = "other"
_LABEL_VALUES = 200
_SERIES = 5_000
_LONGEST_VALUE = 128
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
_log = logging.getLogger(__name__)


class Counter:
    """A sum that only grows. Made by `Metrics.counter`."""

    def __init__(self, family: "_Family") -> None:
        self._family = family
        self._series: dict[Labels, float] = {}

    def add(self, labels: Labels = (), by: float = 1) -> None:
        """Add `by`, at least 0."""
        if not 0 <= by < inf:
            self._family.reject()
            return
        try:
            self._series[labels] += by
        except KeyError:
            labels = self._family.bounded(labels, self._series)
            self._series[labels] = self._series.get(labels, 0) + by

    def lines(self) -> Iterator[str]:
        """Yield one line per series."""
        return self._family.plain(self._series)


class Gauge:
    """A number that goes up and down. Made by `Metrics.gauge`."""

    def __init__(self, family: "_Family") -> None:
        self._family = family
        self._series: dict[Labels, float] = {}

    def set(self, labels: Labels, value: float) -> None:
        """Replace the value."""
        if labels not in self._series:
            labels = self._family.bounded(labels, self._series)
        self._series[labels] = value

    def lines(self) -> Iterator[str]:
        """Yield one line per series."""
        return self._family.plain(self._series)


class Histogram:
    """How many observations fell into each bucket, and their sum. Made by `Metrics.histogram`."""

    def __init__(self, family: "_Family", bounds: tuple[float, ...]) -> None:
        if list(bounds) != sorted(set(bounds)) or not bounds or not all(map(isfinite, bounds)):
            raise ValueError(f"bucket bounds must be finite and grow; found {bounds!r}")
        self._family = family
        self._bounds = bounds
        # One count per bound, one for what is above the last, then the sum.
        self._series: dict[Labels, list[float]] = {}

    def observe(self, value: float, labels: Labels = ()) -> None:
        """Count one value, at least 0; a bucket includes its bound."""
        if not 0 <= value < inf:
            self._family.reject()
            return
        try:
            series = self._series[labels]
        except KeyError:
            labels = self._family.bounded(labels, self._series)
            series = self._series.setdefault(labels, [0] * (len(self._bounds) + 2))
        series[bisect_left(self._bounds, value)] += 1
        series[-1] += value

    def lines(self) -> Iterator[str]:
        """Yield the cumulative buckets, the sum and the count of each series."""
        name = self._family.name
        for labels, series in list(self._series.items()):
            total = 0.0
            for bound, count in zip((*self._bounds, inf), series, strict=False):
                total += count
                yield f"{name}_bucket{self._family.braces(labels, le=_number(bound))} {_number(total)}"
            braces = self._family.braces(labels)
            yield f"{name}_sum{braces} {_number(series[-1])}"
            yield f"{name}_count{braces} {_number(total)}"


class _Reading:
    """A number, or one per series, that is asked for at the moment of the scrape."""

    def __init__(self, family: "_Family", read: Callable[[], float | Mapping[Labels, float]]) -> None:
        self._family = family
        self._read = read
        self._warned = False

    def lines(self) -> Iterator[str]:
        try:
            found = self._read()
            series = found if isinstance(found, Mapping) else {(): found}
            return iter(list(self._family.plain({key: float(value) for key, value in series.items()})))
        except Exception:  # a broken reading may not take the other metrics with it
            if not self._warned:
                _log.warning("the metric %r cannot be read and is left out", self._family.name, exc_info=True)
            self._warned = True
            return iter(())


_Kind = Literal["counter", "gauge", "histogram"]
_Metric = TypeVar("_Metric", Counter, Gauge, Histogram, _Reading)


class Metrics:
    """All metrics of one process. Declare them once at the start; observe through what `counter` and so on return."""

    def __init__(self) -> None:
        self._declared: dict[str, tuple[_Family, Counter | Gauge | Histogram | _Reading]] = {}
        self._values: dict[str, set[str]] = {}
        self._rejected = 0
        self.reading(
            "offramp_metrics_rejected_total",
            "Observations that were no number and were dropped.",
            lambda: self._rejected,
            kind="counter",
        )

    def counter(self, name: str, about: str, *, labels: Labels = ()) -> Counter:
        """Declare a counter; its name ends in `_total`."""
        family = self._family(name, about, labels=labels, kind="counter")
        return self._keep(family, Counter(family))

    def gauge(self, name: str, about: str, *, labels: Labels = ()) -> Gauge:
        """Declare a gauge."""
        family = self._family(name, about, labels=labels, kind="gauge")
        return self._keep(family, Gauge(family))

    def histogram(
        self, name: str, about: str, *, labels: Labels = (), bounds: tuple[float, ...] = LATENCY_S
    ) -> Histogram:
        """Declare a histogram with fixed upper bounds of its buckets; `+Inf` is added."""
        family = self._family(name, about, labels=labels, kind="histogram")
        return self._keep(family, Histogram(family, bounds))

    def reading(
        self,
        name: str,
        about: str,
        read: Callable[[], float | Mapping[Labels, float]],
        *,
        labels: Labels = (),
        kind: Literal["counter", "gauge"] = "gauge",
    ) -> None:
        """Declare a metric that is read at each scrape: a queue's length, counts kept by another thread."""
        family = self._family(name, about, labels=labels, kind=kind)
        self._keep(family, _Reading(family, read))

    def text(self) -> bytes:
        """Write all metrics in the text format, in the order in which they were declared."""
        parts = []
        for family, metric in self._declared.values():
            parts.append(f"# HELP {family.name} {_escape(family.about, quote=False)}")
            parts.append(f"# TYPE {family.name} {family.kind}")
            parts += metric.lines()
        # A client's bytes that are no UTF-8 arrive as surrogates.
        return ("\n".join(parts) + "\n").encode("utf-8", "replace")

    def _family(self, name: str, about: str, *, labels: Labels, kind: _Kind) -> "_Family":
        if not _NAME.fullmatch(name) or (kind == "counter") != name.endswith("_total"):
            raise ValueError(f"{name!r} is no name for a {kind}; counters, and only they, end in `_total`")
        if any(not _LABEL.fullmatch(label) or label == "le" for label in labels) or len(set(labels)) < len(
            labels
        ):
            raise ValueError(f"the labels of {name!r} must be different words, not `le`; found {labels!r}")
        return _Family(self, name, about=about, kind=kind, labels=labels)

    def _keep(self, family: "_Family", metric: _Metric) -> _Metric:
        taken = {claimed for known, _ in self._declared.values() for claimed in known.claims}
        if not taken.isdisjoint(family.claims):
            raise ValueError(f"the metric {family.name!r} is declared twice")
        self._declared[family.name] = (family, metric)
        return metric

    def _reject(self) -> None:
        self._rejected += 1

    def _bounded(self, label: str, value: str) -> str:
        value = value[:_LONGEST_VALUE]
        known = self._values.setdefault(label, set())
        if value not in known:
            if len(known) >= _LABEL_VALUES:
                return OTHER
            known.add(value)
        return value


class _Family:
    """What all series of one metric have in common."""

    def __init__(self, metrics: Metrics, name: str, *, about: str, kind: _Kind, labels: Labels) -> None:
        self.name, self.about, self.kind, self.labels = name, about, kind, labels
        self._metrics = metrics
        self.reject = metrics._reject
        self.claims = {name, *(f"{name}_{end}" for end in ("bucket", "sum", "count") if kind == "histogram")}

    def bounded(self, values: Labels, series: Mapping[Labels, object]) -> Labels:
        """Return the series under which new label values are counted."""
        assert len(values) == len(self.labels), (self.name, self.labels, values)
        kept = tuple(map(self._metrics._bounded, self.labels, values))
        return kept if kept in series or len(series) < _SERIES else (OTHER,) * len(kept)

    def plain(self, series: Mapping[Labels, float]) -> Iterator[str]:
        """Yield one line per series."""
        # A copy: a reading's thread may add a series meanwhile.
        for labels, value in list(series.items()):
            yield f"{self.name}{self.braces(labels)} {_number(value)}"

    def braces(self, values: Labels, **more: str) -> str:
        """Write the labels of one series; an empty text when it has none."""
        pairs: Iterable[tuple[str, str]] = (*zip(self.labels, values, strict=True), *more.items())
        inside = ",".join(f'{label}="{_escape(value)}"' for label, value in pairs)
        return f"{{{inside}}}" if inside else ""


def process_metrics(metrics: Metrics) -> None:
    """Declare what is usual to know of a process: memory, processor time, open files, when it started."""
    started = time.time()
    metrics.reading("process_resident_memory_bytes", "Resident memory size.", _resident_bytes)
    metrics.reading(
        "process_cpu_seconds_total", "User and system processor time.", time.process_time, kind="counter"
    )
    metrics.reading("process_start_time_seconds", "Start time since the unix epoch.", lambda: started)
    metrics.reading("process_open_fds", "Open file descriptors.", lambda: len(os.listdir("/proc/self/fd")))


def _resident_bytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _escape(text: str, *, quote: bool = True) -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quote else text


def _number(value: float) -> str:
    if isnan(value):
        return "NaN"
    if not isfinite(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
