"""Thirty days of a service desk: who writes when, what the simulated incumbent says, and what people find right.

From the evening before the first day there is a log to tune on. On the day the drift begins customers begin to write
about something that nobody wrote about before. Guarantee: a scenario and a day give the same requests and the same
opinions, whatever was asked before. Trap: customers, incumbent and people are simulated, and are to be called so
wherever they are shown; people are wrong now and then, as people are.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from offramp.errors import ConfigError, StoreError, boundary
from offramp.sample.drift.write import message, words

DAY_S = 86_400.0
BEGIN_S = datetime(2026, 9, 7, tzinfo=UTC).timestamp()
"""Midnight of the first day, a Monday; a fixed date, so that the sample never changes by itself."""
LOG_DAYS = 30
"""Days before it that the log to tune on covers."""
LABELLER_ERROR_RATIO = 0.02
"""How often a person's label is wrong."""
INCUMBENT_ERROR_RATIO = 0.05
"""How often the incumbent is wrong, on old and new topics alike."""
NAME = "rail-desk"
INCUMBENT = "incumbent"
_WEEK = (1.1, 1.05, 1.0, 1.0, 1.15, 0.75, 0.7)
_HOURS = (1, 1, 1, 1, 1, 3, 6, 9, 11, 11, 10, 9, 9, 9, 9, 10, 10, 9, 7, 6, 5, 4, 3, 2)
_TOPICS = (1.2, 0.9, 1.6, 1.0, 0.9, 1.3, 1.1, 0.9, 1.4, 0.8)
"""How often each topic of the first day comes, in the order of the labels."""


@dataclass(frozen=True)
class Scenario:
    """What happens, and when."""

    seed: int = 7
    """Of every draw."""
    days: int = 30
    """Simulated days."""
    per_day: int = 3000
    """Requests of an average day."""
    begins: int = 12
    """Day on which the new topic begins."""
    share: float = 0.2
    """Share of the requests about it from then on."""
    audits_per_day: int = 40
    """Answers drawn at random that people check every day."""
    labels: int = 60
    """Labels that people give once something was found."""
    log_rows: int = 2600
    """Rows of the log to tune on."""

    def __post_init__(self) -> None:
        """Refuse what cannot be watched.

        Raises:
            ConfigError: so it is.
        """
        if not 8 <= self.begins <= self.days - 8 or self.per_day < 100 or not 0 < self.share < 1:
            raise ConfigError(
                "a drift that begins after the 7 quiet days and leaves 8 to recover, with at least 100 requests a "
                f"day, was expected; found {asdict(self)!r}"
            )


@dataclass(frozen=True)
class Request:
    """One message of a customer, with what nobody but the simulation knows."""

    id: str
    """Of its call."""
    customer: str
    """Who wrote it; everybody writes once."""
    at: float
    """When it came, unix seconds."""
    text: str
    """What the customer wrote."""
    truth: str
    """The right label."""
    incumbent: str
    """What the incumbent would say."""
    person: str
    """What a person would say is right."""
    incumbent_s: float
    """How long the incumbent would take."""
    model_s: float
    """How long a small model takes, with the way there."""


def begin_of(day: int) -> float:
    """Return midnight of a day, counted from 1, unix seconds."""
    return BEGIN_S + (day - 1) * DAY_S


def day_of(at: float) -> float:
    """Return the day, from 1, with its part that is over."""
    return (at - BEGIN_S) / DAY_S + 1


def requests(scenario: Scenario, day: int) -> list[Request]:
    """Return the requests of a day, oldest first."""
    rng = Random(f"{scenario.seed}:{day}")
    count = round(scenario.per_day * _WEEK[(day - 1) % 7] * rng.uniform(0.95, 1.05))
    new = scenario.share if day >= scenario.begins else 0.0
    found = [_request(rng, begin_of(day), new) for _ in range(count)]
    return sorted(found, key=lambda one: one.at)


def _request(rng: Random, midnight: float, new: float) -> Request:
    known = words()
    topic = known.new_label if rng.random() < new else rng.choices(known.labels, _TOPICS)[0]
    labels = (*known.labels, known.new_label) if new else known.labels
    # Milliseconds, as ids have them.
    at = round(midnight + 3600 * (rng.choices(range(24), _HOURS)[0] + rng.random()), 3)
    drawn = f"{rng.getrandbits(64):016x}"
    return Request(
        id=f"call-{int(at * 1000):012x}{drawn}",
        customer=f"customer-{drawn}",
        at=at,
        text=message(rng, topic),
        truth=topic,
        incumbent=_said(rng, topic, labels, INCUMBENT_ERROR_RATIO),
        person=_said(rng, topic, labels, LABELLER_ERROR_RATIO),
        incumbent_s=round(rng.lognormvariate(0.0, 0.3), 3),
        model_s=round(0.02 * rng.lognormvariate(0.0, 0.3), 4),
    )


def _said(rng: Random, truth: str, labels: tuple[str, ...], error_ratio: float) -> str:
    if rng.random() >= error_ratio:
        return truth
    return rng.choice([label for label in labels if label != truth])


def prepare(folder: Path, scenario: Scenario) -> dict[str, Any]:
    """Write the log to tune on under `folder`/sample and return the settings that fit.

    Raises:
        StoreError: the folder cannot be written.
    """
    rng, rows = Random(f"{scenario.seed}:log"), []
    for number in range(scenario.log_rows):
        midnight = begin_of(1) - DAY_S * (1 + number * LOG_DAYS // scenario.log_rows)
        one = _request(rng, midnight, 0.0)
        when = datetime.fromtimestamp(one.at, UTC).isoformat(timespec="milliseconds")
        row = {"time": when, "customer": one.customer, "text": one.text, "label": one.person}
        rows.append({**row, "incumbent": one.incumbent, "simulated": True})
    path = folder / "sample" / "log.jsonl"
    with boundary(StoreError, f"writing the sample {str(path)!r}", OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    mapping = {
        **{"inputs": ["text"], "target": ["label"], "incumbent": "incumbent"},
        **{"group": "customer", "time": "time"},
    }
    return {
        "name": NAME,
        "data": {"sources": ["sample/log.jsonl"], "simulated": [INCUMBENT], "mapping": mapping},
        "curate": {"holdout_ratio": 0.25},
        # Words alone: an embedding for each of ninety thousand requests would take most of the demo's time.
        "ladder": {"rungs": ["majority", "linear"], "linear": {"embedding": False}},
        "verdict": {"margin": 0.05},
        "renew": {"policy": "automatic", "begin_as": "canary", "share": 0.2, "budget_usd": 0},
    }
