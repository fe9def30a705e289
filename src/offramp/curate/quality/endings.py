"""How likely a text was cut off, judged by its last word alone, learned from the data's own texts.

The data's texts are cut, at random places and in the gaps between words, and a small model learns how such endings
differ from the texts' real last words with the mark behind them taken off. So a text without a full stop is not
suspect for that: only for a last word that is none, or that never ends a sentence. How many of the rows are cut is
then read from the rows. What is counted about a word leaves the text's own words out.
A comma, dash or open bracket at the end is a sign where hardly any text ends so.
Guarantee: a text that ends in a full stop, quote or bracket is never found. Trap: neither is one cut just there.
"""

import bisect
import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

_LEARN_TEXTS = 20_000
_CUTS_PER_TEXT = 4
_READ_CHARS = 2_000
_LEAST_CHARS = 2
_ROUNDS = 100
_SURE = 0.98
_WEIGHT = 2.0
_COPIES = 3
_OPEN = frozenset(",:-\u2013\u2014/([{&+=")
_OPEN_RATIO = 0.01
_OPEN_CHANCE = 0.9
_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_ENDS = re.compile(r"(\w+(?:['’-]\w+)*)[\"'”’)\]]*(?:[.!?;…。！？](?=\s|$)|\s*\n|\s*$)")
_COLUMNS = 8


def cut_chances(texts: Sequence[str], *, seed: int = 0) -> np.ndarray:
    """Return the chance that each text was cut, float64 (n,); 0 for a text that ends in a mark.

    Of the rows that end in a letter or digit, shares are cut anywhere, cut at a word, or whole; the shares are those
    that make the rows likeliest. Source: Saerens, Latinne and Decaestecker (2002), Adjusting the outputs of a
    classifier to new a priori probabilities, Neural Computation 14:21.
    """
    own = [text.rstrip() for text in texts]
    found = np.zeros(len(texts), np.float64)
    usable = np.array([i for i, text in enumerate(own) if len(text) >= _LEAST_CHARS], np.int64)
    draw = np.random.default_rng(seed)
    learned = usable if len(usable) <= _LEARN_TEXTS else draw.choice(usable, _LEARN_TEXTS, replace=False)
    words = _Words([own[i] for i in learned])
    ends: list[list[float]] = []
    cuts: tuple[list[list[float]], list[list[float]]] = ([], [])
    for i in learned.tolist():
        seen = words.without(own[i])
        ends += seen.features(_NOT_WORD_END.sub("", own[i][-_READ_CHARS:]))
        for turn, place in enumerate(draw.uniform(0.2, 0.98, _CUTS_PER_TEXT).tolist()):
            cuts[turn % 2].extend(seen.features(_cut(own[i], place, at_word=bool(turn % 2))))
    found[_open_ended(own)] = _OPEN_CHANCE
    copies, members = Counter(own), set(learned.tolist())
    judged, rows = [], []
    for i in usable.tolist():
        # What many rows say is an answer, however it ends.
        if own[i][-1].isalnum() and copies[own[i]] < _COPIES:
            seen = words.without(own[i]) if i in members else words.without("")
            judged.append(i)
            rows += seen.features(own[i][-_READ_CHARS:])
    if rows and ends and all(cuts):
        found[judged] = _chances(np.array(rows), np.array(ends), [np.array(made) for made in cuts])
    return found


def _open_ended(texts: Sequence[str]) -> list[int]:
    """Return the texts that end in a mark which goes on, where few of all texts do."""
    counts = Counter(text[-1:] for text in texts)
    most = max(3.0, _OPEN_RATIO * len(texts))
    return [i for i, text in enumerate(texts) if text[-1:] in _OPEN and counts[text[-1]] <= most]


_NOT_WORD_END = re.compile(r"[\W_]+$")


def _cut(text: str, place: float, *, at_word: bool) -> str:
    """Return the text up to a place, given as a share of it, or up to the gap before; "" where it ends in a mark."""
    end = max(1, int(place * len(text)))
    start = max(0, end - _READ_CHARS)
    if at_word:
        end = max(start, text.rfind(" ", start, end), text.rfind("\n", start, end))
    found = text[start:end].rstrip()
    return found if found[-1:].isalnum() else ""


