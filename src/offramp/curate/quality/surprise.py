"""How surprising a text's characters are, given the other texts of the same data.

A model of three characters with back-off to two, one and none is counted on all texts; a text is scored without its
own counts, so that it does not vouch for itself, and each distinct text counts once. Bits per character; what is
usual depends on the length, so deviations are in robust spreads of texts of about the same length.
Trap: beyond two million characters the model is counted on so many, of texts evenly drawn; others are looked up.
"""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

_READ_CHARACTERS = 300
_ORDERED_BYTES = 40
_DIGIT = re.compile(r"\d")
_LEARNED_CHARACTERS = 2_000_000
_ALPHABET = 1024
_BACK_OFF = 4.0
_BIN_ROWS = 200
_SLOT_BITS = 22


def bits_per_character(texts: Sequence[str]) -> np.ndarray:
    """Return each text's bits per character under the model of the others, float64 (n,); 0 for an empty text."""
    which, first, characters = _distinct(texts)
    bits = np.zeros(len(first) + 1)  # the last is that of an empty text
    step = max(1, -(-characters // _LEARNED_CHARACTERS))
    model = None
    for block in range(min(step, len(first))):
        # One by one: to take rows out of a table in many pieces, Arrow first copies all of it.
        forms = [_form(texts[at]) for at in first[block::step].tolist()]
        bits[:-1][block::step] = _score(forms) if model is None else model.score(forms)
        model = model or (_Model(forms) if step > 1 else None)
    return bits[which]


def _distinct(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, int]:
    """Return which distinct form each text has (-1: none), where each stands first, and how many characters they have.

    Neighbours in the alphabet are alike, so distinct forms are in that order, for a sample that takes every k-th. They
    are told apart by digests and ordered by how they begin: a million forms are half a gigabyte.
    """
    digests, begins = np.zeros(len(texts), np.uint64), np.zeros(len(texts), f"S{_ORDERED_BYTES}")
    sizes = np.zeros(len(texts), np.int64)
    for at, text in enumerate(texts):
        form = _form(text)
        coded = form.encode("utf-8", "surrogatepass")
        digests[at] = int.from_bytes(hashlib.blake2b(coded, digest_size=8).digest(), "little")
        begins[at], sizes[at] = coded, len(form)
    _, first, which = np.unique(digests, return_index=True, return_inverse=True)
    order = np.argsort(begins[first], kind="stable")
    order = order[sizes[first[order]] > 0]
    place = np.full(len(first), -1)
    place[order] = np.arange(len(order))
    return place[which], first[order], int(sizes[first[order]].sum())


class _Model:
    """The counts of a sample, for texts that are not in it."""

    def __init__(self, forms: Sequence[str]) -> None:
        points = _points(forms)
        kinds, counts = np.unique(points, return_counts=True)
        self._kinds = kinds[np.argsort(-counts, kind="stable")][: _ALPHABET - 1]
        self._order = np.argsort(self._kinds)
        contexts, last, _ = self._read(forms)
        self._tables = [(_table(context * _ALPHABET + last), _table(context)) for context in contexts]

    def score(self, forms: Sequence[str]) -> np.ndarray:
        """Return bits per character of each form."""
        contexts, last, text = self._read(forms)
        chance = np.full(len(last), 1.0 / _ALPHABET)
        for context, (pairs, alone) in zip(contexts, self._tables, strict=True):
            seen = pairs[_slot(context * _ALPHABET + last)]
            chance = (seen + _BACK_OFF * chance) / (alone[_slot(context)] + _BACK_OFF)
        bits = np.bincount(text, weights=-np.log2(chance), minlength=len(forms))
        return bits / np.maximum(1, np.bincount(text, minlength=len(forms)))

    def _read(self, forms: Sequence[str]) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        points = _points(forms)
        place = np.minimum(np.searchsorted(self._kinds, points, sorter=self._order), len(self._kinds) - 1)
        codes = self._order[place]
        codes = np.where(self._kinds[codes] == points, codes, _ALPHABET - 1)
        owner = np.repeat(np.arange(len(forms)), [len(form) for form in forms])
        inner = np.flatnonzero(owner[2:] == owner[:-2]) + 2
        one, two = codes[inner - 1], codes[inner - 2]
        return [np.zeros_like(one), one, two * _ALPHABET + one], codes[inner], owner[inner]


def _slot(keys: np.ndarray) -> np.ndarray:
    # Multiplicative hashing: two keys of one slot are rare and only make a text look a little less surprising.
    mixed: np.ndarray = (keys.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - _SLOT_BITS)
    return mixed.astype(np.int64)


def _table(keys: np.ndarray) -> np.ndarray:
    return np.bincount(_slot(keys), minlength=1 << _SLOT_BITS).astype(np.float32)


def _points(forms: Sequence[str]) -> np.ndarray:
    return np.frombuffer("".join(forms).encode("utf-32-le", "replace"), np.uint32)


def _form(text: str) -> str:
    plain = " ".join(text[:_READ_CHARACTERS].lower().split())
    # Digits differ for no reason of language.
    return f"  {_DIGIT.sub('0', plain)} " if plain else ""


def _score(forms: Sequence[str]) -> np.ndarray:
    """Return bits per character of each form, its own counts left out.

    Each order is smoothed by the next lower one. Source: MacKay and Bauman Peto (1995), A hierarchical Dirichlet
    language model, Natural Language Engineering 1:289.
    """
    codes, owner = _codes(forms)
    inner = np.flatnonzero(owner[2:] == owner[:-2]) + 2  # the third and later characters of each form
    text, last, one, two = owner[inner], codes[inner], codes[inner - 1], codes[inner - 2]
    chance = np.full(len(inner), 1.0 / _ALPHABET)
    contexts = (np.zeros_like(last), one, two * _ALPHABET + one)
    for context in contexts:
        seen = _others(context * _ALPHABET + last, text)
        among = _others(context, text)
        chance = (seen + _BACK_OFF * chance) / (among + _BACK_OFF)
    bits = np.bincount(text, weights=-np.log2(chance), minlength=len(forms))
    return bits / np.maximum(1, np.bincount(text, minlength=len(forms)))


def _codes(forms: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return all characters as small numbers, and whose they are; rare ones beyond the alphabet share one number."""
    points = _points(forms)
    kinds, which, counts = np.unique(points, return_inverse=True, return_counts=True)
    rank = np.empty(len(kinds), np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(kinds))
    sizes = [len(form) for form in forms]
    return np.minimum(rank, _ALPHABET - 1)[which], np.repeat(np.arange(len(forms)), sizes)


def _others(keys: np.ndarray, text: np.ndarray) -> np.ndarray:
    """Return how often each key occurs outside its own text."""
    _, which, counts = np.unique(keys, return_inverse=True, return_counts=True)
    mine = text * (which.max(initial=0) + 1) + which
    _, own, own_counts = np.unique(mine, return_inverse=True, return_counts=True)
    return (counts[which] - own_counts[own]).astype(np.float64)


def deviations(scores: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return how many robust spreads each score lies above the middle of texts of about its size, float64 (n,).

    The spread is the distance from the median to the 84th percentile, one standard deviation for normal data; it is
    not moved by 1 or 2 % of strange rows. It is kept from 0.
    """
    found = np.zeros(len(scores), np.float64)
    order = np.argsort(sizes, kind="stable")
    for part in np.array_split(order, max(1, len(order) // _BIN_ROWS)):
        if not len(part):
            continue
        middle, high = np.quantile(scores[part], [0.5, 0.84])
        found[part] = (scores[part] - middle) / max(float(high - middle), 0.1)
    return found
