"""What is recomputed from a pack, one function per kind of number; each yields what was asked and what was found.

Everything is computed by the code that made it the first time, on a workspace made again from the pack's records and
answers. Trap: a check that cannot be made (texts left out, other prices installed) is `ok=None` and says why; it is
never counted as passed.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offramp import __version__, claims, views
from offramp import rows as _rows
from offramp.evidence import collect
from offramp.evidence.card import pack_cards
from offramp.metrics import EMBEDDED
from offramp.pack.cost import checked_option, recomputed_table
from offramp.pack.private import report_without_texts
from offramp.pack.rebuild import table
from offramp.pack.strict import differences, parsed
from offramp.pack.write import FIXED, prices_of, prompts_of, readme, row_hashes, rows_of, scores_of
from offramp.records import RECIPES
from offramp.report import ReportData, render
from offramp.report.text import clean
from offramp.settings import dump
from offramp.store import read_table
from offramp.types import (
    Bar,
    CostReport,
    Dataset,
    EvalRun,
    Frozen,
    Record,
    TrainingRun,
    Verdict,
    VerdictBody,
    content_id,
)
from offramp.workspace import Workspace

SHOWN = 5
"""So many differences are told of each check."""
_STAGES = {"candidate": "fit", "evalrun": "evaluate", "verdict": "verdict", "costreport": "cost"}


class Check(Frozen):
    """One thing that was checked."""

    name: str
    """What was checked."""
    ok: bool | None
    """Whether it holds; `None` = it could not be checked, `found` says why."""
    asked: str
    """What the pack says, or what must hold."""
    found: str
    """What was found."""
    file: str = ""
    """The file of the pack that is concerned."""


@dataclass(frozen=True)
class Pack:
    """A whole pack and the workspace made again from it."""

    ws: Workspace
    """It can look and cannot make."""
    files: Mapping[str, bytes]
    """Content by name."""
    texts: bool
    """Whether the inputs of the rows are in it."""
    writer: str
    """Version of Offramp that wrote it."""
    versions: Mapping[str, str]
    """Packages at that time."""

    def json(self, name: str) -> Any:
        """Return the JSON of a file."""
        return parsed(name, self.files.get(name, b""))

    @property
    def data(self) -> Dataset:
        """The dataset that the report is about."""
        return self.ws.store.get(self.ws.store.named("data") or "", Dataset)

    @property
    def runs(self) -> list[EvalRun]:
        """Every evaluation in the pack."""
        return self.ws.store.all(EvalRun)


def _outcome(name: str, wrong: Sequence[str], good: str, *, file: str = "", asked: str = "") -> Check:
    """Return a check that holds when nothing is wrong."""
    more = f" … and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    return Check(
        name=name,
        ok=not wrong,
        asked=asked or "as packed",
        found="; ".join(wrong[:SHOWN]) + more if wrong else good,
        file=file if wrong else "",
    )


def contents(pack: Pack) -> Iterator[Check]:
    """Look whether the pack holds what packs hold and no more, and whether its plain texts say what its records say."""
    ws = pack.ws
    records = {record.id: record for record in ws.show()}
    asked = {
        *FIXED,
        *(f"records/{one}.json" for one in records),
        *(f"scores/{run.id}.parquet" for run in pack.runs),
    }
    found = {name for name in pack.files if not name.startswith("files/")}
    wrong = [f"{name} is missing" for name in sorted(asked - found)]
    wrong += [f"{name} belongs to nothing" for name in sorted(found - asked)]
    if pack.files.get("offramp.toml") != dump(ws.settings).encode():
        wrong.append("offramp.toml is not what settings.json says")
    if pack.files.get("README.txt") != readme(pack.writer, texts=pack.texts) and pack.writer == __version__:
        wrong.append("README.txt is another text")
    cards = pack_cards(ws.roster, pack.data, pack.files.get("rows.parquet", b""), texts=pack.texts)
    if pack.writer == __version__:
        wrong += [f"{name} is another text" for name, text in cards.items() if pack.files.get(name) != text]
    wrong += differences(
        pack.json("prompts.json"), json.loads(json.dumps(prompts_of(pack.data, records))), "prompts"
    )
    yield _outcome("contents", wrong, f"{len(records)} records, {len(pack.files)} files")


def ids(pack: Pack) -> Iterator[Check]:
    """Recompute the id of every record from what it was made from, and look for its parents."""
    records = pack.ws.show()
    known = {record.id for record in records}
    wrong, skipped, good = [], [], 0
    for record in records:
        wanted = _wanted_ids(record)
        missing = [parent for parent in record.parents if parent not in known]
        if missing:
            wrong.append(f"{record.id}: its parent {missing[0]} is missing")
        elif not wanted:
            skipped.append(record.kind)
        elif record.id not in wanted:
            wrong.append(f"{record.id} should be {wanted[0]}")
        else:
            good += 1
    note = f", {len(skipped)} not recomputed ({', '.join(sorted(set(skipped)))})" if skipped else ""
    yield _outcome("record ids", wrong, f"{good} ids follow from what the records were made from{note}")


def _wanted_ids(record: Record) -> list[str]:
    """Return the ids that a record may have; empty when its kind does not tell."""
    stage = _STAGES.get(record.kind)
    if isinstance(record, Dataset):
        stage = "ingest" if record.stage == "raw" else "curate"
    if isinstance(record, TrainingRun):
        stage = "fit"
    if stage is None:
        return []
    content = {
        "stage": stage,
        "recipe": RECIPES[stage],
        "parents": list(record.parents),
        "config": dict(record.made_by.config),
        "seed": record.made_by.seed,
    }
    found = [content_id(record.kind, content)]
    # A fit is named after the candidate it made; the climb, like other records, after what went into it.
    return [content_id(record.kind, record.candidate), *found] if isinstance(record, TrainingRun) else found


def rows(pack: Pack) -> Iterator[Check]:
    """Recompute hashes, splits, targets, clusters and slices of the rows."""
    data, ws = pack.data, pack.ws
    kept, again = table("rows.parquet", pack.files.get("rows.parquet", b"")), rows_of(ws, data, hashes=False)
    wrong = [
        f"column {name!r} differs"
        for name in again.column_names
        if name not in kept.column_names or kept.column(name).to_pylist() != again.column(name).to_pylist()
    ]
    good = f"{again.num_rows:,} rows: splits, targets, clusters, slices"
    yield _outcome("rows", wrong, good, file="rows.parquet")
    key = views.ids_hash(ws.rows(data, "holdout"))
    listed = pack.json("holdout.json")["ids_sha256"]
    yield _outcome(
        "holdout rows", [] if key == listed else [f"{key} recomputed"], key[:16], asked=str(listed)[:16]
    )
    if not pack.texts:
        left = "not recomputed: inputs were left out; compare rows.parquet with your own data"
        yield Check(name="data hash", ok=None, asked=data.data_hash[:16], found=left)
        return
    hashes = row_hashes(ws.roster.view(data))
    wrong_rows = [i for i, pair in enumerate(zip(kept.column("sha256").to_pylist(), hashes, strict=True))
                  if pair[0] != pair[1]]  # fmt: skip
    message = (
        [f"{len(wrong_rows)} rows have another hash, the first is row {wrong_rows[0]}"] if wrong_rows else []
    )
    yield _outcome("row hashes", message, f"{len(hashes):,} recomputed", file="rows.parquet")
    for record in ws.store.all(Dataset):
        found = views.table_hash(ws.roster.view(record))
        name = f"data hash of the {record.stage} rows"
        wrong = [] if found == record.data_hash else [f"{found[:16]} recomputed"]
        yield _outcome(name, wrong, found[:16], asked=record.data_hash[:16], file=f"records/{record.id}.json")


def curation(pack: Pack) -> Iterator[Check]:
    """Count again what curation did and how rows were split."""
    from offramp.curate import ledger

    ws = pack.ws
    for data in ws.store.all(Dataset):
        if data.stage != "curated":
            continue
        raw, view = ws.rows(ws.store.get(data.parents[0], Dataset)), ws.rows(data)
        lines = read_table(ws.store.folder(data.id) / "ledger.parquet")
        again = dict(ledger.counts(raw.num_rows, view.num_rows, lines))
        again |= Counter(view.column("split").to_pylist())
        again |= {f"rule.{name}": count for name, count in ledger.by_rule(lines).items()}
        wrong = [
            f"{name} is {count}, recomputed {again[name]}"
            for name, count in data.counts.items()
            if name in again and again[name] != count
        ]
        wrong += [] if data.rows == view.num_rows else [f"rows is {data.rows}, recomputed {view.num_rows}"]
        wrong += _certificate(data, view)
        made = again.get("synthetic", 0)
        came, out = f"{again['in']:,} in", again["in"] + made - again["kept"]
        good = f"{came}{f' + {made:,} made' if made else ''} = {again['kept']:,} kept + {out:,} taken out"
        yield _outcome("curation", wrong, good, file=f"records/{data.id}.json")


def _certificate(data: Dataset, view: pa.Table) -> list[str]:
    """Return what of the split certificate does not follow from splits and targets."""
    said = data.details.get("certificate")
    if not said:
        return []
    splits, targets = view.column("split").to_pylist(), _rows.targets(view)
    trained = {t for t, s in zip(targets, splits, strict=True) if s == "train"}
    unseen = sorted({t for t, s in zip(targets, splits, strict=True) if s != "train"} - trained)
    families = Counter(view.column("family").to_pylist())
    if data.task.kind != "classify":
        unseen = []  # texts are no labels that training could have missed
    again = {
        "rows": {name: splits.count(name) for name in said["rows"]},
        "families": sum(size > 1 for size in families.values()),
        "largest_family": max(families.values(), default=0),
        "unseen_labels": unseen,
        "holdout_sha256": views.ids_hash(view.filter(pc.equal(view.column("split"), "holdout"))),
    }
    return [f"certificate: {text}" for text in differences({n: said.get(n) for n in again}, again)]


def answers(pack: Pack) -> Iterator[Check]:
    """Look whether every evaluation answered rows of its split, each once, and every row it had to."""
    wrong = []
    for run in pack.runs:
        data = pack.ws.store.get(run.dataset, Dataset)
        asked = _rows.ids(pack.ws.rows(data, run.split))
        found = _rows.ids(pack.ws.roster.answers(run))
        outside = set(found) - set(asked)
        if len(found) != run.rows or len(set(found)) != len(found) or outside:
            wrong.append(
                f"{run.id}: {len(found)} answers for {run.rows} rows, {len(outside)} not of its split"
            )
    good = f"{len(pack.runs)} evaluations, {sum(run.rows for run in pack.runs):,} answers"
    yield _outcome("answers", wrong, good)


def scores(pack: Pack) -> Iterator[Check]:
    """Score every answer again."""
    wrong, count, files = [], 0, []
    for run in pack.runs:
        name = f"scores/{run.id}.parquet"
        kept, again = table(name, pack.files.get(name, b"")), scores_of(pack.ws, run)
        columns = sorted({*kept.column_names, *again.column_names})
        bad = [column for column in columns if not _same_column(kept, again, column)]
        count += again.num_rows * (again.num_columns - 1)
        if bad:
            files.append(name)
            wrong.append(f"{name}: {', '.join(_where(kept, again, column) for column in bad)}")
    kept_as_packed = ", ".join(sorted(EMBEDDED))
    said = f"{count:,} scores recomputed; as packed, because encoders differ by processor: {kept_as_packed}"
    yield _outcome("row scores", wrong, said, file=", ".join(files[:SHOWN]))


def _same_column(kept: pa.Table, again: pa.Table, name: str) -> bool:
    if name not in kept.column_names or name not in again.column_names or kept.num_rows != again.num_rows:
        return False
    return not len(_differing(kept, again, name))


def _differing(kept: pa.Table, again: pa.Table, name: str) -> np.ndarray:
    if name == "id":
        return np.flatnonzero(np.array(_rows.ids(kept)) != np.array(_rows.ids(again)))
    one, other = (t.column(name).to_numpy().astype(np.float64) for t in (kept, again))
    return np.flatnonzero(~np.isclose(one, other, rtol=1e-9, atol=1e-9, equal_nan=True))


def _where(kept: pa.Table, again: pa.Table, name: str) -> str:
    if name not in kept.column_names or name not in again.column_names or kept.num_rows != again.num_rows:
        return f"{name} is missing or of another length"
    places = _differing(kept, again, name)
    return f"{name} of {len(places)} rows, the first {_rows.ids(kept)[int(places[0])]!r}"


def summaries(pack: Pack) -> Iterator[Check]:
    """Compute every metric of every evaluation again."""
    again = {run.id: pack.ws.roster.summary(run) for run in pack.runs if run.rows}
    wrong = list(differences(pack.json("summaries.json"), json.loads(json.dumps(again))))
    good = f"{sum(len(found) for found in again.values())} figures of {len(again)} evaluations recomputed"
    yield _outcome("metrics", wrong, good, file="summaries.json")


def verdicts(pack: Pack) -> Iterator[Check]:
    """Compare again, with the same bars, slices, clusters and error rates."""
    for verdict in pack.ws.store.all(Verdict):
        body = _compared(pack, verdict)
        wrong = list(differences(verdict.body.model_dump(mode="json"), body.model_dump(mode="json")))
        file = f"records/{verdict.id}.json"
        yield _outcome(
            f"verdict {verdict.id[-20:]}", wrong, body.sentence, asked=verdict.body.outcome, file=file
        )


def _compared(pack: Pack, verdict: Verdict) -> VerdictBody:
    """Return what the comparison of a verdict finds on the kept answers."""
    ws, looks = pack.ws, verdict.body.slices
    use = max(verdict.holdout_use, verdict.made_by.config.get("among", 1))
    data = ws.store.get(verdict.dataset, Dataset)
    bars = [Bar.model_validate(bar) for bar in verdict.made_by.config["bars"]]
    runs = {run.candidate: run for run in pack.runs if run.dataset == data.id and run.split == "holdout"}
    run, against = runs[verdict.candidate], runs[verdict.reference] if verdict.reference else None
    # The error rate of a first use, read back from the slices, which carry it.
    alpha = looks[0].bar.alpha * use if looks else ws.settings.verdict.alpha
    terms = claims.Terms(bars, use, alpha, verdict.made_by.config["power"])
    return claims.compared(ws.roster, (run, against), terms)


def holdout(pack: Pack) -> Iterator[Check]:
    """Look whether each verdict stands in the ledger, at the place that its error rate was divided by."""
    uses = [use["claim"] for use in pack.json("holdout.json")["uses"]]
    times = [use["at"] for use in pack.json("holdout.json")["uses"]]
    wrong = (
        [] if times == sorted(times) and len(set(uses)) == len(uses) else ["uses are not in order of time"]
    )
    for verdict in pack.ws.store.all(Verdict):
        place = uses.index(verdict.id) + 1 if verdict.id in uses else 0
        if place != verdict.holdout_use:
            wrong.append(
                f"{verdict.id} says use {verdict.holdout_use}, the ledger has it as {place or 'no use'}"
            )
    yield _outcome("holdout ledger", wrong, f"{len(uses)} use(s), each in its place", file="holdout.json")


def costs(pack: Pack) -> Iterator[Check]:
    """Price every option again: from the price lines in the pack, then with the price book that is installed."""
    ws = pack.ws
    reports = ws.store.all(CostReport)
    again = prices_of({report.id: report for report in reports})
    yield _outcome("prices", list(differences(pack.json("prices.json"), again)), f"{len(again)} price lines",
                   file="prices.json")  # fmt: skip
    for report in reports:
        file = f"records/{report.id}.json"
        wrong = [text for option in report.table["options"] if (text := checked_option(option, report))]
        yield _outcome("costs from prices", wrong, f"{len(report.table['options'])} options", file=file)
        try:
            installed = version("genai-prices")
        except PackageNotFoundError:
            installed = "none"
        wanted = pack.versions.get("genai-prices")
        if installed != wanted or pack.writer != __version__:
            other = f"not recomputed: the price book is {installed} here; install genai-prices {wanted}"
            yield Check(name="cost table", ok=None, asked=f"prices of genai-prices {wanted}", found=other)
            continue
        if report.made_by.config.get("prices"):
            own = "not recomputed: prices of the workspace's own folder were used"
            yield Check(name="cost table", ok=None, asked="the installed price book", found=own)
            continue
        wrong, note = recomputed_table(ws, report, texts=pack.texts)
        yield _outcome("cost table" + note, wrong, str(report.table["advice"])[:200], file=file)


_MOMENT = ("generated_at", "version", "reproduce")


def figures(pack: Pack) -> Iterator[Check]:
    """Collect the report again and compare every figure and sentence."""
    report = ReportData.model_validate_json(pack.files.get("report.json", b""))
    again = collect(pack.ws)
    again = again if pack.texts else report_without_texts(again)
    asked, found = (json.loads(one.model_dump_json()) for one in (report, again))
    # Where and when it was written is not recomputed; the times of uses stand in the ledger.
    uses = pack.json("holdout.json")["uses"]
    wrong = []
    if [_moment(use["when"]) for use in asked["holdout_uses"]] != [_moment(use["at"]) for use in uses]:
        wrong.append("times of holdout uses are not those of the ledger")
    for one in (asked, found):
        for name in _MOMENT:
            one.pop(name, None)
        for use in one["holdout_uses"]:
            use.pop("when")
    wrong += differences(asked, found)
    if report.generated_at != max(record.created_at for record in pack.ws.show()):
        wrong.append("generated_at is not the time of the last record")
    if report.reproduce and again.reproduce:
        kept, here = report.reproduce, again.reproduce
        for name in ("seed", "dataset_hash", "records"):
            wrong += differences(getattr(kept, name), getattr(here, name), f"reproduce.{name}")
    count = len(re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", json.dumps(found)))
    yield _outcome("report", wrong, f"every figure and sentence ({count:,} numbers)", file="report.json")


def _moment(text: str) -> str:
    from datetime import datetime

    return datetime.fromisoformat(text).isoformat()


def page(pack: Pack) -> Iterator[Check]:
    """Draw the page again; by another version of Offramp, look for the verdict's sentence in it."""
    from markupsafe import escape

    report = ReportData.model_validate_json(pack.files.get("report.json", b""))
    shown = pack.files.get("report.html", b"").decode("utf-8", "replace")
    sentence = str(escape(clean(report.verdict.sentence, 500))) if report.verdict else ""
    if pack.writer == __version__:
        drawn = render(report)
        wrong = [] if drawn == shown else [f"differs from what report.json draws, {_first(drawn, shown)}"]
        yield _outcome(
            "page", wrong, f"{len(drawn):,} characters, drawn again and the same", file="report.html"
        )
        return
    wrong = [] if sentence in shown else ["the verdict's sentence is not on the page"]
    yield _outcome("page", wrong, "the verdict's sentence is on the page", file="report.html")


def _first(one: str, other: str) -> str:
    place = next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    return f"first at character {place:,}: {other[place : place + 60]!r}, drawn again {one[place : place + 60]!r}"