class _Words:
    """In how many texts a word stands, and in how many it ends a sentence; how words themselves end."""

    def __init__(self, texts: Sequence[str]) -> None:
        """Count the tails of the texts."""
        self.rows: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        for text in texts:
            self.rows.update(_words(text))
            self.ends.update(_sentence_ends(text))
        self.rate = self.ends.total() / max(1, self.rows.total())
        self.known = sorted(word for word, n in self.rows.items() if n >= 2)
        sizes = (1, 2, 3)
        self.closing = Counter(word[-k:] for word in self.known for k in sizes if len(word) >= k)
        self.passing = Counter(
            word[i : i + k] for word in self.known for k in sizes for i in range(len(word) - k + 1)
        )
        self.word_rate = len(self.known) / max(1, sum(map(len, self.known)))

    def without(self, text: str) -> "_Seen":
        """Return the counts as this text sees them: without itself."""
        return _Seen(self, _words(text), _sentence_ends(text))


class _Seen:
    """The counts, less one text's own."""

    def __init__(self, words: _Words, mine: frozenset[str], my_ends: frozenset[str]) -> None:
        """Take the counts and what to leave out."""
        self.words, self.mine, self.my_ends = words, mine, my_ends

    def features(self, text: str) -> list[list[float]]:
        """Return what the last word of an ending looks like as one row of `_COLUMNS` numbers; none without a word."""
        last = _WORD.findall(text[-80:])
        if not last:
            return []
        word = last[-1].lower()
        rows = self.words.rows[word] - (word in self.mine)
        ends = self.words.ends[word] - (word in self.my_ends)
        known = float(rows > 0)
        base = self.words.rate
        end_rate = _odds((ends + _WEIGHT * base) / (rows + _WEIGHT))
        shape = self._shape(word)
        begins = self._begins_a_word(word)
        digit = float(word[-1].isdigit())
        return [
            [
                known * end_rate,
                1 - known,
                (1 - known) * begins,
                (1 - known) * shape,
                known * shape,
                float(rows > 0 and not ends) * math.log1p(rows),
                float(len(word) <= 2),
                digit,
            ]
        ]

    def _shape(self, word: str) -> float:
        """Return how likely a word ends after this word's last characters, as log odds."""
        rate = self.words.word_rate
        for size in (1, 2, 3):
            tail = word[-size:]
            rate = (self.words.closing[tail] + _WEIGHT * rate) / (self.words.passing[tail] + _WEIGHT)
        return _odds(rate)

    def _begins_a_word(self, word: str) -> float:
        at = bisect.bisect_right(self.words.known, word)
        return float(at < len(self.words.known) and self.words.known[at].startswith(word))


def _odds(rate: float) -> float:
    inside = min(0.999, max(0.001, rate))
    return math.log(inside / (1 - inside))


def _words(text: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _WORD.findall(text[-_READ_CHARS:]))


def _sentence_ends(text: str) -> frozenset[str]:
    return frozenset(word.lower() for word in _ENDS.findall(text[-_READ_CHARS:]))


def _chances(rows: np.ndarray, ends: np.ndarray, cuts: Sequence[np.ndarray]) -> np.ndarray:
    """Return each row's chance of being cut in any of the ways."""
    from sklearn.linear_model import LogisticRegression

    ratios = []
    for made in cuts:
        model = LogisticRegression(C=1.0, max_iter=300)
        weights = np.r_[np.full(len(ends), 1 / len(ends)), np.full(len(made), 1 / len(made))]
        kinds = np.r_[np.zeros(len(ends)), np.ones(len(made))]
        model.fit(np.concatenate([ends, made]), kinds, sample_weight=weights * len(ends))
        # Both kinds weigh as much, so the odds are P(ending | cut) / P(ending | whole).
        ratios.append(np.exp(np.minimum(30.0, model.decision_function(rows))))
    likely = np.stack([np.ones(len(rows)), *ratios])  # (ways, rows)
    shares = np.full(len(likely), 1 / len(likely))
    for _ in range(_ROUNDS):
        chances = shares[:, None] * likely
        chances /= chances.sum(axis=0)
        shares = (chances.sum(axis=1) + 1 / len(likely)) / (len(rows) + 1)
    return np.minimum(_SURE, chances[1:].sum(axis=0))
