"""Write and verify an evidence pack of 5,000 holdout rows x 6 candidates; then damage and forge it.

The workspace is SYNTHETIC: labels, answers and confidences are drawn from a generator, speeds are made up, and the
"linear" and "encoder" candidates were never fitted. Store, records, roster, comparison, cost and report are the real
ones, because the pack is what is measured here.

Damage: one bit of one byte, at random places of the pack and in every file and header of it. Detected = reported;
attributed = the file that holds the byte is named, and no other. Forgery: one number changed in one file, and the
pack sealed again, so that every checksum is right and only recomputing shows it.
"""

import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from _common import SMALL, emit, table
from offramp import rows as row_tables
from offramp import views
from offramp.curate import ledger
from offramp.curate.settings import SPLIT_SCHEMA
from offramp.errors import OfframpError
from offramp.pack import container, verify_pack, write_pack
from offramp.pack.manifest import Manifest
from offramp.settings import Settings, resolve
from offramp.store import write_table
from offramp.types import Candidate, Dataset, EvalRun, Task, TrainingRun, content_id
from offramp.workspace import Workspace

HOLDOUT = 300 if SMALL else 5000
OTHER = 100 if SMALL else 1000
RANDOM_PLACES = 60 if SMALL else 400
ACCURACY = {
    "incumbent": 0.93,
    "human_1": 0.95,
    "human_2": 0.92,
    "human_3": 0.9,
    "linear": 0.925,
    "encoder": 0.935,
}
RECORDED = ("incumbent", "human_1", "human_2", "human_3")


class Made(Workspace):
    """A workspace whose data was made and not read."""

    def curate(self, raw: Dataset | None = None) -> Dataset:
        """Return the made dataset."""
        return self.store.get(self.store.named("data") or "", Dataset)


def settings() -> Settings:
    """Return the settings of the synthetic workspace."""
    content = {
        "name": "synthetic",
        "ladder": {"rungs": ["linear"]},
        "data": {"simulated": RECORDED},
        "cost": {"requests_per_month": 1_000_000, "incumbent_model": "gpt-4o", "provider": "openai"},
    }
    return resolve(content, overrides=None, where="the benchmark")


def fill(ws: Workspace, random: np.random.Generator) -> None:
    """Put synthetic rows, candidates, answers and claims into the store."""
    labels = [f"branch {i} > leaf {j}" for i in range(8) for j in range(6)]
    n = HOLDOUT + OTHER
    targets = random.integers(len(labels), size=n)
    said = {}
    for who, share in ACCURACY.items():
        other = random.integers(len(labels), size=n)
        said[who] = np.where(random.random(n) < share, targets, other)
    words = np.array([f"word{i}" for i in range(3000)])
    texts = [" ".join(row) for row in words[random.integers(3000, size=(n, 24))]]
    ids = [f"{i:024x}" for i in range(n)]
    rows = pa.table(
        {"id": ids, "field.text": texts}
        | {f"answer.{who}": [labels[i] for i in said[who]] for who in RECORDED}
        | {"target": [labels[i] for i in targets], "input_tokens": random.normal(900, 50, n).round()}
        | {"output_tokens": random.normal(12, 1, n).round(), "line": list(range(1, n + 1))}
    )
    data = datasets(ws, rows, Task(name="synthetic", inputs=("text",), target="label", levels=2,
                                   labels=tuple(sorted(labels)), simulated=RECORDED))  # fmt: skip
    for who in RECORDED:
        candidate = next(c for c in ws.roster.recorded(data) if c.name == who)
        ws.evaluate(candidate, data)
    for name in ("linear", "encoder"):
        answered(ws, data, name, [labels[i] for i in said[name][:HOLDOUT]], random)
    chosen = ws.store.get(ws.store.named("chosen") or "", Candidate)
    ws.verdict(chosen, on=data)
    ws.cost(chosen)


