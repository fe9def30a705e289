"""What the gateway answers itself: health, metrics, the list of models, feedback, and what became of a call.

Other paths under `/v1` are passed to the first upstream as they are, unrecorded, so that an app which also uploads
files or makes images needs no second address.
Guarantee: health needs no key and tells nothing; everything else needs one where keys are used. Trap: `/readyz` is
"not ready" while draining, so that a load balancer turns away before the port closes.
"""

import asyncio
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import hdrs, web
from multidict import CIMultiDict

from offramp.errors import OfframpError, StoreError
from offramp.gateway.upstream import Failed, Reply, Upstream
from offramp.web.allow import forwarded, query_of, returned
from offramp.web.errors import Refusal, headers_of, openai_error
from offramp.web.json import dumps, loads
from offramp.web.keys import presented
from offramp.web.metrics import CONTENT_TYPE, Metrics

if TYPE_CHECKING:
    from offramp.gateway.app import Parts

FEEDBACK = "/v1/offramp/feedback"
CALLS = "/v1/offramp/calls/"
_PASSED = re.compile(r"/v1(/[A-Za-z0-9_-][A-Za-z0-9_.:-]*)+")
_CALL = re.compile(r"[A-Za-z0-9_-]{1,200}")
_METHODS = (hdrs.METH_GET, hdrs.METH_POST, hdrs.METH_DELETE)
_OWN: dict[str, str] = {
    "/healthz": hdrs.METH_GET,
    "/readyz": hdrs.METH_GET,
    "/openapi.json": hdrs.METH_GET,
    "/metrics": hdrs.METH_GET,
    "/v1/models": hdrs.METH_GET,
    FEEDBACK: hdrs.METH_POST,
}
"""What is answered here, and the one method for it."""
_OPEN = ("/healthz", "/readyz", "/openapi.json")
"""What needs no key."""
_STORE_S = 3.0
"""Seconds after which a client is told that the store does not answer."""
T = TypeVar("T")


