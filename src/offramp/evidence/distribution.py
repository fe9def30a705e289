"""Compare how rows are spread before curation, after it and per split: length, label, language, time, weight.

One code path: a property gives each raw row a bin; a group is a mask over the raw rows. Shares are taken twice, each
row once and each row as often as it came in. Guarantee: raw rows are read through the ledger's edits, so what is
compared is which rows were chosen, not how they were cleaned.
Trap: the index grows by chance alone in a small split with many bins, so each comes with what chance would give; rows
of one customer or family go into one split together, which makes splits differ by more than that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offramp import rows as _rows
from offramp.report.curation import Distribution, Group, Reading
from offramp.types import Task

SAME = 0.1
"""Below this index two distributions are read as the same."""
DIFFERENT = 0.25
"""Above this one as different. Source of both: the usual reading in credit scoring, as told by Yurdakul and Naranjo,
Statistical properties of the population stability index, J. Risk Model Validation 14 (2020), who also say that it
ignores the number of rows; hence `chance`."""
MOST_LABELS = 12
"""Labels with a bin of their own, the most frequent; the others share one."""
RARE = 0.01
"""Bins of numbers at either end that together hold less than this share of the rows are joined with the next."""
LANGUAGE_ROWS = 5_000
"""Rows whose language is guessed; more would take longer than the report."""
_LENGTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_WEIGHTS = (1, 2, 3, 5, 10, 100)
_SPANS = 10
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_SPLITS = ("train", "validation", "holdout")


@dataclass(frozen=True)
class Chosen:
    """What became of each raw row, in the raw rows' order."""

    split: np.ndarray
    """Its split, "" where it is not used."""
    weight: np.ndarray
    """How many raw rows it stands for, float64; 1 where it is not used."""

    @classmethod
    def of(cls, ids: Sequence[str], splits: pa.Table) -> "Chosen":
        """Read a table of splits for raw rows with these ids."""
        at = pc.index_in(pa.array(ids, pa.string()), value_set=splits.column("id")).to_numpy(
            zero_copy_only=False
        )
        there = np.isfinite(at.astype(np.float64))
        split, weight = np.full(len(ids), "", object), np.ones(len(ids))
        where = at[there].astype(np.int64)
        split[there] = np.array(splits.column("split").to_pylist(), object)[where]
        weight[there] = splits.column("weight").to_numpy()[where]
        return cls(split, weight)


@dataclass(frozen=True)
class Bins:
    """One property of the raw rows."""

    title: str
    """What it is."""
    names: tuple[str, ...]
    """Of the bins."""
    codes: np.ndarray
    """Bin of each raw row, -1 where it is not known, int64."""
    reads_inputs: bool = False
    """True when it was read from the inputs."""
    note: str = ""
    """What a reader should know."""


def distributions(read: pa.Table, chosen: Chosen, task: Task) -> tuple[Distribution, ...]:
    """Compare every property that the raw rows have, `read` through the ledger's edits."""
    if not read.num_rows:
        return ()
    found = [lengths(read), *labels(read, task), *languages(read), *times(read)]
    made = [compared(bins, chosen) for bins in found if len(np.unique(bins.codes[bins.codes >= 0])) > 1]
    stands = repeats(chosen)
    if (chosen.weight > 1).any():
        made.append(compared(stands, chosen))
    return tuple(made)


