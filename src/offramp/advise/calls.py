"""The table of calls that advice is made from, and the look at it before anything is computed.

One row is one call, whatever log it came from. Guarantee: `checked` never repairs by guessing: a value that cannot be
true (negative tokens, a call from the future, a cost in another currency) becomes unknown, and a `Problem` says how
many there were and shows one. Trap: a call whose time is unknown still counts as a call; it only says nothing about
when.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from offramp.errors import DataError
from offramp.prices import MAX_TOKENS_PER_REQUEST
from offramp.types import Frozen

_WORD = pa.dictionary(pa.int32(), pa.string())
CALLS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("at", pa.float64()),
        pa.field("model", _WORD),
        pa.field("response_model", _WORD),
        pa.field("provider", _WORD),
        pa.field("service_tier", _WORD),
        pa.field("system", pa.dictionary(pa.int32(), pa.large_string())),
        pa.field("user", pa.large_string()),
        pa.field("turns", pa.int32()),
        pa.field("answer", pa.large_string()),
        pa.field("tools", _WORD),
        pa.field("tool_calls", pa.int32()),
        pa.field("schema", _WORD),
        pa.field("finish_reason", _WORD),
        pa.field("input_tokens", pa.int64()),
        pa.field("output_tokens", pa.int64()),
        pa.field("cached_tokens", pa.int64()),
        pa.field("written_tokens", pa.int64()),
        pa.field("prompt_chars", pa.int64()),
        pa.field("latency_s", pa.float64()),
        pa.field("first_token_s", pa.float64()),
        pa.field("status", _WORD, nullable=False),
        pa.field("error", pa.string()),
        pa.field("cost", pa.float64()),
        pa.field("currency", _WORD),
        pa.field("conversation", pa.string()),
        pa.field("client", pa.string()),
        pa.field("temperature", pa.float64()),
        pa.field("label", pa.string()),
        pa.field("attempts", pa.int32()),
    ]
)
"""Columns of the table of calls; what they hold is in `docs/advise.md`. `input_tokens` includes cached ones."""
_EMPTY = {"system": "", "user": "", "tools": "", "schema": "", "status": "ok", "turns": 0, "tool_calls": 0}

SHORT_DAYS = 7.0
"""A shorter log has not seen a whole week, and most traffic has a weekly rhythm."""
_OLDEST = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
"""No chat API answered before. Source: OpenAI's API opened in June 2020, https://openai.com/index/openai-api/."""
_FUTURE_S = 3600.0
"""Clocks of two machines differ by less."""
_LONGEST_S = 86_400.0
"""Batches are answered within a day, so a longer call is a wrong clock."""
_SLOW_S = 300.0
"""A median latency above this is more likely milliseconds than a chat."""
_MOST_COST = 10_000.0
"""Dearer than the dearest request: 10M tokens at GPT-4's $60 per million are $600."""
_STRAY = 3.0
"""A call alone is stray when it lies this many times the rest's whole span away from it, and more than a week."""
_MOST_ANSWER = 500_000
"""No model answers with more. Source: 128,000 is the most of GPT-5 and Claude 4 by their model pages; with room."""
_CHARS_PER_TOKEN = 50
"""Prose has 4 and long runs of spaces few more; a count far below the text's length is not this text's."""


class Problem(Frozen):
    """Something in the data that a reader must know."""

    kind: str
    """Short name, such as `future` or `currency`."""
    count: int
    """Calls concerned."""
    what: str
    """A sentence that says what was found and what was done about it."""
    example: str = ""
    """One value that was found, printable and short."""


@dataclass(frozen=True)
class Checked:
    """A table of calls that was looked at."""

    table: pa.Table
    """The calls, each once; what cannot be true is null."""
    problems: tuple[Problem, ...]
    """What was found, the most calls first."""


