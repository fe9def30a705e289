"""A large log made from a small one: an order-2 Markov chain over real news, with duplicates planted by seed.

The chain repeats phrases of its source, so some rows are near-duplicates that nobody planted; precision measured
against the manifest is therefore a lower bound.
"""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

LABELS = ("world", "sports", "business", "technology")
EXACT_RATIO = NEAR_RATIO = 0.05
KINDS = (
    "2 % of words",
    "5 % of words",
    "10 % of words",
    "case and spaces",
    "no punctuation",
    "greeting",
    "last 15 % cut",
    "ticket number",
)
GREETINGS = ("Hi there, ", "Hello team, ", "Good morning. ", "Dear support, ")
CLOSINGS = (" Thanks a lot!", " Kind regards, Sam", " Please advise.", " Best wishes")


@dataclass(frozen=True)
class Corpus:
    """A log and what was planted in it."""

    rows: pa.Table
    """`id`, `field.text`, `target`."""
    exact: np.ndarray
    """Pairs of positions, copy and source, int64 (pairs, 2)."""
    near: np.ndarray
    """The same for edited copies."""
    kinds: np.ndarray
    """Which of `KINDS` each edited copy is, int64 (pairs,)."""


def corpus(folder: Path, n: int, *, seed: int) -> Corpus:
    """Return `n` rows of about 97 words (median 81)."""
    draw = np.random.default_rng(seed)
    copies, edited = round(EXACT_RATIO * n), round(NEAR_RATIO * n)
    fresh = n - copies - edited
    parts, labels = [], []
    for code, words in enumerate(_sources(folder)):
        many = fresh // len(LABELS) + (code < fresh % len(LABELS))
        parts.append(_chain(words, many, draw))
        labels += [LABELS[code]] * many
    texts = pa.concat_arrays(parts).take(pa.array(order := draw.permutation(fresh)))
    targets = np.array(labels)[order]
    sources = draw.choice(fresh, copies + edited, replace=False)
    kinds = np.arange(edited) % len(KINDS)
    changed = [
        _edit(texts[int(source)].as_py(), int(kind), draw, texts)
        for source, kind in zip(sources[copies:], kinds, strict=True)
    ]
    whole = pa.concat_arrays([texts, texts.take(pa.array(sources[:copies])), pa.array(changed, pa.string())])
    where = draw.permutation(n)
    place = np.empty(n, np.int64)
    place[where] = np.arange(n)
    rows = pa.table(
        {
            "id": pa.array([f"r{i:07d}" for i in range(n)]),
            "field.text": whole.take(pa.array(where)),
            "target": pa.array(np.concatenate([targets, targets[sources]])[where].tolist()),
        }
    )
    pairs = np.stack([place[fresh:], place[sources]], axis=1)
    return Corpus(rows, pairs[:copies], pairs[copies:], kinds)


def _sources(folder: Path) -> list[list[str]]:
    words: list[list[str]] = [[] for _ in LABELS]
    for name in ("val10000_human_noise.csv", "test_clean.csv"):
        with (folder / "noisy_ag_news" / name).open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                words[int(row["gt"])] += row["text"].split()
    return words


def _chain(words: list[str], many: int, draw: np.random.Generator) -> pa.StringArray:
    """Return `many` texts: at each word, go on from a random place where the last two words also stand."""
    coded = pa.array(words).dictionary_encode()
    tokens = coded.indices.to_numpy().astype(np.int64)
    pairs = tokens[:-1] * (tokens.max() + 1) + tokens[1:]
    by_pair = np.argsort(pairs, kind="stable")
    ordered = pairs[by_pair]
    first = np.searchsorted(ordered, pairs, side="left")
    count = np.searchsorted(ordered, pairs, side="right") - first
    lengths = np.clip(draw.lognormal(np.log(81), 0.6, many), 20, 400).astype(np.int64)
    state = draw.integers(0, len(pairs) - 1, many)
    steps = np.empty((lengths.max(), many), np.int32)
    for step in range(lengths.max()):
        steps[step] = tokens[state]
        jump = by_pair[first[state] + (draw.random(many) * count[state]).astype(np.int64)]
        state = (jump + 1) % (len(pairs) - 1)
    flat = steps.T[np.arange(lengths.max())[None] < lengths[:, None]]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), coded.dictionary.take(pa.array(flat)))
    return pc.binary_join(lists, " ").cast(pa.string())


def _edit(text: str, kind: int, draw: np.random.Generator, texts: pa.StringArray) -> str:
    words = text.split()
    if kind < 3:
        for at in draw.choice(len(words), max(1, round((0.02, 0.05, 0.1)[kind] * len(words))), replace=False):
            other = texts[int(draw.integers(len(texts)))].as_py().split()
            words[at] = other[int(draw.integers(len(other)))]
        return " ".join(words)
    if kind == 3:
        return "  ".join(words).upper() if draw.random() < 0.5 else " \n".join(words).lower()
    if kind == 4:
        return re.sub(r"[^\w\s]", "", text)
    if kind == 5:
        greeting, closing = (some[int(draw.integers(len(some)))] for some in (GREETINGS, CLOSINGS))
        return greeting + text + closing
    if kind == 6:
        return " ".join(words[: max(1, int(0.85 * len(words)))])
    return f"Ticket {draw.integers(10_000, 99_999)}: {text}"
