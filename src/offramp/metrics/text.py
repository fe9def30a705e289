"""How much of a reference text an answer repeats: words in order (ROUGE-L), characters (chrF), meaning (cosine).

Guarantee: all are 0-1, equal texts get 1 (of vectors: up to rounding), and nothing depends on other rows.
Trap: they reward likeness, not truth: a wrong number in a sentence costs almost nothing. Beside a bar on one of
these, set one on facts, or have a judge that people have checked.
"""

import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from offramp.metrics.base import Batch, Metric, Scored, by_pair

CHRF_ORDER = 6
"""Longest n-gram of characters. Source: Popović 2015; sacrebleu's default."""
CHRF_BETA = 2
"""Recall counts this many times as much as precision. Source: Popović 2016; sacrebleu's default."""
_BLANKS = str.maketrans("", "", " \t\n\r\v\f")
_ALONE = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_TOKEN = re.compile(rf"[{_ALONE}]|[^\W_{_ALONE}]+")


def tokens(text: str) -> list[str]:
    """Split into words: NFKC, case folded, runs of letters and digits; Chinese, kana, Thai and Lao by character.

    On English text the same as Google's `rouge_score` without stemming.
    """
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())


def common_subsequence(left: Sequence[str], right: Sequence[str]) -> int:
    """Return the length of the longest common subsequence.

    Source: Hyyrö 2004, "Bit-parallel LCS-length computation revisited": one machine word of Python per token.
    """
    places: dict[str, int] = {}
    for i, token in enumerate(left):
        places[token] = places.get(token, 0) | 1 << i
    every = (1 << len(left)) - 1
    row = every
    for token in right:
        hits = row & places.get(token, 0)
        row = (row + hits | row - hits) & every
    return len(left) - row.bit_count()


def rouge_l(answer: str, target: str) -> float:
    """Return the F1 of the longest common subsequence of words, over the whole text and not by sentence.

    P = L / words said, R = L / words wanted, F1 = 2PR / (P+R) = 2L / (said + wanted); without words: equal or not.
    Source: Lin 2004, "ROUGE: a package for automatic evaluation of summaries", beta = 1 as in `rouge_score`'s rougeL.
    """
    said, wanted = tokens(answer), tokens(target)
    if not said and not wanted:
        return float(answer.strip() == target.strip())
    return 2 * common_subsequence(said, wanted) / (len(said) + len(wanted))


def _shared_grams(said: str, wanted: str, order: int) -> list[int]:
    """Return how many n-grams of characters two texts share, for n = 1 … `order`; arrays, as texts are long."""
    codes = np.frombuffer(f"{said}\0{wanted}".encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    first, letters = np.unique(codes, return_inverse=True)
    grams, shared = letters, []
    for n in range(1, order + 1):
        if (
            n > 1
        ):  # a gram is the number of the one before it and a letter, numbered anew so that it stays small
            grams = np.unique(grams[:-1] * len(first) + letters[n - 1 :], return_inverse=True)[1]
        size = int(grams.max()) + 1
        # Grams that reach over the mark between the texts are in neither slice.
        ours = np.bincount(grams[: len(said) - n + 1], minlength=size)
        theirs = np.bincount(grams[len(said) + 1 :], minlength=size)
        shared.append(int(np.minimum(ours, theirs).sum()))
    return shared


def chrf(answer: str, target: str, *, order: int = CHRF_ORDER, beta: int = CHRF_BETA) -> float:
    """Return chrF of one pair, 0-1: F-beta of the mean precision and mean recall over character n-grams.

    White space is dropped, case counts; orders for which one of the texts is too short are left out of the means. Two
    empty texts agree (sacrebleu: 0).
    Source: Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation", as sacrebleu 2 computes it.
    """
    said, wanted = answer.translate(_BLANKS), target.translate(_BLANKS)
    if not said and not wanted:
        return 1.0
    precision, recall, used = 0.0, 0.0, min(order, len(said), len(wanted))
    for n, hits in enumerate(_shared_grams(said, wanted, used), start=1):
        precision += hits / (len(said) - n + 1)
        recall += hits / (len(wanted) - n + 1)
    if not precision + recall:
        return 0.0
    precision, recall = precision / used, recall / used
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def _similarity(batch: Batch) -> Scored:
    """Return the cosine of answer and target, below 0 as 0; vectors of different texts are computed once."""
    if batch.embed is None:
        return Scored(
            np.full(len(batch), np.nan), dict.fromkeys(range(len(batch)), "no text encoder was given")
        )
    texts = list(dict.fromkeys(text for text in [*batch.answers, *batch.targets] if text is not None))
    if not texts:
        return Scored(np.zeros(0))
    place = {text: i for i, text in enumerate(texts)}
    vectors = np.asarray(batch.embed(texts), dtype=np.float64)  # (texts, dimensions)
    values = np.zeros(len(batch))
    for row, (answer, target) in enumerate(zip(batch.answers, batch.targets, strict=True)):
        if answer is not None:
            values[row] = vectors[place[answer]] @ vectors[place[target]]
    return Scored(values.clip(0.0, 1.0))


_KINDS = ("generate", "chat")
METRICS = (
    Metric("rouge_l", "ROUGE-L", "1", lambda batch: by_pair(batch, rouge_l), kinds=_KINDS),
    Metric("chrf", "chrF", "1", lambda batch: by_pair(batch, chrf), kinds=_KINDS),
    Metric.explained("similarity", "embedding similarity", version="1", detail=_similarity, kinds=_KINDS),
)
"""The metrics of this module, for the registry."""
