"""Gather what a report rests on into one zip: records, answers, row scores, settings, prices, versions, the page.

Guarantee: the same records give the same bytes (no clock, no random order), and the pack appears whole or not at all.
Trap: answers and labels are always in it, because every number is recomputed from them; `texts=False` leaves out
only what candidates read. Short texts can be guessed from their hashes.
"""

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from offramp import __version__, views
from offramp import rows as _rows
from offramp.curate.verdicts import Journal as Findings
from offramp.errors import DataError, StoreError, boundary
from offramp.evidence import collect
from offramp.evidence.card import pack_cards
from offramp.pack import container
from offramp.pack.manifest import FORMAT, Manifest
from offramp.pack.private import without_texts
from offramp.pack.used import FILES, names_of, used
from offramp.people import Journal
from offramp.report import ReportData, render
from offramp.roster import JUDGE
from offramp.settings import dump
from offramp.types import Candidate, CostReport, Dataset, EvalRun, Record, ScoreRun, Verdict, canonical_json

if TYPE_CHECKING:
    from offramp.workspace import Workspace

LIBRARIES = (
    *("numpy", "scipy", "pyarrow", "pydantic", "genai-prices", "jinja2", "scikit-learn"),
    *("torch", "transformers", "tokenizers", "peft", "sqlalchemy"),
)
"""Packages whose versions are written into a pack."""

README = """Evidence pack of Offramp. Check it with:

    pip install 'offramp=={version}'
    offramp verify THIS_FILE --sha256 DIGEST   # the digest that you were given on another way

report.html      what was claimed; report.json is the same in numbers
records/         what was made, by whom, from what: datasets, candidates, fits, evaluations, verdicts, costs
files/           {what} and every answer, with confidence and error
scores/          the score of every row, per evaluation and metric; summaries.json their means
rows.parquet     split, target, cluster, slice and SHA-256 of every row
card.md          data card of the curated rows, croissant.json for machines
holdout.json     each use of the holdout for a claim
settings.json    all settings, offramp.toml as it stands in a workspace; prompts.json what models were told
labels.jsonl     what people labelled in the workspace, curation.jsonl what they said about findings
prices.json      every price used, with source and date
environment.json versions of packages and the machine
manifest.json    SHA-256 and size of every file
"""


