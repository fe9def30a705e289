"""What is found when calls are grouped by what they ask for, and what a person may change about it.

Guarantee: a task that was known keeps its id and its name as long as its prompt can be recognised. Trap: `name` and
`skeleton` are words out of prompts, so they are as untrusted as the log.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from offramp.types import Frozen

SLOT = "⟨…⟩"
"""Stands for what differs from call to call."""


class Variant(Frozen):
    """One wording of a task's prompt."""

    skeleton: str
    """System prompt and first message with a slot where they vary; a line of three dashes between the two."""
    calls: int
    """Calls with this wording."""
    first_at: float | None = None
    """Unix seconds of its first call; None when no call says when."""
    last_at: float | None = None
    """Unix seconds of its last call."""
    output: str = "text"
    """What is answered: `labels`, `json`, `text` or `tools`."""
    tools: tuple[str, ...] = ()
    """Names of the tools offered with it."""


class FoundTask(Frozen):
    """Calls that ask for the same thing."""

    id: str
    """Stable: kept from a known task with the same prompt, else made from the prompt."""
    name: str
    """Short and unique, out of the prompt's own words."""
    calls: int
    """Calls that belong to it."""
    skeleton: str
    """Prompt of the largest variant, with a slot where it varies."""
    variants: tuple[Variant, ...]
    """Its wordings, most calls first."""
    tools: tuple[str, ...]
    """Names of all tools offered, sorted."""
    output: str
    """What is answered: `labels`, `json`, `text` or `tools`."""
    samples: tuple[str, ...]
    """Ids of up to five calls, chosen by hash."""
    why: str
    """What holds the calls together, in a sentence."""
    parts: tuple[str, ...] = ()
    """Ids of the tasks that splitting it would give, most calls first; empty when it is all of a piece."""


class Edits(Frozen):
    """What a person changed about the tasks found; by task id, so it holds for new data too."""

    renamed: Mapping[str, str] = {}
    """New name by task id."""
    merged: tuple[tuple[str, ...], ...] = ()
    """Ids that are one task; the first is kept."""
    split: tuple[str, ...] = ()
    """Ids of tasks to be taken apart into their parts."""


NO_EDITS = Edits()
"""Nobody changed anything."""


@dataclass(frozen=True)
class Tasks:
    """All tasks found in a table, and where each call belongs."""

    tasks: tuple[FoundTask, ...]
    """Most calls first."""
    member: NDArray[np.int32] = field(repr=False)
    """Per row of the table the index of its task; -1 where it has none."""
