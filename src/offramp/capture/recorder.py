"""The way of a call from the gateway's event loop to disk: a bounded queue and one writing thread.

`put` only appends; pricing, masking, cutting and writing happen in the thread. Guarantee: `put` never waits and never
raises; calls and bytes that wait are bounded, what does not fit is dropped and counted; what cannot be written now is
kept and tried again, with growing pauses, and a fault is logged once when it begins and once when it ends.
Trap: the thread shares the interpreter's lock with the event loop, so it gives the lock up every few calls; and a call
given to `put` belongs to the recorder, which fills in its price.
"""

import logging
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from typing import Any

from offramp.capture import texts
from offramp.capture.call import Call
from offramp.capture.calls import Calls, FeedbackKind
from offramp.capture.settings import CaptureSettings
from offramp.errors import ConfigError, DataError, StoreError

_log = logging.getLogger(__name__)

_CALL_BYTES = 1_000
"""What a waiting call takes in memory beside its bodies, about."""
_BATCH_BYTES = 4 * 2**20
"""A transaction is closed when its bodies pass this."""
_POLITE_CALLS = 16
"""Calls prepared before the thread gives up the interpreter's lock."""
_CONFIRMED_CALLS = 10_000
"""Ids of written calls kept in memory, and as many of the time before."""
_LONGEST_PAUSE_S = 5.0
_PRUNE_EVERY_S = 3600.0
_PRUNE_CALLS = 1_000
_UNSAMPLED = 2**32


