"""The physician note: a fixed form, one line per section, filled from the case.

Guarantee: `reference` says what the patient said and nothing more, in at most 90 words, and every section stands in
its line even when there is nothing to report; only `Family and social:` is left out where nobody asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from offramp.sample.intake.patient import Case
from offramp.sample.intake.talk import bare, listed, raised

HEADINGS = {
    "complaint": "Chief complaint",
    "present": "History of present illness",
    "past": "Past history",
    "drugs": "Medications",
    "allergies": "Allergies",
    "about": "Family and social",
    "specialty": "Specialty",
}
"""Sections in their order."""


@dataclass(frozen=True)
class Section:
    """One line of a note."""

    name: str
    """Key of `HEADINGS`."""
    parts: tuple[str, ...]
    """Sentences without full stops, of which somebody may forget one."""


def reference(case: Case) -> tuple[Section, ...]:
    """Return the note as it should be."""
    about = () if case.asks == "none" else (Section("about", (_about(case),)),)
    return (
        Section("complaint", (bare(case.complaint.term),)),
        Section("present", present(case)),
        Section("past", (", ".join(case.conditions) or "no past illnesses",)),
        Section("drugs", (", ".join(case.drugs) or "none",)),
        Section("allergies", (_allergies(case),)),
        *about,
        Section("specialty", (routed(case.specialty, case),)),
    )


def routed(specialty: str, case: Case) -> str:
    """Return a specialty with what speaks for it, as the last line of a note says it."""
    return f"{specialty} ({bare(case.reason)})"


def present(case: Case) -> tuple[str, ...]:
    """Return the history of the present illness, sentence by sentence."""
    severity = f"{case.severity} of 10 in severity"
    found = [
        f"started {case.duration} ago, {case.onset}",
        f"{severity}, worse with {case.worse}" if case.worse else severity,
        f"also {listed(case.also)}" if case.also else "no other symptoms",
    ]
    return (*found, f"no {case.denied}") if case.denied else tuple(found)


def write_note(sections: Sequence[Section], headings: Mapping[str, str] = HEADINGS) -> str:
    """Write sections as text, one line each; a section without parts is left out."""
    lines = []
    for each in sections:
        if each.parts:
            first, *rest = each.parts
            lines.append(f"{headings[each.name]}: {'. '.join((first, *map(raised, rest)))}.")
    return "\n".join(lines)


def _allergies(case: Case) -> str:
    found = [f"{what} ({reaction})" if reaction else what for what, reaction in case.allergies]
    return ", ".join(found) or "none known"


def _about(case: Case) -> str:
    return ", ".join(part.removeprefix("my ") for part in case.about) or "nothing known"