def datasets(ws: Workspace, rows: pa.Table, task: Task) -> Dataset:
    """Keep the rows as a raw and a curated dataset whose ledger is empty."""
    n = rows.num_rows
    splits = ["holdout"] * HOLDOUT + ["validation"] * (OTHER // 2) + ["train"] * (OTHER - OTHER // 2)
    lines = ledger.table([])
    raw_id = ws.records.id("dataset", "ingest", (), {"synthetic": True})
    folder = ws.store.workdir(raw_id)
    write_table(rows, folder / "rows.parquet")
    write_table(pa.table({"line": pa.array([], pa.int64()), "reason": pa.array([], pa.string())}),
                folder / "rejects.parquet")  # fmt: skip
    common: dict[str, Any] = {"task": task, "rows": n}
    ws.store.add(Dataset(id=raw_id, stage="raw", counts={"read": n}, data_hash=views.table_hash(rows),
                         made_by=ws.records.made_by({"synthetic": True}), **common))  # fmt: skip
    data_id = ws.records.id("dataset", "curate", (raw_id,), {"synthetic": True})
    split_table = pa.table(
        {"id": rows.column("id"), "split": splits, "family": rows.column("id"), "weight": [1] * n},
        schema=SPLIT_SCHEMA,
    )
    folder = ws.store.workdir(data_id)
    write_table(lines, folder / "ledger.parquet")
    write_table(split_table, folder / "splits.parquet")
    view = views.view(rows, lines, split_table)
    counts = ledger.counts(n, n, lines) | {
        name: splits.count(name) for name in ("train", "validation", "holdout")
    }
    data = ws.store.add(
        Dataset(id=data_id, stage="curated", counts=counts, data_hash=views.table_hash(view), parents=(raw_id,),
                made_by=ws.records.made_by({"synthetic": True}), **common)
    )  # fmt: skip
    ws.store.set_name("raw", raw_id)
    ws.store.set_name("data", data_id)
    return data


def answered(ws: Workspace, data: Dataset, name: str, said: list[str], random: np.random.Generator) -> None:
    """Keep a candidate that was never fitted, with drawn answers and confidences."""
    config = {"rung": name, "synthetic": True}
    made_by = ws.records.made_by(config)
    candidate_id = ws.records.id("candidate", "fit", (data.id,), config)
    ws.store.add(TrainingRun(id=content_id("trainingrun", candidate_id), candidate=candidate_id, duration_s=60.0,
                             parents=(data.id,), made_by=made_by))  # fmt: skip
    ws.store.add(Candidate(id=candidate_id, name=name, title=f"{name} (synthetic)", engine=name, rung=1,
                           size_bytes=1_000_000, parents=(data.id,), made_by=made_by))  # fmt: skip
    run_id = ws.records.id("evalrun", "evaluate", (candidate_id, data.id), {"split": "holdout"})
    ids = row_tables.ids(ws.rows(data, "holdout"))
    answers = row_tables.answer_table(ids, said, confidence=random.beta(8, 1, len(ids)))
    write_table(answers, ws.store.workdir(run_id) / "answers.parquet")
    ws.store.add(EvalRun(id=run_id, candidate=candidate_id, dataset=data.id, split="holdout", rows=len(ids),
                         rows_per_s=2000.0, latency_p50_s=0.002, latency_p95_s=0.003, machine="synthetic, 2 cores",
                         parents=(candidate_id, data.id),
                         made_by=ws.records.made_by({"split": "holdout"})))  # fmt: skip
    ws.store.set_name("chosen", candidate_id)


def places(data: bytes, random: np.random.Generator) -> Iterator[tuple[int, str]]:
    """Yield (byte, file that holds it, "" for the zip's own) to damage: random ones, then some in every file."""
    with zipfile.ZipFile(BytesIO(data)) as zipped:
        spans = [(i.header_offset, i.header_offset + 30 + len(i.filename), i.file_size, i.filename)
                 for i in zipped.infolist()]  # fmt: skip
    for at in random.integers(len(data), size=RANDOM_PLACES).tolist():
        yield at, next((name for head, start, size, name in spans if head <= at < start + size), "")
    for head, start, size, name in spans:
        yield int(random.integers(head, start)), name
        if size:  # an empty file has no byte to change
            yield int(random.integers(start, start + size)), name
    behind = max(start + size for _, start, size, _ in spans)
    for at in random.integers(behind, len(data), size=RANDOM_PLACES // 4).tolist():
        yield at, ""


def damage(path: Path, random: np.random.Generator) -> dict[str, Any]:
    """Flip one bit at each place and count what was detected, and named rightly."""
    data, broken = path.read_bytes(), path.with_name("broken.zip")
    tried = detected = attributed = in_files = 0
    slow = 0.0
    names = set()
    for at, name in places(data, random):
        changed = bytearray(data)
        changed[at] ^= 1 << int(random.integers(8))
        broken.write_bytes(changed)
        began = time.perf_counter()
        # Headers concern no content, so the whole recomputing would run for each; the bytes are what is tested here.
        try:
            faults = container.read(broken.read_bytes()).faults
            named = {fault.file for fault in faults}
        except OfframpError:
            faults, named = (container.Fault("", "unreadable"),), set()
        slow = max(slow, time.perf_counter() - began)
        tried += 1
        detected += bool(faults)
        names |= {name} - {""}
        in_files += name != ""
        attributed += name != "" and named == {name}
    return {"damaged": tried, "detected": detected, "in_files": in_files, "attributed": attributed,
            "files_damaged": len(names), "slowest_check_s": round(slow, 3)}  # fmt: skip


def forgeries(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield (what was forged, files) with one claim changed each."""
    with zipfile.ZipFile(path) as zipped:
        files = {name: zipped.read(name) for name in zipped.namelist() if name != "manifest.json"}
    verdict = next(name for name in files if name.startswith("records/verdict"))
    cost = next(name for name in files if name.startswith("records/costreport"))
    answers = next(name for name in files if name.endswith("answers.parquet"))
    scores = next(name for name in files if name.startswith("scores/"))

    def changed(name: str, change: Any) -> dict[str, bytes]:
        body = json.loads(files[name])
        change(body)
        return files | {name: json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()}

    def nudged(name: str, column: str, value: Any) -> dict[str, bytes]:
        found = pq.read_table(BytesIO(files[name]))
        values = [value, *found.column(column).to_pylist()[1:]]
        where = found.column_names.index(column)
        sink = BytesIO()
        pq.write_table(found.set_column(where, column, pa.array(values, found.column(column).type)), sink)
        return files | {name: sink.getvalue()}

    yield "verdict: the outcome", changed(verdict, lambda b: b["body"].update(outcome="better"))
    yield "verdict: an interval's end", changed(verdict, lambda b: b["body"]["bars"][0].update(low=-0.001))
    yield (
        "verdict: the margin",
        changed(verdict, lambda b: b["made_by"]["config"]["bars"][0].update(margin=0.05)),
    )
    yield "verdict: the holdout use", changed(verdict, lambda b: b.update(holdout_use=2))
    yield "cost: one option", changed(cost, lambda b: b["table"]["options"][0].update(usd_per_month="9999"))
    yield "cost: the saving", changed(cost, lambda b: b["table"].update(saved_usd_per_month="9999"))
    yield (
        "report: an accuracy",
        changed("report.json", lambda b: b["candidates"][0]["accuracy"].update(value=0.99)),
    )
    yield (
        "report: calibration",
        changed("report.json", lambda b: b["calibration"]["error"].update(value=0.001)),
    )
    yield (
        "summary: one metric",
        changed("summaries.json", lambda b: next(iter(b.values())).update(macro_f1=0.99)),
    )
    yield "one answer", nudged(answers, "text", "branch 0 > leaf 0 ")
    yield "one score", nudged(scores, "hierarchical_f1", 0.123)
    yield "one target", nudged("rows.parquet", "target", "branch 0 > leaf 0 ")
    page = files["report.html"].decode().replace("0.02", "0.03", 1).replace("2 pt", "3 pt", 1)
    yield "page: one digit", files | {"report.html": page.encode()}


def sealed(files: dict[str, bytes], version: str) -> bytes:
    """Return a pack with right checksums for these files."""
    entries = tuple(container.entry(name, files[name]) for name in sorted(files))
    return container.write(Manifest(format=1, offramp=version, texts=True, files=entries), files)[0]


def main() -> None:
    """Run it."""
    from offramp import __version__

    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pack.zip"
        with Made(Path(folder) / "ws", settings()) as ws:
            fill(ws, random)
            began, cpu = time.perf_counter(), time.process_time()
            write_pack(ws, path)
            wrote, wrote_cpu = time.perf_counter() - began, time.process_time() - cpu
            same = write_pack(ws, path.with_name("again.zip")).read_bytes() == path.read_bytes()
            private = write_pack(ws, path.with_name("private.zip"), texts=False)
        began, cpu = time.perf_counter(), time.process_time()
        report = verify_pack(path)
        checked, checked_cpu = time.perf_counter() - began, time.process_time() - cpu
        table([(c.name, c.ok, c.found[:90]) for c in report.checks], ("check", "holds", "found"))
        private_ok = verify_pack(private).ok
        hurt = damage(path, random)
        forged = []
        for what, files in forgeries(path):
            path.with_name("forged.zip").write_bytes(sealed(files, __version__))
            found = verify_pack(path.with_name("forged.zip"))
            forged.append((what, not found.ok, ", ".join(c.name for c in found.failed)))
        table(forged, ("forged", "caught", "by"))
        size = path.stat().st_size
    figures = {
        "rows": HOLDOUT, "candidates": len(ACCURACY), "size_bytes": size, "write_s": round(wrote, 2),
        "write_cpu_s": round(wrote_cpu, 2), "verify_s": round(checked, 2), "verify_cpu_s": round(checked_cpu, 2),
        **hurt, "forged": len(forged), "forged_caught": sum(caught for _, caught, _ in forged),
    }  # fmt: skip
    together = round(wrote + checked, 1)
    whole = hurt["damaged"] == hurt["detected"]
    emit("pack", figures, {
        "write and verify, seconds": (together, "< 60", together < 60),
        "the untouched pack holds, with and without texts": (f"{report.ok}, {private_ok}", "True, True",
                                                             report.ok and private_ok),
        "the same records give the same bytes": (same, True, same),
        "damaged bytes detected": (f"{hurt['detected']} of {hurt['damaged']}", "all", whole),
        "the damaged file named, and no other": (f"{hurt['attributed']} of {hurt['in_files']}", "all",
                                                 hurt["attributed"] == hurt["in_files"]),
        "forged and sealed again, caught": (f"{figures['forged_caught']} of {len(forged)}", "all",
                                            figures["forged_caught"] == len(forged)),
    })  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
