"""What happened in a rehearsal: one line a day and one per step, kept as JSON so that it can go on.

Guarantee: `to_json` and `from_json` lose nothing. Trap: numbers named `truth` and `new` are known only because
everything is simulated; nothing that decides reads them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from offramp.sample.drift import Scenario

Kind = Literal["deployed", "drift", "finding", "labels", "verdict", "kept", "canary", "full"]
"""What a step is; `kept`: the current model stayed."""


@dataclass(frozen=True)
class Day:
    """What one day brought."""

    day: int
    """Counted from 1."""
    calls: int
    """Requests that were answered."""
    audits: int
    """Answers that people checked, drawn at random."""
    right: int
    """Of these, how many they found right."""
    truth_ratio: float
    """Answers that were right; known because it is a simulation."""
    new_ratio: float
    """Requests about the new topic; known because it is a simulation."""
    ours_ratio: float
    """Requests that a model of ours answered."""


@dataclass(frozen=True)
class Step:
    """Something that happened."""

    day: float
    """When, in days from 1."""
    kind: Kind
    """What it is."""
    what: str
    """What happened, in a sentence."""
    record: str = ""
    """Id of the record that holds it; empty for what only the simulation knows."""


@dataclass(frozen=True)
class Story:
    """Everything that happened so far."""

    scenario: Scenario
    """What is simulated."""
    days: tuple[Day, ...] = ()
    """Days that are over."""
    steps: tuple[Step, ...] = ()
    """What happened, oldest first."""
    open: tuple[str, ...] = ()
    """Ids of findings that wait for labels."""
    labelled: tuple[tuple[str, float], ...] = ()
    """Calls that were drawn for labels, each with its chance."""

    def then(self, day: float, kind: Kind, what: str, record: str = "") -> "Story":
        """Return the story with one more step."""
        return replace(self, steps=(*self.steps, Step(day, kind, what, record)))

    def asked_by(self, findings: Sequence[str]) -> "Story":
        """Return the story with more findings that wait for labels: a later one may say which calls to label.

        After a canary requests may ring late about the change that the cycle was for, so none opens another then.
        """
        if self.of("canary") and not self.open:
            return self
        return replace(self, open=(*self.open, *findings))

    def of(self, kind: Kind) -> Step | None:
        """Return the last step of a kind."""
        return next((step for step in reversed(self.steps) if step.kind == kind), None)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "Story":
        """Return the story that `to_json` wrote."""
        return cls(
            Scenario(**kept["scenario"]),
            tuple(Day(**one) for one in kept["days"]),
            tuple(Step(**one) for one in kept["steps"]),
            tuple(kept["open"]),
            tuple((call, float(chance)) for call, chance in kept["labelled"]),
        )
