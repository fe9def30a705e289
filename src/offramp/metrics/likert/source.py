"""A text to check answers against: its windows, words and word pairs, prepared once for all answers.

A window is a sentence, or a piece of about 35 words of a longer one; neighbours are also joined in pairs, because a
question and its answer, or a claim and its number, often stand in two sentences.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache

from offramp.metrics.likert.text import Word, is_unit, negated, sentences, words

LONGEST_WINDOW = 45
"""Words; a longer sentence is cut into even pieces of at most `PIECE` words."""
PIECE = 35
"""Words of a piece."""


@dataclass(frozen=True)
class Source:
    """A prepared text."""

    text: str
    """As given."""

    @cached_property
    def windows(self) -> tuple[str, ...]:
        """Sentences, long ones in pieces."""
        found: list[str] = []
        for sentence in sentences(self.text):
            parts = sentence.split()
            pieces = -(-len(parts) // PIECE) if len(parts) > LONGEST_WINDOW else 1
            size = -(-len(parts) // pieces)
            found += [" ".join(parts[i : i + size]) for i in range(0, len(parts), size)]
        return tuple(found)

    @cached_property
    def pairs(self) -> tuple[str, ...]:
        """Each window joined with the next one; the last stands alone."""
        return tuple(" ".join(self.windows[i : i + 2]) for i in range(len(self.windows)))

    @cached_property
    def words(self) -> tuple[tuple[Word, ...], ...]:
        """Words of each window."""
        return tuple(words(window) for window in self.windows)

    @cached_property
    def flat(self) -> tuple[str, ...]:
        """Stems of the whole text in order."""
        return tuple(word.stem for window in self.words for word in window)

    @cached_property
    def starts(self) -> dict[str, list[int]]:
        """Where each stem stands in `flat`."""
        found: dict[str, list[int]] = {}
        for place, stem in enumerate(self.flat):
            found.setdefault(stem, []).append(place)
        return found

    @cached_property
    def content(self) -> Counter[str]:
        """How often each content stem occurs."""
        return Counter(word.stem for window in self.words for word in window if word.is_content)

    @cached_property
    def content_of(self) -> tuple[frozenset[str], ...]:
        """Content stems of each window."""
        return tuple(frozenset(word.stem for word in window if word.is_content) for window in self.words)

    @cached_property
    def _facts(self) -> frozenset[str]:
        stems = (word.stem for window in self.words for word in window if not word.is_number)
        return frozenset(stems) | frozenset(fact for window in self.words for fact in quantities(window))

    @cached_property
    def _numbers(self) -> frozenset[str]:
        return frozenset(word.stem for window in self.words for word in window if word.is_number)

    def has(self, fact: str) -> bool:
        """Tell whether a stem or quantity occurs; a number without unit, here or there, goes with every unit."""
        number, _, unit = fact.partition(" ")
        return fact in self._facts or (number in self._facts if unit else fact in self._numbers)

    @cached_property
    def negations(self) -> tuple[int, ...]:
        """Negations in each window."""
        return tuple(negated(window) for window in self.windows)

    def longest_run(self, stems: list[str], at: int) -> int:
        """Return how many stems from `at` on stand in the text in this order without a gap."""
        best = 0
        for place in self.starts.get(stems[at], ()):
            run = 1
            while (
                at + run < len(stems)
                and place + run < len(self.flat)
                and stems[at + run] == self.flat[place + run]
            ):
                run += 1
            best = max(best, run)
        return best

    def runs(self, stems: list[str]) -> list[int]:
        """Cut stems greedily into the longest runs that the text has too; words it lacks are left out.

        Source: extractive fragments, Grusky, Naaman and Artzi 2018, arXiv:1804.11283.
        """
        found, at = [], 0
        while at < len(stems):
            run = self.longest_run(stems, at)
            found += [run] if run else []
            at += max(run, 1)
        return found


@lru_cache(maxsize=2_000)
def source_of(text: str) -> Source:
    """Return the prepared text; the last 2,000 are kept."""
    return Source(text)


def quantities(found: tuple[Word, ...]) -> list[str]:
    """Return each number of a sentence, with its unit where one follows: `40 mg`, `2005`."""
    result = []
    for place, word in enumerate(found):
        if word.is_number:
            after = found[place + 1].stem if place + 1 < len(found) else ""
            result.append(f"{word.stem} {after}" if is_unit(after) else word.stem)
    return result
