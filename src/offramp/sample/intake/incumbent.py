"""The simulated incumbent: an expensive general model that writes good notes with the slips such models make.

It forgets an item, adds what nobody said, takes another form, sends the patient elsewhere, or puts things in its own
words. The rates are targets that we set (see the constants), not measurements of any model.
Guarantee: a draw depends on the random source alone. Trap: it knows the case and never reads the conversation, so it
errs at random and not where a conversation is hard, except for complaints that alone tell no specialty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from offramp.sample.intake.note import HEADINGS, Section, reference, routed, write_note
from offramp.sample.intake.patient import Case
from offramp.sample.intake.talk import Talk, bare, lowered, question
from offramp.sample.intake.words import Words

FORGETS_RATIO = 0.28
"""Notes that lack one thing or more."""
ADDS_RATIO = 0.14
"""Notes with something that nobody said."""
FORM_RATIO = 0.14
"""Notes in another form."""
ROUTES_WRONG_RATIO = 0.055
"""Notes with another specialty where the complaint tells it,"""
AMBIGUOUS_WRONG_RATIO = 0.22
"""and where a second symptom has to be read: about 8 % of all."""
PROSE_RATIO = 0.35
"""Notes that tell the present illness in the model's own words."""
_ADDED = {
    "present": (
        "vital signs are stable", "the patient appears anxious", "no recent travel", "symptoms are worse at night",
        "denies fever and chills", "no improvement with rest", "patient was advised to rest and drink fluids",
        "an urgent blood test is recommended", "symptoms are likely stress related", "no similar episodes before",
        "pain radiates to the back",
    ),
    "past": ("no previous surgery", "hypertension", "otherwise healthy", "obesity", "seasonal allergies"),
    "drugs": ("ibuprofen as needed", "a daily multivitamin", "paracetamol as needed", "no herbal products"),
    "allergies": ("no food allergies", "no latex allergy"),
}  # fmt: skip
_KIN = (
    ("cardiology", "pulmonology", "vascular surgery", "hematology"),
    ("gastroenterology", "nephrology", "urology", "gynecology"),
    ("neurology", "psychiatry", "ophthalmology", "otolaryngology"),
    ("orthopedics", "rheumatology", "neurology", "vascular surgery"),
    ("dermatology", "allergy and immunology", "infectious disease", "rheumatology"),
    ("endocrinology", "gynecology", "nephrology", "cardiology"),
    ("hematology", "infectious disease", "general medicine"),
    ("otolaryngology", "dentistry", "pulmonology", "allergy and immunology"),
)
"""Specialties that are mistaken for each other."""
_OTHER_HEADINGS = {
    "complaint": "CC", "present": "HPI", "past": "PMH", "drugs": "Current Medications", "allergies": "Allergies",
    "about": "Family/Social History", "specialty": "Specialty",
}  # fmt: skip
_OPENERS = ("Here is the physician note:", "Sure, here is the summary you asked for:", "Physician note:")
_CLOSERS = (
    "Please let me know if you need anything else.",
    "Take care and get well soon!",
    "This summary is not a substitute for medical advice.",
)
_OPENED = ("the patient reports {}", "patient presents with {}", "the patient describes {}")
_BEGAN = ("that started {} ago, {}", "for {}, which began {}", "of {} duration, with onset {}")
_RATED = ("severity is rated {} out of 10", "the patient rates it {}/10", "symptom severity is {} of 10")
_ADVICE = (
    "Please see a doctor soon. In the meantime rest and drink enough.",
    "This could have many causes. Try a warm compress and come back if it gets worse.",
    "I understand. It may help to take paracetamol and to avoid stress.",
)


def note(rng: Random, case: Case, words: Words) -> str:
    """Write the incumbent's note for a case."""
    sections = list(reference(case))
    if rng.random() < PROSE_RATIO:
        sections = [_put(each, _prose(rng, case)) if each.name == "present" else each for each in sections]
    if rng.random() < FORGETS_RATIO:
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            sections = _forget(rng, sections)
    if rng.random() < ADDS_RATIO:
        sections = _add(rng, sections)
    sections = [
        _put(each, (routed(specialty(rng, case, words), case),)) if each.name == "specialty" else each
        for each in sections
    ]
    return _formed(rng, sections) if rng.random() < FORM_RATIO else write_note(sections)


def specialty(rng: Random, case: Case, words: Words) -> str:
    """Return where the incumbent sends the patient."""
    unclear = any(case.complaint.term == each.term for each, _ in words.ambiguous)
    if rng.random() >= (AMBIGUOUS_WRONG_RATIO if unclear else ROUTES_WRONG_RATIO):
        return case.specialty
    return confused(rng, case.specialty)


