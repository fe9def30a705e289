"""Made rows in a curation run: for which labels, how many, by whom, and what keeps them out of the test.

Runs once the rows are split. Labels with few training rows get rows from `synthetic`, made of training rows only, and
each goes to train, into the family of its first parent. Guarantee: no made row repeats a row that came in or a text of
the user's test sets, and none is near enough to a validation or holdout row to be of its family.
The trap is whose answer it is: a recombined row stands under the terms of the rows it was made of (`origins`).
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offramp import rows as row_tables
from offramp.curate import contamination, coverage, provenance, synthetic, terms
from offramp.curate.families import LINK_RATIOS, Around, Encoders
from offramp.curate.ledger import SYNTHETIC
from offramp.curate.neighbours import Embedder
from offramp.curate.provenance import Origin
from offramp.curate.run import Run
from offramp.curate.settings import CurateSettings
from offramp.curate.split import Placed
from offramp.curate.text import Pieces
from offramp.errors import ConfigError
from offramp.models.endpoint import Endpoint
from offramp.types import Kind, Progress

RULE = synthetic.RULE


def check(settings: CurateSettings, kind: Kind) -> None:
    """Look whether rows can be made, before anything is computed.

    Raises:
        ConfigError: the task has no labels, or no model is named.
    """
    if settings.synthetic == "off":
        return
    if kind != "classify":
        raise ConfigError(
            f"`curate.synthetic` is {settings.synthetic!r}; found a task of kind {kind!r}; rows are made by label, so "
            'only a classify task can have them: set it to "off"'
        )
    if settings.synthetic == "model" and settings.synthetic_model is None:
        raise ConfigError(
            '`curate.synthetic` is "model"; found no model: name one under [curate.synthetic_model] with `base_url` '
            'and `model`, or set `curate.synthetic` to "recombine"'
        )


def add(
    run: Run, placed: dict[str, Placed], around: Around, encoders: Encoders, progress: Progress
) -> tuple[pa.Table | None, Around]:
    """Make rows for thin labels and put them into the view, the ledger and `placed`.

    Returns the made rows, `None` where there are none, and the vectors with theirs at the end.
    """
    settings = run.settings
    if settings.synthetic == "off" or RULE in settings.undo:
        return None, around
    ids = row_tables.ids(run.view)
    inside = pa.array([placed[row].split == "train" for row in ids], pa.bool_())
    train, held = run.view.filter(inside), run.view.filter(pc.invert(inside))
    labels = row_tables.targets(train)
    quotas = {
        area.name: area.quota
        for area in coverage.areas(labels, labels, least_rows=settings.least_rows)
        if area.quota
    }
    if not quotas:
        return None, around
    progress("making rows", 0, 1)
    proposals, origin = _proposed(train, quotas, run, encoders)
    embedder = encoders.exact if around.exact or encoders.static is None else encoders.static
    made = synthetic.accept(
        train,
        proposals,
        quotas,
        embedder=embedder,
        origin=origin,
        forbidden=_forbidden(run, held, synthetic.varied(train)),
    )
    vectors = _vectors(made.rows, embedder)
    far = _far(made.rows, vectors, held, _of(held, around), around)
    rows = made.rows.filter(pa.array(far, pa.bool_()))
    lines = [line for line, good in zip(made.lines, far, strict=True) if good]
    run.add(rows, lines)
    for line in lines:
        placed[line.row] = Placed("train", placed[line.evidence["parents"][0]].family)
    discarded = made.discarded | {"near validation or holdout": len(far) - sum(far)}
    run.notes.append(_note(rows, quotas, origin, discarded))
    progress("making rows", 1, 1)
    if not lines:
        return None, around
    found = np.concatenate([around.vectors, vectors[far].astype(around.vectors.dtype)])
    return rows, replace(around, ids=[*around.ids, *row_tables.ids(rows)], vectors=found)


def origins(written: pa.Table, table: pa.Table) -> dict[str, Origin]:
    """Return who made each made row, by row id.

    `written` is the ledger and `table` who wrote each row (`provenance.SCHEMA`). What is recombined stands under the
    terms of the parent that no person wrote, where there is one.
    """
    lines = written.filter(pc.equal(written.column("action"), SYNTHETIC)).to_pylist()
    if not lines:
        return {}
    evidence = [json.loads(line["evidence"]) for line in lines]
    parents = {parent for one in evidence for parent in one["parents"]}
    known = table.filter(pc.is_in(table.column("id"), value_set=pa.array(sorted(parents), pa.string())))
    wrote = {one.pop("id"): Origin.model_validate(one) for one in known.to_pylist()}
    found: dict[str, Origin] = {}
    for line, one in zip(lines, evidence, strict=True):
        tags = json.loads(line["params"])
        if line["who"] == "model":
            found[line["row"]] = Origin(
                writer="model",
                model=tags["maker"],
                provider=tags["provider"],
                terms_url=tags["terms"],
                terms_date=date.fromisoformat(tags["made_on"]) if tags["terms"] else None,
            )
            continue
        own = [wrote[parent] for parent in one["parents"] if parent in wrote]
        strict = next((origin for origin in own if origin.writer != "person"), None)
        maker = synthetic.RECOMBINED
        if strict:
            name = f"{maker.model} of {strict.model}" if strict.model else maker.model
            maker = strict.model_copy(update={"writer": maker.writer, "model": name})
        found[line["row"]] = maker
    return found


def written_by(
    rows: pa.Table, ledger: pa.Table, origin: Origin, *, policy: terms.Policy, model_column: str | None
) -> pa.Table:
    """Return who wrote the target of each row of a view, made rows included, `provenance.SCHEMA`."""
    table = provenance.of_rows(rows, origin, policy=policy, model_column=model_column)
    overrides = origins(ledger, table)
    if not overrides:
        return table
    return provenance.of_rows(rows, origin, policy=policy, model_column=model_column, overrides=overrides)


def _proposed(
    train: pa.Table, quotas: Mapping[str, int], run: Run, encoders: Encoders
) -> tuple[list[synthetic.Proposal], Origin]:
    endpoint = run.settings.synthetic_model
    if run.settings.synthetic == "recombine" or endpoint is None:
        return synthetic.recombine(train, quotas, seed=run.seed), synthetic.RECOMBINED
    from offramp.models.client import Client

    # Kept answers: the same labels ask nothing a second time.
    client = Client(endpoint, cache=encoders.cache / "answers" if encoders.cache else None)
    return synthetic.ask(train, quotas, client), _maker(endpoint)


def _maker(endpoint: Endpoint) -> Origin:
    policy = terms.shipped()
    provider = endpoint.provider or policy.provider_of(endpoint.model)
    term = policy.term(provider)
    url = term.terms_url if term else ""
    return Origin(writer="model", model=endpoint.model, provider=provider, terms_url=url)


def _forbidden(run: Run, held: pa.Table, name: str) -> list[str]:
    """Return every text that no made row may repeat: what came in, how test rows are read, the user's test sets."""
    texts = [*row_tables.field(run.raw, name), *row_tables.field(held, name)]
    for path in run.settings.test_sets:
        texts += contamination.read_texts(Path(path))
    return texts


