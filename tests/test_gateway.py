"""The whole gateway against a fake upstream, asked by the official clients."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import openai
import pytest

from fake_upstream import (
    STREAM_HEAD,
    FakeUpstream,
    chunk,
    completion,
    framed,
    gateway_settings,
    says,
    sends,
    whole,
)
from offramp.capture import Calls
from offramp.gateway.run import Listening, parts_of
from offramp.store import Store
from offramp.types import Deployment, MadeBy

ASK = {"model": "triage", "messages": [{"role": "user", "content": "where is my parcel"}]}


def deploy(folder: Path, url: str, **more: Any) -> None:
    fields = {
        "alias": "triage",
        "version": 1,
        "mode": "full",
        "candidate": "c-1",
        "name": "small",
        "url": url,
    }
    with Store(folder) as store:
        version = len(store.all(Deployment)) + 1
        made = {
            **fields,
            "id": f"deployment-{version:04d}",
            "version": version,
            "made_by": MadeBy(version="0"),
        }
        store.add(Deployment.model_validate(made | more))


@asynccontextmanager
async def gateway(folder: Path, *upstreams: Any, **more: Any) -> AsyncIterator[Listening]:
    async with Listening(parts_of(folder, gateway_settings(*upstreams, **more))) as listening:
        yield listening
        while OPEN:
            await OPEN.pop().close()


OPEN: list[Any] = []


def asks(url: str, key: str = "sk-mine") -> openai.AsyncOpenAI:
    OPEN.append(openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0))
    return OPEN[-1]


def client(listening: Listening) -> openai.AsyncOpenAI:
    return asks(listening.address)


def kept(folder: Path) -> list[Any]:
    calls = Calls.open(folder / "calls.db")
    found = list(calls.each())
    calls.close()
    return found


def test_a_chat_call_is_answered_as_by_the_upstream_itself_and_kept(tmp_path):
    async def go() -> tuple[Any, Any, list[Any]]:
        async with FakeUpstream(says("in the post")) as big:
            plain = await asks(big.url).chat.completions.create(**ASK)
            async with gateway(tmp_path, big.settings()) as listening:
                through = await client(listening).chat.completions.create(
                    **ASK, extra_headers={"x-offramp-tag-app": "shop"}
                )
            return plain, through, big.seen

    plain, through, seen = asyncio.run(go())

    assert through.model_dump() == plain.model_dump()
    assert seen[0].body == seen[1].body
    assert seen[1].headers["authorization"] == "Bearer sk-mine"
    assert "x-offramp-tag-app" not in seen[1].headers
    [call] = kept(tmp_path)
    assert (call.alias, call.route, call.answered_by, call.status) == ("triage", "record", "incumbent", 200)
    assert (call.input_tokens, call.output_tokens, call.tags) == (9, 3, {"app": "shop"})
    assert json.loads(call.answer)["choices"][0]["message"]["content"] == "in the post"
    assert b"sk-mine" not in call.request + call.answer


def test_a_stream_is_passed_on_piece_by_piece_and_kept_whole(tmp_path):
    async def go() -> list[Any]:
        async with (
            FakeUpstream(says("it is in the post")) as big,
            gateway(tmp_path, big.settings()) as listening,
        ):
            stream = await client(listening).chat.completions.create(**ASK, stream=True)
            return [piece async for piece in stream]

    found = asyncio.run(go())

    assert "".join(p.choices[0].delta.content or "" for p in found) == "it is in the post "
    assert found[-1].choices[0].finish_reason == "stop"
    [call] = kept(tmp_path)
    assert json.loads(call.answer)["choices"][0]["message"]["content"] == "it is in the post "
    assert call.stream and call.first_token_s is not None and call.first_token_s <= call.latency_s


def test_a_full_deployment_answers_by_the_candidate_and_falls_back_when_it_is_down(tmp_path):
    async def go() -> tuple[Any, Any]:
        async with FakeUpstream(says("big")) as big, FakeUpstream(says("small")) as small:
            deploy(tmp_path, small.url)
            async with gateway(tmp_path, big.settings(model="gpt-x")) as listening:
                up = await client(listening).chat.completions.with_raw_response.create(**ASK)
                await small.__aexit__()
                small.behave = sends(close=True)
                down = await client(listening).chat.completions.with_raw_response.create(**ASK)
                assert big.seen[-1].json["model"] == "gpt-x"
                return up, down

    up, down = asyncio.run(go())

    assert (up.parse().choices[0].message.content, up.headers["x-offramp-route"]) == ("small", "full")
    assert (down.parse().choices[0].message.content, down.headers["x-offramp-route"]) == ("big", "fallback")
    assert [call.route for call in kept(tmp_path)] == ["full", "fallback"]


def test_a_cascade_keeps_sure_answers_and_hands_the_others_to_the_incumbent_also_in_streams(tmp_path):
    confidence = {"value": 0.95}

    async def small_says(seen: Any, writer: asyncio.StreamWriter) -> None:
        assert seen.json.get("stream") is not True
        said = completion("small", offramp={"confidence": confidence["value"]})
        writer.write(whole(200, said))

    async def go() -> list[str]:
        found = []
        async with FakeUpstream(says("big")) as big, FakeUpstream(small_says) as small:
            deploy(tmp_path, small.url, mode="cascade", threshold=0.9)
            async with gateway(tmp_path, big.settings()) as listening:
                asker = client(listening).chat.completions
                for value in (0.95, 0.5):
                    confidence["value"] = value
                    found.append((await asker.create(**ASK)).choices[0].message.content)
                    stream = await asker.create(**ASK, stream=True)
                    found.append(
                        "".join([p.choices[0].delta.content or "" async for p in stream if p.choices]).strip()
                    )
        return found

    assert asyncio.run(go()) == ["small", "small", "big", "big"]
    assert [(c.route, c.answered_by) for c in kept(tmp_path)] == [("cascade", "candidate")] * 2 + [
        ("fallback", "incumbent")
    ] * 2


def test_a_shadow_answers_unseen_and_is_kept_beside_the_call_it_repeats(tmp_path):
    async def go() -> str:
        async with FakeUpstream(says("big")) as big, FakeUpstream(says("small")) as small:
            deploy(tmp_path, small.url, mode="shadow")
            async with gateway(tmp_path, big.settings()) as listening:
                answer = await client(listening).chat.completions.create(**ASK)
                while len(small.seen) < 1:
                    await asyncio.sleep(0.005)
                await asyncio.sleep(0.05)
                return answer.choices[0].message.content or ""

    assert asyncio.run(go()) == "big"
    by_route = {call.route: call for call in kept(tmp_path)}
    assert by_route["shadow"].shadow_of in {by_route[r].id for r in by_route if r != "shadow"}
    assert json.loads(by_route["shadow"].answer)["choices"][0]["message"]["content"] == "small"


@pytest.mark.parametrize(("ratio", "asked"), [(1.0, 1), (0.0, 0)])
def test_the_incumbent_answers_unseen_what_the_candidate_answered(tmp_path, ratio, asked):
    async def go() -> str:
        async with FakeUpstream(says("big")) as big, FakeUpstream(says("small")) as small:
            deploy(tmp_path, small.url, mode="full")
            shadow = {"incumbent_ratio": ratio}
            async with gateway(tmp_path, big.settings(), shadow=shadow) as listening:
                answer = await client(listening).chat.completions.create(**ASK)
                for _ in range(200 * asked):
                    await asyncio.sleep(0 if big.seen else 0.005)
                await asyncio.sleep(0.05)
                return answer.choices[0].message.content or ""

    assert asyncio.run(go()) == "small"
    found = [(c.route, c.answered_by, c.shadow_of is not None) for c in kept(tmp_path)]
    assert sorted(found) == [("full", "candidate", False), ("shadow", "incumbent", True)][: 1 + asked]


def test_what_the_incumbent_answered_after_all_is_not_asked_of_it_again(tmp_path):
    async def go() -> str:
        async with FakeUpstream(says("big")) as big, FakeUpstream(sends(whole(500, {}))) as small:
            deploy(tmp_path, small.url, mode="full")
            async with gateway(tmp_path, big.settings(), shadow={"incumbent_ratio": 1.0}) as listening:
                answer = await client(listening).chat.completions.create(**ASK)
                await asyncio.sleep(0.05)
                return answer.choices[0].message.content or ""

    assert asyncio.run(go()) == "big"
    assert [c.route for c in kept(tmp_path)] == ["fallback"]


def test_a_rollback_counts_within_a_second(tmp_path):
    async def go() -> tuple[str, str]:
        async with FakeUpstream(says("big")) as big, FakeUpstream(says("small")) as small:
            deploy(tmp_path, small.url)
            async with gateway(tmp_path, big.settings()) as listening:
                asker = client(listening).chat.completions
                before = (await asker.create(**ASK)).choices[0].message.content
                deploy(tmp_path, small.url, mode="record", candidate=None)
                await asyncio.sleep(1.0)
                return before, (await asker.create(**ASK)).choices[0].message.content

    assert asyncio.run(go()) == ("small", "big")


def test_a_private_deployment_fails_closed_instead_of_asking_outside(tmp_path):
    async def go() -> tuple[int, int]:
        async with FakeUpstream(says("big")) as big, FakeUpstream(sends(whole(500, {}))) as small:
            deploy(tmp_path, small.url, private=True)
            async with gateway(tmp_path, big.settings()) as listening:
                with pytest.raises(openai.APIStatusError) as refused:
                    await client(listening).chat.completions.create(**ASK)
                return refused.value.status_code, len(big.seen)

    assert asyncio.run(go()) == (503, 0)


def test_the_upstreams_own_refusal_is_the_clients_answer(tmp_path):
    said = {
        "error": {
            "message": "too long",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
        }
    }

    async def go() -> openai.APIStatusError:
        async with (
            FakeUpstream(sends(whole(400, said))) as big,
            gateway(tmp_path, big.settings()) as listening,
        ):
            with pytest.raises(openai.BadRequestError) as refused:
                await client(listening).chat.completions.create(**ASK)
            return refused.value

    refused = asyncio.run(go())
    assert refused.code == "context_length_exceeded" and refused.param == "messages"


def test_anthropic_requests_are_answered_by_a_chat_candidate(tmp_path):
    async def go() -> tuple[Any, str]:
        async with FakeUpstream(says("unused")) as big, FakeUpstream(says("small words")) as small:
            deploy(tmp_path, small.url)
            async with gateway(tmp_path, big.settings()) as listening:
                asker = anthropic.AsyncAnthropic(
                    base_url=listening.address.removesuffix("/v1"), api_key="k", max_retries=0
                )
                OPEN.append(asker)
                ask = {"model": "triage", "max_tokens": 50, "messages": ASK["messages"]}
                message = await asker.messages.create(**ask)
                async with asker.messages.stream(**ask) as stream:
                    text = "".join([piece async for piece in stream.text_stream])
                return message, text

    message, text = asyncio.run(go())
    assert (message.content[0].text, message.model, message.stop_reason) == (
        "small words",
        "triage",
        "end_turn",
    )
    assert text == "small words"


def test_keys_guard_and_are_not_passed_on(tmp_path):
    from offramp.web.keys import Keys

    key = Keys.load(tmp_path / "keys.json").add("shop", requests_per_minute=2)

    async def go() -> tuple[list[int], list[Any]]:
        found = []
        async with FakeUpstream(says("big")) as big, gateway(tmp_path, big.settings()) as listening:
            for presented in ("sk-wrong", key, key, key):
                asker = asks(listening.address, presented)
                try:
                    await asker.chat.completions.create(**ASK)
                    found.append(200)
                except openai.APIStatusError as refused:
                    found.append(refused.status_code)
            return found, big.seen

    statuses, seen = asyncio.run(go())
    assert statuses == [401, 200, 200, 429]
    assert all("authorization" not in one.headers for one in seen)
    assert [call.client for call in kept(tmp_path)] == ["shop", "shop"]


def test_health_metrics_models_feedback_and_unknown_paths(tmp_path):
    async def go() -> dict[str, Any]:
        async with FakeUpstream(says("big")) as big, gateway(tmp_path, big.settings()) as listening:
            call = (await client(listening).chat.completions.with_raw_response.create(**ASK)).headers[
                "x-offramp-call"
            ]
            base = listening.address
            found: dict[str, Any] = {}
            async with aiohttp.ClientSession() as http:
                for path in ("/healthz", "/readyz", "/metrics", "/v1/nothing/../x", "/v1/chat/completions"):
                    async with http.get(base.removesuffix("/v1") + path) as response:
                        found[path] = (response.status, await response.text())
                said = {"call": call, "kind": "label", "value": "parcel"}
                async with http.post(base + "/offramp/feedback", json=said) as response:
                    found["feedback"] = response.status
                async with http.post(
                    base + "/offramp/feedback", json={"call": call, "kind": "shout"}
                ) as response:
                    found["bad feedback"] = response.status
                for _ in range(100):
                    async with http.get(f"{base}/offramp/calls/{call}") as response:
                        found["written"] = response.status
                    if response.status == 200:
                        break
                    await asyncio.sleep(0.01)
            return found

    found = asyncio.run(go())
    assert found["/healthz"][0] == found["/readyz"][0] == 200
    assert (
        'offramp_requests_total{alias="triage",route="record",answered_by="incumbent",status="200"} 1'
        in found["/metrics"][1]
    )
    assert found["/v1/chat/completions"][0] == 405
    assert (found["feedback"], found["bad feedback"], found["written"]) == (200, 400, 200)


def test_a_client_that_leaves_ends_the_upstreams_work_and_is_recorded(tmp_path):
    async def slow(seen: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + framed(chunk({"role": "assistant", "content": "a"})))
        for _ in range(15):
            writer.write(framed(chunk({"content": "b"})))
            await writer.drain()
            await asyncio.sleep(0.02)

    async def go() -> None:
        async with FakeUpstream(slow) as big, gateway(tmp_path, big.settings()) as listening:
            stream = await client(listening).chat.completions.create(**ASK, stream=True)
            await anext(aiter(stream))
            await stream.close()
            await asyncio.sleep(0.1)

    asyncio.run(go())
    [call] = kept(tmp_path)
    assert call.error is not None and "left" in call.error


def test_an_upstreams_own_model_is_asked_for_as_named_and_the_alias_by_the_models_of_the_settings(tmp_path):
    async def go() -> list[Any]:
        async with FakeUpstream(says("big")) as big, FakeUpstream(says("other")) as other:
            upstreams = (big.settings(model="gpt-x"), other.settings("claude", models=("claude-*",)))
            async with gateway(tmp_path, *upstreams, alias="triage") as listening:
                for model in ("triage", "gpt-4o", "claude-9"):
                    await client(listening).chat.completions.create(**{**ASK, "model": model})
            return [one.json["model"] for one in big.seen] + [one.json["model"] for one in other.seen]

    assert asyncio.run(go()) == ["gpt-x", "gpt-4o", "claude-9"]


def test_a_query_goes_on_and_what_is_said_to_our_own_models_does_not(tmp_path):
    async def go() -> Any:
        async with FakeUpstream(says("big")) as big, gateway(tmp_path, big.settings()) as listening:
            more = {"extra_query": {"beta": "true"}, "extra_body": {"offramp": {"inputs": {}}, "x": 1}}
            await client(listening).chat.completions.create(**ASK, **more)
            return big.seen[0]

    seen = asyncio.run(go())
    assert seen.path == "/v1/chat/completions?beta=true"
    assert seen.json == {**ASK, "x": 1}


def test_a_client_that_asks_before_it_sends_is_told_to_go_on(tmp_path):
    async def go() -> list[bytes]:
        async with FakeUpstream(says("big")) as big, gateway(tmp_path, big.settings()) as listening:
            reader, writer = await asyncio.open_connection("127.0.0.1", listening.port)
            body = json.dumps(ASK).encode()
            head = (
                "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
                f"content-length: {len(body)}"
            )
            writer.write(head.encode() + b"\r\n\r\n")
            first = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
            writer.write(body)
            second = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
            writer.close()
            return [first, second]

    first, second = asyncio.run(go())
    assert first.startswith(b"HTTP/1.1 100 ") and second.startswith(b"HTTP/1.1 200 ")


def test_a_key_that_an_upstream_repeats_in_its_error_is_not_told_to_the_client(tmp_path, monkeypatch):
    monkeypatch.setenv("BIG_KEY", "sk-very-secret")
    said = {
        "error": {
            "message": "wrong key sk-very-secret",
            "type": "invalid_request_error",
            "code": "invalid_api_key",
        }
    }

    async def go() -> list[str]:
        found = []
        async with FakeUpstream(sends(whole(401, said))) as big:
            async with gateway(tmp_path, big.settings(api_key_env="BIG_KEY")) as listening:
                for stream in (False, True):
                    with pytest.raises(openai.AuthenticationError) as refused:
                        await client(listening).chat.completions.create(**ASK, stream=stream)
                    found.append(str(refused.value))
            assert big.seen[0].headers["authorization"] == "Bearer sk-very-secret"
        return found

    assert all("sk-very-secret" not in text and "***" in text for text in asyncio.run(go()))
    assert all(b"sk-very-secret" not in (call.answer or b"") for call in kept(tmp_path))
