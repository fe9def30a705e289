"""What a monitor knows between two looks: detectors, the history in roll-ups, and where the next look begins.

Guarantee: `to_json` and `from_json` lose nothing, and the size does not depend on how many calls were seen.
Trap: only one monitor may keep a state; two that write the same file undo each other's looks.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from offramp.monitor.rollup import Roll
from offramp.stats.alarm import Detector

FORMAT = 2
"""Of the kept state; another one is begun anew."""


@dataclass(frozen=True)
class Rate:
    """A share of calls that is watched."""

    detector: Detector
    """Rings when the share leaves its limit."""
    usual: float | None
    """Share in the quiet days; `None` while they are being learned."""
    cells: tuple[int | None, int | None] = (None, None)
    """Lowest and highest usual cell of a spread."""
    examples: tuple[str, ...] = ()
    """Ids of the last calls that counted as bad."""
    rang_at: float | None = None
    """Time of the call that raised the alarm."""


@dataclass(frozen=True)
class Quality:
    """A stream of audits that is watched."""

    source: str
    """Where the usual level comes from: `holdout` or `first audits`."""
    first: tuple[float, ...] = ()
    """Losses of the first audits, until there are enough."""
    detector: Detector | None = None
    """Rings when losses grew; `None` before there are enough first audits."""
    usual: float | None = None
    """Mean loss to compare with."""
    audits: int = 0
    """Audits seen."""
    lost: float = 0.0
    """Sum of their losses."""
    last_at: float | None = None
    """When the last one became known."""
    examples: tuple[str, ...] = ()
    """Ids of the last calls that were wrong."""


@dataclass(frozen=True)
class Series:
    """All signals of one alias."""

    alias: str
    """The model that apps ask for."""
    place: int
    """In the order in which aliases were first seen, from 1: their parts of the budget are fixed by it."""
    deployment: str | None = None
    """Whose detectors these are."""
    past: tuple[str | None, ...] = ()
    """Deployments before; what comes late of them counts in the history alone."""
    began: float | None = None
    """When the first call of this deployment came."""
    learned: bool = False
    """Whether the usual range is known."""
    share: float = 1.0
    """Part of the calls that detectors see in this hour."""
    rates: Mapping[str, Rate] = field(default_factory=dict)
    """Shares of calls by signal."""
    quality: Mapping[str, Quality] = field(default_factory=dict)
    """Audits by signal."""
    hours: tuple[Roll, ...] = ()
    """The last weeks, hour by hour."""
    days: tuple[Roll, ...] = ()
    """Everything before, day by day."""
    keys: tuple[str, ...] = ()
    """Calls and conversations that were audited lately: each counts once."""
    notes: tuple[tuple[float, str], ...] = ()
    """What a reader of the history must know, the newest last."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """Detectors of the requests, as `monitor.asked` keeps them."""


@dataclass(frozen=True)
class State:
    """Everything."""

    cursor: tuple[float, str] = (0.0, "")
    """Time and id of the last call that was seen."""
    heard: float = 0.0
    """Time of the last feedback that was seen."""
    series: Mapping[str, Series] = field(default_factory=dict)
    """By alias."""
    odd: Mapping[str, int] = field(default_factory=dict)
    """What could not be used, by reason."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `from_json`."""
        series = {alias: _series_json(one) for alias, one in self.series.items()}
        return {
            "format": FORMAT,
            "cursor": list(self.cursor),
            "heard": self.heard,
            "series": series,
            "odd": dict(self.odd),
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "State":
        """Return the state that `to_json` wrote; an empty one of another format."""
        if kept.get("format") != FORMAT:
            return cls()
        series = {alias: _series(one) for alias, one in kept["series"].items()}
        at, name = kept["cursor"]
        return cls((float(at), str(name)), float(kept["heard"]), series, dict(kept["odd"]))


def _series_json(one: Series) -> dict[str, Any]:
    rates = {name: asdict(rate) | {"detector": rate.detector.to_json()} for name, rate in one.rates.items()}
    quality = {
        name: asdict(stream) | {"detector": stream.detector.to_json() if stream.detector else None}
        for name, stream in one.quality.items()
    }
    return {
        **{name: getattr(one, name) for name in _PLAIN},
        **{name: list(getattr(one, name)) for name in ("past", "keys", "notes")},
        "hours": [roll.to_json() for roll in one.hours],
        "days": [roll.to_json() for roll in one.days],
        "rates": rates,
        "quality": quality,
    }


def _series(kept: Mapping[str, Any]) -> Series:
    rates = {
        name: Rate(
            Detector.from_json(one["detector"]),
            one["usual"],
            (one["cells"][0], one["cells"][1]),
            tuple(one["examples"]),
            one["rang_at"],
        )
        for name, one in kept["rates"].items()
    }
    quality = {
        name: Quality(
            **{
                **one,
                "first": tuple(one["first"]),
                "examples": tuple(one["examples"]),
                "detector": Detector.from_json(one["detector"]) if one["detector"] else None,
            }
        )
        for name, one in kept["quality"].items()
    }
    return Series(
        **{name: kept[name] for name in _PLAIN},
        past=tuple(kept["past"]),
        keys=tuple(kept["keys"]),
        notes=tuple((float(at), str(what)) for at, what in kept["notes"]),
        hours=tuple(Roll.from_json(roll) for roll in kept["hours"]),
        days=tuple(Roll.from_json(roll) for roll in kept["days"]),
        rates=rates,
        quality=quality,
    )


_PLAIN = ("alias", "place", "deployment", "began", "learned", "share", "inputs")