def confused(rng: Random, name: str) -> str:
    """Draw a specialty that this one is mistaken for."""
    kin = sorted({each for family in _KIN if name in family for each in family} - {name})
    return rng.choice(kin or ["general medicine"])


def next_turn(rng: Random, case: Case, talk: Talk, *, at: int, script: Mapping[str, str]) -> str:
    """Say what the incumbent says where question `at` of the conversation is due."""
    right = talk.turns[2 * at + 1]["content"]
    draw = rng.random()
    if draw < 0.55:
        return right
    if draw < 0.75:
        return _reworded(rng, right)
    if draw < 0.85:
        others = [item for item in talk.items if item != talk.items[at]]
        return question(script, rng.choice(others), case)
    if draw < 0.93:
        return f"{right} {question(script, talk.items[min(at + 1, len(talk.items) - 1)], case)}"
    return rng.choice(_ADVICE)


def _reworded(rng: Random, text: str) -> str:
    frame = rng.choice(
        ("Thanks for sharing that. {}", "I see. {}", "I'm sorry to hear that. {}", "Could you tell me: {}")
    )
    return frame.format(lowered(text) if frame.endswith(": {}") else text)


def _put(section: Section, parts: Sequence[str]) -> Section:
    return replace(section, parts=tuple(parts))


@dataclass(frozen=True)
class _Slot:
    section: int
    part: int


def _forget(rng: Random, sections: Sequence[Section]) -> list[Section]:
    """Lose one part of a note; the specialty and the complaint are never forgotten."""
    slots = [
        _Slot(i, j)
        for i, each in enumerate(sections)
        if each.name not in ("complaint", "specialty")
        for j in range(len(each.parts))
    ]
    if not slots:
        return list(sections)
    lost = rng.choice(slots)
    section = sections[lost.section]
    parts = [part for j, part in enumerate(section.parts) if j != lost.part]
    halves = section.parts[lost.part].split(", ")
    if section.name != "present" and len(halves) > 1:
        parts = [", ".join(halves[:-1])]
    elif section.name != "present" and rng.random() < 0.5:
        parts = ["none"]
    return [_put(each, parts) if i == lost.section else each for i, each in enumerate(sections)]


def _add(rng: Random, sections: Sequence[Section]) -> list[Section]:
    there = [each.name for each in sections if each.name in _ADDED and each.parts]
    if not there:
        return list(sections)
    name = rng.choice(["present", rng.choice(there)] if "present" in there else there)
    extra = rng.choice(_ADDED[name])
    return [_put(each, (*each.parts, extra)) if each.name == name else each for each in sections]


def _prose(rng: Random, case: Case) -> tuple[str, ...]:
    """Tell the present illness the way general models like to."""
    what = bare(case.complaint.term)
    opened, began, rated = (rng.choice(options) for options in (_OPENED, _BEGAN, _RATED))
    found = [
        f"{opened.format(what)} {began.format(case.duration, case.onset)}",
        rated.format(case.severity),
    ]
    if case.worse:
        found.append(f"it is aggravated by {case.worse}")
    if case.also:
        found.append(f"associated symptoms include {', '.join(case.also)}")
    if case.denied:
        found.append(f"the patient denies {case.denied}")
    return tuple(found)


def _formed(rng: Random, sections: Sequence[Section]) -> str:
    """Write a note in a form that nobody asked for; the specialty can still be read off its line."""
    text = write_note(sections)
    kind = rng.randrange(6)
    if kind == 0:
        return f"{rng.choice(_OPENERS)}\n\n{text}"
    if kind == 1:
        return f"{text}\n\n{rng.choice(_CLOSERS)}"
    if kind == 2:
        return write_note(sections, _OTHER_HEADINGS)
    if kind == 3:
        moved = list(sections)
        moved.insert(rng.randrange(3), moved.pop())
        moved.insert(rng.randrange(len(moved)), moved.pop(rng.randrange(1, len(moved))))
        return write_note(moved)
    *others, last = sections
    if kind == 4:
        lines = [
            f"{HEADINGS[each.name]}\n" + "\n".join(f"- {part}" for part in each.parts) for each in others
        ]
        return "\n".join((*lines, write_note([last])))
    prose = " ".join(f"{'. '.join(each.parts).capitalize()}." for each in others if each.parts)
    return f"{prose}\n{write_note([last])}"
