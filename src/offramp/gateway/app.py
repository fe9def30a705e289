"""The gateway: takes OpenAI and Anthropic requests, has them answered, and keeps what happened.

One function answers every request: who may ask, what is asked, who answers by the deployment, the answer, and last the
record, which is written when the client already has its answer.
Guarantee: capturing, scoring and watching never slow or fail a request; a fault of our own is a 500 in the client's
shape. Trap: without upstream keys in the settings the client's own key is passed on, and is never written anywhere.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestPayloadError
from multidict import CIMultiDict

from offramp.capture import Call, Calls, Recorder, new_id
from offramp.gateway import wire
from offramp.gateway.desk import Desk
from offramp.gateway.front import Exchange, Sent
from offramp.gateway.live import Active, Live
from offramp.gateway.shadow import Shadow
from offramp.gateway.turn import Outcome, Turn
from offramp.gateway.upstream import Upstream
from offramp.route import Target, plan
from offramp.route.settings import GatewaySettings
from offramp.web.allow import forwarded, path_of, query_of, returned
from offramp.web.errors import Refusal, body_of, headers_of
from offramp.web.keys import Client, Keys, presented
from offramp.web.limits import Limits, day_of
from offramp.web.metrics import Metrics, process_metrics
from offramp.web.otel import otel_attributes, span_writer

_log = logging.getLogger(__name__)

JSON = "application/json"
_EVENTS: Mapping[str, str] = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}
_TAG = "x-offramp-tag-"
_REMEMBERED = 1_000
"""Models whose upstream is remembered; clients name models, so there is no end of names."""
_LEFT = "the client left before its answer was whole"


@dataclass(slots=True)
class Parts:
    """What a gateway is made of."""

    settings: GatewaySettings
    """How it behaves."""
    upstreams: Mapping[str, Upstream]
    """Who may be asked, by name."""
    live: Live
    """Who is deployed."""
    recorder: Recorder
    """What keeps calls."""
    calls: Calls
    """Where they are kept."""
    keys: Keys
    """Who may ask."""
    limits: Limits
    """And how much."""
    price: Callable[[Call], float | None]
    """What a call costs in US dollars."""


@dataclass(frozen=True, slots=True)
class _Came:
    """What is known of a request besides its body."""

    id: str
    at: float
    client: str | None
    tags: Mapping[str, str]


class Counts:
    """What a scrape is told about requests."""

    def __init__(self, metrics: Metrics, recorder: Recorder) -> None:
        """Declare the metrics."""
        process_metrics(metrics)
        answered = ("alias", "route", "answered_by", "status")
        self.requests = metrics.counter("offramp_requests_total", "Requests answered.", labels=answered)
        by = ("answered_by",)
        self.latency = metrics.histogram("offramp_latency_seconds", "Until the answer was whole.", labels=by)
        self.first = metrics.histogram("offramp_first_token_seconds", "Until a stream's content.", labels=by)
        for name, about in (
            ("written", "Calls written to the store."),
            ("dropped", "Calls left out because the queue was full."),
            ("failed", "Calls lost because the store could not be written."),
        ):
            read = partial(getattr, recorder, name)
            metrics.reading(f"offramp_capture_{name}_total", about, read, kind="counter")
        metrics.reading("offramp_capture_queued", "Calls waiting to be written.", lambda: recorder.queued)


class Gateway:
    """Answers requests; `handle` is an aiohttp low-level handler."""

    def __init__(self, parts: Parts) -> None:
        """Put the parts together; `start` opens them."""
        self.parts = parts
        self.metrics = Metrics()
        self.draining = False
        self.under_way = 0
        self._counts = Counts(self.metrics, parts.recorder)
        self.metrics.reading("offramp_requests_under_way", "Requests under way.", lambda: self.under_way)
        self._named = lru_cache(_REMEMBERED)(parts.settings.upstream)
        self._shadow = Shadow(parts.settings.shadow, self._keep)
        self._desk = Desk(parts, self.metrics, lambda: self.draining)
        self._span = span_writer()

    async def stop(self) -> None:
        """Stop what goes on in the background."""
        await self._shadow.stop()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request that aiohttp's server has read; never raises but for a client that left."""
        path = request.raw_path
        flavor = wire.PATHS.get(path)
        try:
            if flavor is None:
                path = path_of(path)
                flavor = wire.PATHS.get(path)
            if flavor is None:
                return await self._desk.answer(request)
            if request.method != hdrs.METH_POST:
                text = f"POST was expected at {path}; found {request.method}"
                answer = _refused(
                    Refusal(405, text, code="method_not_allowed"), anthropic=flavor == "messages"
                )
                answer.headers[hdrs.ALLOW] = hdrs.METH_POST
                return answer
        except Refusal as refusal:
            return _refused(refusal, anthropic=path.startswith("/v1/messages"))
        except RequestPayloadError:
            return _refused(_unread(), anthropic=False)
        except web.HTTPRequestEntityTooLarge:
            return _refused(self._too_large(), anthropic=False)
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:
            _log.exception("a request failed inside the gateway")
            return _refused(_fault(), anthropic=False)
        exchange = Exchange.of(request)
        await self.exchange(exchange)
        return Sent(exchange)

    async def exchange(self, exchange: Exchange) -> None:
        """Answer a request at one of `wire.PATHS`; never raises but for a client that left."""
        flavor = wire.PATHS.get(exchange.target)
        try:
            flavor = flavor or wire.PATHS[path_of(exchange.target)]
            await self._answer(exchange, flavor)
            return
        except Refusal as found:
            refusal = found
        except web.HTTPRequestEntityTooLarge:
            refusal = self._too_large()
        except RequestPayloadError:
            refusal = _unread()
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception:
            _log.exception("a request failed inside the gateway")
            refusal = _fault()
        if exchange.begun:
            raise ConnectionResetError("an answer that broke off inside the gateway cannot be mended")
        anthropic = exchange.target.startswith("/v1/messages")
        exchange.reply(refusal.status, headers_of(refusal).items(), body_of(refusal, anthropic=anthropic))

    def _too_large(self) -> Refusal:
        large = self.parts.settings.largest_request_bytes
        text = f"requests of at most {large:,} bytes are taken; send less, or raise gateway.largest_request_bytes"
        return Refusal(413, text, code="request_too_large")

    # ---- one request -------------------------------------------------------------------------------------------

    async def _answer(self, exchange: Exchange, flavor: wire.Flavor) -> None:
        began = time.perf_counter()
        client = self._admitted(exchange)
        came = _Came(new_id(), time.time(), client.name if client else None, _tags(exchange.headers))
        asked = wire.read(flavor, await exchange.body())
        if client is not None and not client.may_ask(asked.model):
            raise Refusal(
                403, f"the key of {client.name!r} may not ask for {asked.model!r}", code="model_not_allowed"
            )
        turn = self._turn(exchange, asked, began)
        self.under_way += 1
        outcome = Outcome(499, b"", error=_LEFT)
        try:
            if asked.stream:
                outcome = await turn.stream(_Stream(exchange, turn, came.id))
            else:
                outcome = await turn.whole()
            if exchange.begun:
                exchange.end()
            else:
                exchange.reply(outcome.status, _headers(outcome, came.id), outcome.body)
        except (asyncio.CancelledError, ConnectionError):
            outcome.error = outcome.error or (None if outcome.sent else _LEFT)
            raise
        finally:
            self.under_way -= 1
            call = _call(came, turn, outcome)
            if client is not None and client.usd_per_day is not None:
                self.parts.limits.spent(client.name, self.parts.price(call) or 0.0, day=day_of(came.at))
            self._keep(call)
            if self._span is not None:
                provider = outcome.answered_by or "none"
                self._span(call, otel_attributes(call, provider=provider), exchange.headers)
            unseen = turn.plan.shadow or self._shadow.both_ways
            if unseen and outcome.status == 200 and outcome.error is None:
                self._shadow.offer(turn, call)

    def _admitted(self, exchange: Exchange) -> Client | None:
        """Return whose key this is, `None` where no keys are needed.

        Raises:
            Refusal: no or an unknown key, too many requests, too much spent, or the gateway is full.
        """
        settings, keys = self.parts.settings, self.parts.keys
        if self.draining or self.under_way >= settings.at_once:
            raise Refusal(
                503, "the gateway is full or stopping; try again", code="overloaded", retry_after_s=1
            )
        if not (keys.guarded or settings.need_key):
            return None
        client = keys.find(presented(exchange.headers))
        if client is None:
            raise Refusal(
                401, "a key of this gateway was expected (`offramp keys add NAME`)", code="invalid_api_key"
            )
        refusal = self.parts.limits.admit(client, time.time())
        if refusal is not None:
            raise refusal
        return client

    def _turn(self, exchange: Exchange, asked: wire.Asked, began: float) -> Turn:
        active = self.parts.live.by_alias.get(asked.model)
        deployment = active.deployment if active is not None else None
        named = self._named(asked.model)
        incumbent = self.parts.upstreams.get(named.name) if named is not None else None
        if incumbent is None and active is None:
            raise Refusal(
                404,
                f"the model {asked.model!r} was asked for; no upstream takes it; see gateway.upstreams in offramp.toml",
                code="model_not_found",
                param="model",
            )
        upstreams: dict[Target, Upstream | None] = {
            "incumbent": incumbent,
            "candidate": active.candidate if active is not None else None,
        }
        anthropic, incoming = asked.flavor == "messages", exchange.headers
        theirs = not self.parts.keys.guarded

        def headers(upstream: Upstream) -> CIMultiDict[str]:
            passed = forwarded(incoming.items(), own_key=theirs and upstream.passes_key)
            return upstream.headers(passed, anthropic=anthropic)

        decided = plan(deployment, self._sticky(exchange, asked, active))
        aliased = active is not None or asked.model == self.parts.settings.alias
        # With the query: Anthropic's beta features are asked for in it.
        where, _, query = exchange.target.partition("?")
        path = where.removeprefix("/v1") + (f"?{query_of(query)}" if query else "")
        return Turn(asked, path, headers, decided, upstreams, deployment, aliased, began)

    def _sticky(self, exchange: Exchange, asked: wire.Asked, active: Active | None) -> str:
        """Return what the share is drawn by; only worked out where a share is."""
        if active is None or active.deployment.share in (0.0, 1.0):
            return ""
        sticky = active.deployment.sticky
        if sticky == "request":
            return new_id()
        header = self.parts.settings.trust_user_header
        user = (exchange.headers.get(header) if header else None) or asked.user
        if sticky == "user" and user:
            return user
        return asked.conversation or wire.conversation_of(asked)

    # ---- the record --------------------------------------------------------------------------------------------

    def _keep(self, call: Call) -> None:
        """Count a call and put it into the store's queue."""
        by = call.answered_by or "nobody"
        counts = self._counts
        counts.requests.add((call.alias, call.route, by, str(call.status)))
        counts.latency.observe(call.latency_s, (by,))
        if call.first_token_s is not None:
            counts.first.observe(call.first_token_s, (by,))
        self.parts.recorder.put(call)


