"""Select some of a log's calls, such as those of one model: several tasks often share one log.

A key names a column as the reader sees it (`model`, `name`, `route`, `status`, `tags`, or what the app logged as
metadata), a value is a text with `*` for anything, or several. A call stays when every key has one of its values. What
is not selected is neither a row nor a reject; it is counted.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from offramp.errors import DataError
from offramp.ingest.mapping import text_of
from offramp.ingest.source import Batch, Source

Only = Mapping[str, str | tuple[str, ...]]
"""Wanted values by column."""
_ALSO = {"model": ("model", "response_model")}
"""A model is found by the name that was asked for and by the one that answered."""
_SHOWN = 5


def selected(source: Source, only: Only | None) -> Source:
    """Return the source with only the wanted rows; a log of several models without `only` gets a note.

    Raises:
        DataError: while it is read: no row has the wanted values, or no column is named so; says what there is.
    """
    return replace(source, batches=_batches(source, dict(only or {})))


def _batches(source: Source, only: dict[str, str | tuple[str, ...]]) -> Iterator[Batch]:
    seen: dict[str, Counter[str]] = {key: Counter() for key in only or ("model",)}
    columns: dict[str, None] = {}
    rows = kept = 0
    for batch in source.batches:
        columns |= dict.fromkeys(batch.columns)
        for key, counter in seen.items():
            counter.update(text_of(value) for value in batch.columns.get(key, ()) if value is not None)
        wanted = [i for i in range(len(batch.lines)) if _fits(batch, i, only)] if only else []
        rows += len(batch.lines)
        kept += len(wanted)
        yield _taken(batch, wanted) if only else batch
    if not only:
        if source.format == "chat" and len(seen["model"]) > 1:
            source.notes.append(
                f"the log has calls to several models: {_most(seen['model'])}; name one under `only` if they are "
                "several tasks"
            )
        return
    unknown = [key for key in only if rows and key not in columns]
    if unknown:
        raise DataError(f"`only` names {unknown!r}; the data has {sorted(columns)!r}")
    if rows and not kept:
        found = "; ".join(f"{key}: {_most(counter)}" for key, counter in seen.items())
        raise DataError(f"no row is selected by `only` = {only!r}; the data has {found}")
    if kept < rows:
        source.notes.append(f"{rows - kept} of {rows} rows were left out by `only`")


def _fits(batch: Batch, row: int, only: dict[str, str | tuple[str, ...]]) -> bool:
    for key, wanted in only.items():
        names = [name for name in _ALSO.get(key, (key,)) if name in batch.columns]
        values = [text_of(batch.columns[name][row]) for name in names]
        if key == "tags":
            values = [tag for value in values for tag in value.split(", ")]
        patterns = [wanted] if isinstance(wanted, str) else wanted
        if not any(fnmatchcase(value, pattern) for value in values for pattern in patterns):
            return False
    return True


def _taken(batch: Batch, rows: list[int]) -> Batch:
    return Batch(
        [batch.lines[i] for i in rows], {name: [v[i] for i in rows] for name, v in batch.columns.items()}
    )


def _most(counter: Counter[str]) -> str:
    shown = ", ".join(f"{value!r} ({count})" for value, count in counter.most_common(_SHOWN))
    return shown + (", …" if len(counter) > _SHOWN else "") if counter else "nothing"
