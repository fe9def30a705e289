"""Say in sentences what curation did that a person should know before trusting the result."""

from collections import Counter
from collections.abc import Mapping

import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate import answers
from offramp.curate.settings import Certificate, TaskLike


def notes(
    view: pa.Table, certificate: Certificate, counts: Mapping[str, int], *, task: TaskLike
) -> tuple[str, ...]:
    """Return the notes of a run, most important first; empty when there is nothing to know."""
    labelled = _labels(view, certificate) if task.kind == "classify" else []
    found = [*labelled, *_answers(view, task.target_is_incumbent), *_splits(certificate)]
    if counts.get("rule.leak"):
        found.append(
            f"{counts['rule.leak']} rows repeat a row of the user's own test data and left the training data"
        )
    if counts.get("rule.label_conflict"):
        found.append(
            f"{counts['rule.label_conflict']} rows are set aside: the same input also has another label"
        )
    return tuple(found)


def _labels(view: pa.Table, certificate: Certificate) -> list[str]:
    found = []
    if certificate.unseen_labels:
        unseen = set(certificate.unseen_labels)
        rows = sum(label in unseen for label in row_tables.targets(view))
        found.append(
            f"{len(unseen)} labels of the test data ({rows} rows) have no training row, the first is "
            f"{certificate.unseen_labels[0]!r}; those rows stay and will mostly count as wrong"
        )
    single = sorted(label for label, n in Counter(row_tables.targets(view)).items() if n == 1)
    single = [label for label in single if label not in certificate.unseen_labels]
    if single:
        found.append(
            f"{len(single)} labels have a single row, which is kept for training; the first is {single[0]!r}"
        )
    return found


def _answers(view: pa.Table, from_incumbent: bool) -> list[str]:
    if from_incumbent:
        return ["the labels are the incumbent's own answers: agreement with it is measured, not correctness"]
    if "incumbent" not in row_tables.answerers(view):
        return []
    recorded = row_tables.answers(view, "incumbent")
    failed = sum(not text or not text.strip() or answers.is_refusal(text) for text in recorded)
    if not failed:
        return []
    return [f"the incumbent gave no usable answer on {failed} rows; they stay and count as its wrong answers"]


def _splits(certificate: Certificate) -> list[str]:
    found = []
    total = max(1, sum(certificate.rows.values()))
    for name in ("validation", "holdout"):
        if not certificate.rows[name]:
            found.append(
                f"the {name} split is empty: there are too few rows, or groups too large, to spare any"
            )
    if certificate.largest_family > 0.1 * total and certificate.largest_family > 10:
        found.append(
            f"one group or family of similar rows holds {certificate.largest_family} of {total} rows and stays together"
        )
    return found
