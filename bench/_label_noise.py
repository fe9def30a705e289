"""Real label noise: NoisyAG-News, whose labels people gave, 19.75 % of them wrong.

Detection against cleanlab on the same rows, and what training on mended rows is worth on the clean test. The judge's
numbers were chosen on other data (Banking77, planted errors). The rule of repair (relabel where the committee agrees,
drop other doubted rows) was chosen on half of the training rows, scored on the true labels of the other half; the
clean test chose nothing.
"""

import csv
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from _common import SMALL, table
from offramp.curate import repair
from offramp.curate.label_review import Beside, LabelReview, review
from offramp.curate.ledger import apply
from offramp.curate.ledger import table as ledger_table
from offramp.embed import Embedder
from offramp.rows import EXCERPT_CHARACTERS
from offramp.stats.paired import PairedSample, score_interval
from offramp.types import Task

ROWS, TEST_ROWS = (1_500, 500) if SMALL else (10_000, 7_600)
DOUBT = 0.5
"""Score from which a label is relabelled or its row dropped: all that the judge doubts."""
Goals = dict[str, tuple[Any, Any, bool]]


def measure(folder: Path) -> tuple[dict[str, Any], Goals]:
    """Return figures and goals of detection and repair."""
    source = folder / "noisy_ag_news"
    given, truth, texts = _read(source / "val10000_human_noise.csv", ROWS)
    _, test_truth, test_texts = _read(source / "test_clean.csv", TEST_ROWS)
    embedder = Embedder.load("minilm")
    vectors, test_vectors = (
        embedder.encode([text[:EXCERPT_CHARACTERS] for text in part]) for part in (texts, test_texts)
    )
    ids = [f"r{i}" for i in range(len(texts))]
    view = pa.table({"id": ids, "field.text": texts, "target": given})
    task = Task(name="news", inputs=("text",), target="label", labels=tuple(sorted(set(given))))
    began = time.process_time()
    reviewed = review(view, task, beside=Beside(vectors=vectors))
    figures: dict[str, Any] = {"rows": len(given), "judge_cpu_s": time.process_time() - began}
    wrong = np.array([a != b for a, b in zip(given, truth, strict=True)])
    scores, pruned = _peers(texts, vectors, given)
    goals = _detection({"offramp": reviewed.quality, **scores}, wrong, figures)
    sets = _training_sets(view, reviewed, pruned)
    goals |= _training(sets, vectors, ids, test=(test_vectors, test_truth), figures=figures)
    truths = dict(zip(ids, truth, strict=True))
    shown = []
    for doubt in (0.5, 0.7, 0.8, 0.9, 0.95):
        made = repair.relabel(view, reviewed, threshold=doubt)
        right = sum(line.after == truths[line.row] for line in made)
        was_wrong = sum(line.before != truths[line.row] for line in made)
        shown.append([doubt, len(made), right / max(1, len(made)), was_wrong / max(1, len(made))])
    table(shown, ["relabel from score", "relabels", "new label right", "old label wrong"])
    figures["relabels"] = shown
    return figures, goals


def _read(file: Path, rows: int) -> tuple[list[str], list[str], list[str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        found = list(csv.DictReader(lines))
    order = np.random.default_rng(0).permutation(len(found))[:rows]
    picked = [found[i] for i in order]
    return [r["label"] for r in picked], [r["gt"] for r in picked], [r["text"] for r in picked]


def _peers(
    texts: Sequence[str], vectors: np.ndarray, given: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return cleanlab's quality scores and pruned rows, with n-grams and with the embedding, 5-fold."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    codes = np.unique(given, return_inverse=True)[1]
    grams = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit_transform(texts)
    scores, pruned = {}, {}
    for name, features in (("TF-IDF", grams), ("MiniLM", vectors)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            chances = cross_val_predict(
                LogisticRegression(max_iter=1000), features, codes, cv=5, method="predict_proba"
            )
        for method in ("self_confidence", "normalized_margin"):
            scores[f"cleanlab {name} {method}"] = get_label_quality_scores(codes, chances, method=method)
        pruned[f"cleanlab {name} prune"] = find_label_issues(codes, chances)
    return scores, pruned


def _detection(scores: dict[str, np.ndarray], wrong: np.ndarray, figures: dict[str, Any]) -> Goals:
    from sklearn.metrics import roc_auc_score

    k = int(wrong.sum())
    found: dict[str, tuple[float, float]] = {}
    for name, quality in scores.items():
        head = np.argsort(quality, kind="stable")[:k]
        found[name] = float(roc_auc_score(wrong, -quality)), float(wrong[head].mean())
    table([[name, *pair] for name, pair in found.items()], ["who", "AUROC", "precision at the true count"])
    figures["detection"] = found
    goals: Goals = {}
    for place, what in enumerate(("AUROC", "precision at the true count")):
        best = max(pair[place] for name, pair in found.items() if "TF-IDF" in name)
        ours = found["offramp"][place]
        goals[f"NoisyAG-News: {what}"] = (round(ours, 4), f"> {best:.4f}, cleanlab with TF-IDF", ours > best)
    return goals


def _training_sets(
    view: pa.Table, reviewed: LabelReview, pruned: dict[str, np.ndarray]
) -> dict[str, pa.Table]:
    doubted = {row.row for row in reviewed.findings if row.score >= DOUBT}
    lines = repair.relabel(view, reviewed, threshold=DOUBT)
    mended = apply(view, ledger_table(lines))
    sure = doubted - {line.row for line in lines}
    rows = view.column("id").to_pylist()
    sets = {
        "raw": view,
        "relabelled": mended,
        "relabelled, other doubts dropped": mended.filter(pa.array([row not in sure for row in rows])),
        "all doubts dropped": view.filter(pa.array([row not in doubted for row in rows])),
    }
    return sets | {name: view.filter(pa.array(~issues)) for name, issues in pruned.items()}


def _training(
    sets: dict[str, pa.Table],
    vectors: np.ndarray,
    ids: list[str],
    *,
    test: tuple[np.ndarray, list[str]],
    figures: dict[str, Any],
) -> Goals:
    """Train one linear head per set and compare each with the raw set on the clean test."""
    from sklearn.linear_model import LogisticRegression

    place = {row: i for i, row in enumerate(ids)}
    right: dict[str, np.ndarray] = {}
    shown = []
    for name, rows in sets.items():
        at = [place[row] for row in rows.column("id").to_pylist()]
        head = LogisticRegression(max_iter=1000).fit(vectors[at], rows.column("target").to_pylist())
        right[name] = head.predict(test[0]) == np.array(test[1])
        gains, losses = (
            int((right[name] & ~right["raw"]).sum()),
            int((right["raw"] & ~right[name]).sum()),
        )
        sample = PairedSample(gains, losses, len(test[1]))
        low, high = score_interval(sample, 0.025) if gains + losses else (0.0, 0.0)
        shown.append([name, rows.num_rows, float(right[name].mean()), sample.difference, low, high])
    table(shown, ["trained on", "rows", "accuracy, clean test", "minus raw", "low", "high"])
    figures["training"] = shown
    row = next(row for row in shown if row[0] == "relabelled, other doubts dropped")
    value = f"{row[3]:+.4f} [{row[4]:+.4f}, {row[5]:+.4f}]"
    return {
        "NoisyAG-News: repaired beats raw on the clean test": (value, "> 0 with the interval", row[4] > 0)
    }
