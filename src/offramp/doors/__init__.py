"""Doors to other evaluation tools: read what they measured, write what they can read.

A result file becomes rows with one column of answers per candidate, so that baselines which exist already can be
compared here without being run again. The other tool's scores are kept beside ours and never used as ours.
"""

from collections.abc import Callable
from pathlib import Path

from offramp.doors import inspect_ai, openai_evals, promptfoo
from offramp.doors.export import export_inspect, export_promptfoo
from offramp.doors.imported import FACT_SCHEMA, SCORE_SCHEMA, Imported, join
from offramp.errors import ConfigError

__all__ = [
    "FACT_SCHEMA",
    "FORMATS",
    "SCORE_SCHEMA",
    "Imported",
    "export_inspect",
    "export_promptfoo",
    "join",
    "read",
]

FORMATS: dict[str, Callable[..., Imported]] = {
    "promptfoo": promptfoo.read,
    "openai-evals": openai_evals.read,
    "inspect": inspect_ai.read,
}
"""Readers by the name of the format; each takes (path, target=None)."""


def read(path: Path, format: str, *, target: str | None = None) -> Imported:
    """Read one result file; `target` names the variable or column that holds the wanted answer.

    Raises:
        ConfigError: an unknown format.
        DataError: the file is not of that format, or holds no answers.
    """
    if format not in FORMATS:
        raise ConfigError(f"the format {format!r} was asked for; known are {', '.join(FORMATS)}")
    return FORMATS[format](Path(path), target=target)