class Desk:
    """Answers what is no request to a model."""

    def __init__(self, parts: "Parts", metrics: Metrics, draining: Callable[[], bool]) -> None:
        """Answer for a gateway of these parts."""
        self._parts = parts
        self._metrics = metrics
        self._draining = draining
        # Few, and their own: a store that hangs must not hold up what else runs in threads, such as a rollback.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="offramp-store")

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request.

        Raises:
            Refusal: no such path or method, no key, or a body that makes no sense.
        """
        path = request.raw_path.partition("?")[0]
        if path not in _OPEN:
            self._need_key(request)
        expected = hdrs.METH_GET if path.startswith(CALLS) else _OWN.get(path)
        if expected is None:
            return await self._passed(request, path)
        if request.method != expected:
            return _wrong_method(f"{expected} was expected at {path[:120]}; found {request.method}", expected)
        if path == "/v1/models":
            return await self._models(request)
        if path == FEEDBACK:
            return await self._feedback(request)
        if path.startswith(CALLS):
            return await self._call(path.removeprefix(CALLS))
        return self._state(path)

    def _state(self, path: str) -> web.Response:
        """Answer what load balancers and scrapers ask."""
        if path == "/metrics":
            return web.Response(body=self._metrics.text(), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})
        if path == "/openapi.json":
            text = resources.files("offramp.gateway").joinpath("openapi.json").read_bytes()
            return web.Response(body=text, content_type="application/json")
        down = path == "/readyz" and self._draining()
        return _json({"status": "draining" if down else "ok"}, 503 if down else 200)

    def _need_key(self, request: web.BaseRequest) -> None:
        keys = self._parts.keys
        if (keys.guarded or self._parts.settings.need_key) and keys.find(presented(request.headers)) is None:
            text = "a key of this gateway was expected (`offramp keys add NAME`)"
            raise Refusal(401, text, code="invalid_api_key")

    async def _feedback(self, request: web.BaseRequest) -> web.Response:
        try:
            said = loads(await request.read())
        except ValueError as failure:
            raise Refusal(400, f"a JSON object was expected; {failure}") from None
        if not isinstance(said, dict):
            raise Refusal(400, "an object with `call`, `kind` and `value` was expected")
        call, kind, value = said.get("call"), said.get("kind"), said.get("value")
        if not isinstance(call, str) or not _CALL.fullmatch(call):
            raise Refusal(400, "a `call` was expected: the header x-offramp-call of an answer", param="call")
        if not isinstance(kind, str):
            raise Refusal(400, "a `kind` was expected: thumb, edit, label or outcome", param="kind")
        try:
            await self._stored(self._parts.recorder.feedback, call, kind, value, at=time.time())
        except (OfframpError, ValueError) as failure:
            # A text with half a character in it cannot be written, which is a ValueError.
            raise Refusal(400, str(failure), param="value") from None
        return _json({"call": call, "kind": kind, "kept": True})

    async def _call(self, call_id: str) -> web.Response:
        """Say whether a call is written: then it survives whatever happens to this process."""
        known = _CALL.fullmatch(call_id) is not None
        if not known or not await self._stored(self._parts.recorder.is_written, call_id):
            raise Refusal(404, f"call {call_id[:80]!r} was asked for; it is not written", code="not_written")
        return _json({"call": call_id, "written": True})

    async def _stored(self, ask: Callable[..., T], *given: Any, **named: Any) -> T:
        """Ask the store of calls in a thread.

        Raises:
            Refusal: it cannot be used now, or does not answer.
        """
        asked = asyncio.get_running_loop().run_in_executor(self._threads, partial(ask, *given, **named))
        try:
            return await asyncio.wait_for(asked, _STORE_S)
        except (StoreError, TimeoutError):
            raise _no_store() from None

    async def _models(self, request: web.BaseRequest) -> web.Response:
        """List the upstream's models after the tasks that are routed here; without such, as the upstream does."""
        since = {alias: one.deployment.created_at for alias, one in self._parts.live.by_alias.items()}
        own: list[dict[str, Any]] = [
            {"id": alias, "object": "model", "created": int(at.timestamp()), "owned_by": "offramp"}
            for alias, at in since.items()
        ]
        found: Any = None
        try:
            reply = await self._asked(request, "/models")
            if not own:
                return _returned(reply)
            found = loads(reply.body)
        except (Failed, Refusal, ValueError):
            # An app must see its task although the API is down, or there is none.
            pass
        listed = found if isinstance(found, dict) and isinstance(found.get("data"), list) else {"data": []}
        rest = [one for one in listed["data"] if not (isinstance(one, dict) and one.get("id") in since)]
        return _json({"object": "list", **listed, "data": own + rest})

    async def _passed(self, request: web.BaseRequest, path: str) -> web.Response:
        """Pass on what only the upstream knows."""
        if not _PASSED.fullmatch(path):
            text = f"{request.method} {path[:120]!r} was asked for; there is no such path"
            raise Refusal(404, text, code="not_found")
        if request.method not in _METHODS:
            return _wrong_method(
                f"{request.method} {path[:120]!r} was asked for; it is not passed on", *_METHODS
            )
        try:
            return _returned(await self._asked(request, path.removeprefix("/v1")))
        except Failed as failure:
            raise Refusal(502, failure.text, kind="server_error", code="upstream_error") from None

    async def _asked(self, request: web.BaseRequest, path: str) -> Reply:
        """Ask the first upstream the same, as it was asked here: query, kind of body, and body."""
        query = query_of(request.raw_path.partition("?")[2])
        body = (await request.read() or None) if request.can_read_body else None
        upstream = self._for(body)
        headers = self._headers(request, upstream)
        where = f"{path}?{query}" if query else path
        return await upstream.whole(where, body, headers, method=request.method)

    def _for(self, body: bytes | None) -> Upstream:
        """Return who takes the model that a body names; the first upstream where it names none."""
        try:
            asked = loads(body or b"null")
        except ValueError:
            asked = None
        model = asked.get("model") if isinstance(asked, dict) else None
        named = self._parts.settings.upstream(model) if isinstance(model, str) else None
        return self._parts.upstreams[named.name] if named is not None else self._first()

    def _first(self) -> Upstream:
        for upstream in self._parts.upstreams.values():
            return upstream
        raise Refusal(404, "there is no upstream that this could be passed to", code="not_found")

    def _headers(self, request: web.BaseRequest, upstream: Upstream) -> CIMultiDict[str]:
        own_key = not self._parts.keys.guarded and upstream.passes_key
        passed = forwarded(request.headers.items(), own_key=own_key)
        headers = upstream.headers(passed, anthropic="anthropic-version" in request.headers)
        # Not always JSON: files come as forms.
        headers.popall(hdrs.CONTENT_TYPE, None)
        if hdrs.CONTENT_TYPE in request.headers:
            headers[hdrs.CONTENT_TYPE] = request.headers[hdrs.CONTENT_TYPE]
        return headers


def _returned(reply: Reply) -> web.Response:
    headers = CIMultiDict(returned(reply.headers.items()))
    return web.Response(status=reply.status, body=reply.body, headers=headers)


def _wrong_method(text: str, *allowed: str) -> web.Response:
    refusal = Refusal(405, text, code="method_not_allowed")
    headers = {**headers_of(refusal), hdrs.ALLOW: ", ".join(allowed)}
    return web.Response(status=405, body=openai_error(refusal), headers=headers)


def _no_store() -> Refusal:
    return Refusal(503, "the store of calls cannot be used now; try again", code="no_store", retry_after_s=1)


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=dumps(value), status=status, content_type="application/json")
