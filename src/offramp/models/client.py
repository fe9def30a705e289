"""Ask an endpoint many things at once, and pay for each only once.

A few workers share one list of requests. A busy server (429) makes all of them wait as long as it says; errors (5xx),
timeouts and replies that make no sense are tried again with growing, jittered waits. Answers are kept as they come,
so a killed run goes on where it was.
Guarantee: one completion per request, in order; what failed says why. Only a wrong configuration is raised: an
unknown host, a refused key, a wrong path or model. No log line and no error holds a message or a key.
Trap: when a whole row of requests failed, the rest is not asked; a dead server must not cost hours of waiting.
"""

import asyncio
import json
import logging
import random
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from offramp.errors import ModelError
from offramp.models import trouble, wire
from offramp.models.answer_cache import AnswerCache, Keep, request_key
from offramp.models.endpoint import Completion, Endpoint, Request
from offramp.types import Progress, silent

if TYPE_CHECKING:
    import aiohttp

LONGEST_WAIT_S = 120.0
"""A server that asks for a longer pause is not waited for."""
BUSY_PATIENCE_S = 60.0
"""How long one request waits for a server that is only busy (429), however often it is told to wait."""
LONGEST_BACKOFF_S = 30.0
"""Top of the growing waits."""
GIVE_UP_AFTER = 20
"""Requests that failed in a row, beyond those under way at once, before the rest is not asked."""
LARGEST_REPLY_BYTES = 32 * 2**20
"""A larger reply is an error: no chat answer has this size."""
_MOST_REWRITES = 6

_log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass
class Spent:
    """What a client sent so far."""

    requests: int = 0
    """Requests that were answered by the server, not from the cache."""
    input_tokens: int = 0
    """Prompt tokens of them, as the server counted."""
    output_tokens: int = 0
    """Answer tokens of them."""
    uncounted: int = 0
    """Requests whose tokens the server did not tell."""


class _Run:
    """What the workers of one call share."""

    def __init__(self, give_up_after: int) -> None:
        self.resume_at = 0.0
        self.answered = 0
        self._failed_in_a_row = 0
        self._limit = give_up_after

    @property
    def hopeless(self) -> str | None:
        if self._failed_in_a_row < self._limit:
            return None
        return f"not asked: {self._failed_in_a_row} requests in a row had failed"

    def count(self, *, answered: bool) -> None:
        self.answered += answered
        self._failed_in_a_row = 0 if answered else self._failed_in_a_row + 1

    def pause(self, seconds: float) -> None:
        self.resume_at = max(self.resume_at, time.monotonic() + seconds)

    async def clear_to_send(self) -> None:
        while (wait_s := self.resume_at - time.monotonic()) > 0:
            await asyncio.sleep(wait_s * random.uniform(1, 1.1))  # not all at the same moment


