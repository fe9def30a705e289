"""The next dataset of a task: the old one without its holdout, and what production taught since, on two sides.

Every earlier holdout stays out of training for good and is a holdout of its own; the new one is drawn by family and
group among fresh rows alone, before any model is asked. The raw dataset keeps `sides.parquet`, where each fresh row
went and why. Guarantee: `separation` counts again, on the finished dataset, what must be zero.
Trap: families are of the rows as they are compared now; a stricter likeness in `[curate]` finds fewer.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from offramp import rows as _rows
from offramp import views
from offramp.curate import contamination, duplicates, ledger, lexical, traffic
from offramp.curate.families import around, same_text
from offramp.curate.run import Run
from offramp.curate.split import Item, components
from offramp.errors import DataError, NotFoundError
from offramp.renew.sides import Known, Side, sides
from offramp.renewing.fresh import CALL, PERIOD, Fields, Fresh, calls_of, read
from offramp.store import read_table, write_table
from offramp.types import Dataset, Finding, Renewal

if TYPE_CHECKING:
    from offramp.workspace import Workspace

RENEWED = "renewed"
"""Key under which a raw dataset of a renewal tells what it was made of."""
SIDES = "sides.parquet"
LEAST_PROOF = 10
"""Rows of a new holdout below which nothing is claimed."""
_NEAR = 0.9
"""Likeness from which two texts are told as the same. Source: `curate.lexical.LexicalThresholds.merge_ratio`."""


@dataclass(frozen=True)
class Past:
    """What there is before a cycle."""

    base: Dataset
    """The dataset of the current model."""
    raw: Dataset
    """Its raw rows."""
    chain: tuple[Dataset, ...]
    """Every dataset whose holdout stays out of training, the base last."""
    known: frozenset[str]
    """Ids of the calls that are in it."""


def past_of(ws: "Workspace", base: Dataset) -> Past:
    """Look back from the dataset of the current model."""
    store = ws.store
    raw = store.get(base.parents[0], Dataset) if base.stage == "curated" else base
    told: Mapping[str, Any] = raw.details.get(RENEWED, {})
    before = tuple(store.get(one, Dataset) for one in told.get("chain", ()))
    tables = [ws.roster.rows(raw)]
    if told:
        tables.append(read_table(store.folder(raw.id) / SIDES))
    return Past(base, raw, (*before, base), frozenset(calls_of(tables)))


def _proven_on(ws: "Workspace", past: Past, cycle: Mapping[str, Any]) -> list[str]:
    """Return the calls that another cycle from this base had in its holdout, sorted; `cycle` itself does not count."""
    found: set[str] = set()
    for other in ws.store.all(Dataset):
        same = {name: other.made_by.config.get(name) for name in cycle} == cycle
        if other.details.get(RENEWED, {}).get("base") == past.base.id and not same:
            drawn = read_table(ws.store.folder(other.id) / SIDES)
            found |= set(calls_of([drawn.filter(pc.equal(drawn.column("side"), "holdout"))]))
    return sorted(found)


def held(ws: "Workspace", chain: Sequence[Dataset]) -> pa.Table:
    """Return the holdout rows of datasets, as their ledgers leave them, each once."""
    parts = [ws.roster.view(data) for data in chain]
    parts = [part.filter(pc.equal(part.column("split"), "holdout")) for part in parts]
    both = pa.concat_tables(parts, promote_options="default")
    first = {row: at for at, row in reversed(list(enumerate(_rows.ids(both))))}
    return both.take(pa.array(sorted(first.values())))


def fresh_of(ws: "Workspace", past: Past, *, fields: Fields | None = None) -> Fresh:
    """Return what production brought since the base was made."""
    return read(ws, past.raw, past.known, fields=fields)


def begin_of(ws: "Workspace", past: Past, fresh: Fresh, findings: Sequence[Finding]) -> float:
    """Return when the new period begins, unix seconds: with what was found, else where the base's own rows end.

    Where neither is known it begins with the oldest fresh call, for none of them is in the base.
    """
    told = [one.since for one in findings if one.since is not None]
    ends = [at for at in _rows.times(ws.roster.rows(past.raw)) if at is not None]
    return min(told) if told else max(ends, default=min(item.at for item in fresh.items))


def need_labels(ws: "Workspace", past: Past, fresh: Fresh, findings: Sequence[Finding]) -> None:
    """Refuse a cycle that could prove nothing.

    Raises:
        DataError: too few calls were reviewed; says how many more and of what.
    """
    least = ws.settings.renew.least_labels
    if fresh.reviewed >= least:
        return
    left = ", ".join(f"{count} {why}" for why, count in sorted(fresh.left_out.items()))
    raise DataError(
        f"at least {least} reviewed calls of {ws.alias!r} that are not in its dataset of "
        f"{past.base.created_at:%Y-%m-%d} were expected; found {fresh.reviewed}"
        + (f" (not usable: {left})" if left else "")
        + f"; label {least - fresh.reviewed} more{wanted(findings, least - fresh.reviewed)}, or lower "
        "`renew.least_labels`"
    )


def wanted(findings: Sequence[Finding], count: int) -> str:
    """Say of which areas to label: those that the findings are about, by their share."""
    areas: Counter[str] = Counter()
    for one in findings:
        for area in one.areas:
            areas[str(area.get("name", ""))] += round(1e6 * float(area.get("share") or 1.0))
    shares = {name: weight / areas.total() for name, weight in areas.most_common(5) if name and areas.total()}
    if not shares:
        return ""
    each = {name: max(1, round(count * share / sum(shares.values()))) for name, share in shares.items()}
    return ": " + ", ".join(f"{number} of {name!r}" for name, number in each.items())


def dataset(ws: "Workspace", past: Past, fresh: Fresh, *, starts: float) -> Dataset:
    """Make the raw dataset of a cycle: old rows but for every holdout, and fresh rows on their sides.

    Raises:
        DataError: the new holdout would be too small to claim anything.
    """
    config: dict[str, Any] = {
        "calls": views.table_hash(fresh.rows),
        "starts": starts,
        "holdout_ratio": ws.settings.renew.holdout_ratio,
        "chain": [one.id for one in past.chain],
    }
    # After a crash the cycle's own dataset may be there already, and must not count as another's.
    proven_on = _proven_on(ws, past, config)
    config |= {"proven_on": proven_on}
    record_id = ws.records.id("dataset", "renew", (past.base.id,), config)
    with ws.records.making(record_id) as todo:
        if todo:
            placed, family = _placed(ws, past, fresh, proven_on, starts=starts)
            rows = _joined(ws, past, fresh, placed, starts)
            folder = ws.store.workdir(record_id)
            write_table(rows, folder / "rows.parquet")
            write_table(_sides_table(fresh, placed, family), folder / SIDES)
            counts = Counter(f"fresh: {side}" for side, _ in placed.values())
            ws.store.add(
                Dataset(
                    id=record_id,
                    stage="raw",
                    task=_task(past.raw, rows),
                    rows=rows.num_rows,
                    counts={"read": rows.num_rows, **counts},
                    data_hash=views.table_hash(rows),
                    notes=_notes(past, fresh, placed, starts),
                    details={
                        **{name: past.raw.details[name] for name in ("mapping", "guessed")},
                        RENEWED: {
                            "base": past.base.id,
                            "chain": [one.id for one in past.chain],
                            "starts": starts,
                            "old_holdout_sha256": views.ids_hash(held(ws, past.chain)),
                            "new_holdout_sha256": views.ids_hash(
                                rows.filter(pc.equal(rows.column("split"), "holdout"))
                            ),
                            "left_out": dict(fresh.left_out),
                        },
                    },
                    parents=(past.base.id,),
                    made_by=ws.records.made_by(config),
                )
            )
    return ws.store.get(record_id, Dataset)


def _placed(
    ws: "Workspace", past: Past, fresh: Fresh, proven_on: Sequence[str], *, starts: float
) -> tuple[dict[str, tuple[Side, str]], dict[str, str]]:
    view, old = ws.roster.view(past.base), held(ws, past.chain)
    teaching = view.filter(pc.is_in(view.column("split"), value_set=pa.array(["train", "validation"])))
    if "synthetic" in past.base.counts:
        # Made rows are made again; they came from no call.
        came = pa.array(_rows.ids(ws.roster.rows(past.raw)))
        teaching = teaching.filter(pc.is_in(teaching.column("id"), value_set=came))
    family = _families(ws, past.base, [teaching, old], fresh.rows)
    by_call = {item.call: item.id for item in fresh.items}
    before = [by_call[call] for call in proven_on if call in by_call]
    known = Known(frozenset(_rows.ids(old)), frozenset(_rows.ids(teaching)), frozenset(before))
    renew = ws.settings.renew
    placed = sides(
        fresh.items,
        family,
        known,
        starts=starts,
        holdout_ratio=renew.holdout_ratio,
        seed=ws.settings.seed,
    )
    proof = sum(side == "holdout" for side, _ in placed.values())
    if proof < LEAST_PROOF:
        more = round((LEAST_PROOF - proof) / renew.holdout_ratio + 0.5)
        raise DataError(
            f"a new holdout of at least {LEAST_PROOF} rows was expected; {proof} of {fresh.reviewed} reviewed calls "
            f"are new enough and unlike the training rows; label about {more} more calls that are not variants of "
            "known rows"
        )
    return placed, family


def _families(ws: "Workspace", base: Dataset, old: Sequence[pa.Table], fresh: pa.Table) -> dict[str, str]:
    """Return the component of every row, by what curation finds alike and by groups; nothing is taken out."""
    how, mask = ws.settings.curate, None
    if how.personal == "mask":

        def mask(text: str, conversation: str) -> str:
            return ws.roster.redactor.redact(text, conversation=conversation).text

    served = traffic.as_served(fresh, tuple(base.details.get("boilerplate", ())), mask)
    names = [name for name in served.column_names if name.startswith(_rows.FIELD)]
    parts = [part.select(["id", *names, "target", *_group(part)]) for part in (*old, served)]
    both = pa.concat_tables(parts, promote_options="default")
    # A row near another of another label is a variant all the same, so no rule may take it away before it is linked.
    run = Run(
        both,
        how.model_copy(update={"undo": (lexical.CONFLICT,), "keep": (), "act": ()}),
        ws.settings.seed,
        labelled=base.task.kind == "classify",
        cache=ws.roster.encoders.cache,
    )
    links = around(run, same_text(run, ws.progress), ws.roster.encoders, ws.progress).links
    merged = ledger.merges(ledger.table(run.lines)).items()
    groups = _rows.groups(both)
    items = [Item(row, "", group) for row, group in zip(_rows.ids(both), groups, strict=True)]
    return components(items, [*links, *merged, *_equal(both)])


def _equal(rows: pa.Table) -> list[tuple[str, str]]:
    """Link rows whose inputs have the same normal form."""
    first: dict[bytes, str] = {}
    pairs = zip(_rows.ids(rows), duplicates.input_keys(rows), strict=True)
    return [(first.setdefault(key, row), row) for row, key in pairs if first.setdefault(key, row) != row]


def _group(rows: pa.Table) -> list[str]:
    return [name for name in ("group",) if name in rows.column_names]


def _joined(
    ws: "Workspace", past: Past, fresh: Fresh, placed: Mapping[str, tuple[Side, str]], starts: float
) -> pa.Table:
    """Return old rows that ended in training or validation, then fresh ones; the new holdout is pinned."""
    raw, view = ws.roster.rows(past.raw), ws.roster.view(past.base)
    into = (
        ledger.merges(read_table(ws.store.folder(past.base.id) / "ledger.parquet"))
        if past.base.stage == "curated"
        else {}
    )
    taught = {
        row
        for row, split in zip(_rows.ids(view), view.column("split").to_pylist(), strict=True)
        if split in ("train", "validation")
    }
    ids = _rows.ids(raw)
    old = raw.filter(pa.array([ledger.end(row, into) in taught for row in ids], pa.bool_()))
    there = set(_rows.ids(old))
    reviewed = {item.id for item in fresh.items if item.reviewed}
    new = fresh.rows.filter(
        pa.array([placed[row][0] != "out" and row not in there for row in _rows.ids(fresh.rows)])
    )
    pins = [
        "holdout" if placed[row][0] == "holdout" else None if row in reviewed else "train"
        for row in _rows.ids(new)
    ]
    day = datetime.fromtimestamp(starts, UTC).date().isoformat()
    new = new.append_column("split", pa.array(pins, pa.string()))
    new = new.append_column(PERIOD, pa.array([day] * new.num_rows, pa.string()))
    return pa.concat_tables([old, new], promote_options="default")


def _task(raw: Dataset, rows: pa.Table) -> Any:
    if raw.task.kind != "classify":
        return raw.task
    found = {label for label in rows.column("target").to_pylist() if label is not None}
    return views.with_labels(raw.task, sorted(found))


def _notes(
    past: Past, fresh: Fresh, placed: Mapping[str, tuple[Side, str]], starts: float
) -> tuple[str, ...]:
    by = Counter(side for side, _ in placed.values())
    day = datetime.fromtimestamp(starts, UTC).date().isoformat()
    said = [
        f"made from dataset {past.base.id} without its holdout, and {by['train']} fresh rows to learn from; the new "
        f"holdout is {by['holdout']} reviewed calls since {day}",
        "who reviews calls chooses them: the new holdout speaks for reviewed calls, not for all",
    ]
    if by["out"]:
        said.append(f"{by['out']} fresh rows are near both sides, or near a holdout row, and were left out")
    if fresh.left_out:
        said.append(f"calls that could not be rows: {dict(fresh.left_out)!r}")
    return tuple(said)


def _sides_table(fresh: Fresh, placed: Mapping[str, tuple[Side, str]], family: Mapping[str, str]) -> pa.Table:
    ids = [item.id for item in fresh.items]
    return pa.table(
        {
            "id": ids,
            CALL: [item.call for item in fresh.items],
            "side": [placed[row][0] for row in ids],
            "why": [placed[row][1] for row in ids],
            "component": [family[row] for row in ids],
        }
    )


def separation(ws: "Workspace", data: Dataset, chain: Sequence[Dataset]) -> dict[str, int]:
    """Count, on the finished dataset, training and validation rows that belong to an old holdout: 0 of each.

    `same rows`, `same text` (equal normal forms), `near text` (nine tenths of the pieces) and `same group`.
    """
    view, old = ws.roster.view(data), held(ws, chain)
    teaching = view.filter(pc.not_equal(view.column("split"), "holdout"))
    keys = set(duplicates.input_keys(old))
    same = [key in keys for key in duplicates.input_keys(teaching)]
    near = {
        row
        for row, _, likeness in contamination.matches(_rows.texts(teaching), _rows.texts(old))
        if likeness >= _NEAR
    }
    groups = {group for group in _rows.groups(old) if group is not None}
    return {
        "same rows": len(set(_rows.ids(teaching)) & set(_rows.ids(old))),
        "same text": sum(same),
        "near text": len(near),
        "same group": sum(group in groups for group in _rows.groups(teaching) if group is not None),
    }


def pooled(ws: "Workspace", rows: pa.Table, sources: Sequence[Dataset], why: str) -> Dataset:
    """Keep holdout rows of several datasets, or a part of one, as a dataset that verdicts can be about.

    What was claimed on any of these rows before counts as a use of the new set too.
    """
    parents = tuple(one.id for one in sources)
    config = {"why": why, "rows": views.ids_hash(rows)}
    record_id = ws.records.id("dataset", "renew", parents, config)
    with ws.records.making(record_id) as todo:
        if todo:
            write_table(rows, ws.store.workdir(record_id) / "rows.parquet")
            ws.store.add(
                Dataset(
                    id=record_id,
                    stage="raw",
                    task=sources[-1].task,
                    rows=rows.num_rows,
                    counts={"holdout": rows.num_rows},
                    data_hash=views.table_hash(rows),
                    notes=(why,),
                    parents=parents,
                    made_by=ws.records.made_by(config),
                )
            )
    return ws.store.get(record_id, Dataset)


def carry_uses(ws: "Workspace", rows: pa.Table, before: Sequence[Dataset]) -> None:
    """Note earlier claims on holdouts that share rows with these, so that the next claim is not called the first."""
    wanted = views.ids_hash(rows)
    mine = set(_rows.ids(rows))
    for data in before:
        other = held(ws, [data])
        if views.ids_hash(other) != wanted and mine & set(_rows.ids(other)):
            for claim, what, _ in ws.store.holdout_uses(views.ids_hash(other)):
                ws.store.spend_holdout(wanted, claim, what)


def cycles_from(ws: "Workspace", base: Dataset) -> list[Dataset]:
    """Return the curated datasets that earlier cycles made from this base."""
    made = {one.dataset for one in ws.store.all(Renewal)}
    found = []
    for one in ws.store.all(Dataset):
        raw = one.parents[0] if one.id in made and one.stage == "curated" else None
        if raw and ws.store.get(raw, Dataset).details.get(RENEWED, {}).get("base") == base.id:
            found.append(one)
    return found


def dataset_of(ws: "Workspace", candidate_parents: Sequence[str]) -> Dataset:
    """Return the dataset that a candidate learned from.

    Raises:
        NotFoundError: it names none.
    """
    for parent in candidate_parents:
        if parent.startswith("dataset-"):
            return ws.store.get(parent, Dataset)
    raise NotFoundError("the dataset of a candidate was asked for; its record names none; tune one first")
