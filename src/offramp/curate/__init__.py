"""Turn raw rows into a dataset that can be trusted: decisions in a ledger, rows in splits, raw data untouched.

`curate` runs one detector after the other, each on the view that the earlier ones left, and writes every decision
down. Its invariant, checked on each run: rows in + synthetic = kept + removed + merged + quarantined. Two rules
protect the proof: no row is taken out because the incumbent failed on it, and the holdout is fixed before anything
looks for strange rows. Inputs are cleaned by the same pure function that serving runs.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate import (
    answers,
    clean,
    contamination,
    drift,
    duplicates,
    finding,
    label_errors,
    labels,
    ledger,
    lexical,
    made,
    outliers,
    personal,
    prompts,
    quality,
    repair,
    semantic,
    thin,
    verdicts,
)
from offramp.curate.certificate import Picked, certify
from offramp.curate.clean import clean_text
from offramp.curate.families import Around, Encoders, Late, around, same_text
from offramp.curate.finding import REVIEW
from offramp.curate.judged import judge_labels, judge_rows
from offramp.curate.ledger import apply, drop
from offramp.curate.neighbours import Thresholds
from offramp.curate.notes import notes
from offramp.curate.prompts import repeated
from offramp.curate.run import Run, give_back
from offramp.curate.settings import SPLIT_SCHEMA, Certificate, Curated, CurateSettings, Guided, TaskLike
from offramp.curate.split import Item, Placed, split
from offramp.errors import ConfigError, DataError
from offramp.types import Progress, silent

__all__ = [
    "RULES",
    "SPLIT_SCHEMA",
    "Certificate",
    "CurateSettings",
    "Curated",
    "Encoders",
    "Guided",
    "Late",
    "Thresholds",
    "apply",
    "clean_text",
    "curate",
    "drop",
]

RULES = (
    answers.EMPTY_INPUT,
    prompts.RULE,
    clean.RULE,
    personal.RULE,
    labels.FORM,
    repair.JSON_FORM,
    repair.CUT_TURN,
    answers.EMPTY,
    answers.TRUNCATED,
    answers.REFUSED,
    labels.TYPO,
    labels.UNKNOWN,
    contamination.RULE,
    duplicates.LEAK,
    duplicates.EXACT,
    duplicates.CONFLICT,
    lexical.SAME,
    lexical.CONFLICT,
    semantic.CONFLICT,
    outliers.RULE,
    *quality.RULES,
    drift.RULE,
    verdicts.RULE,
    label_errors.RULE,
    repair.RELABEL,
    thin.RULE,
    made.RULE,
)
"""Every rule, in the order they run; names for `CurateSettings.undo`."""


def curate(
    rows: pa.Table,
    *,
    task: TaskLike,
    settings: CurateSettings | None = None,
    encoders: Encoders,
    seed: int = 0,
    progress: Progress = silent,
) -> Curated:
    """Find what is wrong with the rows, decide, and split what stays; `seed` decides the split.

    Raises:
        DataError: no row is left, or all rows have one label.
        ConfigError: `settings` names an unknown rule or row, or asks for rows that cannot be made.
    """
    settings = settings or CurateSettings()
    _check(rows, settings)
    made.check(settings, task.kind)
    run = Run(rows, settings, seed, labelled=task.kind == "classify", cache=encoders.cache)
    boilerplate = _clean(run, progress)
    _personal(run, encoders, progress)
    _judge_labels(run, task)
    _need_labels(run)
    progress("finding duplicates", 0, 1)
    _uncontaminated(run, progress)
    _merge_equal(run, task)
    _need_labels(run)
    links = same_text(run, progress)
    _need_labels(run)
    found = around(run, links, encoders, progress)
    placed = _split(run, task, found, progress)
    added, found = made.add(run, placed, found, encoders, progress)
    written = ledger.table(run.lines)
    splits = _splits(run, placed)
    counts = ledger.counts(rows.num_rows, run.view.num_rows, written)
    known = (tuple(sorted(task.labels)) or _label_set(run.view, splits)) if run.labelled else ()
    limits, vectors = settings.model_copy(update={"near": found.thresholds}), _vectors(run, found)
    # The rows as they were compared are a copy of all texts.
    del found
    give_back()
    certificate = certify(run.view, splits, vectors, limits, seed=seed)
    if not run.labelled:
        certificate = certificate.model_copy(update={"unseen_labels": ()})
    counts |= dict(certificate.rows) | {f"rule.{rule}": n for rule, n in ledger.by_rule(written).items()}
    said = (*notes(run.view, certificate, counts, task=task), *run.notes)
    return Curated(
        written, finding.table(run.findings), splits, known, boilerplate, counts, certificate, said, added
    )


def _check(rows: pa.Table, settings: CurateSettings) -> None:
    unknown = sorted(set(settings.undo) - set(RULES))
    if unknown:
        raise ConfigError(f"rules {unknown!r} were to be undone; known are {', '.join(RULES)}")
    ids = row_tables.ids(rows)
    if len(set(ids)) < len(ids):
        repeated = len(ids) - len(set(ids))
        raise DataError(
            f"the ids of rows must be unique; {repeated} repeat. Read the data with `offramp ingest`"
        )
    lost = sorted(set(settings.keep) - set(ids))
    if lost:
        raise ConfigError(
            f"rows were to be kept that do not exist, the first is {lost[0]!r}; use the ids of the rows"
        )


def _clean(run: Run, progress: Progress) -> tuple[str, ...]:
    progress("cleaning inputs", 0, 1)
    learn_from = run.raw
    if run.held:
        learn_from = learn_from.filter(pa.array([row not in run.held for row in row_tables.ids(run.raw)]))
    prompted = repeated.find(learn_from)
    run.note(prompts.findings(learn_from, found=prompted))
    undone = clean.RULE in run.settings.undo
    boilerplate = (
        () if undone else clean.learn_boilerplate(learn_from, min_ratio=run.settings.boilerplate_ratio)
    )
    run.decide(clean.find(run.view, boilerplate))
    run.decide(answers.find_empty_inputs(run.view))
    # What cleaning took out needs no word.
    run.notes += prompts.notes(run.view, found=prompted)
    progress("cleaning inputs", 1, 1)
    return boilerplate


def _personal(run: Run, encoders: Encoders, progress: Progress) -> None:
    """Find personal data in all rows, the holdout's too: serving masks the same way."""
    if run.settings.personal == "off":
        return
    if encoders.redactor is None:
        raise ConfigError(
            "personal data was to be found; nothing that finds it was given: pass `Encoders(redactor=…)`"
        )
    progress("finding personal data", 0, 1)
    found = personal.findings(run.view, encoders.redactor)
    masks = run.settings.personal == "mask"
    run.note(found if masks else [replace(one, action=REVIEW, before=None, after=None) for one in found])
    counts = ", ".join(f"{n:,} {kind}" for kind, n in personal.counts(found).items())
    run.notes.append(f"personal data {'masked' if masks else 'found, and left in'}: {counts or 'none'}")
    progress("finding personal data", 1, 1)


