"""Find rows that are not written in a language of the data.

The data's own languages are learned: a language or script that at least `OWN_RATIO` of the decided rows are written in
is its own, so a mixed data set has several. A row is foreign by its script, or by words that only a foreign language
has among its commonest, when they outnumber words that are common in the data; a single such word needs letters or
character runs that the data does not have. A word that is frequent in the data counts for the data in any language.
Trap: names and quotes ("what does 'gracias' mean") are words too; one foreign word alone is never enough.
"""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.finding import Finding, lines, text_columns, values
from offramp.curate.ledger import Line
from offramp.curate.quality.surprise import bits_per_character, deviations
from offramp.curate.quality.words import COMMON, LETTERS

RULE = "foreign_language"
OWN_RATIO = 0.05
"""A language of at least this share of the decided rows is the data's own."""
THRESHOLD = 0.55
_COMMON_RATIO = 0.02
_STRANGE = 3.0
_LEAST_WORDS = 4
_SIGNS_RATIO = 0.12
_READ_WORDS = 60
_LEAST_ROWS = 50
_READ_CHARACTERS = 2_000
_ALONE_RATIO = 0.2
_LEARNED_ROWS = 5_000
_WORD = re.compile(r"[^\W\d_]+")
_BLOB = re.compile(r"[a-z0-9+/=_-]{30,}")
_SCRIPTS = {
    "Latin": re.compile("[A-Za-z\u00c0-\u024f]"),
    "kana": re.compile("[\u3040-\u30ff]"),
    "Hangul": re.compile("[\uac00-\ud7af\u1100-\u11ff]"),
    "Han": re.compile("[\u4e00-\u9fff\u3400-\u4dbf]"),
    "Cyrillic": re.compile("[\u0400-\u04ff]"),
    "Greek": re.compile("[\u0370-\u03ff]"),
    "Arabic": re.compile("[\u0600-\u06ff\u0750-\u077f]"),
    "Hebrew": re.compile("[\u0590-\u05ff]"),
    "Devanagari": re.compile("[\u0900-\u097f]"),
    "Thai": re.compile("[\u0e00-\u0e7f]"),
}


def script(text: str) -> str:
    """Return the script of most letters of a text, "" without letters; kana decide over Han."""
    if text.isascii():
        return "Latin" if _SCRIPTS["Latin"].search(text) else ""
    counts = {name: len(pattern.findall(text)) for name, pattern in _SCRIPTS.items()}
    if counts["kana"]:
        counts["kana"] += counts.pop("Han")
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] else ""


def _language(words: Counter[str]) -> str:
    votes = {name: sum(words[w] for w in common if w in words) for name, common in COMMON.items()}
    first, second = sorted(votes, key=lambda name: (-votes[name], name))[:2]
    return first if votes[first] > votes[second] else ""


class _Own:
    """What the data itself is written in, learned from at most 5,000 texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        sample = [_read(text) for text in texts[:: max(1, -(-len(texts) // _LEARNED_ROWS))]]
        words = [_words(text) for text in sample]
        self.scripts = _usual([script(text) for text in sample])
        self.languages = _usual([_language(counts) for counts in words])
        rows = Counter(word for counts in words for word in counts)
        frequent = {w for w, n in rows.items() if n >= max(3.0, _COMMON_RATIO * len(sample))}
        letters = Counter(
            letter for text in sample for letter in set(text) if letter.isalpha() and letter > "z"
        )
        self.letters = {a for a, n in letters.items() if n >= max(3.0, _COMMON_RATIO * len(sample))}
        self.common = frequent.union(*(COMMON[name] for name in self.languages))
        foreign = {name: words for name, words in COMMON.items() if name not in self.languages}
        self.signs = {name: {w for w in words if len(w) > 1} - self.common for name, words in foreign.items()}
        self.foreign_letters = {name: LETTERS.get(name, frozenset()) - self.letters for name in foreign}
        self.any_sign = frozenset().union(*self.signs.values(), *self.foreign_letters.values())

    def foreign_words(self, words: Counter[str], text: str) -> tuple[str, set[str], int]:
        """Return the likeliest foreign language, its own signs in the row, and how many words are the data's own."""
        # Single letters are initials, bullets and clipped words in any language.
        at_home = sum(n for word, n in words.items() if len(word) > 1 and word in self.common)
        letters = set() if text.isascii() else set(text)
        best, most = "", set[str]()
        for name, own in self.signs.items():
            signs = (own & words.keys()) | (self.foreign_letters[name] & letters)
            if len(signs) > len(most):
                best, most = name, signs
        return best, most, at_home


