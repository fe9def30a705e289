"""Let the detectors judge the rows outside the holdout, once it is fixed.

Guarantee: nothing here reads the holdout's outputs or takes its rows out, so the test stays what the traffic is. Inputs
are not edited here either: what cleaning does to them, serving does too, and nothing else may.
Trap: what is judged against all other rows (labels, strangeness) is judged on a sample of very many rows, drawn evenly.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offramp import rows as row_tables
from offramp.curate import drift, label_review, outliers, quality, repair
from offramp.curate.families import Around
from offramp.curate.finding import EDIT, REVIEW, Finding
from offramp.curate.label_review import Beside
from offramp.curate.left_out import MAX_CELLS
from offramp.curate.neighbours import Neighbourhood
from offramp.curate.quality import encoding, refusals
from offramp.curate.run import Run, give_back
from offramp.curate.settings import TaskLike
from offramp.types import Progress

JUDGED_ROWS = 50_000
"""Rows whose labels and strangeness are judged; of more, every second, third, … row."""


def judge_rows(run: Run, task: TaskLike, around: Around, held: set[str], progress: Progress) -> None:
    """Note what is strange about the rows that are not in `held`, and decide what is sure."""
    progress("judging rows", 0, 4)
    _off_task(run, around, held)
    progress("judging rows", 1, 4)
    give_back()
    outside = _outside(run, held)
    found = quality.findings(outside, from_incumbent=task.target_is_incumbent, seed=run.seed)
    del outside
    run.note(_careful(found, task))
    progress("judging rows", 2, 4)
    outside = _outside(run, held)
    run.note(drift.findings(outside))
    del outside
    give_back()
    progress("judging rows", 3, 4)


def judge_labels(
    run: Run, task: TaskLike, around: Around, families: dict[str, str], progress: Progress
) -> None:
    """Note doubtful labels of the rows in `families` (row id to family), and mend them where settings ask for it."""
    if not run.labelled:
        return
    inside = [at for at, row in enumerate(row_tables.ids(run.view)) if row in families]
    labels = pc.count_distinct(run.view.column("target").take(pa.array(inside, pa.int64()))).as_py() or 1
    part = [inside[at] for at in _every(len(inside), min(JUDGED_ROWS, MAX_CELLS // labels))]
    if len(part) < len(inside):
        run.notes.append(f"labels were judged on {len(part):,} of {len(inside):,} rows, evenly drawn")
    view = run.view.take(pa.array(part, pa.int64()))
    ids = row_tables.ids(view)
    where = {row: position for position, row in enumerate(around.ids)}
    vectors = np.asarray(around.vectors[[where[row] for row in ids]], np.float32)
    weights = run.weights()
    beside = Beside(vectors, families=[families[row] for row in ids], weights=[weights[row] for row in ids])
    reviewed = label_review.review(view, task, beside=beside, cache=run.cache, progress=progress)
    run.note(reviewed.findings)
    if repair.RELABEL in run.settings.thresholds:
        run.note(repair.relabels(view, reviewed, families=[families[row] for row in ids]))


def _off_task(run: Run, around: Around, held: set[str]) -> None:
    rows, near = around.rows, around.near
    outside = [row not in held for row in around.ids]
    if around.exact:
        vectors = around.vectors
        run.note(outliers.findings(rows, near, outside, vectors=vectors))
        # Rows that are very far from everything need not be strange enough for the queue.
        run.decide(outliers.find(rows, near, outside, vectors=vectors))
        return
    # A static embedding is too coarse to take a row out by.
    part = np.array(_every(rows.num_rows, JUDGED_ROWS))
    place = np.full(rows.num_rows, -1)
    place[part] = np.arange(len(part))
    kept = np.maximum(place[near.nearest[part]], 0)
    seen = Neighbourhood(near.pairs, kept, near.nearest_cosine[part])
    vectors = np.asarray(around.vectors[part], np.float32)
    found = outliers.findings(rows.take(pa.array(part)), seen, [outside[i] for i in part], vectors=vectors)
    run.note(replace(one, action=REVIEW) for one in found)


def _every(n: int, most: int) -> list[int]:
    """Return at most `most` of n positions, evenly spaced."""
    return list(range(0, n, max(1, -(-n // most))))


def _outside(run: Run, held: set[str]) -> pa.Table:
    ids = row_tables.ids(run.view)
    return run.view.filter(pa.array([row not in held for row in ids], pa.bool_()))


def _careful(found: Iterable[Finding], task: TaskLike) -> Iterable[Finding]:
    """Leave to people what may be right: refusals that were reviewed, and odd inputs of labelled traffic.

    A damaged or foreign input that somebody labelled is what the model will meet; an odd answer is what it would learn.
    """
    labelled = task.kind == "classify"
    for one in found:
        if one.action == EDIT and (one.column != "target" or labelled):
            continue
        reviewed = one.rule == refusals.RULE and not task.target_is_incumbent
        # A label is one of a set: what looks damaged in it is how it is spelled.
        inside = (one.column or one.evidence.get("column")) == "target" and one.rule != encoding.RULE
        yield replace(one, action=REVIEW) if reviewed or (labelled and not inside) else one
