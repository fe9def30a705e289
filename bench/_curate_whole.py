"""The whole of `curate` on public data as it is: what it touches, and whether its splits are apart.

What is touched counts every row that a rule took out or edited, cleaning of inputs and forms of labels apart. Public
data holds true duplicates and contradictions of its own; equal texts are therefore counted apart as well. Leakage is
looked for by counting shared pieces anew over the finished splits, and by the certificate.
"""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from _common import SMALL, table
from offramp import rows as row_tables
from offramp.curate import CurateSettings, Encoders, apply, clean, curate, duplicates, labels
from offramp.curate.lexical import LexicalThresholds, survey
from offramp.embed import Embedder
from offramp.embed.static import StaticEmbedder
from offramp.types import Task

ROWS = 1_000 if SMALL else 20_000
SETS = ("banking77", "clinc150", "mwpd", "mts_dialog", "ag_news")
EQUAL = {duplicates.EXACT, duplicates.CONFLICT}
"""Rules that act on equal texts only."""
SERVED = {clean.RULE, labels.FORM}
"""Edits that serving makes too."""


def measure(
    folder: Path, *, cache: Path | None = None
) -> tuple[dict[str, Any], dict[str, tuple[Any, Any, bool]]]:
    """Return what was touched and what leaked, per data set."""
    encoders = Encoders(Embedder.load(), StaticEmbedder.load(cache=cache))
    figures: dict[str, Any] = {}
    for name in SETS:
        rows = _read(folder, name)
        task = Task(name=name, inputs=tuple(row_tables.fields(rows)), target="label")
        done = curate(rows, task=task, settings=CurateSettings(), encoders=encoders, seed=1)
        lines = done.ledger.to_pylist()
        touched = {line["row"] for line in lines if line["rule"] not in SERVED}
        strange = {line["row"] for line in lines if line["rule"] not in SERVED | EQUAL}
        figures[name] = {
            "rows": rows.num_rows,
            "touched": len(touched) / rows.num_rows,
            "touched, but for equal texts": len(strange) / rows.num_rows,
            "rules": {key: n for key, n in done.counts.items() if key.startswith("rule.")},
            "leaks": _leaks(apply(rows, done.ledger), done.splits),
            "straddling": done.certificate.straddling,
            "near_pairs": done.certificate.near_pairs,
            "largest_family": done.certificate.largest_family,
            "largest_likeness": done.certificate.largest_likeness,
            "for people": {rule.as_py(): n.as_py() for rule, n in
                           (one.values() for one in pc.value_counts(done.findings.column("rule")))},
        }  # fmt: skip
    shown = [
        (name, one["rows"], one["touched"], one["touched, but for equal texts"], one["leaks"], one["straddling"],
         one["largest_family"], ", ".join(f"{k.removeprefix('rule.')} {n}" for k, n in one["rules"].items()))
        for name, one in figures.items()
    ]  # fmt: skip
    table(
        shown,
        ("data", "rows", "touched", "not equal", "leaking pairs", "straddling", "largest family", "rules"),
    )
    rows_in = sum(one["rows"] for one in figures.values())
    mean = sum(one["touched, but for equal texts"] * one["rows"] for one in figures.values()) / rows_in
    leaks = sum(one["leaks"] + one["straddling"] for one in figures.values())
    return figures, {
        "clean control, rows touched but for equal texts": (round(mean, 5), "<= 0.005", mean <= 0.005),
        f"pairs of one family across splits, {len(SETS)} data sets": (leaks, "0", leaks == 0),
    }


def _leaks(view: pa.Table, splits: pa.Table) -> int:
    """Return the pairs of rows of different splits that share so much text that they are one family."""
    if "split" in view.column_names:
        view = view.drop_columns(["split"])
    placed = row_tables.take(splits, row_tables.ids(view)).column("split").to_pylist()
    # Where one template made many rows the family starts at a stricter likeness, so only copies count everywhere.
    seen = survey([view], thresholds=LexicalThresholds())
    return sum(placed[a] != placed[b] and like >= 0.9 for a, b, like in seen.pairs.rows())


def _read(folder: Path, name: str) -> pa.Table:
    pairs: list[tuple[dict[str, str], str]] = []
    if name == "banking77":
        for part in ("train", "test"):
            with (folder / name / f"{part}.csv").open(encoding="utf-8", newline="") as file:
                pairs += [({"text": row["text"]}, row["category"]) for row in csv.DictReader(file)]
    elif name == "clinc150":
        whole = json.loads((folder / name / "data_full.json").read_text(encoding="utf-8"))
        pairs = [({"text": text}, label) for part in ("train", "val", "test") for text, label in whole[part]]
    elif name == "mwpd":
        for part in ("train", "validation", "test"):
            with (folder / "mwpd2020_product_gpc" / f"{part}.jsonl").open(encoding="utf-8") as file:
                for line in file:
                    row = json.loads(line)
                    fields = {
                        key.lower(): str(row[key] or "") for key in ("Name", "Description", "CategoryText")
                    }
                    levels = [str(row[f"lvl{level}"]) for level in (1, 2, 3)]
                    pairs.append((fields, " > ".join(levels)))
    elif name == "mts_dialog":
        for part in (
            "TrainingSet",
            "ValidationSet",
            "TestSet-1-MEDIQA-Chat-2023",
            "TestSet-2-MEDIQA-Sum-2023",
        ):
            with (folder / name / f"MTS-Dialog-{part}.csv").open(encoding="utf-8", newline="") as file:
                pairs += [({"text": row["dialogue"]}, row["section_header"]) for row in csv.DictReader(file)]
    else:
        with (folder / "noisy_ag_news" / "test_clean.csv").open(encoding="utf-8", newline="") as file:
            pairs = [({"text": row["text"]}, row["gt"]) for row in csv.DictReader(file)]
    pairs = [pair for pair in pairs if any(text.strip() for text in pair[0].values())][:ROWS]
    columns: dict[str, list[str]] = {"id": [f"r{i:06d}" for i in range(len(pairs))]}
    for field in pairs[0][0]:
        columns[f"field.{field}"] = [fields.get(field, "") for fields, _ in pairs]
    return pa.table({**columns, "target": [label for _, label in pairs]})
