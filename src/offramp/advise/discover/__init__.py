"""The tasks in a log: which calls ask for the same thing, however their prompts vary and drift.

`find_tasks` depends on the set of calls alone, not on their order; a known task keeps its id. Its words are untrusted.
"""

from offramp.advise.discover.find import find_tasks
from offramp.advise.discover.types import NO_EDITS, Edits, FoundTask, Tasks, Variant

__all__ = ["NO_EDITS", "Edits", "FoundTask", "Tasks", "Variant", "find_tasks"]