def compared(bins: Bins, chosen: Chosen) -> Distribution:
    """Return shares per group, each compared with all rows that have the property."""
    known = bins.codes >= 0
    used = known & (chosen.split != "")
    # A property that only rows in use have is compared with those.
    begin = ("came in", known) if (known & ~used).any() or known.all() else ("used", used)
    groups = [begin] + ([("used", used)] if begin[0] != "used" else [])
    groups += [(name, known & (chosen.split == name)) for name in _SPLITS]
    size, first = len(bins.names), np.bincount(bins.codes[begin[1]], minlength=len(bins.names))
    made: list[Group] = []
    for title, mask in groups:
        if not mask.any():
            continue
        once = np.bincount(bins.codes[mask], minlength=size).astype(np.float64)
        often = np.bincount(bins.codes[mask], chosen.weight[mask], minlength=size)
        index: dict[str, float | Reading] = {}
        if made:
            index = {
                "psi": psi(first, once),
                "weighted_psi": psi(first, often),
                "chance": chance(first, once),
            }
            index["reading"] = reading(float(psi(first, once)), chance(first, once))
        shares, weighted = ((one / one.sum()).tolist() for one in (once, often))
        facts = {"title": title, "rows": int(mask.sum()), "shares": shares, "weighted": weighted}
        made.append(Group.model_validate(facts | index))
    return Distribution(
        title=bins.title, bins=bins.names, groups=tuple(made), reads_inputs=bins.reads_inputs, note=bins.note
    )


def psi(expected: np.ndarray, found: np.ndarray) -> float:
    """Return the population stability index of two counts: the sum of (q − p) ln(q / p) over bins.

    Half a row is added to every bin, so that an empty one is no infinity. Source: Siddiqi, Credit Risk Scorecards
    (2006), as quoted by Yurdakul and Naranjo (2020); half a row is our choice, after Jeffreys.
    """
    p, q = ((one + 0.5) / (one.sum() + 0.5 * len(one)) for one in (expected, found))
    return float(((q - p) * np.log(q / p)).sum())


def chance(whole: np.ndarray, part: np.ndarray) -> float:
    """Return what the index of a random part of the whole stays below 95 times in 100.

    The index is about a chi-square with one degree of freedom less than bins, times 1/m − 1/n for m of n rows drawn
    without return. Source: Yurdakul and Naranjo (2020) give 1/m + 1/n for two samples; the minus is the correction
    for a finite whole.
    """
    from scipy.stats import chi2

    n, m, bins = whole.sum(), part.sum(), int((whole > 0).sum())
    return float(chi2.ppf(0.95, max(bins - 1, 1)) * max(1 / m - 1 / n, 0.0))


def reading(index: float, by_chance: float) -> Reading:
    """Say in words what an index means."""
    if index < SAME:
        return "same"
    if index <= by_chance:
        return "within chance"
    return "some shift" if index <= DIFFERENT else "different"


def lengths(read: pa.Table) -> Bins:
    """Bin rows by the words of all their fields, each bin twice as wide as the one before."""
    words = np.zeros(read.num_rows, np.int64)
    for name in _rows.fields(read):
        column = pc.utf8_trim_whitespace(pc.fill_null(read.column(_rows.FIELD + name), ""))
        counts = pc.list_value_length(pc.utf8_split_whitespace(column))
        words += np.where(pc.equal(column, "").to_numpy(), 0, counts.to_numpy())
    codes, names = _spread(words, _LENGTHS)
    return Bins("Length in words", names, codes, reads_inputs=True)


def repeats(chosen: Chosen) -> Bins:
    """Bin the rows in use by how many raw rows they stand for."""
    codes, names = _spread(chosen.weight.astype(np.int64), _WEIGHTS)
    return Bins("Rows that one row stands for", names, np.where(chosen.split != "", codes, -1))


def labels(read: pa.Table, task: Task) -> list[Bins]:
    """Bin rows by label, for a taxonomy by its top branch; rare labels share a bin."""
    if task.kind != "classify":
        return []
    given = [value and _rows.path_of(value, task.separator)[0] for value in read.column("target").to_pylist()]
    title = "Branch of the label" if task.is_taxonomy else "Label"
    return [_named(title, given)]


