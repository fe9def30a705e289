"""Ends waits that last too long, with one timer for all of them.

Idea: all have the same time, so they come due in the order in which they began: only the first needs a timer, and a
wait that ends in time, as nearly all do, costs a dictionary's entry.
Guarantee: nothing is ended early, nor later than a timer of its own would have. Trap: made for one event loop.
"""

import asyncio
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Watch(Generic[T]):
    """What waits, and since when."""

    __slots__ = ("_due", "_late", "_loop", "_span_s", "_timer")

    def __init__(self, span_s: float, late: Callable[[T], None]) -> None:
        """Call `late` with whatever has waited `span_s`; must run in the loop that waits."""
        self._span_s = span_s
        self._late = late
        self._loop = asyncio.get_running_loop()
        self._due: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, one: T) -> None:
        """Begin to wait, or begin anew."""
        self._due.pop(one, None)
        self._due[one] = self._loop.time() + self._span_s
        if self._timer is None:
            self._timer = self._loop.call_later(self._span_s, self._look)

    def end(self, one: T) -> None:
        """Wait no more; ending what does not wait is fine."""
        self._due.pop(one, None)

    def last(self) -> T | None:
        """End and return what began last, `None` where nothing waits."""
        return self._due.popitem()[0] if self._due else None

    def close(self) -> None:
        """Forget all."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        while self._due:
            one, due = next(iter(self._due.items()))
            if due > self._loop.time():
                self._timer = self._loop.call_at(due, self._look)
                return
            del self._due[one]
            self._late(one)
