"""One request: who was asked, what came of it, and the answer that stands.

A plan names who is asked in turn. `whole` goes on to the next when an answer is missing, empty, broken, late or not
sure enough; `stream` does the same until the first token has been passed on. From then on nobody else may go on with
the sentence, so a stream that breaks ends with an error event that official clients raise as an error.

Guarantee: no token is sent twice, no half event is passed on, and every wait has an end. Trap: what the incumbent
says against the request itself (400, 401, 404 …) is the client's answer; asking somebody else would hide a mistake.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from multidict import CIMultiDict

from offramp.gateway import translate, wire
from offramp.gateway.relay import ClientLeft, Out, Relay, is_whole
from offramp.gateway.upstream import Failed, Reply, Upstream
from offramp.gateway.wire import Asked, Said
from offramp.route import Plan, Target, doubt
from offramp.types import Deployment
from offramp.web.errors import Refusal, body_of

PASSED_ON = frozenset({400, 401, 402, 403, 404, 405, 411, 413, 414, 415, 422})
"""What the incumbent says about the request and not about itself."""
_ABOUT_REQUEST = frozenset({400, 413, 422})
_CHAT_PATH = "/chat/completions"
_READS_S = 30.0
_UNREAD = "the client does not read its answer"


@dataclass(slots=True)
class Outcome:
    """What the client was told, and by whom."""

    status: int
    """HTTP status."""
    body: bytes
    """The whole answer; of a stream, the assembled message."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The upstream's headers, where its answer is passed on as it is."""
    said: Said | None = None
    """What was understood of the answer."""
    answered_by: str | None = None
    """Name of the upstream, `None` where nobody answered."""
    model: str | None = None
    """Model that was asked there."""
    route: str = "record"
    """What the call is filed under."""
    error: str | None = None
    """Why there is no answer, or why it broke off."""
    first_token_s: float | None = None
    """Seconds until the first piece of content."""
    sent: bool = False
    """Whether the client already has it."""


