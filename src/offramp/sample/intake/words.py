"""The words of the intake sample: complaints by specialty, what patients say of themselves, what the bot asks.

All of it was written for this project (`vocabulary/*.yaml`). About 15 % of the complaints, facts and phrases belong
to the sample alone: `words("corpus")` leaves them out, so that a model pretrained on `corpus()` meets them first in
the sample. Guarantee: the part a word belongs to follows from its own text, not from a seed or an order.
Trap: it is no medical knowledge; who belongs to which specialty was set by hand for a demonstration.
"""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml

from offramp.errors import DataError

Part = Literal["sample", "corpus"]
OWN_RATIO = 0.15
"""Share of the words that only the sample has."""
AMBIGUOUS_RATIO = 0.15
"""Share of the patients whose complaint alone tells no specialty."""


@dataclass(frozen=True)
class Complaint:
    """Why somebody comes."""

    term: str
    """As the note says it, with its article if it has one."""
    says: tuple[str, ...]
    """How a patient may put it; whole clauses."""


@dataclass(frozen=True)
class Specialty:
    """A specialty and its patients; `also` and `worse` may be shared with others."""

    name: str
    """As the note says it."""
    weight: float
    """Relative share of patients."""
    asks: str
    """What the bot asks besides: `family`, `social` or `none`."""
    complaints: tuple[Complaint, ...]
    """Why they come."""
    also: tuple[str, ...]
    """Symptoms that come with it."""
    worse: tuple[str, ...]
    """What makes it worse."""


@dataclass(frozen=True)
class Words:
    """Everything that the generator can say."""

    specialties: Mapping[str, Specialty]
    """By name, in the order of the files."""
    ambiguous: tuple[tuple[Complaint, Mapping[str, tuple[str, ...]]], ...]
    """Complaints with the symptoms that decide, by specialty."""
    facts: Mapping[str, tuple[str, ...]]
    """What patients say of themselves: `onsets`, `conditions`, `drugs`, `allergens`, ..."""
    units: Mapping[str, tuple[int, int]]
    """Units of time with the smallest and largest count."""
    speech: Mapping[str, tuple[str, ...]]
    """Patterns of answers by what they answer."""
    scripts: tuple[Mapping[str, str], ...]
    """The versions of the sample's bot: a question per item."""
    questions: Mapping[str, tuple[str, ...]]
    """Questions of the pretraining text per item."""
    headings: Mapping[str, tuple[str, ...]]
    """Headings of the pretraining text per section."""


def own(text: str) -> bool:
    """Tell whether a word or phrase belongs to the sample alone."""
    return zlib.crc32(text.encode()) % 1000 < OWN_RATIO * 1000


@cache
def words(part: Part = "sample") -> Words:
    """Read the vocabulary: all of it for the sample, without the sample's own part for the corpus.

    Raises:
        DataError: a file of the vocabulary is not as it must be.
    """
    patients, scripts = _read("patients"), _read("scripts")
    units = {unit: (low, high) for unit, (low, high) in patients.pop("units").items()}
    found = _read("complaints_a") | _read("complaints_b")
    specialties = {name: _specialty(name, entry, part) for name, entry in found.items()}
    ambiguous = [_ambiguous(entry, part) for entry in _read("ambiguous")]
    stray = {name for _, decides in ambiguous for name in decides} - set(specialties)
    if stray:
        raise DataError(
            f"specialties of the intake vocabulary were expected; found {sorted(stray)!r}; mend the file"
        )
    return Words(
        specialties=specialties,
        ambiguous=tuple(each for each in ambiguous if part == "sample" or not own(each[0].term)),
        facts={name: _kept(values, part) for name, values in patients.items()},
        units=units,
        speech={name: _kept(values, part) for name, values in _read("speech").items()},
        scripts=tuple(scripts["sample"]),
        questions={name: tuple(values) for name, values in scripts["corpus"].items()},
        headings={name: tuple(values) for name, values in scripts["headings"].items()},
    )


def _read(name: str) -> Any:
    text = resources.files("offramp.sample.intake").joinpath("vocabulary", f"{name}.yaml").read_text("utf-8")
    return yaml.safe_load(text)


def _kept(values: Iterable[str], part: Part) -> tuple[str, ...]:
    """Leave out what the sample keeps for itself."""
    return tuple(value for value in values if part == "sample" or not own(value))


def _specialty(name: str, entry: Mapping[str, Any], part: Part) -> Specialty:
    lines = [*entry.get("complaints", ())]
    lines += [
        pattern.replace("{s}", site) for pattern in entry.get("patterns", ()) for site in entry["sites"]
    ]
    complaints = [_complaint(line) for line in lines]
    return Specialty(
        name=name,
        weight=float(entry["weight"]),
        asks=str(entry["asks"]),
        complaints=tuple(each for each in complaints if part == "sample" or not own(each.term)),
        also=_kept(entry["also"], part),
        worse=_kept(entry["worse"], part),
    )


def _complaint(line: str) -> Complaint:
    term, *says = (piece.strip() for piece in line.split("|"))
    return Complaint(term, tuple(says))


def _ambiguous(entry: Mapping[str, Any], part: Part) -> tuple[Complaint, Mapping[str, tuple[str, ...]]]:
    decides = {name: _kept(found, part) for name, found in entry["decides"].items()}
    return _complaint(entry["says"]), {name: found for name, found in decides.items() if found}