class Recorder:
    """Writes calls behind the back of the requests."""

    def __init__(
        self,
        calls: Calls,
        settings: CaptureSettings,
        *,
        price: Callable[[Call], float | None] | None = None,
        redact: texts.Redact | None = None,
    ) -> None:
        """Write to `calls`; `redact` masks what is written, and is needed where the settings say `mask`.

        Raises:
            ConfigError: personal data is to be masked and nothing is there that masks.
        """
        if settings.personal == "mask" and redact is None:
            raise ConfigError(
                'personal data of calls was to be masked (`personal = "mask"` under [capture]); found nothing that '
                "masks; give `redact`"
            )
        self._calls, self._settings, self._price, self._redact = calls, settings, price, redact
        self._most_calls, self._most_bytes = settings.queue_calls, settings.queue_bytes
        self._sampled = int(settings.sample_ratio * _UNSAMPLED) if settings.enabled else 0
        self._queue: deque[tuple[Call, int]] = deque()
        # Totals that only grow, each changed by one side: what waits is their difference, and `put` shares no lock
        # with the writer, which may be put to sleep while it holds one.
        self._put_lock = threading.Lock()
        self._put_calls = self._put_bytes = 0
        self._done_calls = self._done_bytes = 0
        self._wake = threading.Event()
        self._progress = threading.Condition()
        self._thread: threading.Thread | None = None
        self._deadline_s: float | None = None
        self._closed = False
        self._pause_s = 0.0
        self._pruned_s: float | None = None
        self._confirmed: set[str] = set()
        self._confirmed_before: set[str] = set()
        self._said: set[str] = set()
        self.written = 0
        """Calls on disk."""
        self.dropped = 0
        """Calls that found no room."""
        self.failed = 0
        """Calls that can never be written, each a fault of its own."""
        self.skipped = 0
        """Calls that were not sampled."""
        self.unmasked = 0
        """Calls whose texts were left out because masking failed."""

    @property
    def queued(self) -> int:
        """Calls that wait, those being written included."""
        return self._put_calls - self._done_calls

    @property
    def healthy(self) -> bool:
        """False while the store cannot be written."""
        return self._pause_s == 0.0

    def put(self, call: Call) -> bool:
        """Take a call; false when it is not kept, which is counted. Never waits, never raises."""
        try:
            if (
                self._sampled != _UNSAMPLED
                and zlib.crc32((call.shadow_of or call.id).encode()) >= self._sampled
            ):
                self.skipped += 1
                return False
            size = _CALL_BYTES + len(call.request or b"") + len(call.answer or b"")
            with self._put_lock:
                waiting = self._put_calls - self._done_calls
                if (
                    waiting >= self._most_calls
                    or self._put_bytes - self._done_bytes + size > self._most_bytes
                    or self._closed
                ):
                    self.dropped += 1
                    return False
                self._put_calls += 1
                self._put_bytes += size
                self._queue.append((call, size))
            return True
        except Exception:  # whatever is wrong with a call, its request goes on
            self.failed += 1
            return False

    def start(self) -> None:
        """Start writing; once."""
        if self._thread is None:
            self._closed, self._deadline_s = False, None
            self._thread = threading.Thread(target=self._run, name="offramp-capture", daemon=True)
            self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> bool:
        """Take no more calls, write what waits, end the thread; false when calls were left, which count as dropped."""
        with self._put_lock:
            self._closed = True
        thread, self._thread = self._thread, None
        self._deadline_s = time.monotonic() + timeout_s
        self._wake.set()
        if thread is not None:
            thread.join(timeout_s + 0.1)
        left = self.queued
        self.dropped += left
        self._queue.clear()
        self._done_calls, self._done_bytes = self._put_calls, self._put_bytes
        return left == 0

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until every call taken so far is written or given up; false when that takes too long."""
        target = self._put_calls
        self._wake.set()
        with self._progress:
            return self._progress.wait_for(lambda: self._done_calls >= target, timeout_s)

    def is_written(self, call_id: str) -> bool:
        """Return whether a call is on disk, so that nothing that happens to this process can lose it.

        Calls of the last moments are answered from memory, others from the store.

        Raises:
            StoreError: the store cannot be read now.
        """
        return call_id in self._confirmed or call_id in self._confirmed_before or self._calls.has(call_id)

    def feedback(self, call_id: str, kind: FeedbackKind, value: Any, *, at: float) -> None:
        """Keep feedback, masked as calls are; writes at once, so not from an event loop.

        Raises:
            DataError: no such kind, no value of it, or its text could not be masked.
            StoreError: the store cannot be written now.
        """
        self._calls.feedback(call_id, kind, value, at=at, mask=self._masked_text(call_id))

    def _masked_text(self, call_id: str) -> Callable[[str], str] | None:
        redact = self._redact
        if redact is None:
            return None

        def mask(text: str) -> str:
            try:
                return redact([text], call_id)[0]
            except Exception as failure:
                raise DataError(
                    f"feedback could not be masked, so it was not kept: {type(failure).__name__}"
                ) from None

        return mask

    # ---- the thread --------------------------------------------------------------------------------------------

    def _run(self) -> None:
        ready: list[tuple[Call, int]] = []
        while True:
            # What comes while this is written waits for the next turn: transactions stay few and large.
            until = self._put_calls
            while self._done_calls < until:
                ready = self._write(ready or self._prepared())
                if ready:
                    break
            self._prune()
            wait_s = max(self._settings.flush_s, self._pause_s)
            if self._deadline_s is not None:
                wait_s = min(wait_s, self._deadline_s - time.monotonic())
                if wait_s <= 0 or not self.queued:
                    return
            self._wake.wait(wait_s)
            self._wake.clear()

    def _prepared(self) -> list[tuple[Call, int]]:
        """Take a batch out of the queue, priced, cut and masked."""
        ready: list[tuple[Call, int]] = []
        size = 0
        while self._queue and len(ready) < self._settings.batch and size < _BATCH_BYTES:
            call, call_bytes = self._queue.popleft()
            size += call_bytes
            try:
                ready.append((self._prepare(call), call_bytes))
            except Exception as failure:  # a call that is no call; the others go on
                self._give_up(call_bytes, failure)
            if len(ready) % _POLITE_CALLS == 0:
                time.sleep(0)
        return ready

    def _prepare(self, call: Call) -> Call:
        if self._price is not None and call.cost_usd is None:
            try:
                call.cost_usd = self._price(call)
            except Exception as failure:
                self._once("price", "a call could not be priced and has no price now: %r", failure)
        largest = self._settings.largest_body_bytes
        if len(call.request or b"") > largest or len(call.answer or b"") > largest:
            call = texts.cut(call, largest)
        if self._redact is not None:
            try:
                call = texts.masked(call, self._redact)
            except Exception as failure:
                self.unmasked += 1
                call = texts.bare(call)
                # Not the error itself: its words may be those of the text.
                kind = type(failure).__name__
                self._once("mask", "texts of a call could not be masked and are left out: %s", kind)
        return call

    def _write(self, ready: list[tuple[Call, int]]) -> list[tuple[Call, int]]:
        """Write a batch; returns what is left to be tried again."""
        if not ready:
            return ready
        try:
            self._calls.insert([call for call, _ in ready])
        except StoreError as failure:
            self._failing(failure)
            return ready
        except Exception:
            return self._write_each(ready)
        # Said before it is counted, so that whoever waits for the count finds it said.
        self._recovered()
        self._wrote(ready)
        return []

    def _write_each(self, ready: list[tuple[Call, int]]) -> list[tuple[Call, int]]:
        """Write calls one by one, because one of them cannot be written."""
        for index, (call, size) in enumerate(ready):
            try:
                self._calls.insert([texts.storable(call)])
            except StoreError as failure:
                self._failing(failure)
                return ready[index:]
            except Exception as failure:
                self._give_up(size, failure)
            else:
                self._wrote([(call, size)])
        return []

    def _wrote(self, ready: list[tuple[Call, int]]) -> None:
        if len(self._confirmed) > _CONFIRMED_CALLS:
            self._confirmed, self._confirmed_before = set(), self._confirmed
        self._confirmed.update(call.id for call, _ in ready)
        self.written += len(ready)
        self._done(len(ready), sum(size for _, size in ready))

    def _give_up(self, size: int, failure: Exception) -> None:
        self.failed += 1
        self._once("call", "a call cannot be written and is left out: %s", type(failure).__name__)
        self._done(1, size)

    def _done(self, calls: int, size: int) -> None:
        with self._progress:
            self._done_bytes += size
            self._done_calls += calls
            self._progress.notify_all()

    def _failing(self, failure: Exception) -> None:
        if self.healthy:
            _log.warning("calls are not recorded for now, requests go on: %s", failure)
        self._pause_s = min(_LONGEST_PAUSE_S, max(2 * self._pause_s, self._settings.flush_s))

    def _recovered(self) -> None:
        if not self.healthy:
            self._pause_s = 0.0
            _log.warning("calls are recorded again; %d were dropped so far", self.dropped)

    def _once(self, key: str, message: str, value: object) -> None:
        if key not in self._said:
            self._said.add(key)
            _log.warning(message + " (said once; the count goes on)", value)

    def _prune(self) -> None:
        """Delete what is too old, a thousand calls at a time."""
        keep_days = self._settings.keep_days
        now_s = time.monotonic()
        if keep_days is None or (self._pruned_s is not None and now_s - self._pruned_s < _PRUNE_EVERY_S):
            return
        try:
            gone = self._calls.prune(older_than=time.time() - keep_days * 86_400, most=_PRUNE_CALLS)
        except (StoreError, DataError):
            gone = 0  # the next write says what is wrong
        if gone < _PRUNE_CALLS:
            self._pruned_s = now_s