def _call(came: _Came, turn: Turn, outcome: Outcome) -> Call:
    """Return the record of a request."""
    said, asked, deployment = outcome.said, turn.asked, turn.deployment
    call = Call(
        id=came.id,
        at=came.at,
        alias=asked.model,
        flavor=asked.flavor,
        route=outcome.route,
        status=outcome.status,
        request=asked.raw,
        answer=outcome.body,
        latency_s=time.perf_counter() - turn.began,
        client=came.client,
        deployment=deployment.id if deployment is not None else None,
        answered_by=outcome.answered_by,
        model=outcome.model,
        stream=asked.stream,
        error=outcome.error,
        first_token_s=outcome.first_token_s,
        conversation=asked.conversation,
        # An answer that another model gave is no error; why it was asked is worth knowing all the same.
        tags={**came.tags, "reason": "; ".join(turn.reasons)} if turn.reasons else came.tags,
        attempts=turn.attempts,
    )
    if said is not None:
        call.input_tokens, call.output_tokens = said.input_tokens, said.output_tokens
        call.cached_tokens, call.confidence, call.ood = said.cached_tokens, said.confidence, said.ood
    return call


def _tags(headers: Mapping[str, str]) -> dict[str, str]:
    return {tag: value for name, value in headers.items() if (tag := _tag(name)) is not None}


