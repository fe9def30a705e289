"""What the workspace knows of a deployment, held against its recent requests: accuracy without labels, or why not.

Guarantee: nothing is said of a model but from its own answers to the holdout. What the holdout gives is kept in
`monitor/`, one file an alias, and made anew for another candidate, dataset, metric or encoder.
Trap: requests are read as the dataset's rows were, as far as their last message tells: fields that an app puts
elsewhere make every request look strange, and then it cannot say.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from offramp import rows as _rows
from offramp.capture import Call
from offramp.curate.traffic import as_served
from offramp.errors import OfframpError
from offramp.ingest.mapping import fields_said
from offramp.monitor.asked import Asked, Drift
from offramp.monitor.inputs import MOST_ROWS
from offramp.monitor.state import Series, State
from offramp.monitor.table import Row
from offramp.monitor.unlabelled import Answers, Held, sentence, silent, unlabelled
from offramp.monitoring.known import Known
from offramp.roster import Roster
from offramp.shadowing import free_bar
from offramp.stats.labelfree import LabelFree
from offramp.types import Dataset, Deployment, EvalRun, content_id

SIGNAL = "accuracy without labels"
"""Name of the line in the table."""


def own_confidence(call: Call) -> float | None:
    """Return how sure our own model was of a call that it answers whatever it is sure of; `None` for all others."""
    return call.confidence if call.route in ("canary", "full") else None


def without_labels(roster: Roster, alias: str, who: Known, recent: Sequence[Asked]) -> LabelFree | None:
    """Return what can be told of an alias's recent answers, the newest last; `None` where the question does not arise.

    It arises for a task of labels that a model of ours answers.

    Raises:
        DataError: the dataset has no training rows, or the metric is not known.
        StoreError: what the holdout gives cannot be kept.
    """
    deployment, data = who.deployment, who.data
    if deployment is None or not who.ours or data is None or data.task.kind != "classify":
        return None
    if deployment.mode == "cascade":
        return silent("a cascade's answers are those that it is sure of; audit some, or shadow it")
    if "transcript" in data.task.inputs:
        return silent("the model reads whole conversations, of which the last message alone is kept here")
    held = _held(roster, alias, deployment, data)
    if held is None:
        return silent("the holdout has no answers of this candidate with a confidence and a free score")

    def encode(texts: Sequence[str]) -> np.ndarray:
        return roster.embedder.encode(_read(roster, data, texts))

    return unlabelled(held, recent, encode, deployment=deployment.id)


def lines(
    roster: Roster, known: Mapping[str, Known], state: State, requests: Callable[[str], Drift]
) -> tuple[Row, ...]:
    """Return a line of the monitor's table for each alias that it is asked of; `requests` gives the kept ones of one.

    They are shown and never ring: no bound on their error can be proved. What goes wrong is said there, so that a look
    does not fail for it.
    """
    found = []
    for alias, series in state.series.items():
        who = known.get(alias)
        if who is None or not who.ours or not who.labels:
            continue
        kept = requests(alias)
        try:
            told = without_labels(roster, alias, who, (*kept.reference, *kept.recent))
        except OfframpError as failure:
            told = silent(str(failure))
        if told is not None:
            found.append(_row(series, told))
    return tuple(found)


def _row(series: Series, found: LabelFree) -> Row:
    said = found.estimate is not None
    return Row(
        alias=series.alias,
        deployment=series.deployment,
        signal=SIGNAL,
        level=found.estimate,
        usual=found.known if said else None,
        limit=None,
        unit="ratio",
        e_value=None,
        alarm_at=None,
        health="shown" if said else "unknown",
        since=None,
        rows=found.calls,
        note=sentence(found),
    )


def _held(roster: Roster, alias: str, deployment: Deployment, data: Dataset) -> Held | None:
    """Return what the holdout says of a deployment's candidate, kept or made now; `None` where it says nothing."""
    bar = free_bar(roster, data.task)
    run = next(
        (
            run
            for run in roster.records.store.all(EvalRun)
            if (run.candidate, run.dataset, run.split) == (deployment.candidate, data.id, "holdout")
        ),
        None,
    )
    if bar is None or run is None:
        return None
    of = content_id("held", [run.id, bar.metric, roster.settings.encoder])
    path = roster.path / "monitor" / f"{content_id('held', alias)}.npz"
    return Held.read(path, of) or _made(roster, run, (bar.metric, of), path)


def _made(roster: Roster, run: EvalRun, how: tuple[str, str], path: Path) -> Held | None:
    metric, of = how
    said, scores = roster.answers(run), roster.scores(run, metric)
    sure = said.column("confidence").to_numpy(zero_copy_only=False).astype(float)
    told = np.array([text is not None for text in said.column("text").to_pylist()], dtype=bool)
    kept = np.flatnonzero(told & ~np.isnan(sure) & ~np.isnan(scores))
    if not len(kept):
        return None
    train = roster.rows(roster.records.store.get(run.dataset, Dataset), "train")
    places = np.unique(np.linspace(0, train.num_rows - 1, min(train.num_rows, MOST_ROWS)).astype(int))
    encode = roster.embedder.encode
    answers = Answers(
        encode(_rows.excerpts(roster.asked(run).take(pa.array(kept)))),
        sure[kept].tolist(),
        [said.column("text")[place].as_py() for place in kept.tolist()],
    )
    held = Held.made(of, encode(_rows.excerpts(train.take(pa.array(places)))), answers, scores[kept].tolist())
    path.parent.mkdir(exist_ok=True)
    held.write(path)
    return held


def _read(roster: Roster, data: Dataset, texts: Sequence[str]) -> list[str]:
    """Return requests as excerpts of rows: their fields, cleaned and masked as the dataset's rows were."""
    how = data.made_by.config.get("curate", {}) if data.stage == "curated" else None
    columns = zip(*(_fields(text, data.task.inputs) for text in texts), strict=True)
    named = {_rows.FIELD + name: list(column) for name, column in zip(data.task.inputs, columns, strict=True)}
    table = pa.table({"id": [str(place) for place in range(len(texts))], **named})
    if how is not None and "clean" not in how.get("undo", ()):
        mask = roster.redactor if how.get("personal") == "mask" else None
        table = as_served(
            table,
            tuple(data.details.get("boilerplate", ())),
            (lambda text, row: mask.redact(text, conversation=row).text) if mask else None,
        )
    return _rows.excerpts(table)


def _fields(text: str, names: Sequence[str]) -> list[str]:
    """Return the fields of a row in a message; where there is none of them, all in one."""
    found = fields_said(text, names) or {names[0]: text}
    return [found.get(name, "") for name in names]
