"""Progress on standard error: one line per stage with time left; silent when nobody watches."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from offramp.types import Progress


@contextmanager
def shown(*, quiet: bool) -> Iterator[Progress]:
    """Give a `Progress` that draws bars while the block runs; a plain line per stage when not on a terminal."""
    if quiet:
        from offramp.types import silent

        yield silent
    elif sys.stderr.isatty():
        with _bars() as progress:
            yield progress
    else:
        yield _lines()


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks = {}

        def update(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield update


def _lines() -> Progress:
    finished: set[str] = set()

    def update(stage: str, done: int, total: int) -> None:
        if done >= total and stage not in finished:
            finished.add(stage)
            print(f"{stage}: {total}", file=sys.stderr, flush=True)

    return update
