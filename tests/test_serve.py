"""The address that applications talk to: OpenAI's shape, labels as messages, refusals in words."""

import asyncio
import io
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import openai
import pyarrow as pa
import pytest

from classical import offers
from offramp.capacity.measured import round_between
from offramp.errors import ConfigError
from offramp.serve import ServeSettings, Serving
from offramp.serve.questions import Form
from serving_fixture import LABELS, Sure, chat, linear, near, served, up

FRUIT = "Food > Fruit"


def asked(*bodies: Any, path: str = "/v1/chat/completions", **more: Any) -> list[tuple[int, Any, Any]]:
    """Return status, JSON and headers of each answer; bodies are posted at the same time, `None` is a GET."""
    candidate = more.pop("candidate", None) or served(Sure(), near=more.pop("near", None))

    async def main() -> list[tuple[int, Any, Any]]:
        async with up(candidate, **more) as (address, _), aiohttp.ClientSession() as session:

            async def one(body: Any) -> tuple[int, Any, Any]:
                sent = {"data": io.BytesIO(body)} if isinstance(body, bytes) else {"json": body}
                method = session.get(address + path) if body is None else session.post(address + path, **sent)
                async with method as reply:
                    return reply.status, await reply.json(content_type=None), reply.headers

            return list(await asyncio.gather(*(one(body) for body in bodies)))

    return asyncio.run(main())


def test_a_label_is_the_message() -> None:
    status, body, headers = asked(chat(FRUIT))[0]

    assert status == 200
    choice = body["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": FRUIT, "refusal": None}
    assert (choice["finish_reason"], choice["logprobs"], body["model"]) == ("stop", None, "small")
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    assert body["offramp"]["candidate"] == "candidate-small"
    assert body["offramp"]["confidence"] == pytest.approx(0.7)
    assert body["offramp"]["ood"] is None
    assert float(headers["x-offramp-confidence"]) == pytest.approx(0.7)


def test_probabilities_come_as_logprobs() -> None:
    _, body, _ = asked(chat(FRUIT, logprobs=True, top_logprobs=3))[0]

    token = body["choices"][0]["logprobs"]["content"][0]
    assert token["token"] == FRUIT
    assert math.exp(token["logprob"]) == pytest.approx(0.7)
    assert bytes(token["bytes"]).decode() == FRUIT
    assert [one["token"] for one in token["top_logprobs"]] == [FRUIT, LABELS[0], LABELS[2]]


def test_a_label_comes_as_json_when_asked() -> None:
    few = {"type": "object", "properties": {"shelf": {"enum": [LABELS[0], LABELS[3]]}}, "required": ["shelf"]}
    replies = asked(
        chat(FRUIT, response_format={"type": "json_object"}),
        chat(FRUIT, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": few}}),
    )

    said = [json.loads(body["choices"][0]["message"]["content"]) for _, body, _ in replies]
    assert said == [{"label": FRUIT, "confidence": 0.7}, {"shelf": LABELS[0]}]
    assert replies[1][1]["offramp"]["confidence"] == pytest.approx(0.1)


def test_an_app_that_always_read_json_goes_on_reading_it() -> None:
    body = asked(chat(FRUIT), candidate=served(Sure(), form=Form("category")))[0][1]

    assert json.loads(body["choices"][0]["message"]["content"]) == {"category": FRUIT}


def test_the_official_client_reads_answers_streams_and_errors() -> None:
    async def main() -> None:
        async with up(served(Sure())) as (address, _):
            address = f"{address}/v1"
            async with openai.AsyncOpenAI(base_url=address, api_key="none", max_retries=0) as client:
                whole = await client.chat.completions.create(**chat(FRUIT, logprobs=True, top_logprobs=2))
                options = {"include_usage": True}
                stream = await client.chat.completions.create(
                    **chat(FRUIT, stream=True, stream_options=options)
                )
                chunks = [chunk async for chunk in stream]
                models = [model.id async for model in client.models.list()]
                with pytest.raises(openai.BadRequestError) as refused:
                    await client.chat.completions.create(**chat("x", n=3))
                with pytest.raises(openai.NotFoundError, match="gpt-4o"):
                    await client.chat.completions.create(**chat("x", model="gpt-4o"))

        assert whole.choices[0].message.content == FRUIT
        assert whole.choices[0].logprobs.content[0].top_logprobs[0].token == FRUIT
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == FRUIT
        assert [c.choices[0].finish_reason for c in chunks if c.choices] == [None, "stop"]
        assert chunks[-1].usage.total_tokens == 4
        assert chunks[1].offramp["confidence"] == pytest.approx(0.7)
        assert (models, refused.value.param) == (["small"], "n")

    asyncio.run(main())


def test_a_candidate_answers_to_its_name_its_id_and_its_task() -> None:
    replies = asked(*(chat(FRUIT, model=name) for name in ("small", "candidate-small", "shelf", "other")))

    assert [status for status, _, _ in replies] == [200, 200, 200, 404]
    assert replies[3][1]["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{", 400, None),
        (b"[]", 400, None),
        (b'{"messages": []}', 400, "model"),
        (b"\xff", 400, None),
        (chat("x", tools=[{"type": "function"}]), 400, "tools"),
        (b" " * (17 * 2**20), 413, None),
    ],
)
def test_what_is_wrong_with_a_request_is_told(body: Any, status: int, param: str | None) -> None:
    found, error, _ = asked(body)[0]

    assert (found, error["error"]["param"]) == (status, param)
    assert error["error"]["message"]


