"""What is served is what was judged: every engine answers over HTTP as it answers rows."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pyarrow as pa
import pytest

from classical import offers, table
from offramp.models.base import Model
from offramp.models.blend import BlendModel
from offramp.serve import Served
from offramp.serve.inputs import Reader
from offramp.serve.loading import OneOfMany
from offramp.types import Task
from serving_fixture import TASK, chat, decoder, decoder_folder, encoder, linear, served, up, zero_shot

CHAT = Task(name="desk", kind="chat", inputs=("transcript",), target="answer")


def blend(folder: Path) -> Model:
    members = [("linear", linear(folder / "l")), ("encoder", encoder(folder / "e"))]
    return BlendModel.fit(members, offers(40, seed=1))


def said(
    candidates: Sequence[Served], bodies: Sequence[dict[str, Any]], **settings: Any
) -> list[dict[str, Any]]:
    """Return the answers to requests sent at the same time."""

    async def main() -> list[dict[str, Any]]:
        async with up(*candidates, **settings) as (address, serving):
            async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
                found = await asyncio.gather(*(client.chat.completions.create(**body) for body in bodies))
            assert len(bodies) < 10 or serving.batcher.batches < len(bodies)
            return [one.model_dump() for one in found]

    return asyncio.run(main())


def text_of(answer: dict[str, Any]) -> str:
    return answer["choices"][0]["message"]["content"]


def streamed(candidate: Served, body: dict[str, Any]) -> list[Any]:
    async def main() -> list[Any]:
        async with up(candidate) as (address, _):
            options = {"include_usage": True}
            async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
                chunks = await client.chat.completions.create(**body, stream=True, stream_options=options)
                return [chunk async for chunk in chunks]

    return asyncio.run(main())


@pytest.mark.parametrize("make", [linear, encoder, blend, lambda _: zero_shot()])
def test_a_classifier_says_over_http_what_it_says_of_rows(make: Any, tmp_path: Path) -> None:
    model, rows = make(tmp_path), offers(48, seed=5)
    wanted = model.answer(rows)

    found = said([served(model)], [chat(text) for text in rows.column("field.text").to_pylist()])

    assert [text_of(one) for one in found] == wanted.column("text").to_pylist()
    sure = wanted.column("confidence").to_pylist()
    # Sums of float32 come in another order in another batch.
    assert [one["offramp"]["confidence"] for one in found] == pytest.approx(sure, rel=1e-4)


def test_an_encoder_counts_the_tokens_that_it_reads(tmp_path: Path) -> None:
    usage = said([served(encoder(tmp_path))], [chat("apple pear"), chat("apple " * 99)])

    assert [one["usage"]["prompt_tokens"] for one in usage] == [4, 24]


def test_a_decoder_says_over_http_what_it_says_of_rows(tmp_path: Path) -> None:
    model, rows = decoder(tmp_path, TASK), offers(6, seed=5)
    wanted = model.answer(rows)

    found = said([served(model)], [chat(text) for text in rows.column("field.text").to_pylist()])

    assert [text_of(one) for one in found] == wanted.column("text").to_pylist()
    assert [one["offramp"]["confidence"] for one in found] == pytest.approx(
        wanted.column("confidence").to_pylist(), rel=1e-4
    )
    prompt = model.generator.renderer.prompt(
        [{"role": "system", "content": "Choose."}, {"role": "user", "content": rows["field.text"][0].as_py()}]
    )
    assert found[0]["usage"]["prompt_tokens"] == len(prompt)


def test_a_stream_of_a_decoder_is_its_answer_in_pieces(tmp_path: Path) -> None:
    candidate = served(decoder(tmp_path, CHAT, longest=9), task=CHAT, reader=Reader(CHAT, logged=True))
    body = chat("the card arrived late")

    whole = said([candidate], [body, body])[0]
    chunks = streamed(candidate, body)

    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert "".join(piece or "" for piece in pieces) == text_of(whole)
    assert len([piece for piece in pieces if piece]) > 1
    assert chunks[-1].usage.completion_tokens == 9
    assert chunks[-2].choices[0].finish_reason == "length"


def test_a_stream_ends_at_its_stop_text_and_at_its_length(tmp_path: Path) -> None:
    candidate = served(decoder(tmp_path, CHAT, longest=9), task=CHAT, reader=Reader(CHAT, logged=True))
    whole = text_of(said([candidate], [chat("the card"), chat("the card")])[0])
    stop = whole[len(whole) // 2 :][:2]

    cut = streamed(candidate, chat("the card", stop=stop))
    short = streamed(candidate, chat("the card", max_tokens=2))

    assert "".join(c.choices[0].delta.content or "" for c in cut if c.choices) == whole[: whole.find(stop)]
    assert (short[-1].usage.completion_tokens, short[-2].choices[0].finish_reason) == (2, "length")


def test_a_prompt_that_does_not_fit_is_refused_before_the_stream(tmp_path: Path) -> None:
    candidate = served(decoder(tmp_path, CHAT, longest=600), task=CHAT, reader=Reader(CHAT, logged=True))
    turns = [{"role": "user", "content": "a model of 512 tokens"}]

    with pytest.raises(openai.BadRequestError, match="tokens") as refused:
        streamed(candidate, {"model": "small", "messages": turns})
    with pytest.raises(openai.UnprocessableEntityError, match="tokens"):
        said([candidate], [{"model": "small", "messages": turns}])

    assert refused.value.code == "context_length_exceeded"


def test_two_adapters_on_one_base_answer_each_with_its_own(tmp_path: Path) -> None:
    from offramp.models.generation import Generator

    alone = {
        name: decoder(tmp_path / name, TASK, seed=seed, base=tmp_path) for name, seed in (("a", 1), ("b", 2))
    }
    folders = {
        name: decoder_folder(tmp_path / name, seed=seed, base=tmp_path) for name, seed in (("a", 1), ("b", 2))
    }
    adapters = {name: folder / "adapter" for name, folder in folders.items()}
    shared = Generator.load(tmp_path / "base", adapters=adapters, renderer=alone["a"].generator.renderer)
    views = {name: OneOfMany(shared, name, shared.renderer) for name in alone}
    together = [
        served(replace(model, generator=views[name]), name=name, task=TASK.model_copy(update={"name": name}))
        for name, model in alone.items()
    ]
    rows = offers(8, seed=6)
    texts = rows.column("field.text").to_pylist()

    found = said(together, [chat(text, model=name) for name in alone for text in texts])

    wanted = [text for model in alone.values() for text in model.answer(rows).column("text").to_pylist()]
    assert [text_of(one) for one in found] == wanted
    assert wanted[:8] != wanted[8:]


class Failing:
    """Fails on every row."""

    def answer(self, rows: pa.Table) -> pa.Table:
        raise RuntimeError("broken")


def test_a_broken_candidate_does_not_break_its_neighbour(tmp_path: Path) -> None:
    good = served(zero_shot(), name="good", task=TASK.model_copy(update={"name": "other"}))
    bodies = [chat("apple pear", model="good"), chat("apple", model="bad"), chat("spade rake", model="good")]

    async def main() -> list[Any]:
        async with up(good, served(Failing(), name="bad")) as (address, _):
            async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
                asked = [client.chat.completions.create(**body) for body in bodies]
                return await asyncio.gather(*asked, return_exceptions=True)

    first, broken, last = asyncio.run(main())

    assert isinstance(broken, openai.InternalServerError)
    rows = table([("apple pear", None), ("spade rake", None)])
    answers = [one.choices[0].message.content for one in (first, last)]
    assert answers == good.model.answer(rows).column("text").to_pylist()
