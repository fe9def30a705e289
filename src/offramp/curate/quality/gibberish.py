"""Find texts that no one wrote to be read: keyboard mashing, one character over and over, blobs of base64.

Surprise is learned from the data's own characters, so product codes are no gibberish among product codes. A row must
lie far above texts of about its length, and far above nearly all the data, by robust spreads. Guarantee: texts shorter
than 8 characters and rows whose letters are another script are not judged by surprise; other languages are
`language`'s findings, and a row that it finds is left to it.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.finding import Finding, lines, text_columns, values
from offramp.curate.ledger import Line
from offramp.curate.quality import language

RULE = "gibberish"
THRESHOLD = 0.8
_LEAST_ROWS = 50
_SURE_ROWS = 150  # of fewer rows too little is learned about what is usual to take a row out by it
_LEAST_CHARS = 8
_RULE_CHARS = 15
_SPREADS, _SPREADS_UNKNOWN = 6.0, 4.0  # the latter where no word of the text stands in any other
_SPREADS_SCRAMBLED = 1.5  # for words that are no words
_SCRAMBLED_RATIO, _SCRAMBLED_WORDS = 0.5, 2
_CONSONANTS = re.compile("[b-df-hj-np-tv-xz]+")
_LEAST_LETTERS = 3  # a word of two letters is another one backwards too often
_USUAL_RATIO = 0.05
_BLOB = re.compile(r"[A-Za-z0-9+/=_-]{40,}")
_BLOB_BITS = 4.0
_RUN = re.compile(r"(\w)\1{7,}|(\w{1,4}?)\2{7,}")
_WORD = re.compile(r"[^\W\d_]{2,}")


def findings(rows: pa.Table, *, strange: language.Strange | None = None) -> list[Finding]:
    """Return a finding for each text that looks like noise beside the rest of its column."""
    found: dict[str, Finding] = {}
    ids = row_tables.ids(rows)
    strange = strange or language.Strange(rows)
    for column in text_columns(rows):
        texts = values(rows, column)
        for i, score, evidence in [*_shapes(texts), *_surprises(texts, strange.of(column))]:
            if ids[i] not in found or found[ids[i]].score < score:
                found[ids[i]] = Finding(ids[i], RULE, score, THRESHOLD, {"column": column, **evidence})
    return list(found.values())


def find(rows: pa.Table) -> list[Line]:
    """Return a quarantine for each row with a text that is surely noise."""
    return lines(findings(rows))


def entropy_bits(text: str) -> float:
    """Return the entropy of a text's characters in bits.

    Source: Shannon (1948), A mathematical theory of communication, Bell System Technical Journal 27:379.
    """
    n = len(text)
    return -sum(k / n * math.log2(k / n) for k in Counter(text).values()) if n else 0.0


def _shapes(texts: Sequence[str]) -> list[tuple[int, float, dict[str, object]]]:
    """Find what is noise by its form; a form that many texts of the column have is the data's own."""
    found: dict[str, list[tuple[int, float, dict[str, object]]]] = {"repeated": [], "blob": []}
    for i, text in enumerate(texts):
        size = len(text.strip())
        if size < _LEAST_CHARS:
            continue
        repeated = sum(len(match.group()) for match in _RUN.finditer(text)) / size
        if size >= _RULE_CHARS:  # a line of signs in place of a text
            # A sign that makes up half of the text stands at one of some 17 places, and counting is fast.
            some = set(text[:: max(1, len(text) // 17)])
            repeated = max(repeated, max(map(text.count, some)) / len(text))
        if repeated >= 0.5:
            found["repeated"].append((i, 0.95, {"kind": "repeated characters", "share": round(repeated, 3)}))
        blobs = [match.group() for match in _BLOB.finditer(text) if _is_blob(match.group())]
        share = sum(map(len, blobs)) / size
        if share >= 0.5:
            found["blob"].append((i, 0.95, {"kind": "encoded blob", "share": round(share, 3)}))
    return [one for kind in found.values() if len(kind) <= max(3, _USUAL_RATIO * len(texts)) for one in kind]


def _is_blob(run: str) -> bool:
    cases = any(c.isupper() for c in run) + any(c.islower() for c in run) + any(c.isdigit() for c in run)
    return cases >= 2 and entropy_bits(run) >= _BLOB_BITS


def _surprises(texts: Sequence[str], strange: np.ndarray) -> list[tuple[int, float, dict[str, object]]]:
    present = [i for i, text in enumerate(texts) if len(text.strip()) >= _LEAST_CHARS]
    if len(present) < _LEAST_ROWS:
        return []
    judged = row_tables.picked(texts, present)
    scripts = Counter(language.script(text.lower()) for text in judged)
    own = scripts.most_common(1)[0][0]
    spreads = strange[present]
    odd = np.flatnonzero(spreads >= _SPREADS / 2).tolist()
    foreign = {
        position
        for position, score, _ in language.judge(judged, spreads, only=odd)
        if score >= language.THRESHOLD
    }
    known = _known_words(judged)
    letters = {"".join(sorted(word)) for word in known if len(word) >= _LEAST_LETTERS}
    found: list[tuple[int, float, dict[str, object]]] = []
    doubtful = {at: judged[at] for at in np.flatnonzero(spreads >= _SPREADS_SCRAMBLED).tolist()}
    among = set(doubtful.values())
    copies = Counter(text for text in judged if text in among)
    for at, text in doubtful.items():
        # Noise does not come three times in the same letters; a shop's own category does.
        if copies[text] > 2 or language.script(text.lower()) != own:
            continue
        scrambled = _scrambled(text, known, letters)
        if scrambled >= _SCRAMBLED_RATIO:
            score = 0.9 if len(judged) >= _SURE_ROWS else 0.5
            found.append((present[at], score, {"kind": "broken words", "share": round(scrambled, 3)}))
            continue
        # Scrambled words make words of other languages by chance ("is", "si"), so this comes second.
        if at in foreign or spreads[at] < _SPREADS / 2:
            continue
        unknown = _unknown(text, known)
        # The logistic curve passes the threshold at the limit; a text of known words is not noise, however rare.
        limit = _SPREADS if unknown < 1 else _SPREADS_UNKNOWN
        score = 1 / (1 + math.exp(-(spreads[at] - limit) - math.log(THRESHOLD / (1 - THRESHOLD))))
        score = score if unknown >= 0.5 and len(judged) >= _SURE_ROWS else min(score, 0.5)
        evidence: dict[str, object] = {
            "kind": "unlikely characters",
            "spreads": round(float(spreads[at]), 2),
            "unknown_words": round(unknown, 3),
        }
        found.append((present[at], score, evidence))
    return found


def _known_words(texts: Sequence[str]) -> frozenset[str]:
    rows: Counter[str] = Counter()
    seen: set[int] = set()
    for text in texts:
        # Copies count once; the texts themselves would be a gigabyte where there are a million.
        if (mark := hash(text)) not in seen:
            seen.add(mark)
            rows.update(set(_WORD.findall(text.lower())))
    return frozenset(word for word, n in rows.items() if n >= 2)


def _scrambled(text: str, known: frozenset[str], letters: set[str]) -> float:
    """Return the share of a text's letters in broken words: no other text has them, and nobody could say them.

    Either other texts have them with the letters in another order, or they are written small and have no vowel.
    0 where it is one word: anyone may slip once.
    """
    words = _WORD.findall(text)
    found = [
        word
        for word in words
        if len(word) >= _LEAST_LETTERS
        and word.lower() not in known
        and ("".join(sorted(word.lower())) in letters or _CONSONANTS.fullmatch(word))
    ]
    return sum(map(len, found)) / sum(map(len, words)) if len(found) >= _SCRAMBLED_WORDS else 0.0


def _unknown(text: str, known: frozenset[str]) -> float:
    """Return the share of a text's letters in words that no other text has; 1 without words."""
    words = _WORD.findall(text.lower())
    letters = sum(map(len, words))
    return sum(len(word) for word in words if word not in known) / letters if letters else 1.0
