"""Banking77 from CSV to report on a CPU: accuracy of every rung on the published test split, time and memory.

Every choice is made on validation rows split off the published training set; the test split is the holdout. The
headline is the rung that is best on validation.
"""

import os
import tempfile
from pathlib import Path

from _common import SMALL, data_dir, emit, table
from _loop import facts, run, rungs

ACCURACY_GOAL = 0.94
SECONDS_GOAL = 360
BYTES_GOAL = 3e9


def main() -> None:
    """Run and report."""
    source = data_dir() / "banking77"
    with tempfile.TemporaryDirectory() as scratch:
        train = source / "train.csv"
        if SMALL:
            lines = train.read_text().splitlines(keepends=True)
            train = Path(scratch) / "train.csv"
            train.write_text("".join([lines[0], *lines[1::8]]))
        folder = Path(os.environ.get("BENCH_KEEP", scratch)) / "banking77"
        arguments = [
            "--from",
            str(train),
            "--holdout",
            str(source / "test.csv"),
            "--input",
            "text",
            "--target",
            "category",
        ]
        loop = run(folder, arguments)
        found = rungs(folder)
        about = facts(folder)
    rows = [
        (
            r.name,
            f"{r.validation:.4f}",
            f"{r.test['accuracy']:.4f}",
            f"{r.test['macro_f1']:.4f}",
            f"{r.fit_s:.1f}",
            f"{r.rows_per_s:.0f}",
            f"{r.size_bytes / 1e6:.1f}",
        )
        for r in found
    ]
    table(rows, ("rung", "validation acc", "test acc", "test macro F1", "tuning s", "rows/s", "MB"))
    best = max(found, key=lambda r: r.validation)
    figures = {
        "best_on_validation": best.name,
        "rungs": {r.name: {"validation_accuracy": r.validation, "test_accuracy": r.test["accuracy"],
                           "test_macro_f1": r.test["macro_f1"], "tuning_s": r.fit_s, "rows_per_s": r.rows_per_s,
                           "size_bytes": r.size_bytes} for r in found},
        "run_s": loop.seconds, "peak_bytes": loop.peak_bytes, **about,
    }  # fmt: skip
    accuracy = best.test["accuracy"]
    emit(
        "banking77",
        figures,
        {
            "test accuracy of the rung best on validation": (
                round(accuracy, 4),
                ACCURACY_GOAL,
                accuracy >= ACCURACY_GOAL,
            ),
            "seconds from CSV to report": (round(loop.seconds, 1), SECONDS_GOAL, loop.seconds < SECONDS_GOAL),
            "peak memory, bytes": (loop.peak_bytes, BYTES_GOAL, loop.peak_bytes < BYTES_GOAL),
        },
    )


if __name__ == "__main__":
    main()