def table_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Build a table of calls from dictionaries; a fact that a row lacks is null, or empty where null is no value.

    Raises:
        DataError: a key is no column of the table, a call has no id, or a value is of the wrong kind.
    """
    unknown = sorted(set().union(*rows) - set(CALLS.names))
    if unknown or not all(row.get("id") for row in rows):
        what = f"unknown columns {unknown!r}" if unknown else "a call without `id`"
        raise DataError(f"calls with an `id` and columns of {CALLS.names!r} were expected; found {what}")
    arrays = []
    for field in CALLS:
        empty = _EMPTY.get(field.name)
        values = [empty if (value := row.get(field.name)) is None else value for row in rows]
        try:
            if pa.types.is_dictionary(field.type):
                arrays.append(pa.array(values, field.type.value_type).dictionary_encode())
            else:
                arrays.append(pa.array(values, field.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as failure:
            raise DataError(
                f"column `{field.name}` of calls was expected as {field.type}: {failure}"
            ) from failure
    return pa.Table.from_arrays(arrays, schema=CALLS)


def checked(table: pa.Table, now_s: float) -> Checked:
    """Return the calls with what cannot be true made unknown, repeated calls dropped, and every such thing named.

    Raises:
        DataError: the table is not of the schema `CALLS`.
    """
    if table.schema.remove_metadata() != CALLS:
        raise DataError(
            f"a table with the columns {CALLS.names!r} was expected; found {table.column_names!r}"
        )
    look = _Look(table)
    look.once()
    look.times(now_s)
    look.durations()
    look.tokens()
    look.costs()
    look.gaps()
    return Checked(look.table, tuple(sorted(look.problems, key=lambda p: (-p.count, p.kind))))


class _Look:
    """One look at a table, problem by problem."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.problems: list[Problem] = []

    def say(self, kind: str, count: int, what: str, example: Any = "") -> None:
        if count:
            shown = "".join(c if c.isprintable() else " " for c in str(example))[:80]
            self.problems.append(Problem(kind=kind, count=count, what=f"{count} {what}", example=shown))

    def forget(self, name: str, wrong: Any, kind: str, what: str) -> None:
        """Make the values under a mask unknown."""
        mask = pc.fill_null(wrong, False)
        count = int(pc.sum(mask).as_py() or 0)
        if not count:
            return
        column = self.table.column(name)
        example = column.filter(mask)[0].as_py()
        kept = pc.if_else(mask, pa.scalar(None, column.type), column)
        self.table = self.table.set_column(self.table.column_names.index(name), CALLS.field(name), kept)
        self.say(kind, count, what, example)

    def once(self) -> None:
        """Drop calls that came twice; ids that several calls share are told apart."""
        counted = pc.value_counts(self.table.column("id"))
        twice = set(counted.field("values").filter(pc.greater(counted.field("counts"), 1)).to_pylist())
        if not twice:
            return
        where = np.flatnonzero(pc.is_in(self.table.column("id"), pa.array(sorted(twice))).to_numpy())
        rows = self.table.select(["id", "at", "system", "user", "answer"]).take(pa.array(where)).to_pylist()
        seen: dict[str, list[tuple[Any, ...]]] = {}
        gone, renamed, ids = [], 0, self.table.column("id").to_pylist()
        for at, row in zip(where.tolist(), rows, strict=True):
            content = (row["at"], row["system"], row["user"], row["answer"])
            before = seen.setdefault(row["id"], [])
            if content in before:
                gone.append(at)
                continue
            before.append(content)
            if len(before) > 1:
                ids[at] = f"{row['id']}#{len(before)}"
                renamed += 1
        if renamed:
            self.table = self.table.set_column(
                0, CALLS.field("id"), pa.chunked_array([pa.array(ids, pa.string())])
            )
        self.say("same_id", renamed, "calls have the id of another call; they were told apart", rows[0]["id"])
        self.say(
            "twice",
            len(gone),
            "calls came twice, the same in every text; each was counted once",
            rows[0]["id"],
        )
        if gone:
            keep = np.ones(self.table.num_rows, bool)
            keep[gone] = False
            self.table = self.table.filter(pa.array(keep))

    def times(self, now_s: float) -> None:
        """Forget times that no clock can have shown."""
        at = self.table.column("at")
        self.forget(
            "at",
            pc.invert(pc.is_finite(at)),
            "no_number",
            "calls have a time that is no number; it was not used",
        )
        at = self.table.column("at")
        what = "calls come from the future; their times were not used: a clock or a time zone is wrong"
        self.forget("at", pc.greater(at, now_s + _FUTURE_S), "future", what)
        what = "calls are from before 2020, when there was no such API; their times were not used"
        self.forget("at", pc.less(self.table.column("at"), _OLDEST), "past", what)
        low, high = _span(self.table.column("at").drop_null().to_numpy())
        at = self.table.column("at")
        what = (
            "calls lie far from all others in time; their times were not used, or the volume would be wrong"
        )
        self.forget("at", pc.or_(pc.less(at, low), pc.greater(at, high)), "stray", what)

    def durations(self) -> None:
        """Forget latencies that cannot be."""
        for name, said in (("latency_s", "end"), ("first_token_s", "have a first token")):
            column = self.table.column(name)
            wrong = pc.or_kleene(pc.less(column, 0), pc.invert(pc.is_finite(column)))
            what = f"calls {said} before they begin; this latency was not used: clocks differ"
            self.forget(name, wrong, f"{name}_negative", what)
            what = f"calls {said} more than a day after they begin; this latency was not used"
            self.forget(name, pc.greater(self.table.column(name), _LONGEST_S), f"{name}_absurd", what)
        usual = pc.approximate_median(self.table.column("latency_s")).as_py()
        if usual is not None and usual > _SLOW_S:
            rows = len(self.table.column("latency_s").drop_null())
            what = "latencies have a median of minutes; if the log keeps milliseconds, name the column `latency_ms`"
            self.say("latency_unit", rows, what, usual)
        late = pc.greater(self.table.column("first_token_s"), self.table.column("latency_s"))
        what = "calls have their first token after their end; it was not used"
        self.forget("first_token_s", late, "first_token_late", what)

    def tokens(self) -> None:
        """Forget counts that no request has."""
        for name in ("input_tokens", "output_tokens", "cached_tokens", "written_tokens"):
            most = _MOST_ANSWER if name == "output_tokens" else MAX_TOKENS_PER_REQUEST
            shown = name.replace("_", " ")
            column = self.table.column(name)
            self.forget(
                name,
                pc.less(column, 0),
                f"{name}_negative",
                f"calls have negative {shown}; they were not used",
            )
            verb = "writes" if name == "output_tokens" else "takes"
            what = f"calls have more than {most:,} {shown}, more than any model {verb}; not used"
            self.forget(name, pc.greater(self.table.column(name), most), f"{name}_absurd", what)
        read, chars = self.table.column("input_tokens"), self.table.column("prompt_chars")
        few = pc.less(pc.multiply(read, _CHARS_PER_TOKEN), chars)
        what = "calls have far fewer input tokens than their prompt has text; the count was not used"
        self.forget("input_tokens", few, "input_tokens_few", what)
        said = pc.utf8_length(self.table.column("answer"))
        few = pc.less(pc.multiply(self.table.column("output_tokens"), _CHARS_PER_TOKEN), said)
        what = "calls have far fewer output tokens than their answer has text; the count was not used"
        self.forget("output_tokens", few, "output_tokens_few", what)
        over = pc.greater(self.table.column("cached_tokens"), self.table.column("input_tokens"))
        what = "calls read more tokens from the cache than they have; the cached ones were not used"
        self.forget("cached_tokens", over, "cached_over_input", what)
        kept = pc.add(
            self.table.column("written_tokens"), pc.fill_null(self.table.column("cached_tokens"), 0)
        )
        what = "calls write more tokens into the cache than they have; the written ones were not used"
        over = pc.greater(kept, self.table.column("input_tokens"))
        self.forget("written_tokens", over, "written_over_input", what)

    def costs(self) -> None:
        """Forget costs that are in another currency or that cannot be."""
        currency = pc.fill_null(self.table.column("currency").cast(pa.string()), "USD")
        cost = self.table.column("cost")
        other = pc.and_kleene(pc.not_equal(currency, "USD"), pc.is_valid(cost))
        names = ", ".join(sorted(set(pc.unique(currency).to_pylist()) - {"USD"})[:5])
        what = f"calls have a cost in another currency than USD ({names}); it was not used, their tokens are priced"
        self.forget("cost", other, "currency", what)
        cost = self.table.column("cost")
        wrong = pc.or_kleene(
            pc.less(cost, 0), pc.or_kleene(pc.greater(cost, _MOST_COST), pc.invert(pc.is_finite(cost)))
        )
        self.forget("cost", wrong, "cost_absurd", "calls have a cost that no call has; it was not used")
        ok = pc.equal(self.table.column("status").cast(pa.string()), "ok")
        free = pc.and_kleene(pc.equal(self.table.column("cost"), 0), ok)
        what = "answered calls were logged with a cost of 0, which a log writes for a price it does not know; not used"
        self.forget("cost", free, "cost_zero", what)

    def gaps(self) -> None:
        """Name what the log does not say."""
        rows = self.table.num_rows
        ok = pc.equal(self.table.column("status").cast(pa.string()), "ok")
        answered = self.table.filter(ok)
        bare = pc.or_(
            pc.is_null(answered.column("input_tokens")), pc.is_null(answered.column("output_tokens"))
        )
        what = "answered calls have no usable token counts; they are estimated from characters where there is text"
        self.say("no_tokens", int(pc.sum(bare).as_py() or 0), what)
        self.say("no_model", self.table.column("model").null_count, "calls do not say which model answered")
        self.say("no_time", self.table.column("at").null_count, "calls have no usable time")
        at = self.table.column("at").drop_null()
        days = float(pc.max(at).as_py() - pc.min(at).as_py()) / 86_400 if len(at) else 0.0
        if len(at) and days < SHORT_DAYS:
            what = f"calls span {span_words(days)}: less than a week, so a month's volume is a guess with a wide range"
            self.say("short", rows, what)


def span_words(days: float) -> str:
    """Write a time for people: hours below two days."""
    return f"{days:.1f} days" if days >= 2 else f"{days * 24:.1f} hours"


def _span(times: Any) -> tuple[float, float]:
    """Return the time within which calls are not stray: one in a thousand at each end may be."""
    if len(times) < 30:
        return float("-inf"), float("inf")
    ordered = np.sort(times)
    aside = max(1, len(ordered) // 1000)
    first, last = float(ordered[aside]), float(ordered[-1 - aside])
    away = max(_STRAY * (last - first), SHORT_DAYS * 86_400)
    return first - away, last + away
