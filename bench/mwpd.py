"""MWPD 2020 product classification on a CPU: mean weighted F1 over three levels on the published test split.

Peers, same test split, as published: FastText 84.26, best BERT ensemble 88.62 (Zhang et al. 2020, "MWPD2020:
Semantic Web challenge on mining the web of HTML-embedded product data"). In the same run: one linear SVM per level
over TF-IDF of the fields, nothing tuned.
"""

import json
import os
import tempfile
import time
from pathlib import Path

from _common import SMALL, data_dir, emit, table
from _loop import facts, run, rungs

F1_GOAL = 0.91
SECONDS_GOAL = 900
BYTES_GOAL = 3e9
PUBLISHED = {"FastText (published)": 0.8426, "best BERT ensemble (published)": 0.8862}
FIELDS = ("Name", "Description", "CategoryText")
LEVELS = ("lvl1", "lvl2", "lvl3")


def untuned_svm(train: list[dict[str, str]], test: list[dict[str, str]]) -> tuple[float, float]:
    """Return (mean weighted F1, seconds) of one plain linear SVM per level on train and validation."""
    from scipy.sparse import hstack
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics import f1_score
    from sklearn.svm import LinearSVC

    began = time.perf_counter()
    parts = []
    for field in FIELDS:
        kinds = [TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2))]
        if field == "Name":
            kinds.append(TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=2))
        for kind in kinds:
            kind.fit(r[field][:2000] for r in train)
            parts.append([kind.transform(r[field][:2000] for r in rows) for rows in (train, test)])
    fitted, asked = (hstack([part[i] for part in parts]).tocsr() for i in (0, 1))
    scores = []
    for level in LEVELS:
        model = LinearSVC(C=0.5).fit(fitted, [r[level] for r in train])
        scores.append(f1_score([r[level] for r in test], model.predict(asked), average="weighted"))
    return float(sum(scores) / len(scores)), time.perf_counter() - began


def read(path: Path) -> list[dict[str, str]]:
    """Read one split."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def main() -> None:
    """Run and report."""
    source = data_dir() / "mwpd2020_product_gpc"
    step = 8 if SMALL else 1
    with tempfile.TemporaryDirectory() as scratch:
        labelled = (read(source / "train.jsonl") + read(source / "validation.jsonl"))[::step]
        train = Path(scratch) / "train.jsonl"
        train.write_text("".join(json.dumps(row) + "\n" for row in labelled))
        folder = Path(os.environ.get("BENCH_KEEP", scratch)) / "mwpd"
        arguments = [
            "--from", str(train), "--holdout", str(source / "test.jsonl"),
            "--input", ",".join(FIELDS), "--target", ",".join(LEVELS),
        ]  # fmt: skip
        loop = run(folder, arguments)
        found = rungs(folder)
        about = facts(folder)
        peer, peer_s = untuned_svm(labelled, read(source / "test.jsonl"))
    name = "weighted_f1_mean_of_levels"
    rows = [
        (r.name, f"{r.validation:.4f}", f"{r.test['accuracy']:.4f}",
         *(f"{r.test[f'weighted_f1_level_{level}']:.4f}" for level in (1, 2, 3)), f"{r.test[name]:.4f}",
         f"{r.fit_s:.0f}", f"{r.rows_per_s:.0f}", f"{r.size_bytes / 1e6:.1f}")
        for r in found
    ]  # fmt: skip
    rows.append(
        (
            "untuned linear SVM per level (peer, same run)",
            "",
            "",
            "",
            "",
            "",
            f"{peer:.4f}",
            f"{peer_s:.0f}",
            "",
            "",
        )
    )
    rows += [(title, "", "", "", "", "", f"{value:.4f}", "", "", "") for title, value in PUBLISHED.items()]
    table(
        rows,
        (
            "rung",
            "validation acc",
            "test acc",
            "wF1 1",
            "wF1 2",
            "wF1 3",
            "mean wF1",
            "tuning s",
            "rows/s",
            "MB",
        ),
    )
    best = max(found, key=lambda r: r.validation)
    figures = {
        "best_on_validation": best.name,
        "rungs": {r.name: {"validation_accuracy": r.validation, "test": r.test, "tuning_s": r.fit_s,
                           "rows_per_s": r.rows_per_s, "size_bytes": r.size_bytes} for r in found},
        "untuned_svm": peer, "published": PUBLISHED, "run_s": loop.seconds, "peak_bytes": loop.peak_bytes, **about,
    }  # fmt: skip
    value = best.test[name]
    emit(
        "mwpd",
        figures,
        {
            "mean weighted F1 of the rung best on validation": (round(value, 4), F1_GOAL, value >= F1_GOAL),
            "seconds from JSONL to report": (
                round(loop.seconds, 1),
                SECONDS_GOAL,
                loop.seconds < SECONDS_GOAL,
            ),
            "peak memory, bytes": (loop.peak_bytes, BYTES_GOAL, loop.peak_bytes < BYTES_GOAL),
        },
    )


if __name__ == "__main__":
    main()
