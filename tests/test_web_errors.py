import asyncio
import json

import anthropic
import openai
import pytest
from aiohttp import web

from offramp.web.errors import Refusal, anthropic_error, body_of, headers_of, openai_error

CLASSES = [
    (400, openai.BadRequestError, anthropic.BadRequestError, "invalid_request_error"),
    (401, openai.AuthenticationError, anthropic.AuthenticationError, "authentication_error"),
    (403, openai.PermissionDeniedError, anthropic.PermissionDeniedError, "permission_error"),
    (404, openai.NotFoundError, anthropic.NotFoundError, "not_found_error"),
    (413, openai.APIStatusError, anthropic.RequestTooLargeError, "request_too_large"),
    (429, openai.RateLimitError, anthropic.RateLimitError, "rate_limit_error"),
    (500, openai.InternalServerError, anthropic.InternalServerError, "api_error"),
    (502, openai.InternalServerError, anthropic.InternalServerError, "api_error"),
    (503, openai.InternalServerError, anthropic.InternalServerError, "overloaded_error"),
]


def test_an_error_has_the_four_fields_of_openai():
    refusal = Refusal(404, "no such model", code="model_not_found", param="model")

    assert json.loads(openai_error(refusal)) == {
        "error": {
            "message": "no such model",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
    }


def test_the_type_follows_from_the_status_unless_it_is_given():
    assert Refusal(400, "").kind == "invalid_request_error"
    assert Refusal(429, "").kind == "rate_limit_error"
    assert Refusal(429, "", kind="insufficient_quota").kind == "insufficient_quota"
    assert Refusal(502, "").kind == "server_error"


def test_an_error_has_the_shape_of_anthropic():
    assert json.loads(anthropic_error(Refusal(429, "slow down"))) == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "slow down"},
    }
    assert json.loads(anthropic_error(Refusal(422, "x")))["error"]["type"] == "invalid_request_error"
    assert json.loads(anthropic_error(Refusal(599, "x")))["error"]["type"] == "api_error"


def test_a_message_with_anything_in_it_is_still_json():
    text = 'a "quote"\n\x00 \ud800 é'

    assert json.loads(openai_error(Refusal(400, text)))["error"]["message"] == text


def test_when_to_try_again_is_said_in_whole_seconds():
    assert headers_of(Refusal(429, "", retry_after_s=1.2)) == {
        "content-type": "application/json",
        "retry-after": "2",
    }
    assert headers_of(Refusal(429, "", retry_after_s=0.0))["retry-after"] == "1"
    assert "retry-after" not in headers_of(Refusal(400, ""))


def test_a_refusal_can_be_raised_through_context_managers_and_reads_as_its_message():
    from contextlib import contextmanager

    @contextmanager
    def through():
        yield

    with pytest.raises(Refusal) as caught, through():
        raise Refusal(400, "asked for this, found that")
    assert str(caught.value) == "asked for this, found that"


def test_the_official_clients_raise_their_own_classes():
    async def handler(request):
        refusal = Refusal(int(request.headers["x-status"]), "no, because", code="why", param="model")
        body = body_of(refusal, anthropic=request.path == "/v1/messages")
        return web.Response(status=refusal.status, body=body, headers=headers_of(refusal))

    async def ask(url, status):
        turns, headers = [{"role": "user", "content": "hi"}], {"x-status": str(status)}
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client:
            with pytest.raises(openai.APIStatusError) as theirs:
                await client.chat.completions.create(model="m", messages=turns, extra_headers=headers)
        async with anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0) as client:
            with pytest.raises(anthropic.APIStatusError) as other:
                await client.messages.create(model="m", messages=turns, max_tokens=5, extra_headers=headers)
        return theirs.value, other.value

    async def main():
        runner = web.ServerRunner(web.Server(handler))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = "http://{}:{}".format(*site._server.sockets[0].getsockname()[:2])
        try:
            return [await ask(url, status) for status, *_ in CLASSES]
        finally:
            await runner.cleanup()

    for (_status, expected, other_expected, kind), (found, other) in zip(
        CLASSES, asyncio.run(main()), strict=True
    ):
        assert isinstance(found, expected)
        assert (found.code, found.param, found.body["message"]) == ("why", "model", "no, because")
        assert isinstance(other, other_expected)
        assert other.body == {"type": "error", "error": {"type": kind, "message": "no, because"}}