def write_pack(ws: "Workspace", path: str | Path, *, texts: bool = True) -> Path:
    """Write the evidence pack of what the workspace's report shows, and return its path.

    With `texts=False` the inputs of the rows are left out (field texts, prompts, notes that quote them, examples in
    the report, names of groups); everything but the hashes over them can still be recomputed.

    Raises:
        NotFoundError: nothing was curated yet.
        DataError: the pack would be too large.
        StoreError: it cannot be written.
    """
    files = gather(ws, texts=texts)
    entries = tuple(container.entry(name, files[name]) for name in sorted(files))
    manifest = Manifest(format=FORMAT, offramp=__version__, texts=texts, files=entries)
    data, _ = container.write(manifest, files)
    path = Path(path)
    with boundary(StoreError, f"writing {str(path)!r}; is the folder there, the disk full or read-only?"):
        beside = path.with_name(f".{path.name}.part")
        with beside.open("wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        beside.replace(path)
    return path


VERDICTS = "curation.jsonl"
"""The journal of what people said about findings; empty when nobody judged."""
LABELS = "labels.jsonl"
"""The journal of people's labels; empty when nobody labelled."""
FIXED = (
    LABELS,
    VERDICTS,
    *(
        "README.txt",
        "report.html",
        "report.json",
        "summaries.json",
        "rows.parquet",
        "names.json",
        "holdout.json",
        "card.md",
        "croissant.json",
    ),
    *("settings.json", "offramp.toml", "prompts.json", "prices.json", "environment.json"),
)
"""Files that every pack has, beside `records/`, `files/` and `scores/`."""


def gather(ws: "Workspace", *, texts: bool = True) -> dict[str, bytes]:
    """Return every file of the pack but the manifest, by name."""
    shown = collect(ws)  # makes what is missing, such as the evaluation of a baseline
    data = ws.store.get(ws.store.named("data") or "", Dataset)
    records = used(ws, data)
    runs = [record for record in records.values() if isinstance(record, EvalRun)]
    files = _kept_files(ws, records)
    if not texts:
        shown, records, files = without_texts(shown, records, files)
    # The page is of its records, not of the moment it was packed in.
    shown = shown.model_copy(update={"generated_at": max(record.created_at for record in records.values())})
    table = parquet(rows_of(ws, data, hashes=True))
    kept = next(one for one in records.values() if isinstance(one, Dataset) and one.id == data.id)
    files |= {f"records/{record_id}.json": _json(_plain(record)) for record_id, record in records.items()}
    for run in runs:
        files[f"scores/{run.id}.parquet"] = parquet(scores_of(ws, run))
    return files | {
        "README.txt": readme(__version__, texts=texts),
        "report.html": render(shown).encode(),
        "report.json": _json(_plain(shown)),
        "summaries.json": _json({run.id: ws.roster.summary(run) for run in runs if run.rows}),
        "rows.parquet": table,
        **pack_cards(ws.roster, kept, table, texts=texts),
        "names.json": _json(names_of(ws)),
        "holdout.json": _json(_holdout(ws, data)),
        "settings.json": _json(_plain(ws.settings)),
        "offramp.toml": dump(ws.settings).encode(),
        "prompts.json": _json(prompts_of(data, records)),
        "prices.json": _json(prices_of(records)),
        "environment.json": _json(_environment(shown, records)),
        LABELS: _journal(Journal.of(ws.path).path, ("note",), texts=texts),
        VERDICTS: _journal(Findings.of(ws.path).path, ("note", "before", "after"), texts=texts),
    }


def _journal(path: Path, quoting: Sequence[str], *, texts: bool) -> bytes:
    """Return a journal of people; what may quote a row goes with the inputs."""
    if not path.exists():
        return b""
    if texts:
        return path.read_bytes()
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError):  # a torn line counts for nobody
            line = json.loads(text)
            lines.append(line | {name: "" for name in quoting if line.get(name) is not None})
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def readme(writer: str, *, texts: bool) -> bytes:
    """Return `README.txt` of a pack."""
    what = "every row that was read" if texts else "rows without inputs"
    return README.format(version=writer, what=what).encode()


def seal(path: str | Path) -> str:
    """Return the SHA-256 of a pack's manifest, to be handed to an auditor on another way than the pack.

    Raises:
        DataError: it is no pack.
        StoreError: it cannot be read.
    """
    with boundary(StoreError, f"reading {str(path)!r}"):
        data = Path(path).read_bytes()
    return container.read(data).sha256


def scores_of(ws: "Workspace", run: EvalRun) -> pa.Table:
    """Return the score of every row on every row metric of the task; null = not scored."""
    columns: dict[str, pa.Array] = {}
    bars = [bar.metric for bar in ws.settings.verdict.bars if not bar.metric.startswith(JUDGE)]
    for name in {**ws.roster.summary(run), **dict.fromkeys(bars)} if run.rows else ():
        with suppress(DataError):  # a metric of the whole set, such as macro F1, has no row scores
            columns[name] = pa.array(ws.roster.scores(run, name), pa.float64(), from_pandas=True)
    return pa.table({"id": ws.roster.answers(run).column("id"), **columns})