class Client:
    """Talks to one endpoint and remembers what it accepts."""

    def __init__(self, endpoint: Endpoint, *, cache: Path | None = None) -> None:
        """Ask `endpoint`; keep answers in a file in the folder `cache`.

        Raises:
            ConfigError: the variable that should hold the key does not.
        """
        self.endpoint = endpoint
        self.dialect = wire.Dialect()
        self.spent = Spent()
        self._key = endpoint.key()
        self._cache = None if cache is None else AnswerCache(cache)

    def complete(
        self, requests: Sequence[Request], *, progress: Progress = silent, stage: str = "asking"
    ) -> list[Completion]:
        """Return a completion for each request, in order; equal requests are sent once.

        Raises:
            ModelError: the host is unknown or refuses, the key is refused, the path or the model does not exist.
            StoreError: the cache cannot be read or written.
        """
        keys = [request_key(self.endpoint, request) for request in requests]
        found = self._cache.recall(list(dict.fromkeys(keys))) if self._cache else {}
        todo = {key: request for key, request in zip(keys, requests, strict=True) if key not in found}
        if todo:
            found |= _run(self._ask_all(todo, progress, stage))
        first = {key: i for i, key in reversed(list(enumerate(keys)))}
        return [
            found[key] if first[key] == i else replace(found[key], from_cache=True)
            for i, key in enumerate(keys)
        ]

    async def _ask_all(
        self, todo: Mapping[str, Request], progress: Progress, stage: str
    ) -> dict[str, Completion]:
        found: dict[str, Completion] = {}
        pending = iter(todo.items())
        run = _Run(GIVE_UP_AFTER + self.endpoint.concurrency)
        workers = min(self.endpoint.concurrency, len(todo))
        writer = self._cache.writer() if self._cache else nullcontext(_forget)
        with writer as keep:
            sink = _Sink(found, keep, len(todo), progress, stage)
            async with self._session() as session:
                try:
                    async with asyncio.TaskGroup() as group:
                        for _ in range(workers):
                            group.create_task(self._work(session, pending, run, sink))
                except BaseExceptionGroup as failures:
                    raise failures.exceptions[0] from None
        return found

    def _session(self) -> "aiohttp.ClientSession":
        import aiohttp

        return aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=aiohttp.ClientTimeout(total=self.endpoint.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(limit=0),  # the workers are the limit
        )

    async def _work(
        self,
        session: "aiohttp.ClientSession",
        pending: Iterator[tuple[str, Request]],
        run: _Run,
        sink: "_Sink",
    ) -> None:
        for key, request in pending:
            hopeless = run.hopeless
            completion = Completion(None, hopeless) if hopeless else await self._ask(session, request, run)
            self._count(completion)
            sink.take(key, completion)

    def _count(self, completion: Completion) -> None:
        if completion.latency_s is None:
            return
        self.spent.requests += 1
        self.spent.uncounted += completion.input_tokens is None or completion.output_tokens is None
        self.spent.input_tokens += completion.input_tokens or 0
        self.spent.output_tokens += completion.output_tokens or 0

    async def _ask(self, session: "aiohttp.ClientSession", request: Request, run: _Run) -> Completion:
        """Ask one thing until it is answered or there is no point in asking again."""
        tries, began = 0, time.monotonic()
        while True:
            reply, structured = await self._send(session, request, run)
            completion, again = self._sorted(reply, request, structured=structured, run=run)
            if not again:
                return completion
            tries += 1
            wait_s = self._wait(reply, tries)
            patient = reply.status == 429 and time.monotonic() + wait_s - began < BUSY_PATIENCE_S
            if (tries > self.endpoint.retries and not patient) or wait_s > LONGEST_WAIT_S or run.hopeless:
                run.count(answered=False)
                return completion
            _log.info("%s: attempt %d failed, waiting %.1f s", self.endpoint.host, tries, wait_s)
            if reply.status == 429 or reply.wait_s is not None:
                run.pause(wait_s)
            else:
                await asyncio.sleep(wait_s)

    async def _send(
        self, session: "aiohttp.ClientSession", request: Request, run: _Run
    ) -> tuple[wire.Reply, bool]:
        """Send a request, written as this server takes it; returns the reply and whether the schema was sent."""
        structured, rewrites = self.dialect.wants_schema(request), 0
        while True:
            await run.clear_to_send()
            body = self.dialect.body(self.endpoint, request, structured=structured)
            reply = await self._post(session, body, run)
            rewrites += 1
            if wire.fate(reply) != "refused" or rewrites > _MOST_REWRITES:
                return reply, structured
            if not self.dialect.learn(reply, body):
                if not structured:
                    return reply, structured
                structured = False  # if this one is accepted, the schema was the reason

    def _sorted(
        self, reply: wire.Reply, request: Request, *, structured: bool, run: _Run
    ) -> tuple[Completion, bool]:
        """Turn a reply into a completion, and whether to ask again."""
        fate = wire.fate(reply)
        if fate == "wrong" or (reply.status == 403 and not run.answered):
            raise ModelError(trouble.wrong(self.endpoint, reply))
        if fate == "again":
            return Completion(None, trouble.failed(reply)), True
        if fate != "answered":
            return Completion(None, trouble.refused(reply)), False
        completion = wire.read(reply, structured=structured)
        if completion.error is not None:
            completion = replace(completion, error=self._without_key(completion.error))
        if completion.error is not None and completion.finish_reason is None:
            return completion, True
        self._remember(request, structured)
        run.count(answered=True)
        return completion, False

    def _remember(self, request: Request, structured: bool) -> None:
        if request.schema is not None and self.dialect.structured is None:
            self.dialect.structured = structured
            if not structured:
                _log.warning(
                    "%s does not take a JSON schema; answers are parsed from text", self.endpoint.host
                )

    async def _post(self, session: "aiohttp.ClientSession", body: Mapping[str, Any], run: _Run) -> wire.Reply:
        import aiohttp

        began = time.perf_counter()
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        try:
            async with session.post(
                self.endpoint.url,
                data=data,
                headers={"Content-Type": "application/json"},
                allow_redirects=False,
            ) as response:
                text = await _limited(response)
                if response.status != 200:
                    text = self._without_key(text)
                elapsed_s = time.perf_counter() - began
                return wire.Reply(response.status, text, elapsed_s, wire.wait_asked(response.headers))
        except aiohttp.ClientConnectorError as failure:
            if not run.answered:
                raise ModelError(trouble.unreachable(self.endpoint, failure)) from None
            failure_text = f"the connection failed: {type(failure).__name__}"
        except TimeoutError:
            failure_text = f"no answer within {self.endpoint.timeout_s:g} s"
        except (aiohttp.ClientError, OSError) as failure:
            failure_text = f"the connection failed: {type(failure).__name__}"
        return wire.Reply(None, failure_text, time.perf_counter() - began)

    def _without_key(self, text: str) -> str:
        """Take the key out of a server's error; some repeat it. Answers are left as they are."""
        return text.replace(self._key, "***") if self._key else text

    def _wait(self, reply: wire.Reply, tries: int) -> float:
        growing = min(LONGEST_BACKOFF_S, self.endpoint.backoff_s * 2 ** (tries - 1))
        return max(reply.wait_s or 0.0, growing * random.uniform(0.5, 1.0))


@dataclass(frozen=True)
class _Sink:
    """Where the completions of one call go."""

    found: dict[str, Completion]
    keep: Keep
    total: int
    progress: Progress
    stage: str

    def take(self, key: str, completion: Completion) -> None:
        self.found[key] = completion
        self.keep(key, completion)
        self.progress(self.stage, len(self.found), self.total)


def _forget(key: str, completion: Completion) -> None:
    """Keep nothing."""


async def _limited(response: "aiohttp.ClientResponse") -> str:
    """Read a reply up to the largest size; what is beyond makes it unreadable, which the caller reports."""
    parts, size = [], 0
    async for part in response.content.iter_chunked(2**16):
        size += len(part)
        if size > LARGEST_REPLY_BYTES:
            return f"more than {LARGEST_REPLY_BYTES} bytes"
        parts.append(part)
    return b"".join(parts).decode("utf-8", "replace")


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, also from inside a running loop (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