def _vectors(rows: pa.Table, embedder: Embedder) -> np.ndarray:
    if not rows.num_rows:
        return np.zeros((0, 0), np.float32)
    return np.asarray(embedder.encode(row_tables.excerpts(rows)), np.float32)


def _of(rows: pa.Table, around: Around) -> np.ndarray:
    where = {row: position for position, row in enumerate(around.ids)}
    return around.vectors[[where[row] for row in row_tables.ids(rows)]]


def _far(
    made: pa.Table, vectors: np.ndarray, held: pa.Table, held_vectors: np.ndarray, around: Around
) -> np.ndarray:
    """Return which made rows are no variant of a held row, by what the split certificate measures, and by text."""
    good = np.ones(made.num_rows, bool)
    if not made.num_rows or not held.num_rows:
        return good
    texts, other = row_tables.texts(made), row_tables.texts(held)
    for row, _, likeness in contamination.matches(texts, other):
        good[row] &= likeness < LINK_RATIOS[0]
    near, pieces = around.thresholds, Pieces([*texts, *other])
    for row in np.flatnonzero(good).tolist():
        cosines = held_vectors.astype(np.float32, copy=False) @ vectors[row]
        close = np.flatnonzero(cosines >= near.family_cosine).tolist()
        good[row] = not any(
            cosines[i] >= near.alone_cosine or pieces.likeness(row, made.num_rows + i) >= near.family_likeness
            for i in close
        )
    return good


def _note(rows: pa.Table, quotas: Mapping[str, int], origin: Origin, discarded: Mapping[str, int]) -> str:
    wanted = sum(quotas.values())
    lost = ", ".join(f"{count:,} {reason}" for reason, count in discarded.items() if count)
    return (
        f"{rows.num_rows:,} of {wanted:,} wanted rows were made by {origin.model} for {len(quotas):,} labels with few "
        f"rows, for training only; not taken: {lost or 'none'}"
    )
