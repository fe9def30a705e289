"""Which column of the user's data plays which part, and how labels are written.

A mapping can be given whole, in part, or not at all; what is not given is guessed and every guess has a reason that
is shown. A mapping that came out of `read` names everything, so reading again with it guesses nothing.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

from offramp.errors import DataError
from offramp.models.chat import json_of
from offramp.types import Frozen

SEPARATOR = " > "
ESCAPED_SEPARATOR = " › "
"""Stands for " > " inside a level's own name, so that a path can always be split again."""
_MISSING = frozenset({"", "nan", "null", "<na>", "#n/a", "nat"})


class Mapping(Frozen):
    """Columns by part; `None` or empty where the data has no such column."""

    inputs: tuple[str, ...] = ()
    """Columns a model reads, in order."""
    target: tuple[str, ...] = ()
    """Column of the wanted label; several columns are the levels of a path; none: the incumbent's answer."""
    separator: str | None = None
    """What separates levels inside the target column; `None` for flat labels."""
    incumbent: str | None = None
    """Column of the answer that the present model gave."""
    humans: tuple[str, ...] = ()
    """Columns of answers that people gave."""
    free_text: bool = False
    """True when answers are text or JSON and are kept as they are; false: they are labels."""
    answer_key: str | None = None
    """Key that holds the label, where the incumbent answers with JSON objects."""
    group: str | None = None
    """Column of what must stay together in a split, such as the customer."""
    time: str | None = None
    """Column of when the call was made."""
    split: str | None = None
    """Column that fixes the split of a row."""
    latency: str | None = None
    """Column of the call's latency; a name that ends in `ms` is read as milliseconds."""
    cost: str | None = None
    """Column of the call's cost in USD."""
    input_tokens: str | None = None
    """Column of tokens read."""
    output_tokens: str | None = None
    """Column of tokens written."""
    finish_reason: str | None = None
    """Column of why the answer ended; `length` means cut off."""

    @property
    def target_is_incumbent(self) -> bool:
        """True when there is no reference label and the incumbent's answers stand in for it."""
        return not self.target

    def columns(self) -> list[str]:
        """Return every column that is named."""
        single = [getattr(self, part) for part in SINGLE]
        return [*self.inputs, *self.target, *self.humans, *(name for name in single if name)]


SINGLE = (
    "incumbent",
    "group",
    "time",
    "split",
    "latency",
    "cost",
    "input_tokens",
    "output_tokens",
    "finish_reason",
)
"""Parts played by one column at most."""


def without_missing(mapping: Mapping, columns: Sequence[str]) -> tuple[Mapping, list[str]]:
    """Leave out recorded answers and facts about calls whose columns are not there; returns what was left out too.

    Inputs and target are never left out.
    """
    parts = [part for part in SINGLE if getattr(mapping, part) and getattr(mapping, part) not in columns]
    humans = tuple(name for name in mapping.humans if name in columns)
    gone = [
        *(getattr(mapping, part) for part in parts),
        *(name for name in mapping.humans if name not in columns),
    ]
    return mapping.model_copy(update=dict.fromkeys(parts) | {"humans": humans}), gone


def check(mapping: Mapping, columns: Sequence[str]) -> None:
    """Check that the mapping can be used on these columns.

    Raises:
        DataError: it names a missing or an ambiguous column, has no inputs, or neither target nor incumbent.
    """
    missing = [name for name in mapping.columns() if name not in columns]
    if missing:
        raise DataError(f"columns {missing!r} were asked for; the data has {list(columns)!r}")
    twice = [name for name in mapping.columns() if f"{name}.2" in columns]
    if twice:
        raise DataError(
            f"column {twice[0]!r} occurs more than once in the data, so it is not clear which is meant; "
            f"rename one (the later one can be named as {twice[0] + '.2'!r})"
        )
    if not mapping.inputs:
        raise DataError(
            f"no input column was named and none was found among {list(columns)!r}; use `--input NAME`"
        )
    if not mapping.target and not mapping.incumbent:
        raise DataError(
            f"no label column was named and none was found among {list(columns)!r}; use `--target NAME`"
        )
    both = sorted(set(mapping.inputs) & set(mapping.target))
    if both:
        raise DataError(
            f"columns {both!r} were named as input and as target; a model would read its own answer"
        )


def text_of(value: Any) -> str:
    """Write any cell as text; `None` and NaN are ""."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "" if math.isnan(value) else str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def label_of_cell(value: Any, separator: str | None) -> str | None:
    """Write a cell as a label in the form `A > B > C`, or `None` when it holds no label.

    A list is a path. Spaces around a whole label are kept: taking them off is an edit that curation records.
    """
    if isinstance(value, (list, tuple)):
        return label_of_levels(value)
    text = text_of(value)
    if text.strip().lower() in _MISSING:
        return None
    if separator is None:
        return text.replace(SEPARATOR, ESCAPED_SEPARATOR)
    if separator == SEPARATOR:
        return text
    if SEPARATOR in text:
        text = text.replace(SEPARATOR, ESCAPED_SEPARATOR)
    return label_of_levels(text.split(separator), escape=False)


def label_of_levels(levels: Sequence[Any], *, escape: bool = True) -> str | None:
    """Join level cells, down to the first that is missing; `None` when the first is."""
    path: list[str] = []
    for level in levels:
        text = text_of(level).strip()
        if text.lower() in _MISSING:
            break
        path.append(text.replace(SEPARATOR, ESCAPED_SEPARATOR) if escape else text)
    return SEPARATOR.join(path) if path else None


def json_object(answer: str) -> dict[str, Any] | None:
    """Read an answer that is one JSON object, with or without a Markdown fence; `None` for anything else."""
    text = answer.strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def fields_said(text: str, names: Sequence[str]) -> dict[str, str] | None:
    """Find the fields of a row in a message, as serving reads them; `None` where there is none of them.

    They are one JSON object of nothing else, the whole message where there is one field, or `name: value` lines.
    """
    value = json_of(text) if text.lstrip().startswith("{") else None
    if isinstance(value, dict) and value and set(value) <= set(names):
        return {name: text_of(value.get(name)) for name in names}
    if len(names) == 1:
        return {names[0]: text}
    found = fields_of_lines(text, names)
    return {name: found.get(name, "") for name in names} if found else None


def fields_of_lines(text: str, names: Sequence[str]) -> dict[str, str]:
    r"""Read `name: value` lines, in the order of `names`; lines without a name go on with the value before.

    >>> fields_of_lines("title: a: b\nlong\nbrand: x", ["title", "text", "brand"])
    {'title': 'a: b\nlong', 'brand': 'x'}
    """
    place = {name.casefold(): i for i, name in enumerate(names)}
    found: dict[str, str] = {}
    last = -1
    for line in text.split("\n"):
        head, colon, rest = line.partition(":")
        here = place.get(head.strip().casefold(), -1) if colon else -1
        if here > last:
            last = here
            found[names[here]] = rest.removeprefix(" ")
        elif last >= 0:
            found[names[last]] += "\n" + line
    return found


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as failure:
        raise DataError(
            "a column of text was expected; it holds binary values. Name another column, or decode it before"
        ) from failure
