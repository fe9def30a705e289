"""The conversation: the bot asks item by item what it does not know yet, the patient answers in their own way.

The order is fixed: start, severity, what else, history, family or life where the specialty calls for it, medicines,
allergies; what was already told is not asked again, and after the allergies nothing is left to ask.
Guarantee: every fact of the case is said, in the words the note uses; where the patient corrects themselves, the last
word is the case. Trap: a few typos fall on facts too, so that not every note can be a copy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from offramp.sample.intake.patient import NUMBERS, Case, span
from offramp.sample.intake.words import Words

Message = dict[str, str]
"""OpenAI shape: `role`, `content`."""
CORRECTED_RATIO = 0.12
"""Share of answers about time and severity that are corrected in the same breath."""
LATE_RATIO = 0.05
"""Share of patients who correct the duration at the end."""
FACT_TYPO_RATIO = 0.03
"""Chance of a typo in a fact, for those who type carelessly."""


@dataclass(frozen=True)
class Talk:
    """One conversation, user first and last, with what was asked at each turn of the bot."""

    turns: tuple[Message, ...]
    """User and assistant in turn, without system prompt and without the note."""
    items: tuple[str, ...]
    """What each assistant turn asked for: `onset`, `severity`, ..."""


def items_of(case: Case) -> tuple[str, ...]:
    """Return what the bot asks this patient, in order."""
    about = () if case.asks == "none" else (case.asks,)
    drugs = () if case.treated else ("drugs",)
    return ("how" if case.early else "onset", "severity", "also", "history", *about, *drugs, "allergies")


def bare(term: str) -> str:
    """Return a term without its article."""
    for article in ("a ", "an "):
        if term.startswith(article):
            return term.removeprefix(article)
    return term


def question(script: Mapping[str, str], item: str, case: Case) -> str:
    """Return what the bot says to ask for an item."""
    return script[item].replace("{t}", f"the {bare(case.complaint.term)}")


def converse(rng: Random, case: Case, words: Words, *, script: Mapping[str, str]) -> Talk:
    """Write the whole conversation of one patient with a bot that follows `script`."""
    patient = _Patient(rng, case, words)
    turns = [{"role": "user", "content": patient.opening()}]
    items = items_of(case)
    for item in items:
        turns.append({"role": "assistant", "content": question(script, item, case)})
        turns.append({"role": "user", "content": patient.answer(item)})
    if not case.early and rng.random() < LATE_RATIO:
        turns[2]["content"] = patient.start(said=patient.wrong)
        turns[-1]["content"] += " " + patient.say("late", d=case.duration, w=patient.wrong)
    return Talk(tuple(turns), items)


def listed(values: tuple[str, ...]) -> str:
    """Join as people do: `a, b and c`."""
    return " and ".join(part for part in (", ".join(values[:-1]), *values[-1:]) if part)


class _Patient:
    """Somebody who answers in one manner all along."""

    def __init__(self, rng: Random, case: Case, words: Words) -> None:
        self.rng, self.case, self.words = rng, case, words
        self.manner = rng.choices(
            ("plain", "brief", "chatty", "worried", "formal", "careless"), (30, 20, 15, 10, 10, 15)
        )[0]
        self.wrong = span(rng, words)
        while self.wrong == case.duration:
            self.wrong = span(rng, words)

    def say(self, name: str, **facts: str) -> str:
        """Fill a pattern; whoever is brief takes one of the shortest."""
        patterns = self.words.speech[name]
        if self.manner == "brief":
            patterns = tuple(sorted(patterns, key=lambda each: (len(each), each))[:2])
        return fill(self.rng.choice(patterns), facts)

    def opening(self) -> str:
        case, rng = self.case, self.rng
        if case.complaint.says and rng.random() < 0.4:
            text = self.say("opening_lay", l=rng.choice(case.complaint.says))
        else:
            text = self.say("opening_term", t=case.complaint.term)
        if case.early:
            text += " " + self.say("since", d=case.duration)
        return self.colour(text)

    def start(self, said: str = "") -> str:
        case = self.case
        if not said and self.rng.random() < CORRECTED_RATIO:
            return self.say("start_corrected", d=case.duration, w=self.wrong, o=case.onset)
        return self.say("start", d=said or case.duration, o=case.onset)

    def answer(self, item: str) -> str:
        case, say = self.case, self.say
        if item == "onset":
            text = self.start()
        elif item == "how":
            text = say("how", o=case.onset)
        elif item == "severity":
            text = self._severity()
        elif item == "also":
            text = say("also", x=listed(case.also)) if case.also else say("nothing_else")
            text += " " + say("denied", x=case.denied) if case.denied else ""
        elif item == "history":
            text = self._history()
        elif item == "drugs":
            text = say("drugs", x=listed(case.drugs)) if case.drugs else say("no_drugs")
        elif item == "allergies":
            text = self._allergies()
        else:
            text = say(item, x=listed(case.about)) if case.about else say("no_family")
        return self.colour(text)

    def _severity(self) -> str:
        case, rng = self.case, self.rng
        if rng.random() < CORRECTED_RATIO:
            text = self.say("severity_corrected", n=str(case.severity), m=str(case.severity % 10 + 1))
        else:
            spelled = rng.random() < 0.3
            text = self.say("severity", n=NUMBERS[case.severity] if spelled else str(case.severity))
        return f"{text} {self.say('worse', x=case.worse)}" if case.worse else text

    def _history(self) -> str:
        case = self.case
        if case.treated:
            return self.say("history_treated", x=listed(case.conditions), y=listed(case.drugs))
        return self.say("history", x=listed(case.conditions)) if case.conditions else self.say("no_history")

    def _allergies(self) -> str:
        found = self.case.allergies
        if not found:
            return self.say("no_allergies")
        what, reaction = found[0]
        if reaction:
            return self.say("allergies_reaction", x=what, r=reaction)
        return self.say("allergies", x=listed(tuple(name for name, _ in found)))

    def colour(self, text: str) -> str:
        """Add what the manner adds."""
        rng, speech = self.rng, self.words.speech
        if self.manner == "chatty" and rng.random() < 0.4:
            filler = rng.choice(speech["chatty"])
            return f"{filler} {raised(text) if filler.endswith('.') else lowered(text)}"
        if self.manner in ("worried", "formal") and rng.random() < 0.3:
            return f"{raised(text)} {rng.choice(speech[self.manner])}"
        if self.manner == "careless":
            return " ".join(self._typed(word) for word in text.lower().rstrip(".").split(" "))
        return raised(text)

    def _typed(self, word: str) -> str:
        if len(word) < 6 or not word.isalpha() or self.rng.random() >= FACT_TYPO_RATIO:
            return word
        at = self.rng.randrange(1, len(word) - 2)
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def lowered(text: str) -> str:
    """Return the text with a small first letter, unless its first word is `I` or has more capitals."""
    first = text.split(" ", 1)[0]
    keep = (
        first.rstrip(".,") == "I" or first.startswith("I'") or any(letter.isupper() for letter in first[1:])
    )
    return text if keep else text[:1].lower() + text[1:]


def raised(text: str) -> str:
    """Return the text with a capital first letter."""
    return text[:1].upper() + text[1:]


def fill(pattern: str, facts: Mapping[str, str]) -> str:
    """Put facts into a pattern; `{X}` is the fact `x` with a capital letter."""
    for name, value in facts.items():
        pattern = pattern.replace("{" + name + "}", value).replace("{" + name.upper() + "}", raised(value))
    return pattern
