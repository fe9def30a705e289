"""A workspace of hand-made records, without any training: rows, an incumbent, a candidate and what both answered."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from offramp import rows
from offramp.records import Records
from offramp.roster import Roster
from offramp.settings import resolve
from offramp.store import Store, write_table
from offramp.types import Candidate, Dataset, EvalRun, MadeBy, Task, Verdict

LABELS = ("delivery", "login", "refund")
TASK = Task(name="triage", inputs=("text",), target="label", labels=LABELS)
MADE = MadeBy(version="0")


def roster(folder: Path, *, validation: int = 400, **settings: Any) -> Roster:
    """A roster over `validation` validation rows and 60 of the holdout, nothing of it evaluated yet."""
    content = {
        "name": "triage",
        "data": {"sources": ["x.jsonl"], "mapping": {"inputs": ["text"], "target": ["label"]}},
        **settings,
    }
    store = Store(folder)
    given = resolve(content, overrides=None, where="a test")
    made = Roster(Records(store, seed=0), given, path=folder, progress=lambda *_: None)
    splits = ["validation"] * validation + ["holdout"] * 60
    wanted = [LABELS[n % 3] for n in range(len(splits))]
    made._views["dataset-1"] = pa.table(
        {
            "id": [f"row-{n}" for n in range(len(splits))],
            "field.text": [f"ticket {n}" for n in range(len(splits))],
            "target": wanted,
            "split": splits,
            # Wrong on every tenth row.
            "answer.incumbent": [
                "refund" if n % 10 == 3 else label
                for n, label in zip(range(len(splits)), wanted, strict=True)
            ],
        }
    )
    counts = {"validation": validation, "holdout": 60}
    fields = {"id": "dataset-1", "stage": "raw", "task": TASK, "rows": len(splits), "data_hash": "0"}
    store.add(Dataset.model_validate({**fields, "counts": counts, "made_by": MADE}))
    return made


def data(of: Roster) -> Dataset:
    return of.records.store.get("dataset-1", Dataset)


def candidate(of: Roster, name: str = "linear", *, engine: str = "linear", **params: Any) -> Candidate:
    fields = {"id": f"candidate-{name}", "name": name, "title": name, "engine": engine, "rung": 2}
    made = {"params": params, "parents": ("dataset-1",), "made_by": MADE}
    return of.records.store.add(Candidate.model_validate({**fields, **made}))


def answered(
    of: Roster, who: Candidate, split: str, *, wrong: set[int], confidence: list[float] | None = None
) -> EvalRun:
    """Keep what a candidate said to a split: the wanted label but for the rows in `wrong`."""
    asked = of.rows(data(of), split)
    said = ["" if n in wrong else label for n, label in enumerate(rows.targets(asked))]
    record = of.records.id("evalrun", "evaluate", (who.id, "dataset-1"), {"split": split})
    table = rows.answer_table(rows.ids(asked), said, confidence=confidence)
    write_table(table, of.records.store.workdir(record) / "answers.parquet")
    fields = {
        "id": record,
        "candidate": who.id,
        "dataset": "dataset-1",
        "split": split,
        "rows": asked.num_rows,
    }
    return of.records.store.add(EvalRun.model_validate({**fields, "made_by": MADE}))


def judged(of: Roster, who: Candidate, outcome: str) -> Verdict:
    """Keep a verdict on a candidate."""
    number = len(of.records.store.all(Verdict))
    fields = {"id": f"verdict-{number}", "candidate": who.id, "reference": None, "dataset": "dataset-1"}
    body = {"outcome": outcome, "sentence": "as told", "bars": ()}
    made = {"holdout_use": number + 1, "body": body, "made_by": MADE}
    return of.records.store.add(Verdict.model_validate({**fields, **made}))