def rows_of(ws: "Workspace", data: Dataset, *, hashes: bool) -> pa.Table:
    """Return what comparisons need of every row: split, target, cluster and slice; and the hash of the whole row."""
    rows, holdout = ws.roster.view(data), ws.rows(data, "holdout")
    groups = views.clusters(holdout)
    numbers: dict[str, int] = {}
    codes = [] if groups is None else [numbers.setdefault(group, len(numbers)) for group in groups]
    cluster = dict(zip(_rows.ids(holdout), codes, strict=False))
    slices = {row: name for name, members in views.slices(holdout, data.task).items() for row in members}
    ids = _rows.ids(rows)
    found = {
        "id": pa.array(ids, pa.string()),
        "split": rows.column("split"),
        "target": rows.column("target"),
        "cluster": pa.array([cluster.get(row) for row in ids], pa.int64()),
        "slice": pa.array([slices.get(row) for row in ids], pa.string()),
    }
    return pa.table(found | ({"sha256": pa.array(row_hashes(rows), pa.string())} if hashes else {}))


def row_hashes(rows: pa.Table) -> list[str]:
    """Return the SHA-256 of each row: its columns by name as canonical JSON, empty ones left out."""
    return [
        hashlib.sha256(
            canonical_json({k: _cell(v) for k, v in row.items() if v is not None}).encode()
        ).hexdigest()
        for row in rows.to_pylist()
    ]


def _cell(value: Any) -> Any:
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value if isinstance(value, bool | int | float | str) else str(value)


def prices_of(records: Mapping[str, Record]) -> list[dict[str, Any]]:
    """Return every price line that the cost reports used, once each."""
    lines: dict[str, dict[str, Any]] = {}
    for record in records.values():
        if isinstance(record, CostReport):
            for option in record.table["options"]:
                lines |= {canonical_json(line): line for line in option["prices"]}
    return [lines[key] for key in sorted(lines)]


def parquet(table: pa.Table) -> bytes:
    """Return a table as Parquet, compressed."""
    sink = BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _kept_files(ws: "Workspace", records: dict[str, Record]) -> dict[str, bytes]:
    """Read the tables that records came with; models are not evidence and stay where they are."""
    found = {}
    for record_id, record in records.items():
        folder = ws.store.folder(record_id)
        if record.kind in FILES and folder.is_dir():
            for file in sorted(p for p in folder.iterdir() if p.is_file()):
                with boundary(StoreError, f"reading {str(file)!r}"):
                    found[f"files/{record_id}/{file.name}"] = file.read_bytes()
    return found


def _holdout(ws: "Workspace", data: Dataset) -> dict[str, Any]:
    key = views.ids_hash(ws.rows(data, "holdout"))
    uses = [
        {"claim": claim, "what": what, "at": at.isoformat()} for claim, what, at in ws.store.holdout_uses(key)
    ]
    return {"ids_sha256": key, "uses": uses}


def prompts_of(data: Dataset, records: Mapping[str, Record]) -> dict[str, Any]:
    """Return what models and judges were told: the task, each candidate's parameters, each rubric."""
    task = data.task
    told = {"instruction": task.instruction, "labels": list(task.labels), "answer_schema": task.answer_schema}
    candidates = {r.id: dict(r.params) for r in records.values() if isinstance(r, Candidate)}
    rubrics = {r.id: dict(r.rubric) for r in records.values() if isinstance(r, ScoreRun)}
    return {"task": told, "candidates": candidates, "rubrics": rubrics}


def _environment(shown: ReportData, records: dict[str, Record]) -> dict[str, Any]:
    versions = {"offramp": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    machines = {r.machine for r in records.values() if isinstance(r, EvalRun) and r.machine}
    return {
        "versions": versions,
        "platform": platform.platform(),
        "machines": sorted(machines),
        "seeds": sorted({record.made_by.seed for record in records.values()}),
        "made_with": sorted({record.made_by.version for record in records.values()}),
        "written": shown.generated_at.isoformat(),
        "claims": sorted(r.id for r in records.values() if isinstance(r, Verdict)),
    }


def _json(value: Any) -> bytes:
    """Write JSON in one form: no spaces, no NaN, and the order that records have, which tables on the page show."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json")
