"""How a verb names its result before it works, and makes it only when it is missing.

The id is the hash of the stage, its recipe number, the parents, the settings it depends on and the seed. Only one
process makes records at a time; a second one is told so instead of waiting.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from offramp import __version__
from offramp.store import Store
from offramp.types import MadeBy, Record, content_id

R = TypeVar("R", bound=Record)

RECIPES = {
    "ingest": 2,
    "curate": 1,
    "fit": 1,
    "evaluate": 1,
    "parity": 1,
    "verdict": 1,
    "cost": 1,
    "judge": 1,
    "ratings": 1,
    "renew": 1,
}
"""Raised when a stage would make something else from the same inputs, so that old results are not taken for new."""


class Records:
    """Names, lock and provenance for one store and seed."""

    def __init__(self, store: Store, *, seed: int) -> None:
        """Make records in `store`."""
        self.store = store
        self.seed = seed
        self._depth = 0

    def id(self, kind: str, stage: str, parents: Sequence[str], config: Mapping[str, Any]) -> str:
        """Return the id that this stage's result has, made or not."""
        content = {
            "stage": stage,
            "recipe": RECIPES[stage],
            "parents": list(parents),
            "config": dict(config),
            "seed": self.seed,
        }
        return content_id(kind, content)

    def made_by(self, config: Mapping[str, Any]) -> MadeBy:
        """Return the provenance of a record made now with this configuration."""
        return MadeBy(version=__version__, config=dict(config), seed=self.seed)

    @contextmanager
    def making(self, record_id: str) -> Iterator[bool]:
        """Hold the workspace while a record is made; yields whether it still has to be.

        Raises:
            StoreError: another process is making records here.
        """
        if self.store.has(record_id):
            yield False
            return
        with ExitStack() as stack:
            if not self._depth:
                stack.enter_context(self.store.lock())
            self._depth += 1
            try:
                yield not self.store.has(record_id)
            finally:
                self._depth -= 1

    def name(self, name: str, record_id: str, kind: type[R]) -> R:
        """Let `name` mean this record, and return it."""
        record = self.store.get(record_id, kind)
        if self.store.named(name) != record_id:
            self.store.set_name(name, record_id)
        return record
