"""Many requests, one call: what waits while the model is busy is answered together.

There is no timer on the way of a lone request: batches form because the worker was busy. Only right after a batch of
several requests, when fewer are here, does the next one wait for a moment: their askers may be about to ask again, and
without the moment batches of clients that ask in step fall apart into a large and a small one. Where askers do not come
back, as those of traffic that comes when it likes, the moment is given up: tried again after 1, 3, 7 ... 63 batches.
Guarantee: answers come to who asked, in any order of asking; a batch that fails fails each of its requests alike, and
the next batch is answered. Trap: one thread runs the models, so nothing here makes two slow models faster.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, TypeVar

from offramp.web.errors import Refusal

Asked = TypeVar("Asked")
Told = TypeVar("Told")

IDLE_WAITS = 10
"""After so many times the moment without a request nobody is about to ask again."""
MOST_MISSED = 6
"""Moments in vain after which the pause between two no longer doubles."""


class Batcher(Generic[Asked, Told]):
    """A bounded queue in front of a function on lists."""

    def __init__(
        self,
        answer: Callable[[list[Asked]], Sequence[Told]],
        *,
        max_batch: int = 32,
        wait_s: float = 0.002,
        queue: int = 256,
    ) -> None:
        """Answer with `answer`, which gets at most `max_batch` and is never called twice at once."""
        self._answer, self._max_batch, self._wait_s, self._limit = answer, max_batch, wait_s, queue
        self._waiting: deque[tuple[Asked, asyncio.Future[Told]]] = deque()
        self._came = asyncio.Event()
        self._wanted = 1
        self._missed = self._skip = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="offramp-model")
        self._task: asyncio.Task[None] | None = None
        self.batches = 0
        """Calls so far."""
        self.rows = 0
        """Requests answered by them."""
        self.busy_s = 0.0
        """Seconds that they took."""
        self.running = 0
        """Requests in the call under way."""

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    async def ask(self, item: Asked) -> Told:
        """Return the answer to one request.

        Raises:
            Refusal: 429, too many wait.
        """
        if len(self._waiting) >= self._limit:
            # A second is about what a full queue takes, and the least that Retry-After can say.
            raise Refusal(
                429,
                f"{self._limit} requests are waiting, which is as many as may; ask again later",
                kind="rate_limit_error",
                code="queue_full",
                retry_after_s=1.0,
            )
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        future: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._waiting) == 1 or len(self._waiting) >= self._wanted:
            self._came.set()
        return await future

    async def run(self, work: Callable[[], None]) -> None:
        """Run something else on the models' thread, after the batch under way."""
        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        """Stop; what still waits is cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for _, future in self._waiting:
            future.cancel()
        self._thread.shutdown(wait=True)

    async def _work(self) -> None:
        loop, last, ended = asyncio.get_running_loop(), 1, 0.0
        while True:
            while not self._waiting:
                self._wanted = 1
                self._came.clear()
                await self._came.wait()
            if loop.time() - ended <= IDLE_WAITS * self._wait_s:
                await self._gather(min(last, self._max_batch))
            batch = self._taken()
            if not batch:
                continue
            self.running = last = len(batch)
            began = loop.time()
            await self._answered(batch)
            self.batches, self.rows, self.running = self.batches + 1, self.rows + len(batch), 0
            ended = loop.time()
            self.busy_s += ended - began

    async def _answered(self, batch: list[tuple[Asked, asyncio.Future[Told]]]) -> None:
        """Ask the model and tell everyone who still listens."""
        items = [item for item, _ in batch]
        try:
            told = await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, items)
        except Exception as failure:
            for _, future in batch:
                if not future.done():
                    future.set_exception(failure)
        else:
            for (_, future), one in zip(batch, told, strict=True):
                if not future.done():
                    future.set_result(one)

    def _taken(self) -> list[tuple[Asked, asyncio.Future[Told]]]:
        """Take the next batch from those who wait."""
        batch = [self._waiting.popleft() for _ in range(min(self._max_batch, len(self._waiting)))]
        # Who hung up is not worth an answer.
        return [(item, future) for item, future in batch if not future.done()]

    async def _gather(self, wanted: int) -> None:
        """Wait a moment for as many as the last batch had, unless that was in vain lately."""
        missing = wanted - len(self._waiting)
        if missing <= 0:
            return
        if self._skip:
            self._skip -= 1
            return
        self._wanted = wanted
        self._came.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._came.wait(), self._wait_s)
        self._wanted = 1
        came = missing - (wanted - len(self._waiting))
        self._missed = 0 if 2 * came >= missing else min(self._missed + 1, MOST_MISSED)
        self._skip = 2**self._missed - 1
