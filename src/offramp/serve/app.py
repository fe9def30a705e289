"""The HTTP side of serving: requests in, refusals or answers out; never a traceback, never a request without an end.

`Serving.handle` is a handler for aiohttp's low-level server; `app` makes one of loaded candidates, for tests and for
other processes. A model is named by its candidate, by that one's id or, where one
candidate alone serves a task, by the task.
Guarantee: while it drains new requests are told 503 and those under way are answered, for `drain_s` at most.
Trap: a row that a model cannot answer is 422 and not 200 with an empty text, so that a gateway can ask someone else.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from aiohttp import web

from offramp.errors import ConfigError, DataError, OfframpError
from offramp.serve import replies
from offramp.serve.answering import Served
from offramp.serve.batching import Batcher
from offramp.serve.questions import Question, question
from offramp.serve.replies import Head, Told
from offramp.serve.settings import LARGEST_BODY_BYTES, ServeSettings
from offramp.web.errors import Refusal, headers_of, openai_error
from offramp.web.json import dumps, loads
from offramp.web.metrics import CONTENT_TYPE, Metrics, process_metrics

CHAT = "/v1/chat/completions"
_log = logging.getLogger(__name__)
_Item = tuple[Served, Question]


class Serving:
    """Answers requests with loaded candidates."""

    def __init__(self, served: Sequence[Served], settings: ServeSettings | None = None) -> None:
        """Serve these; they are warm already.

        Raises:
            ConfigError: there are none.
        """
        if not served:
            raise ConfigError("a candidate to serve was expected; none was given")
        self.settings = settings or ServeSettings()
        self.batcher: Batcher[_Item, Told | Exception] = Batcher(
            _answered,
            max_batch=self.settings.max_batch,
            wait_s=self.settings.wait_s,
            queue=self.settings.queue,
        )
        self.served = tuple(served)
        self._named = names_of(served)
        self._made = int(time.time())
        self.draining = False
        """True once the process is to end."""
        self.under_way = 0
        """Requests that are not answered yet."""
        self._streams = 0
        self.metrics = Metrics()
        self._declare()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        try:
            return await self._routed(request)
        except Refusal as refusal:
            return _refused(refusal)
        except web.HTTPRequestEntityTooLarge:
            return _refused(
                Refusal(413, f"requests of at most {LARGEST_BODY_BYTES:,} bytes are taken; send less")
            )
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:
            _log.exception("a request failed")
            return _refused(Refusal(500, "the model failed on this request; the server's log says why"))

    async def close(self) -> None:
        """End the models' thread."""
        await self.batcher.close()

    async def drained(self) -> None:
        """Take no more requests and wait for those under way, for `drain_s` at most."""
        self.draining = True
        until = time.monotonic() + self.settings.drain_s
        while self.under_way and time.monotonic() < until:
            await asyncio.sleep(0.01)

    # ---- one request -------------------------------------------------------------------------------------------

    async def _routed(self, request: web.BaseRequest) -> web.StreamResponse:
        path, method = request.path, request.method
        if path == CHAT:
            if method != "POST":
                raise Refusal(405, f"POST was expected at {path}; found {method}")
            return await self._counted(request)
        if method not in ("GET", "HEAD"):
            raise Refusal(404, f"there is nothing at {method} {path}; chats are answered at POST {CHAT}")
        if path == "/healthz" or (path == "/readyz" and not self.draining):
            return _json({"status": "ok"})
        if path == "/readyz":
            raise Refusal(503, "the server is stopping", retry_after_s=1)
        if path == "/metrics":
            return web.Response(body=self.metrics.text(), headers={"Content-Type": CONTENT_TYPE})
        if path == "/v1/models":
            return _json({"object": "list", "data": [self._model(one) for one in self.served]})
        if path.startswith("/v1/models/"):
            return _json(self._model(self._find(path.removeprefix("/v1/models/"))))
        raise Refusal(404, f"there is nothing at {path}; chats are answered at POST {CHAT}")

    async def _counted(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a chat and count it."""
        if self.draining:
            raise Refusal(503, "the server is stopping; ask another", code="overloaded", retry_after_s=1)
        began, status = time.perf_counter(), 500
        self.under_way += 1
        try:
            response = await self._chat(request)
            status = response.status
            return response
        except Refusal as refusal:
            status = refusal.status
            raise
        finally:
            self.under_way -= 1
            self._requests.add((str(status),))
            self._latency.observe(time.perf_counter() - began)

    async def _chat(self, request: web.BaseRequest) -> web.StreamResponse:
        body = _body(await request.read())
        served = self._find(body["model"])
        asked = question(body, served.reader, classifies=served.classifies, form=served.form)
        head = Head.new(body["model"], served.candidate)
        if asked.stream and served.streams:
            return await self._streamed(request, served, asked, head)
        told = await self.batcher.ask((served, asked))
        if isinstance(told, Exception):
            raise told
        if told.error is not None:
            raise Refusal(422, f"no answer: {told.error}", code="no_answer")
        if not asked.stream:
            return web.Response(body=replies.completion(told, head), headers=replies.headers(told))
        response = _stream(replies.headers(told))
        await response.prepare(request)
        await response.write(b"".join(replies.pieces(told, head, include_usage=asked.include_usage)))
        await response.write_eof()
        return response

    async def _streamed(
        self, request: web.BaseRequest, served: Served, asked: Question, head: Head
    ) -> web.StreamResponse:
        """Tell an answer while it is written; one stream has the models' thread at a time."""
        pieces = self._pieces(served, asked)
        # Nothing is sent before the first piece: until then an error is a plain one.
        first = await anext(pieces)
        response = _stream({})
        await response.prepare(request)
        await response.write(replies.piece(head, {"role": "assistant", "content": ""}))
        piece: str | Told | None = first
        try:
            while isinstance(piece, str):
                await response.write(replies.piece(head, {"content": piece}))
                piece = await anext(pieces)
            assert isinstance(piece, Told)
            if piece.tool_calls:
                calls = [{"index": i, **call} for i, call in enumerate(piece.tool_calls)]
                await response.write(replies.piece(head, {"tool_calls": calls}))
            await response.write(b"".join(replies.ending(piece, head, include_usage=asked.include_usage)))
        except OfframpError as failure:
            await response.write(b"data: " + openai_error(Refusal(500, str(failure))) + b"\n\n")
        finally:
            await pieces.aclose()
        await response.write_eof()
        return response

    async def _pieces(self, served: Served, asked: Question) -> AsyncGenerator[str | Told, None]:
        if self._streams >= self.settings.queue:
            raise Refusal(
                429, f"{self._streams} streams wait, as many as may", code="queue_full", retry_after_s=1
            )
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[str | Told | Exception]()
        left = False

        def work() -> None:
            try:
                for piece in served.stream(asked):
                    loop.call_soon_threadsafe(queue.put_nowait, piece)
                    if left:
                        return
            except DataError as failure:
                refusal = Refusal(400, str(failure), code="context_length_exceeded", param="messages")
                loop.call_soon_threadsafe(queue.put_nowait, refusal)
            except Exception as failure:
                loop.call_soon_threadsafe(queue.put_nowait, failure)

        self._streams += 1
        done = asyncio.ensure_future(self.batcher.run(work))
        try:
            while True:
                piece = await queue.get()
                if isinstance(piece, Exception):
                    raise piece
                yield piece
                if isinstance(piece, Told):
                    return
        finally:
            left = True
            self._streams -= 1
            done.cancel()

    def _find(self, name: str) -> Served:
        if name not in self._named:
            raise Refusal(
                404,
                f"the model {name!r} was asked for; there are {', '.join(sorted(one.name for one in self.served))}",
                code="model_not_found",
                param="model",
            )
        return self._named[name]

    def _model(self, served: Served) -> dict[str, Any]:
        task = served.reader.task.name
        facts = {"candidate": served.candidate, "task": task, "inputs": list(served.reader.task.inputs)}
        return {
            "id": served.name,
            "object": "model",
            "created": self._made,
            "owned_by": "offramp",
            "offramp": facts,
        }

    def _declare(self) -> None:
        metrics, batcher = self.metrics, self.batcher
        process_metrics(metrics)
        self._requests = metrics.counter("offramp_serve_requests_total", "Chats.", labels=("status",))
        self._latency = metrics.histogram(
            "offramp_serve_latency_seconds", "Until a chat was answered in full."
        )
        metrics.reading("offramp_serve_waiting", "Requests that wait for the model.", lambda: batcher.waiting)
        metrics.reading(
            "offramp_serve_batches_total", "Calls of models.", lambda: batcher.batches, kind="counter"
        )
        metrics.reading("offramp_serve_rows_total", "Rows in them.", lambda: batcher.rows, kind="counter")
        metrics.reading(
            "offramp_serve_busy_seconds_total", "Seconds in them.", lambda: batcher.busy_s, kind="counter"
        )


def app(served: Sequence[Served], settings: ServeSettings | None = None) -> Serving:
    """Return what answers requests with these candidates; `Serving.handle` is its handler."""
    return Serving(served, settings)


def names_of(served: Sequence[Served]) -> dict[str, Served]:
    """Return every name by which a candidate may be asked for."""
    tasks = [one.reader.task.name for one in served]
    by_task = {task: one for task, one in zip(tasks, served, strict=True) if tasks.count(task) == 1}
    return by_task | {one.candidate: one for one in served} | {one.name: one for one in served}


def _answered(items: list[_Item]) -> list[Told | Exception]:
    """Answer a batch, candidate by candidate; one that fails fails its own requests alone."""
    found: dict[int, Told | Exception] = {}
    for served in {id(served): served for served, _ in items}.values():
        mine = [i for i, (one, _) in enumerate(items) if one is served]
        try:
            told: Sequence[Told | Exception] = served.told([items[i][1] for i in mine])
        except Exception as failure:
            told = [failure] * len(mine)
        found |= dict(zip(mine, told, strict=True))
    return [found[i] for i in range(len(items))]


def _body(text: bytes) -> Mapping[str, Any]:
    try:
        body = loads(text)
    except ValueError as failure:
        raise Refusal(400, f"the request is no JSON: {failure}") from failure
    if not isinstance(body, dict):
        raise Refusal(400, f"a JSON object was expected; found {type(body).__name__}")
    if not isinstance(body.get("model"), str):
        raise Refusal(400, "the name of a model was expected in `model`", param="model")
    return body


def _json(value: Any) -> web.Response:
    return web.Response(body=dumps(value), headers={"Content-Type": "application/json"})


def _stream(headers: Mapping[str, str]) -> web.StreamResponse:
    return web.StreamResponse(
        headers={**headers, "Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    )


def _refused(refusal: Refusal) -> web.Response:
    return web.Response(status=refusal.status, body=openai_error(refusal), headers=headers_of(refusal))
