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
from importlib import resources
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web
from multidict import CIMultiDict

from offramp.errors import OfframpError
from offramp.gateway.upstream import Failed, Upstream
from offramp.web.allow import forwarded, returned
from offramp.web.errors import Refusal
from offramp.web.json import dumps, loads
from offramp.web.keys import presented
from offramp.web.metrics import CONTENT_TYPE, Metrics

if TYPE_CHECKING:
    from offramp.gateway.app import Parts

FEEDBACK = "/v1/offramp/feedback"
CALLS = "/v1/offramp/calls/"
_PASSED = re.compile(r"/v1(/[A-Za-z0-9_-][A-Za-z0-9_.:-]*)+")
_METHODS = (hdrs.METH_GET, hdrs.METH_POST, hdrs.METH_DELETE)


class Desk:
    """Answers what is no request to a model."""

    def __init__(self, parts: "Parts", metrics: Metrics, draining: Callable[[], bool]) -> None:
        """Answer for a gateway of these parts."""
        self._parts = parts
        self._metrics = metrics
        self._draining = draining

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request.

        Raises:
            Refusal: no such path or method, no key, or a body that makes no sense.
        """
        path, method = request.path, request.method
        if path in ("/healthz", "/readyz") and method == hdrs.METH_GET:
            down = path == "/readyz" and self._draining()
            return _json({"status": "draining" if down else "ok"}, 503 if down else 200)
        if path == "/openapi.json" and method == hdrs.METH_GET:
            text = resources.files("offramp.gateway").joinpath("openapi.json").read_bytes()
            return web.Response(body=text, content_type="application/json")
        self._need_key(request)
        if path == "/metrics" and method == hdrs.METH_GET:
            return web.Response(body=self._metrics.text(), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})
        if path == FEEDBACK and method == hdrs.METH_POST:
            return await self._feedback(request)
        if path.startswith(CALLS) and method == hdrs.METH_GET:
            return await self._call(path.removeprefix(CALLS))
        if path == "/v1/models" and method == hdrs.METH_GET:
            return await self._models(request)
        return await self._passed(request)

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
        if not isinstance(said, dict) or not isinstance(said.get("call"), str):
            raise Refusal(400, "an object with `call`, `kind` and `value` was expected", param="call")
        call, kind, value = said["call"], str(said.get("kind")), said.get("value")
        try:
            await asyncio.to_thread(self._parts.recorder.feedback, call, kind, value, at=time.time())  # type: ignore[arg-type]
        except OfframpError as failure:
            raise Refusal(400, str(failure), param="value") from None
        return _json({"call": call, "kind": kind, "kept": True})

    async def _call(self, call_id: str) -> web.Response:
        """Say whether a call is written: then it survives whatever happens to this process."""
        if not await asyncio.to_thread(self._parts.recorder.is_written, call_id):
            raise Refusal(404, f"call {call_id[:80]!r} was asked for; it is not written", code="not_written")
        return _json({"call": call_id, "written": True})

    async def _models(self, request: web.BaseRequest) -> web.Response:
        """List the upstream's models after the tasks that are routed here."""
        since = {alias: one.deployment.created_at for alias, one in self._parts.live.by_alias.items()}
        own: list[dict[str, Any]] = [
            {"id": alias, "object": "model", "created": int(at.timestamp()), "owned_by": "offramp"}
            for alias, at in since.items()
        ]
        theirs: list[Any] = []
        try:
            upstream = self._first()
            reply = await upstream.whole(
                "/models", None, self._headers(request, upstream), method=hdrs.METH_GET
            )
            found = loads(reply.body)
            theirs = found["data"] if isinstance(found, dict) and isinstance(found.get("data"), list) else []
        except (Failed, Refusal, ValueError):
            pass
        names = {one["id"] for one in own}
        rest = [one for one in theirs if not (isinstance(one, dict) and one.get("id") in names)]
        return _json({"object": "list", "data": own + rest})

    async def _passed(self, request: web.BaseRequest) -> web.Response:
        """Pass on what only the upstream knows."""
        raw = request.raw_path.partition("?")[0]
        if not _PASSED.fullmatch(raw) or request.method not in _METHODS:
            raise Refusal(
                404, f"{request.method} {raw[:120]!r} was asked for; there is no such path", code="not_found"
            )
        upstream = self._first()
        body = await request.read() if request.can_read_body else None
        query = f"?{request.query_string}" if request.query_string else ""
        try:
            reply = await upstream.whole(
                raw.removeprefix("/v1") + query, body, self._headers(request, upstream), method=request.method
            )
        except Failed as failure:
            raise Refusal(502, failure.text, kind="server_error", code="upstream_error") from None
        return web.Response(
            status=reply.status, body=reply.body, headers=CIMultiDict(returned(reply.headers.items()))
        )

    def _first(self) -> Upstream:
        for upstream in self._parts.upstreams.values():
            return upstream
        raise Refusal(404, "there is no upstream that this could be passed to", code="not_found")

    def _headers(self, request: web.BaseRequest, upstream: Upstream) -> CIMultiDict[str]:
        own_key = not self._parts.keys.guarded and upstream.passes_key
        return upstream.headers(forwarded(request.headers.items(), own_key=own_key), anthropic=False)


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=dumps(value), status=status, content_type="application/json")
