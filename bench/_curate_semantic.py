"""Paraphrases among dialogues that were translated and back, what is touched on clean rows, and neighbours at scale.

Everything about the detector was chosen on the even dialogues of MTS-Dialog; figures are of the odd ones. Two forms:
*all pairs* (each dialogue with its two back-translations; a true pair has the same dialogue), and *planted* (the
dialogues as they are, plus 2 % back-translations by seed). Nobody says which of the original dialogues repeat each
other; several do, so in the planted form precision is over the pairs that touch a planted row and pairs of originals
are counted apart. The threshold is the default everywhere.
"""

import csv
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from _common import SMALL, table
from _planted import read
from offramp.curate import lexical, neighbours, semantic
from offramp.embed.static import StaticEmbedder
from offramp.stats.proportion import wilson_interval

FILE = "MTS-Dialog-Augmented-TrainingSet-3-FR-and-ES-3603-Pairs-final.csv"
DIALOGUES = 1201
SEEDS = range(21, 24) if SMALL else range(21, 41)
SEARCH_ROWS = 25_000 if SMALL else 100_000
CLEAN = (
    "rows",
    "lexical_merges",
    "paraphrase_merges_if_asked",
    "rows_with_paraphrase",
    "rows_in_conflict",
)
Goals = dict[str, tuple[Any, Any, bool]]


def measure(folder: Path, *, cache: Path | None = None) -> tuple[dict[str, Any], Goals]:
    """Return figures and goals of the semantic tier."""
    embedder = StaticEmbedder.load(cache=cache)
    figures: dict[str, Any] = {}
    goals: Goals = {}
    for part in (_all_pairs(folder, embedder), _planted(folder, embedder), _clean(folder, embedder)):
        figures |= part[0]
        goals |= part[1]
    found, reached = _search(folder, embedder)
    return figures | found, goals | reached


def _dialogues(folder: Path) -> tuple[list[str], np.ndarray]:
    """Return the odd dialogues, originals first, and which dialogue each is."""
    with (folder / "mts_dialog" / FILE).open(encoding="utf-8", newline="") as file:
        texts = [row["dialogue"] for row in csv.DictReader(file)]
    which = np.arange(len(texts)) % DIALOGUES
    odd = np.flatnonzero(which % 2)
    return [texts[i] for i in odd], which[odd]


def _all_pairs(folder: Path, embedder: StaticEmbedder) -> tuple[dict[str, Any], Goals]:
    texts, which = _dialogues(folder)
    began = time.process_time()
    seen = semantic.survey(texts, embedder=embedder)
    cpu_s = time.process_time() - began
    true = int((which[seen.first] == which[seen.second]).sum())
    wanted = len(texts)  # three texts of one dialogue are three pairs
    figures = {"found": true, "flagged": len(seen.first), "true": wanted, "cpu_s": cpu_s}
    return {"paraphrase_all_pairs": figures}, _goals("paraphrase, all pairs", true, len(seen.first), wanted)


def _planted(folder: Path, embedder: StaticEmbedder) -> tuple[dict[str, Any], Goals]:
    texts, which = _dialogues(folder)
    originals = len(texts) // 3
    count = round(0.02 * originals)
    found = touching = among = 0
    for seed in SEEDS:
        draw = np.random.default_rng(seed)
        planted = draw.choice(originals, count, replace=False) + originals * draw.integers(1, 3, count)
        rows = np.r_[np.arange(originals), planted]
        seen = semantic.survey([texts[i] for i in rows], embedder=embedder)
        true = which[rows[seen.first]] == which[rows[seen.second]]
        touches = seen.second >= originals
        found, touching = found + int((true & touches).sum()), touching + int(touches.sum())
        among += int((~touches).sum())
    wanted = count * len(SEEDS)
    figures = {
        "found": found,
        "touching_planted": touching,
        "planted": wanted,
        "pairs_of_originals_per_run": among / len(SEEDS),
        "originals": originals,
    }
    return {"paraphrase_planted": figures}, _goals("paraphrase, 2 % planted", found, touching, wanted)


def _goals(name: str, found: int, flagged: int, wanted: int) -> Goals:
    goals: Goals = {}
    for what, among, least in (("precision", flagged, 0.95), ("recall", wanted, 0.9)):
        share = found / max(1, among)
        low, high = (float(bound) for bound in wilson_interval(found, among, 0.025))
        goals[f"{name}: {what}"] = (f"{share:.3f} [{low:.3f}, {high:.3f}]", f">= {least}", share >= least)
    return goals