def _judge_labels(run: Run, task: TaskLike) -> None:
    from_incumbent = task.target_is_incumbent
    if task.kind == "extract":
        run.decide(repair.json_forms(run.view))
    if task.kind == "chat" and repair.CUT_TURN in run.settings.act:
        run.decide(repair.cut_turns(run.view, answers.cut(run.view)))
    if not run.labelled:
        run.decide(answers.find(run.view, from_incumbent=from_incumbent))
        return
    present = [label for label in run.view.column("target").to_pylist() if label]
    forms = labels.learn_forms(present, separator=task.separator, given=task.labels)
    run.decide(labels.find_forms(run.view, forms))
    run.decide(answers.find(run.view, from_incumbent=from_incumbent, labels=task.labels))
    run.decide(labels.find_typos(run.view, labels=task.labels))
    run.decide(labels.find_unknown(run.view, task.labels))


def _need_labels(run: Run) -> None:
    """Refuse what nothing can be learned from; the user's own holdout does not count."""
    pairs = zip(row_tables.ids(run.view), run.view.column("target").to_pylist(), strict=True)
    left = [label for row, label in pairs if row not in run.held and label]
    if not left:
        rules = Counter(line.rule for line in run.lines if line.action != "edit").most_common(3)
        reasons = ", ".join(f"{rule} {count}" for rule, count in rules) or "no row has a label"
        raise DataError(f"labelled rows to learn from were expected; every row was taken out ({reasons})")
    if len(set(left)) == 1 and run.labelled:
        raise DataError(f"at least two different labels were expected; all {len(left)} rows have {left[0]!r}")


