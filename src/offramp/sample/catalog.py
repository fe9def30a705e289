"""The vocabulary of the sample task: 131 product categories and the words merchants use for them.

The words are our own, in `vocabulary/*.yaml`; only the category names are taken, as facts, from the Google
product taxonomy (version 2021-09-21). Guarantee: every leaf has exactly three levels, and every shared noun
names leaves that exist. Trap: the files are read on first use, never at import.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from offramp.errors import DataError

SEPARATOR = " > "
"""Between the levels of a category path."""
LANGUAGES = ("de", "fr", "es", "it", "nl")
"""Languages beside English."""
TAIL_EXPONENT = 1.7
"""How much longer the tail of the class distribution is than the weights in the vocabulary."""


@dataclass(frozen=True)
class Leaf:
    """One category and how merchants write about it."""

    path: str
    """Three levels joined by ` > `."""
    weight: float
    """Relative share of traffic."""
    nouns: tuple[str, ...]
    """What the products are called in English."""
    says: tuple[str, ...]
    """Facts and promises that stand in descriptions."""
    shelves: tuple[str, ...]
    """The merchant's own names for the category."""
    hosts: tuple[str, ...]
    """Things that an accessory is made for."""
    fits: tuple[str, ...]
    """Accessories that are made for the hosts."""
    foreign: dict[str, tuple[str, ...]]
    """Nouns in other languages."""
    terms: tuple[str, ...]
    """What people call the category as a whole."""

    @property
    def top(self) -> str:
        """First level of the path."""
        return self.path.split(SEPARATOR)[0]

    @property
    def branch(self) -> str:
        """First two levels of the path."""
        return self.path.rsplit(SEPARATOR, 1)[0]

    @property
    def name(self) -> str:
        """Last level of the path."""
        return self.path.rsplit(SEPARATOR, 1)[1]


@dataclass(frozen=True)
class SharedNoun:
    """A noun that means products of several categories."""

    noun: str
    """The word."""
    shares: tuple[tuple[str, float], ...]
    """Category path and how often the word means it; sums to 1."""


@dataclass(frozen=True)
class Catalog:
    """Everything a merchant of the sample can write."""

    leaves: dict[str, Leaf]
    """By path, in the order of the files."""
    shared: dict[str, tuple[SharedNoun, ...]]
    """By path: shared nouns that can mean it."""
    frames: dict[str, Any]
    """Sentence plans and fragments, see `vocabulary/frames.yaml`."""


@cache
def catalog() -> Catalog:
    """Read the vocabulary once.

    Raises:
        DataError: a vocabulary file is missing or contradicts itself.
    """
    folder = resources.files("offramp.sample") / "vocabulary"
    frames: dict[str, Any] = {}
    entries: dict[str, dict[str, str]] = {}
    shared: list[str] = []
    terms: list[str] = []
    for file in sorted(folder.iterdir(), key=lambda item: item.name):
        if not file.name.endswith(".yaml"):
            continue
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        if file.name == "frames.yaml":
            frames = content
        elif file.name == "shared.yaml":
            shared = content
        elif file.name == "terms.yaml":
            terms = content["terms"]
        else:
            entries.update(content)
    if not frames or not entries:
        raise DataError(
            f"the vocabulary of the sample was expected in {str(folder)!r}; found none; reinstall offramp"
        )
    called = {_find(start, entries): _parts(words) for start, words in (line.split(" = ") for line in terms)}
    leaves = {path: _leaf(path, entry, called.get(path, ())) for path, entry in entries.items()}
    return Catalog(leaves, _by_path([_shared_noun(line, leaves) for line in shared]), frames)


def _leaf(path: str, entry: dict[str, Any], terms: tuple[str, ...]) -> Leaf:
    if path.count(SEPARATOR) != 2 or not terms:
        raise DataError(
            f"category {path!r} was expected to have three levels and a line of terms; fix the vocabulary"
        )
    return Leaf(
        path=path,
        weight=float(entry["w"]) ** TAIL_EXPONENT,
        nouns=_parts(entry["n"]),
        says=_parts(entry["s"]),
        shelves=_parts(entry["k"]),
        hosts=_parts(entry.get("x", "")),
        fits=_parts(entry.get("a", "")),
        foreign={language: _parts(entry[language]) for language in LANGUAGES if language in entry},
        terms=terms,
    )


def _parts(text: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r";\s*", text.strip()) if part)


def _shared_noun(line: str, leaves: dict[str, Leaf]) -> SharedNoun:
    noun, codes = line.split(" = ")
    found: list[tuple[str, float]] = []
    for code in codes.split(", "):
        start, weight = code.rsplit(" ", 1)
        found.append((_find(start, leaves), float(weight)))
    total = sum(weight for _, weight in found)
    return SharedNoun(noun, tuple((path, weight / total) for path, weight in found))


def _find(start: str, paths: Iterable[str]) -> str:
    """Return the one path whose leaf name starts with `start`."""
    found = [path for path in paths if path.rsplit(SEPARATOR, 1)[1].startswith(start)]
    if len(found) != 1:
        raise DataError(f"the vocabulary names {start!r}, which starts {len(found)} leaves; expected one")
    return found[0]


def _by_path(nouns: list[SharedNoun]) -> dict[str, tuple[SharedNoun, ...]]:
    grouped: dict[str, list[SharedNoun]] = {}
    for noun in nouns:
        for path, _ in noun.shares:
            grouped.setdefault(path, []).append(noun)
    return {path: tuple(group) for path, group in grouped.items()}
