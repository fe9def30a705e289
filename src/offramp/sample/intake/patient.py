"""An invented patient: what is the case, before anybody says a word.

The specialty follows from the complaint; where that alone tells nothing (`AMBIGUOUS_RATIO`), from a symptom that
comes with it. Guarantee: everything the note must hold is in the case, and the case is all that the note may hold.
Trap: nobody real is described, and no draw is medically weighed against another.
"""

from dataclasses import dataclass, replace
from random import Random

from offramp.sample.intake.words import AMBIGUOUS_RATIO, Complaint, Words

NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip
EARLY_RATIO = 0.25
"""Share of patients who say at once how long it has lasted."""
TREATED_RATIO = 0.2
"""Share of patients with a condition who name their medicine along with it, so that it is not asked for."""


@dataclass(frozen=True)
class Case:
    """What is true about one patient; an empty text or tuple = nothing."""

    complaint: Complaint
    """Why they come."""
    specialty: str
    """Where they belong."""
    asks: str
    """What the bot asks besides: `family`, `social` or `none`."""
    duration: str
    """Since when, as the patient says it: `three weeks`."""
    onset: str
    """How it began: `after a fall on the stairs`."""
    severity: int
    """From 1 to 10."""
    worse: str
    """What makes it worse."""
    also: tuple[str, ...]
    """What came with it."""
    denied: str
    """A symptom the patient says there is not."""
    conditions: tuple[str, ...]
    """Illnesses and operations."""
    drugs: tuple[str, ...]
    """Medicines."""
    allergies: tuple[tuple[str, str], ...]
    """Allergens with the reaction, "" when not said."""
    about: tuple[str, ...]
    """Family or life, as the bot asks for it."""
    reason: str
    """What tells the specialty: the complaint, or the symptom that decides."""
    early: bool
    """True when the duration is told at once."""
    treated: bool
    """True when the medicines are told with the conditions."""


def draw(rng: Random, words: Words) -> Case:
    """Draw a patient."""
    names = list(words.specialties)
    name = rng.choices(names, [each.weight for each in words.specialties.values()])[0]
    complaint = rng.choice(words.specialties[name].complaints)
    also: tuple[str, ...] = ()
    if rng.random() < AMBIGUOUS_RATIO:
        complaint, decides = rng.choice(words.ambiguous)
        name = rng.choice(list(decides))
        also = (rng.choice(decides[name]),)
    place = words.specialties[name]
    conditions = _some(rng, words.facts["conditions"], (0.35, 0.4, 0.25))
    drugs = _some(rng, words.facts["drugs"], (0.35, 0.4, 0.25))
    return Case(
        complaint=complaint,
        specialty=name,
        asks=place.asks,
        duration=span(rng, words),
        onset=rng.choice(words.facts["onsets"]),
        severity=min(10, max(1, round(rng.gauss(5.5, 2)))),
        worse=rng.choice(place.worse) if rng.random() < 0.4 else "",
        also=_symptoms(rng, place.also, also),
        denied=rng.choice(words.facts["denied"]) if rng.random() < 0.4 else "",
        conditions=conditions,
        drugs=drugs,
        allergies=_allergies(rng, words),
        about=_about(rng, words, place.asks),
        reason=also[0] if also else complaint.term,
        early=rng.random() < EARLY_RATIO,
        treated=bool(conditions and drugs) and rng.random() < TREATED_RATIO,
    )


def span(rng: Random, words: Words) -> str:
    """Draw a length of time as people say it."""
    if rng.random() < 0.15:
        return rng.choice(words.facts["vague"])
    unit = rng.choice(list(words.units))
    count = rng.randint(*words.units[unit])
    spelled = count < len(NUMBERS) and rng.random() < 0.6
    return f"{NUMBERS[count] if spelled else count} {unit}"


def _some(rng: Random, values: tuple[str, ...], shares: tuple[float, ...]) -> tuple[str, ...]:
    """Draw none, one, two, ... of the values, with these shares."""
    count = rng.choices(range(len(shares)), shares)[0]
    return tuple(rng.sample(values, count))


def _symptoms(rng: Random, values: tuple[str, ...], deciding: tuple[str, ...]) -> tuple[str, ...]:
    others = tuple(value for value in values if value not in deciding)
    shares = (0.5, 0.5) if deciding else (0.2, 0.4, 0.4)
    found = [*deciding, *_some(rng, others, shares)]
    rng.shuffle(found)
    return tuple(found)


def _allergies(rng: Random, words: Words) -> tuple[tuple[str, str], ...]:
    found = _some(rng, words.facts["allergens"], (0.5, 0.38, 0.12))
    if len(found) == 1 and rng.random() < 0.5:
        return ((found[0], rng.choice(words.facts["reactions"])),)
    return tuple((each, "") for each in found)


def _about(rng: Random, words: Words, asks: str) -> tuple[str, ...]:
    if asks == "family" and rng.random() < 0.7:
        return (f"{rng.choice(words.facts['relatives'])} had {rng.choice(words.facts['illnesses'])}",)
    if asks == "social":
        return _some(rng, words.facts["habits"], (0.0, 0.5, 0.5))
    return ()


def strange(rng: Random, case: Case) -> Case:
    """Put made-up names in place of some of a patient's words, so that a reader must copy and cannot know."""

    def some(values: tuple[str, ...]) -> tuple[str, ...]:
        changed = (value != case.reason and rng.random() < 0.4 for value in values)
        return tuple(coined(rng) if change else value for value, change in zip(values, changed, strict=True))

    return replace(
        case,
        also=some(case.also),
        conditions=some(case.conditions),
        drugs=some(case.drugs),
        allergies=tuple((some((what,))[0], reaction) for what, reaction in case.allergies),
        onset=f"after a {coined(rng)} lesson" if rng.random() < 0.2 else case.onset,
    )


def coined(rng: Random) -> str:
    """Make up a word of two to four syllables, now and then with a dose."""
    parts = [rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(2, 4))]
    word = "".join(parts) + rng.choice(("", "n", "l", "r", "x", "s"))
    return (
        f"{word} {rng.choice((2, 5, 10, 20, 25, 40, 50, 100, 150, 300))} mg" if rng.random() < 0.25 else word
    )