def _uncontaminated(run: Run, progress: Progress) -> None:
    """Take out rows that repeat a text of the test sets that the user names."""
    if not run.settings.test_sets:
        return
    progress("comparing with test sets", 0, 1)
    others = {name: contamination.read_texts(Path(name)) for name in run.settings.test_sets}
    run.note(one for one in contamination.findings(run.view, others) if one.row not in run.held)
    progress("comparing with test sets", 1, 1)


def _merge_equal(run: Run, task: TaskLike) -> None:
    by_row = dict(zip(row_tables.ids(run.view), duplicates.input_keys(run.view), strict=True))

    def keys() -> list[bytes]:
        return [by_row[row] for row in row_tables.ids(run.view)]

    run.decide(duplicates.find_leaks(run.view, keys=keys()))
    run.decide(duplicates.find_exact(run.view, keys=keys()))
    if task.kind in ("classify", "extract"):
        # Two texts may both be good answers; two labels, or two readings of one document, may not.
        run.decide(duplicates.find_conflicts(run.view, run.weights(), keys=keys()))


def _split(run: Run, task: TaskLike, around: Around, progress: Progress) -> dict[str, Placed]:
    """Split by families, then let detectors and people judge the rows outside the holdout."""
    placed = _place(run, around.links)
    held = {row for row, place in placed.items() if place.split == "holdout"}
    run.note(one for one in around.paraphrases if one.row not in held)
    judge_rows(run, task, around, held, progress)
    # After the split, so that what people think of train rows changes nothing about which rows are the holdout.
    run.heed(held)
    families = {row: place.family for row, place in placed.items() if row not in held}
    judge_labels(run, task, around, families, progress)
    _thin(run, around, {row for row in families if placed[row].split == "train"}, progress)
    _need_labels(run)
    return placed


def _thin(run: Run, around: Around, train: set[str], progress: Progress) -> None:
    """Take train rows out until as many are left as settings ask for."""
    if run.settings.target_rows is None:
        return
    ids = row_tables.ids(run.view)
    part = run.view.filter(pa.array([row in train for row in ids], pa.bool_()))
    vectors = np.asarray(_vectors(run, around)[np.array([row in train for row in ids])], np.float32)
    run.decide(thin.thin(part, vectors, run.settings.target_rows, progress=progress))


def _place(run: Run, links: list[tuple[str, str]]) -> dict[str, Placed]:
    view, settings = run.view, run.settings
    # Free text has no mix to balance: every row counts alike.
    balanced = row_tables.targets(view) if run.labelled else [""] * view.num_rows
    times = row_tables.times(view)
    if settings.split == "time" and all(time is None for time in times):
        raise ConfigError(
            "a split by time was asked for; no row has a readable time; name its column with "
            "`data.mapping.time`, or set `curate.split` to random"
        )
    columns = (row_tables.ids(view), balanced, row_tables.groups(view), duplicates.pins(view), times)
    items = [Item(*parts) for parts in zip(*columns, strict=True)]
    return split(
        items,
        links,
        validation_ratio=settings.validation_ratio,
        holdout_ratio=settings.holdout_ratio,
        seed=run.seed,
        by_time=settings.split == "time",
    )


def _vectors(run: Run, around: Around) -> Picked:
    where = {row: position for position, row in enumerate(around.ids)}
    ids = row_tables.ids(run.view)
    return Picked(around.vectors, np.fromiter((where[row] for row in ids), np.int64, len(ids)))


def _splits(run: Run, placed: dict[str, Placed]) -> pa.Table:
    ids, weights = row_tables.ids(run.view), run.weights()
    columns = {
        "id": ids,
        "split": [placed[row].split for row in ids],
        "family": [placed[row].family for row in ids],
        "weight": [weights[row] for row in ids],
    }
    return pa.table(columns, schema=SPLIT_SCHEMA)


def _label_set(view: pa.Table, splits: pa.Table) -> tuple[str, ...]:
    pairs = zip(row_tables.targets(view), splits.column("split").to_pylist(), strict=True)
    return tuple(sorted({label for label, name in pairs if name != "holdout"}))
