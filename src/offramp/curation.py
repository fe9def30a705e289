"""Curate a raw dataset in a workspace: what the run depends on, and the files that it leaves.

Files of a curated dataset: `ledger.parquet`, `findings.parquet`, `splits.parquet`, `map.parquet`, `coverage.json`, and
`synthetic.parquet` where rows were made. Guarantee: everything that can change the result is part of `config_of`, so
an unchanged workspace does nothing. Trap: files that the settings name (test sets, traffic) count by their content.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offramp import rows as _rows
from offramp import sources, views
from offramp.curate import Curated, Encoders, Guided, curate, ledger, traffic, verdicts
from offramp.curate.map import embedding_map
from offramp.curate.traffic import COVERAGE, Side, Traffic
from offramp.errors import NotFoundError
from offramp.ingest import Mapping
from offramp.roster import Roster
from offramp.settings import Settings
from offramp.store import write_table, write_text
from offramp.types import Dataset


def config_of(settings: Settings, folder: Path, said: Sequence[verdicts.Verdict]) -> dict[str, Any]:
    """Return everything that a curated dataset depends on, besides the raw rows.

    Raises:
        NotFoundError: a file that the settings name is not there.
    """
    how = settings.curate
    config: dict[str, Any] = {
        "curate": how.model_dump(mode="json"),
        "labels": list(settings.data.labels),
        "encoder": settings.encoder,
    }
    # Without verdicts the id is what it was before anybody judged.
    config |= {"verdicts": verdicts.digest(said)} if verdicts.digest(said) else {}
    tests = [folder / name for name in how.test_sets]
    if missing := [str(path) for path in tests if not path.is_file()]:
        raise NotFoundError(f"texts not to train on were expected in {missing[0]!r}; there is no such file")
    config |= {"test_sets": [views.file_hash(path) for path in tests]} if tests else {}
    if not how.traffic:
        return config
    recent = folder / Path(how.traffic).expanduser()
    if not recent.exists():
        raise NotFoundError(
            f"recent inputs were expected in {str(recent)!r}; there is no such file; name it in `curate.traffic`, or "
            "leave that out"
        )
    return config | {"traffic": views.file_hash(recent)}


def make(
    roster: Roster, raw: Dataset, said: Sequence[verdicts.Verdict], *, folder: Path
) -> tuple[Curated, pa.Table]:
    """Curate a raw dataset, write what is kept of it into `folder`, and return it with its view."""
    settings, rows = roster.settings, roster.rows(raw)
    known = {
        **dict(settings.curate),
        "test_sets": tuple(str(roster.path / name) for name in settings.curate.test_sets),
    }
    encoders = roster.encoders
    done = curate(
        rows,
        task=raw.task.model_copy(update={"labels": settings.data.labels}),
        settings=Guided(**known, verdicts=tuple(said)),
        encoders=encoders,
        seed=settings.seed,
        progress=roster.progress,
    )
    view = views.view(rows, done.ledger, done.splits, done.made)
    roster.progress("comparing with the traffic", 0, 1)
    found, splits = _covered(roster, raw, rows, view=view, done=done, encoders=encoders)
    roster.progress("comparing with the traffic", 1, 1)
    write_table(done.ledger, folder / "ledger.parquet")
    write_table(done.findings, folder / "findings.parquet")
    write_table(splits, folder / "splits.parquet")
    if done.made is not None:
        write_table(done.made, folder / "synthetic.parquet")
    write_text(found.model_dump_json(indent=1) + "\n", folder / COVERAGE)
    points = embedding_map(rows, done.ledger, roster.embedder, seed=settings.seed)
    write_table(points, folder / "map.parquet")
    return done, view if splits is done.splits else views.view(rows, done.ledger, splits, done.made)


def _covered(
    roster: Roster, raw: Dataset, rows: pa.Table, *, view: pa.Table, done: Curated, encoders: Encoders
) -> tuple[Traffic, pa.Table]:
    """Hold the train split against the traffic, and return the splits, with weights where settings ask for them."""
    how, embedder = roster.settings.curate, encoders.static or encoders.exact
    inside = view.filter(pc.equal(view.column("split"), "train"))
    ids, labels = _rows.ids(inside), _rows.targets(inside) if done.labels else []
    came = set(_rows.ids(rows))
    single = _first([row in came for row in ids], inside.column("family").to_pylist())
    train = Side(inside, labels, inside.column("weight").to_numpy(), single)
    other = Side(_recent(roster, raw, done, encoders)) if how.traffic else _came_in(rows, done, set(ids))
    found, clusters = traffic.survey(
        train,
        other,
        embedder,
        least_rows=how.least_rows,
        source=Path(how.traffic).name if how.traffic else "",
        seed=roster.settings.seed,
    )
    if how.weigh == "multiplicity":
        return found, done.splits
    areas, seen = labels, other.labels
    if not len(seen):
        areas, seen = (traffic.areas_of(clusters, side.rows, embedder) for side in (train, other))
    return found, traffic.weigh(done.splits, dict(zip(ids, areas, strict=True)), seen)


def _recent(roster: Roster, raw: Dataset, done: Curated, encoders: Encoders) -> pa.Table:
    """Return recent production inputs as serving reads them."""
    how, redactor = roster.settings.curate, encoders.redactor
    mapping = Mapping.model_validate(raw.details["mapping"])
    rows = sources.recent(how.traffic or "", roster.path, mapping)
    mask: Callable[[str, str], str] | None = None
    if how.personal == "mask" and redactor is not None:

        def mask(text: str, conversation: str) -> str:
            return redactor.redact(text, conversation=conversation).text

    return traffic.as_served(rows, done.boilerplate, mask)


def _came_in(rows: pa.Table, done: Curated, trained: set[str]) -> Side:
    """Return the rows that came in as the traffic; those that are trained on are not compared."""
    left, into = verdicts.as_left(rows, done.ledger), ledger.merges(done.ledger)
    family = dict(zip(*(done.splits.column(name).to_pylist() for name in ("id", "family")), strict=True))
    ends = [ledger.end(row, into) for row in _rows.ids(left)]
    single = _first([row not in trained for row in ends], [family.get(row, row) for row in ends])
    known = set(done.labels)
    labels = [label for label in left.column("target").to_pylist() if label in known] if known else []
    return Side(left, labels, single=single)


def _first(allowed: Sequence[bool], families: Sequence[str]) -> np.ndarray:
    """Return which rows are allowed and the first such of their family."""
    seen: set[str] = set()
    found = np.zeros(len(families), bool)
    for i, (good, family) in enumerate(zip(allowed, families, strict=True)):
        found[i] = good and family not in seen
        if good:
            seen.add(family)
    return found