@dataclass(slots=True)
class Turn:
    """One request on its way."""

    asked: Asked
    """What was asked."""
    path: str
    """Path below the upstream's address, e.g. `/chat/completions`."""
    headers: Callable[[Upstream], CIMultiDict[str]]
    """Makes the headers for an upstream."""
    plan: Plan
    """Who is asked."""
    upstreams: Mapping[Target, Upstream | None]
    """Who that is."""
    deployment: Deployment | None
    """Under which deployment."""
    aliased: bool
    """Whether the app asked for a task by its alias, and not for a model of the upstream."""
    began: float
    """`time.perf_counter()` when it arrived."""
    reasons: list[str] = field(default_factory=list)
    """Why somebody's answer does not stand, in order."""
    attempts: int = 0
    """Requests sent."""
    stream_headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of the upstream whose stream is passed on."""
    spare: Outcome | None = None
    """An answer that does not stand, for when there is no other."""
    refused: Outcome | None = None
    """An error that may be passed on, for when there is no answer."""

    async def whole(self) -> Outcome:
        """Ask until an answer stands; never raises but for cancellation."""
        if self.plan.hedge_s is not None and len(self.plan.targets) > 1:
            return await self._hedged(self.plan.hedge_s)
        for target in self._order():
            if (found := self._standing(target, await self._asked_whole(target))) is not None:
                return found
        return self._left()

    async def stream(self, out: Out) -> Outcome:
        """The same for a stream: pieces go `out` as they come, from whoever first has something to say."""
        for target in self._order():
            if target == "candidate" and (
                self.plan.judged or self.asked.flavor != "chat" or self._familiarity
            ):
                found = await self._asked_whole(target)
                if isinstance(found, Outcome):
                    reason = self._doubt(target, found)
                    if reason is None and (pieces := self._pieces(found)) is not None:
                        return await self._as_stream(found, pieces, out)
                    self.reasons += [reason] if reason else []
                    self.spare = found
                continue
            streamed = await self._asked_stream(target, out)
            if isinstance(streamed, Outcome):
                return streamed
            self._standing(target, streamed)
        left = self._left()
        if left is not self.spare:
            return left
        pieces, self.spare = self._pieces(left), None
        return self._left() if pieces is None else await self._as_stream(left, pieces, out)

    # ---- one target --------------------------------------------------------------------------------------------

    async def _asked_whole(self, target: Target) -> Outcome | Failed | None:
        """Ask one target; an `Outcome` is an answer, anything else is none."""
        upstream = self._ready(target)
        if upstream is None:
            return None
        try:
            path, body = self._written(target, upstream, stream=False)
            reply = await upstream.whole(path, body, self.headers(upstream))
            return self._understood(target, upstream, reply)
        except Failed as failure:
            return self._failed(upstream, failure)
        except Refusal as refusal:
            self.reasons.append(f"{upstream.name} cannot be asked this: {refusal.message}")
            return None

    def _understood(self, target: Target, upstream: Upstream, reply: Reply) -> Outcome:
        """Return the answer of a reply.

        Raises:
            Failed: it is none.
        """
        translated = target == "candidate" and self.asked.flavor != "chat"
        if reply.status != 200:
            if target == "incumbent" and reply.status in PASSED_ON:
                return self._refusal(target, upstream, reply)
            raise Failed("status", f"{upstream.name} answered {reply.status}", reply)
        said = wire.said("chat" if translated else self.asked.flavor, reply.body)
        problem = wire.problem("chat" if translated else self.asked.flavor, said, status=200)
        if problem is not None:
            raise Failed("empty", f"{upstream.name}: {problem}", reply if is_whole(said) else None, said)
        upstream.breaker.note(True, time.monotonic())
        if translated and not self.asked.stream:
            body = translate.from_chat(self.asked.flavor, wire.loads(reply.body), model=self.asked.model)
            reply = Reply(200, {}, body)
        return self._told(target, upstream, reply, said=said)

    async def _asked_stream(self, target: Target, out: Out) -> Outcome | Failed | None:
        upstream = self._ready(target)
        if upstream is None:
            return None
        try:
            path, body = self._written(target, upstream, stream=True)
        except Refusal as refusal:
            self.reasons.append(f"{upstream.name} cannot be asked this: {refusal.message}")
            return None
        relay = Relay(self.asked, upstream, out, began=self.began)
        try:
            async with (
                asyncio.timeout(upstream.patience.first_s) as first,
                upstream.stream(path, body, self.headers(upstream)) as response,
            ):
                if response.status != 200:
                    reply = await upstream.read(response)
                    if target == "incumbent" and reply.status in PASSED_ON:
                        return self._refusal(target, upstream, reply)
                    raise Failed("status", f"{upstream.name} answered {reply.status}", reply)
                self.stream_headers = response.headers
                await relay.run(response, first)
        except Failed as failure:
            return await self._broken(target, upstream, relay, out, failure)
        except TimeoutError:
            if relay.sending:
                raise asyncio.CancelledError(_UNREAD) from None
            limit_s = upstream.patience.between_s if relay.sent else upstream.patience.first_s
            late = Failed("timeout", f"{upstream.name} gave no token within {limit_s:g} s")
            return await self._broken(target, upstream, relay, out, late)
        except ClientLeft as left:
            raise asyncio.CancelledError(str(left)) from left
        upstream.breaker.note(True, time.monotonic())
        return self._streamed(target, upstream, relay)

    async def _broken(
        self, target: Target, upstream: Upstream, relay: Relay, out: Out, failure: Failed
    ) -> Outcome | Failed:
        """A stream failed: somebody else may answer as long as the client has seen nothing."""
        if relay.sent and relay.assembly.complete:
            # Only the end of the connection is missing, not a word of the answer.
            upstream.breaker.note(True, time.monotonic())
            return self._streamed(target, upstream, relay)
        self._failed(upstream, failure)
        if not relay.sent:
            return failure
        refusal = Refusal(
            502, f"the answer broke off: {failure.text}", kind="server_error", code="upstream_error"
        )
        await _sent(out, [wire.error_event(self.asked.flavor, refusal)])
        return self._streamed(target, upstream, relay, error=failure.text)

    def _streamed(
        self, target: Target, upstream: Upstream, relay: Relay, *, error: str | None = None
    ) -> Outcome:
        said, body = relay.assembly.said(), wire.dumps(relay.assembly.body())
        found = self._told(target, upstream, Reply(200, {}, body), said=said, error=error)
        found.first_token_s, found.sent = relay.first_token_s, True
        return found

    def _pieces(self, found: Outcome) -> Iterator[bytes] | None:
        """Return a whole chat answer as a stream, `None` where it cannot be one."""
        options = self.asked.body.get("stream_options")
        usage = isinstance(options, dict) and options.get("include_usage") is True
        try:
            return translate.stream_from_chat(
                self.asked.flavor, wire.loads(found.body), model=self.asked.model, include_usage=usage
            )
        except Refusal as refusal:
            self.reasons.append(refusal.message)
            return None

    async def _as_stream(self, found: Outcome, pieces: Iterator[bytes], out: Out) -> Outcome:
        """Send a whole chat answer to a client that asked for a stream."""
        found.first_token_s, self.stream_headers = time.perf_counter() - self.began, found.headers
        await _sent(out, pieces)
        found.sent = True
        return found

    # ---- deciding ----------------------------------------------------------------------------------------------

    @property
    def _familiarity(self) -> bool:
        return self.deployment is not None and self.deployment.least_familiar is not None

    def _doubt(self, target: Target, found: Outcome) -> str | None:
        if target != "candidate" or self.deployment is None or found.said is None:
            return None
        return doubt(self.deployment, found.said.confidence, found.said.ood)

    def _order(self) -> list[Target]:
        """Return who is asked, in turn: whoever failed often just now comes last, as late is better than never."""
        now, last = time.monotonic(), []
        for target in self.plan.targets if len(self.plan.targets) > 1 else ():
            upstream = self.upstreams.get(target)
            if upstream is not None and upstream.breaker.open(now):
                self.reasons.append(f"{upstream.name} failed often just now and comes last")
                last.append(target)
        return [target for target in self.plan.targets if target not in last] + last

    def _ready(self, target: Target) -> Upstream | None:
        upstream = self.upstreams.get(target)
        if upstream is None:
            self.reasons.append(f"no {target} can be asked")
            return None
        self.attempts += 1
        return upstream

    def _written(self, target: Target, upstream: Upstream, *, stream: bool) -> tuple[str, bytes]:
        model, asked = self._model(upstream), self.asked
        if target == "candidate" and asked.flavor != "chat":
            return _CHAT_PATH, wire.dumps({**translate.to_chat(asked), "model": model, "stream": False})
        ours = target == "incumbent" and "offramp" in asked.body
        turned = stream != bool(asked.body.get("stream"))
        if not (ours or turned):
            return self.path, wire.with_model(asked, model)
        body = {**wire.loads(asked.raw), "model": model}
        if ours:
            # What is said to our own models, an API of somebody else's would refuse.
            del body["offramp"]
        if turned:
            body["stream"] = stream
            body.pop("stream_options", None)
        return self.path, wire.dumps(body)

    def _model(self, upstream: Upstream) -> str:
        """Return the model to ask for: an alias means nothing to an upstream, other names are its own."""
        return (upstream.model if self.aliased else None) or self.asked.model

    def _failed(self, upstream: Upstream, failure: Failed) -> Failed:
        self.reasons.append(failure.text)
        if failure.kind != "private":
            # Who says that a request is wrong for it is in good health.
            well = failure.reply is not None and failure.reply.status in _ABOUT_REQUEST
            upstream.breaker.note(well, time.monotonic())
        return failure

    def _told(
        self,
        target: Target,
        upstream: Upstream,
        reply: Reply,
        *,
        said: Said | None = None,
        error: str | None = None,
    ) -> Outcome:
        first = self.plan.targets[0] == target
        return Outcome(
            reply.status,
            reply.body,
            reply.headers,
            said,
            upstream.name,
            self._model(upstream),
            self.plan.route if first else "fallback",
            error,
        )

    def _refusal(self, target: Target, upstream: Upstream, reply: Reply) -> Outcome:
        """Return what the incumbent says against the request."""
        upstream.breaker.note(True, time.monotonic())
        error = f"{upstream.name} answered {reply.status}"
        return self._told(target, upstream, self._readable(upstream, reply), error=error)

    def _passed_on(self, target: Target, failure: Failed) -> Outcome | None:
        """Return what the client is told when nobody answers: the incumbent's own words, where there are any."""
        upstream, reply = self.upstreams.get(target), failure.reply
        if upstream is None or reply is None or target != "incumbent":
            return None
        if reply.status == 200:
            return self._told(target, upstream, reply, said=failure.said, error=failure.text)
        found = self._told(target, upstream, self._readable(upstream, reply), error=failure.text)
        found.answered_by = None
        return found

    def _readable(self, upstream: Upstream, reply: Reply) -> Reply:
        """Return a refusal as it is where official clients can read it, else in their shape with the same status."""
        try:
            body = wire.loads(reply.body)
        except ValueError:
            body = None
        if reply.status >= 400 and isinstance(body, dict) and body.get("error"):
            return reply
        refusal = Refusal(
            reply.status if reply.status >= 400 else 502,
            f"{upstream.name} answered {reply.status}, and nothing that can be read",
            code="upstream_error",
        )
        headers = CIMultiDict(reply.headers)
        headers["Content-Type"] = "application/json"
        return Reply(refusal.status, headers, body_of(refusal, anthropic=self.asked.flavor == "messages"))

    def _standing(self, target: Target, found: Outcome | Failed | None) -> Outcome | None:
        """Return the answer that stands; what does not is kept for when nobody's does."""
        if isinstance(found, Failed):
            self.refused = self._passed_on(target, found) or self.refused
        elif found is not None:
            reason = self._doubt(target, found)
            if reason is None:
                return found
            self.reasons.append(reason)
            self.spare = found
        return None

    def _left(self) -> Outcome:
        """Nobody's answer stands: an answer that is not sure is better than none, unless nothing may leave."""
        private = self.deployment is not None and self.deployment.private
        if self.spare is not None and not private:
            self.spare.route = "fallback"
            return self.spare
        if self.refused is not None and not private:
            return self.refused
        text = "; ".join(self.reasons) or "nobody can be asked"
        refusal = Refusal(
            503 if private else 502, f"no answer: {text}", kind="server_error", code="no_answer"
        )
        body = body_of(refusal, anthropic=self.asked.flavor == "messages")
        return Outcome(refusal.status, body, route=self.plan.route, error=text)

    async def _hedged(self, after_s: float) -> Outcome:
        """Ask the second as well when the first is slow; the first answer that stands wins."""
        rest = self._order()
        first = rest.pop(0)
        running = {asyncio.ensure_future(self._asked_whole(first)): first}
        try:
            while running:
                done, _ = await asyncio.wait(
                    running, timeout=after_s if rest else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    if (found := self._standing(running.pop(task), task.result())) is not None:
                        return found
                if rest:
                    target = rest.pop(0)
                    running[asyncio.ensure_future(self._asked_whole(target))] = target
        finally:
            for task in running:
                task.cancel()
        return self._left()


async def _sent(out: Out, pieces: Iterable[bytes]) -> None:
    """Send pieces to a client that has half a minute to read them.

    Raises:
        CancelledError: it did not, or has left; the server's own way to say so.
    """
    try:
        async with asyncio.timeout(_READS_S):
            for piece in pieces:
                out.write(piece)
                await out.drained()
    except TimeoutError:
        raise asyncio.CancelledError(_UNREAD) from None
    except ConnectionError as left:
        raise asyncio.CancelledError(str(left)) from left