def languages(read: pa.Table) -> list[Bins]:
    """Bin rows by the guessed language of their text, on an evenly spaced part of the rows."""
    from offramp.contrast.language import language

    step = -(-read.num_rows // LANGUAGE_ROWS)
    positions = np.arange(0, read.num_rows, step)
    texts = _rows.excerpts(read.take(pa.array(positions)))
    said: list[str | None] = [None] * read.num_rows
    for position, text in zip(positions.tolist(), texts, strict=True):
        said[position] = language(text)
    note = "Guessed from common words; “other” may be any language."
    note += f" Read on {len(positions):,} evenly spaced rows." if step > 1 else ""
    return [_named("Language", said, reads_inputs=True, note=note)]


def times(read: pa.Table) -> list[Bins]:
    """Bin rows by when they came, by hour and by weekday, as far as the times say; times are read in UTC."""
    if "time" not in read.column_names:
        return []
    when = [moment(value) for value in read.column("time").to_pylist()]
    known = np.array([one is not None for one in when])
    if not known.any():
        return []
    stamps = np.array([one.timestamp() if one else np.nan for one in when])
    low, high = np.nanmin(stamps), np.nanmax(stamps)
    edges = low + (high - low) * np.arange(_SPANS) / _SPANS
    span = np.where(known, np.searchsorted(edges, stamps, side="right") - 1, -1)
    days = [datetime.fromtimestamp(edge, UTC).strftime("%Y-%m-%d") for edge in edges.tolist()]
    if len(set(days)) < len(days):
        days = [datetime.fromtimestamp(edge, UTC).strftime("%m-%d %H:%M") for edge in edges.tolist()]
    hours = np.array([one.hour // 3 if one else -1 for one in when])
    weekdays = np.array([one.weekday() if one else -1 for one in when])
    return [
        Bins("When it came", tuple(f"from {day}" for day in days), span),
        Bins("Hour of the day, UTC", tuple(f"{h:02d}–{h + 3:02d}" for h in range(0, 24, 3)), hours),
        Bins("Day of the week, UTC", _DAYS, weekdays),
    ]


def moment(value: object) -> datetime | None:
    """Read ISO 8601 or a Unix time in seconds or milliseconds; `None` when it is neither. Without a zone: UTC."""
    text = "" if value is None else str(value).strip()
    try:
        if text.replace(".", "", 1).isdigit() and len(text.partition(".")[0]) in (9, 10, 13):
            seconds = float(text) / (1000 if float(text) > 1e11 else 1)
            return datetime.fromtimestamp(seconds, UTC)
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _named(title: str, given: Sequence[str | None], *, reads_inputs: bool = False, note: str = "") -> Bins:
    """Bin by value, the most frequent first, the rest together."""
    values = pa.array([one or None for one in given], pa.string())
    counts = pc.value_counts(values.drop_null())
    pairs = sorted(
        ((item["counts"].as_py(), item["values"].as_py()) for item in counts), key=lambda p: (-p[0], p[1])
    )
    most = MOST_LABELS if len(pairs) > MOST_LABELS + 1 else len(pairs)
    names = [name for _, name in pairs[:most]]
    codes = pc.index_in(values, value_set=pa.array(names, pa.string()))
    rest = f"all other ({len(pairs) - most})"
    found = np.where(values.is_null().to_numpy(zero_copy_only=False), -1,
                     pc.fill_null(codes, most).to_numpy(zero_copy_only=False)).astype(np.int64)  # fmt: skip
    return Bins(title, (*names, *([rest] if most < len(pairs) else [])), found, reads_inputs, note)


def _spread(values: np.ndarray, edges: Sequence[int]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the bin of each number and the names of the bins; rare bins at either end are joined."""
    codes = np.searchsorted(edges, values, side="right")
    shares = np.bincount(codes, minlength=len(edges) + 1) / len(codes)
    low = int(np.searchsorted(np.cumsum(shares), RARE, side="right"))
    high = len(edges) - int(np.searchsorted(np.cumsum(shares[::-1]), RARE, side="right"))
    low, high = min(low, high), max(low, high)
    names = []
    for code in range(low, high + 1):
        first, last = edges[code - 1] if code else 0, edges[code] - 1 if code < len(edges) else None
        if code == low and (shares[:low].any() or code == 0):
            names.append(f"{last:,} or fewer" if last is not None else "any")
        elif last is None or (code == high and shares[high + 1 :].any()):
            names.append(f"{first:,} or more")
        else:
            names.append(f"{first:,}" if last == first else f"{first:,}–{last:,}")
    return np.clip(codes, low, high) - low, tuple(names)