@lru_cache(_REMEMBERED)
def _tag(name: str) -> str | None:
    """Return which tag a header is, `None` where it is none."""
    low = name.lower()
    return low.removeprefix(_TAG) if low.startswith(_TAG) else None


class _Stream:
    """A streamed answer; its head goes out with the first piece."""

    __slots__ = ("_call_id", "_exchange", "_turn")

    def __init__(self, exchange: Exchange, turn: Turn, call_id: str) -> None:
        self._exchange = exchange
        self._turn = turn
        self._call_id = call_id

    @property
    def full(self) -> bool:
        return self._exchange.full

    def write(self, piece: bytes) -> None:
        if not self._exchange.begun:
            kept = [
                pair for pair in returned(self._turn.stream_headers.items()) if pair[0].lower() not in _EVENTS
            ]
            own = (("x-offramp-call", self._call_id), ("x-offramp-route", self._turn.plan.route))
            self._exchange.start([*kept, *_EVENTS.items(), *own])
        self._exchange.write(piece)

    async def drained(self) -> None:
        await self._exchange.drained()


def _headers(outcome: Outcome, call_id: str) -> list[tuple[str, str]]:
    """Return the headers of a whole answer: the upstream's, and who answered."""
    found = returned(outcome.headers.items())
    if hdrs.CONTENT_TYPE not in outcome.headers:
        found.append((hdrs.CONTENT_TYPE, JSON))
    found.append(("x-offramp-call", call_id))
    found.append(("x-offramp-route", outcome.route))
    if outcome.answered_by:
        found.append(("x-offramp-answered-by", outcome.answered_by))
    return found


def _unread() -> Refusal:
    return Refusal(400, "the body could not be read as its headers say (length, chunks, encoding)")


def _fault() -> Refusal:
    return Refusal(500, "the gateway failed on this request; its log says why", kind="server_error")


def _refused(refusal: Refusal, *, anthropic: bool) -> web.Response:
    body = body_of(refusal, anthropic=anthropic)
    return web.Response(status=refusal.status, body=body, headers=headers_of(refusal))
