"""How likely a text was cut off, judged by its ending alone, learned from the data's own texts.

Two pictures are compared: how the data's texts end, and how they would end if they were cut at a random place, which
is made from the same texts by cutting them. A cut often falls inside a word, which no author does, so the rarest of
the usual cut endings bounds how many texts can have been cut at all. Where texts end in no regular way, or always in
whole words, the bound is low and next to nothing is found. Trap: a text cut just after a full stop looks whole.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

_CUTS_PER_TEXT = 4
_LEAST_CHARS = 8
_ANCHOR_RATIO = 0.1
_SURE = 0.98
_SMOOTH = 0.5
_WORD_WEIGHT = 3.0
_LAST_WORD = re.compile(r"(\w+)\W*$")
_WORDS = re.compile(r"\w+")
_STOP = re.compile(r"[.!?]\s")

Ending = tuple[str, str]
"""Form of the last characters, and the last word."""


def cut_chances(texts: Sequence[str], *, seed: int = 0) -> np.ndarray:
    """Return the chance that each text was cut, float64 (n,); texts under 8 characters have 0.

    The share of cut texts is the largest that the endings allow: min P(ending) / P(ending | cut) over endings that
    cuts often have. Source: Blanchard, Lee and Scott (2010), Semi-supervised novelty detection, JMLR 11:2973.
    """
    judged = [i for i, text in enumerate(texts) if len(text.strip()) >= _LEAST_CHARS]
    found = np.zeros(len(texts), np.float64)
    if not judged:
        return found
    own = [texts[i].rstrip() for i in judged]
    words = _vocabulary(own)
    ends = [_ending(text, words) for text in own]
    cuts = [_ending(text, words) for text in _cut(own, seed)]
    found[judged] = _chances(ends, cuts)
    return found


def _vocabulary(texts: Sequence[str]) -> frozenset[str]:
    counts = Counter(word for text in texts for word in set(_WORDS.findall(text.lower())))
    return frozenset(word for word, n in counts.items() if n >= 2)


def _cut(texts: Sequence[str], seed: int) -> list[str]:
    draw = np.random.default_rng(seed)
    found = []
    for text in texts:
        places = draw.uniform(0.2, 0.98, _CUTS_PER_TEXT) * len(text)
        found += [text[: max(1, int(place))].rstrip() for place in places]
    return found


def _ending(text: str, known: frozenset[str]) -> Ending:
    last = text[-1:]
    match = _LAST_WORD.search(text[-60:])
    word = match.group(1).lower() if match else ""
    if not last.isalnum():
        return last, word
    # A number is no word anyone knows.
    form = "number" if last.isdigit() else "known" if word in known else "unknown"
    # A note without any full stop is a style; a text with sentences has a last one.
    return form + (" after a sentence" if _STOP.search(text) else ""), word


def _chances(ends: Sequence[Ending], cuts: Sequence[Ending]) -> np.ndarray:
    form_all, form_cut = Counter(form for form, _ in ends), Counter(form for form, _ in cuts)
    # One row more for each form, so that a form no row ends in does not say "none is cut" with certainty.
    usual = {form: (form_all[form] + 1) / (len(ends) + 1) for form in {*form_all, *form_cut}}
    after_cut = {form: form_cut[form] / len(cuts) for form in usual}
    ratio = min(_largest_ratio(kind, form_all, form_cut) for kind in ("known", "unknown"))
    by_form = {form: min(_SURE, ratio * after_cut[form] / usual[form]) for form in usual}
    return np.array(
        [_with_word(by_form[form], shift) for (form, _), shift in zip(ends, _shifts(ends, cuts), strict=True)]
    )


def _largest_ratio(kind: str, form_all: Counter[str], form_cut: Counter[str]) -> float:
    """Return the largest share of cut texts that the number of endings of one kind allows, a spread above its count."""
    seen = sum(n for form, n in form_all.items() if form.startswith(kind))
    cut = sum(n for form, n in form_cut.items() if form.startswith(kind))
    if cut < _ANCHOR_RATIO * form_cut.total():
        return 1.0
    return (seen + math.sqrt(seen) + 1) / form_all.total() / (cut / form_cut.total())


def _with_word(chance: float, shift: float) -> float:
    if chance <= 0.0:
        return 0.0
    return 1 / (1 + math.exp(-(math.log(chance / (1 - chance)) + shift)))


def _shifts(ends: Sequence[Ending], cuts: Sequence[Ending]) -> list[float]:
    """Return log P(last word | cut, form) - log P(last word | form) from the other rows, shrunk and bounded."""
    in_all, in_cut = Counter(ends), Counter(cuts)
    form_all, form_cut = Counter(form for form, _ in ends), Counter(form for form, _ in cuts)
    found = []
    for end in ends:
        form = end[0]
        # The text's own end does not vouch for its word.
        others = in_all[end] - 1
        if not others:  # a word that ends no other text says nothing
            found.append(0.0)
            continue
        both = (in_cut[end] + others + _SMOOTH) / (form_cut[form] + form_all[form])
        p_cut = (in_cut[end] + _WORD_WEIGHT * both) / (form_cut[form] + _WORD_WEIGHT)
        p_all = (others + _WORD_WEIGHT * both) / (form_all[form] - 1 + _WORD_WEIGHT)
        found.append(min(1.0, max(-3.0, math.log(p_cut / p_all))))
    return found