def test_a_bug_in_a_model_is_a_500_without_its_words() -> None:
    replies = asked(chat("crash"))

    assert replies[0][0] == 500
    assert "secret" not in json.dumps(replies[0][1])


def test_other_paths_say_what_there_is() -> None:
    models = asked(None, path="/v1/models")[0][1]
    one = asked(None, path="/v1/models/small")[0][1]
    statuses = [
        asked(None, path=path)[0][0] for path in ("/healthz", "/readyz", "/nothing", "/v1/chat/completions")
    ]

    assert [model["id"] for model in models["data"]] == ["small"]
    assert one["offramp"]["inputs"] == ["text"]
    assert statuses == [200, 200, 404, 405]


class Slow(Sure):
    """Answers when it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def probabilities(self, rows: pa.Table) -> np.ndarray:
        self.go.wait(5)
        return super().probabilities(rows)


def test_a_full_queue_is_429_and_a_draining_server_answers_what_it_took() -> None:
    async def main() -> None:
        model = Slow()
        async with up(served(model), queue=1) as (address, serving), aiohttp.ClientSession() as session:

            async def post() -> tuple[int, str | None]:
                async with session.post(f"{address}/v1/chat/completions", json=chat(FRUIT)) as reply:
                    return reply.status, reply.headers.get("Retry-After")

            first = asyncio.create_task(post())
            while not serving.batcher.running:
                await asyncio.sleep(0.001)
            second = asyncio.create_task(post())
            while not serving.batcher.waiting:
                await asyncio.sleep(0.001)
            full = await post()
            draining = asyncio.create_task(serving.drained())
            await asyncio.sleep(0)
            late = await post()
            async with (
                session.get(f"{address}/readyz") as ready,
                session.get(f"{address}/metrics") as metrics,
            ):
                text = await metrics.text()
                assert ready.status == 503
            model.go.set()
            await draining
            assert [(await first)[0], (await second)[0], full, late] == [200, 200, (429, "1"), (503, "1")]
            assert 'offramp_serve_requests_total{status="429"} 1' in text

    asyncio.run(main())


def test_a_servers_metrics_say_how_fast_it_answers() -> None:
    async def main() -> None:
        async with up(served(Sure())) as (address, _), aiohttp.ClientSession() as session:

            async def reading() -> str:
                async with session.get(f"{address}/metrics") as reply:
                    return await reply.text()

            before = await reading()
            for _ in range(3):
                async with session.post(f"{address}/v1/chat/completions", json=chat(FRUIT)) as reply:
                    assert reply.status == 200
            found = round_between(before, await reading())
            assert (found.calls, found.requests) == (3, 3)
            assert 0 < found.busy_s < 10

    asyncio.run(main())


def test_strange_inputs_are_told_from_ordinary_ones(tmp_path: Path) -> None:
    texts = [row["field.text"] for row in offers(60, seed=3).to_pylist()]

    replies = asked(
        *(chat(text) for text in [*texts, "quarterly derivatives hedging memo"]),
        candidate=served(linear(tmp_path), near=near()),
    )

    shares = [body["offramp"]["ood"] for _, body, _ in replies]
    assert shares[-1] == pytest.approx(1 / 41)
    assert 0.35 < np.mean(shares[:-1]) < 0.65
    assert float(replies[-1][2]["x-offramp-ood"]) == pytest.approx(1 / 41, rel=1e-4)


def test_it_listens_on_a_socket_file_and_takes_it_away(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "serve.sock"
        async with up(served(Sure()), unix_socket=path) as (address, _):
            async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
                async with session.post("http://x/v1/chat/completions", json=chat(FRUIT)) as reply:
                    assert (reply.status, address) == (200, f"unix:{path}")
        assert not path.exists()

    asyncio.run(main())


def test_an_address_in_use_is_told_in_words() -> None:
    async def main() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            from offramp.serve import listening

            settings = ServeSettings(port=taken.getsockname()[1])
            with pytest.raises(ConfigError, match="is another server there"):
                async with listening(Serving([served(Sure())], settings)):
                    pass

    asyncio.run(main())


def test_nothing_to_serve_is_told() -> None:
    with pytest.raises(ConfigError, match="none was given"):
        Serving([])


_PROCESS = """
import sys
sys.path[:0] = {paths!r}
from serving_fixture import Sure, served
from offramp.serve import Serving, ServeSettings
from offramp.serve.process import run_loop, until_told
run_loop(until_told(Serving([served(Sure())], ServeSettings(port=0)), lambda at: print(at, flush=True)))
print("drained", flush=True)
"""


def test_a_process_answers_until_it_is_told_to_end() -> None:
    tests = Path(__file__).parent
    code = _PROCESS.format(paths=[str(tests), str(tests.parent / "src")])
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        address = child.stdout.readline().strip()
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none")
        said = client.chat.completions.create(**chat(FRUIT)).choices[0].message.content
        client.close()
        os.kill(child.pid, signal.SIGTERM)
        rest = child.communicate(timeout=20)[0]
    finally:
        child.kill()
        child.communicate()

    assert (said, rest.strip(), child.returncode) == (FRUIT, "drained", 0)