def _read(text: str) -> str:
    return text[:_READ_CHARACTERS].lower()


def _words(text: str) -> Counter[str]:
    return Counter(_WORD.findall(_BLOB.sub(" ", text)))


def _usual(named: list[str]) -> frozenset[str]:
    counts = Counter(name for name in named if name)
    least = OWN_RATIO * sum(counts.values())
    return frozenset(name for name, n in counts.items() if n >= least)


class Strange:
    """Strangeness of the texts of each column, measured when first asked for."""

    def __init__(self, rows: pa.Table) -> None:
        """Take the rows."""
        self._rows = rows
        self._known: dict[str, np.ndarray] = {}

    def of(self, column: str) -> np.ndarray:
        """Return `strangeness` of a column, float64 (rows,)."""
        if column not in self._known:
            self._known[column] = strangeness(values(self._rows, column))
        return self._known[column]


def findings(rows: pa.Table, *, strange: Strange | None = None) -> list[Finding]:
    """Return a finding for each text in a script or language that is not the data's own; none below 50 rows."""
    found: dict[str, Finding] = {}
    if rows.num_rows < _LEAST_ROWS:
        return []
    ids = row_tables.ids(rows)
    strange = strange or Strange(rows)
    for column in text_columns(rows):
        for i, score, evidence in judge(values(rows, column), strange.of(column)):
            one = Finding(ids[i], RULE, score, THRESHOLD, {"column": column, **evidence})
            if ids[i] not in found or found[ids[i]].score < score:
                found[ids[i]] = one
    return list(found.values())


def find(rows: pa.Table) -> list[Line]:
    """Return a quarantine for each row that is surely in a foreign script or language."""
    return lines(findings(rows))


Judged = tuple[int, float, dict[str, object]]
"""Position, score and evidence."""


def judge(texts: Sequence[str], strange: np.ndarray, *, only: Sequence[int] | None = None) -> list[Judged]:
    """Return each text of one column that is probably foreign; `strange` is `strangeness(texts)`."""
    own = _Own(texts)
    if not own.scripts:
        return []
    found: list[Judged] = []
    for i, whole in (
        enumerate(texts) if only is None else zip(only, row_tables.picked(texts, only), strict=True)
    ):
        text = _read(whole)
        written = script(text)
        if written and written not in own.scripts:
            found.append((i, 1.0, {"script": written}))
            continue
        words = _words(text)
        if own.any_sign.isdisjoint(words) and (text.isascii() or own.any_sign.isdisjoint(text)):
            continue
        name, signs, at_home = own.foreign_words(words, text)
        total, count = words.total(), len(signs)
        if count <= at_home or count < _SIGNS_RATIO * min(total, _READ_WORDS):
            continue
        # One sign needs the support of unusual character runs in more than a name; else the row is noted only.
        # Two letters make a word of some language by chance, in noise too.
        alone = count == 1
        chance = all(len(sign) == 2 for sign in signs)
        proof = not chance and total >= _LEAST_WORDS and count >= _ALONE_RATIO * total
        sure = not alone or (strange[i] >= _STRANGE and proof)
        score = (0.65 if alone else count / (count + at_home)) if sure else 0.3
        found.append((i, score, {"language": name, "signs": sorted(signs)[:10], "own_words": at_home}))
    return found


def strangeness(texts: Sequence[str]) -> np.ndarray:
    """Return how many robust spreads each text's characters are more surprising than usual, float64 (n,)."""
    return deviations(bits_per_character(texts), np.array([len(text) for text in texts]))