def _clean(folder: Path, embedder: StaticEmbedder) -> tuple[dict[str, Any], Goals]:
    """Count merges on clean rows: by text, and of paraphrases where they are asked for."""
    shown, figures = [], {}
    touched = rows_in_all = 0
    for name in ("banking77", "clinc150"):
        given = read(folder, name, 3_000 if SMALL else 15_000)
        rows = pa.table(
            {
                "id": [f"r{i}" for i in range(len(given))],
                "field.text": [row["text"] for row in given],
                "target": [row["target"] for row in given],
            }
        )
        texts = [row["text"] for row in given]
        by_pieces = {line.row for line in lexical.find(rows, lexical.survey([rows]))}
        seen = semantic.survey(texts, embedder=embedder)
        merged = {line.row for line in semantic.find(rows, seen, merge=True)} - by_pieces
        noticed = semantic.findings(rows, seen)
        alike = {one.row for one in noticed if one.rule == semantic.PARAPHRASE}
        conflicts = {one.row for one in noticed if one.rule == semantic.CONFLICT}
        touched, rows_in_all = touched + len(by_pieces), rows_in_all + len(given)
        counts = (len(given), len(by_pieces), len(merged), len(alike), len(conflicts))
        shown.append([name, *counts])
        figures[f"clean.{name}"] = dict(zip(CLEAN, counts, strict=True))
    table(shown, ["clean", *CLEAN])
    share = touched / rows_in_all
    return figures, {"clean rows merged by default": (round(share, 5), "<= 0.005", share <= 0.005)}


def _search(folder: Path, embedder: StaticEmbedder) -> tuple[dict[str, Any], Goals]:
    """Compare the search among cells with all pairs: the share of near rows found, and the cost per row."""
    texts = _many(folder, SEARCH_ROWS)
    began = time.process_time()
    vectors = embedder.encode(texts).astype(np.float16)
    encoded = time.process_time()
    places, _ = neighbours.nearest(vectors, k=10, exact_rows=0)
    searched = time.process_time()
    asked = np.random.default_rng(1).choice(len(texts), 1_000, replace=False)
    cosines = vectors[asked].astype(np.float32) @ vectors.astype(np.float32).T
    cosines[np.arange(len(asked)), asked] = -2.0
    best = np.argpartition(-cosines, 10, axis=1)[:, :10]
    near = np.take_along_axis(cosines, best, axis=1) >= 0.9
    hit = np.array([np.isin(best[i], places[row]) for i, row in enumerate(asked)])
    figures = {
        "rows": len(texts),
        "encode_cpu_s": encoded - began,
        "search_cpu_s": searched - encoded,
        "recall_at_10": float(hit.mean()),
        "recall_near": float(hit[near].mean()),
    }
    table([list(figures.values())], list(figures))
    recall, spent = figures["recall_near"], figures["search_cpu_s"]
    return {"search": figures}, {
        "neighbours at cosine >= 0.9 of the nearest ten: recall": (
            round(recall, 4),
            ">= 0.95",
            recall >= 0.95,
        ),
        f"neighbours of {len(texts):,} rows: CPU seconds": (round(spent, 1), "<= 60", spent <= 60),
    }


def _many(folder: Path, count: int) -> list[str]:
    """Return public texts, and beyond those copies with some words left out."""
    sources: Sequence[list[str]] = (
        [row["text"] for row in read(folder, "banking77", count)],
        [row["text"] for row in read(folder, "clinc150", count)],
        _dialogues(folder)[0],
        _news(folder),
    )
    texts = list(dict.fromkeys(text for part in sources for text in part))[:count]
    draw, base = np.random.default_rng(0), len(texts)
    while len(texts) < count:
        words = texts[int(draw.integers(base))].split()
        kept = draw.random(len(words)) > draw.uniform(0.02, 0.2)
        texts.append(" ".join(word for word, stays in zip(words, kept, strict=True) if stays) or words[0])
    return texts


def _news(folder: Path) -> list[str]:
    texts = []
    for name in ("test_clean.csv", "val10000_human_noise.csv"):
        with (folder / "noisy_ag_news" / name).open(encoding="utf-8", newline="") as file:
            texts += [row["text"] for row in csv.DictReader(file)]
    return texts
