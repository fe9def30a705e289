"""The in-process engine: the same answers in every batch, whatever the architecture, adapter or grammar."""

import json
import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from offramp.errors import ConfigError, DataError, MismatchError, ModelError, NotFoundError
from offramp.models.constrain import Grammar
from offramp.models.generation import Ask, Generator
from offramp.models.saying import Row, segments
from offramp.models.weights import attention
from tiny_decoder import TEXTS, make_adapter, make_base

LABELS = ["card", "card arrival", "payment failed", "Löwen > a", "Löwen > b 🎉"]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "qwen3")


@pytest.fixture(scope="module")
def engine(base) -> Generator:
    return Generator.load(base)


def prompts(engine: Generator, count: int, seed: int = 0) -> list[list[int]]:
    """Prompts of 20 to 120 tokens under two instructions."""
    rng, words = random.Random(seed), " ".join(TEXTS).split()
    told = (
        "You assign one label to a text.",
        "You extract the asked fields and answer with one JSON object.",
    )
    return [
        engine.renderer.prompt(
            [
                {"role": "system", "content": told[i % 2]},
                {"role": "user", "content": " ".join(rng.choices(words, k=rng.randrange(1, 25)))},
            ]
        )
        for i in range(count)
    ]


def naive(engine: Generator, ask: Ask) -> list[int]:
    """Answer one ask with transformers' own loop."""
    import torch

    stops = list(engine.renderer.stop_ids)
    ids = torch.tensor([list(ask.ids)])
    said = engine._model.generate(
        ids, max_new_tokens=ask.max_tokens, do_sample=False, eos_token_id=stops, pad_token_id=0
    )
    return [token for token in said[0, len(ask.ids) :].tolist() if token not in stops]


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("qwen3", {}),
        ("llama", {}),
        ("mistral", {"sliding_window": 24}),
        ("phi3", {}),
        (
            "gemma3_text",
            {
                "sliding_window": 24,
                "num_hidden_layers": 3,
                "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
            },
        ),
    ],
)
def test_a_batch_says_what_transformers_says_one_by_one(family, config, tmp_path):
    engine = Generator.load(make_base(tmp_path / family, family=family, **config))
    asks = [Ask(ids, max_tokens=4 + i) for i, ids in enumerate(prompts(engine, 7))]

    said = engine.generate(asks)

    assert [list(each.ids) for each in said] == [naive(engine, ask) for ask in asks]


def test_an_answer_does_not_depend_on_what_else_is_in_the_batch(engine, base):
    asks = [Ask(ids, max_tokens=3 + i % 30) for i, ids in enumerate(prompts(engine, 80))]

    together = engine.generate(asks)
    shuffled = random.Random(3).sample(range(len(asks)), len(asks))
    again = engine.generate([asks[i] for i in shuffled])
    few = [Generator.load(base).generate([ask])[0] for ask in asks[:3]] + [
        engine.generate([ask])[0] for ask in asks[3:12]
    ]

    assert [again[shuffled.index(i)].ids for i in range(len(asks))] == [each.ids for each in together]
    assert [each.ids for each in few] == [each.ids for each in together[:12]]
    assert {each.finish for each in together} == {"stop", "length"}
    assert (
        max(
            abs(p - q)
            for a, b in zip(few, together, strict=False)
            for p, q in zip(a.logprobs, b.logprobs, strict=True)
        )
        < 1e-4
    )


def test_two_tokens_that_are_equally_likely_are_decided_the_same_way_in_every_batch(base, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(base, tmp_path / "tied")
    weights = load_file(folder / "model.safetensors")
    embedding = weights["model.embed_tokens.weight"]
    half = len(embedding) // 2
    embedding[half : 2 * half] = embedding[:half]
    embedding[half : half + 3] = 0  # no second set of stop tokens
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    engine = Generator.load(folder)
    asks = [Ask(ids, max_tokens=12) for ids in prompts(engine, 24)]

    together, alone = engine.generate(asks), [engine.generate([ask])[0] for ask in asks]

    assert [each.ids for each in together] == [each.ids for each in alone]
    assert {token < half for each in together for token in each.ids} == {True}


def test_log_probabilities_are_those_of_the_model_without_the_grammar(engine):
    import numpy as np

    ids = prompts(engine, 1)[0]

    free, held = engine.generate([Ask(ids, 3), Ask(ids, 3, grammar=Grammar.of_labels(LABELS))])

    for said in (free, held):
        logits = engine.logits(ids).astype(np.float64)
        assert said.logprobs[0] == pytest.approx(logits[said.ids[0]] - np.logaddexp.reduce(logits), abs=1e-4)
    assert held.sure > sum(held.logprobs)
    assert free.prompt_tokens == len(ids)


def test_labels_are_said_to_the_end_however_few_tokens_are_allowed(engine):
    asks = [Ask(ids, max_tokens=1, grammar=Grammar.of_labels(LABELS)) for ids in prompts(engine, 40)]

    said = engine.generate(asks)

    assert {engine.renderer.decode(each.ids) for each in said} <= set(LABELS)
    assert all(each.legal and each.finish == "stop" for each in said)


@pytest.mark.parametrize("tokens", [14, 40])
def test_json_is_closed_before_tokens_run_out(engine, tokens):
    properties = {"company": {"type": "string"}, "total": {"type": "number"}}
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    asks = [Ask(ids, max_tokens=tokens, grammar=Grammar.of_schema(schema)) for ids in prompts(engine, 8)]

    said = engine.generate(asks)

    assert all(set(json.loads(engine.renderer.decode(each.ids))) == {"company", "total"} for each in said)
    assert all(len(each.ids) <= tokens and each.legal for each in said)


def test_json_that_cannot_fit_says_so(engine):
    schema = {
        "type": "object",
        "properties": {"company": {"type": "string", "minLength": 50}},
        "required": ["company"],
    }

    said = engine.generate([Ask(prompts(engine, 1)[0], max_tokens=5, grammar=Grammar.of_schema(schema))])[0]

    assert (said.finish, said.legal) == ("length", False)


def test_rows_with_and_without_a_grammar_share_a_batch(engine):
    ids = prompts(engine, 6)
    grammar = Grammar.of_labels(LABELS)

    mixed = engine.generate([Ask(each, 8, grammar=grammar if i % 2 else None) for i, each in enumerate(ids)])

    assert [m.ids for m in mixed[::2]] == [engine.generate([Ask(each, 8)])[0].ids for each in ids[::2]]
    assert {engine.renderer.decode(m.ids) for m in mixed[1::2]} <= set(LABELS)


def test_rows_of_several_adapters_share_a_batch(base, tmp_path):
    adapters = {name: make_adapter(tmp_path / name, base, seed=i) for i, name in enumerate("ab")}
    engine = Generator.load(base, adapters=adapters)
    ids = prompts(engine, 9)
    asks = [Ask(each, 10, adapter=(None, "a", "b")[i % 3]) for i, each in enumerate(ids)]

    mixed = engine.generate(asks)

    for name in (None, "a", "b"):
        merged = (
            Generator.load(base, adapters={name: adapters[name]}, merged=True)
            if name
            else Generator.load(base)
        )
        mine = [i for i, ask in enumerate(asks) if ask.adapter == name]
        alone = merged.generate([Ask(ids[i], 10) for i in mine])
        assert [mixed[i].ids for i in mine] == [each.ids for each in alone]
    assert len({each.ids for each in (mixed[0], mixed[1])}) == 2


def test_adapters_that_cannot_share_a_batch_take_turns(base, tmp_path):
    adapters = {
        "a": make_adapter(tmp_path / "a", base, seed=1),
        "dora": make_adapter(tmp_path / "dora", base, seed=2, use_dora=True),
    }
    engine = Generator.load(base, adapters=adapters)
    asks = [Ask(each, 6, adapter=("a", "dora")[i % 2]) for i, each in enumerate(prompts(engine, 8))]

    assert [each.ids for each in engine.generate(asks)] == [engine.generate([ask])[0].ids for ask in asks]


def test_a_stream_never_shows_half_a_character(engine):
    asks = [Ask(ids, max_tokens=40) for ids in prompts(engine, 6)]

    for ask, said in zip(asks, engine.generate(asks), strict=True):
        pieces = list(engine.stream(ask))

        assert tuple(token for token, _ in pieces) == said.ids
        shown = "".join(text for _, text in pieces)
        whole = engine.renderer.decode(said.ids)
        assert whole.startswith(shown)
        assert set(whole[len(shown) :]) <= {"�"}


def test_a_stream_shows_an_emoji_at_once(engine):
    grammar = Grammar.of_labels(["🎉"])

    pieces = [text for _, text in engine.stream(Ask(prompts(engine, 1)[0], grammar=grammar))]

    assert [text for text in pieces if text] == ["🎉"]


def test_prompts_that_begin_alike_are_grouped():
    def row(place: int, ids: list[int]) -> Row:
        return Row(place, Ask(ids), 5, (0,))

    first, second = list(range(100, 140)), list(range(200, 260))
    rows = [
        row(0, [*first, 1]),
        row(1, [*second, 1, 2]),
        row(2, [*first, 2, 3]),
        row(3, [*second, 9]),
        row(4, [7, 8]),
    ]

    found = segments(rows, before=[])

    assert [([each.place for each in part.rows], part.shared) for part in found] == [
        ([4], 0),
        ([0, 2], 40),
        ([3, 1], 60),
    ]
    assert segments(rows[:1], before=[[*first, 5]])[0].shared == 40
    assert segments([row(0, first), row(1, first)], before=[])[0].shared == 39


def test_a_beginning_is_computed_once_for_all_calls(base):
    engine = Generator.load(base)
    ids = prompts(engine, 20)[::2]

    for each in ids:
        engine.generate([Ask(each, 2)])

    assert 1 <= len(engine._heads) <= 3


def test_prompts_without_room_for_an_answer_are_refused(engine):
    with pytest.raises(DataError, match="found 0"):
        engine.generate([Ask([], 5)])
    with pytest.raises(DataError, match="found 512"):
        engine.generate([Ask([5] * 512, 5)])


def test_an_answer_ends_with_the_context(engine):
    said = engine.generate([Ask([5] * 508, 50)])[0]

    assert len(said.ids) <= 4


def test_an_adapter_that_is_not_loaded_is_not_found(engine):
    with pytest.raises(NotFoundError, match="'nobody'"):
        engine.generate([Ask([5, 6], 2, adapter="nobody")])


def test_bfloat16_answers_too(base):
    engine = Generator.load(base, dtype="bfloat16")

    assert [each.finish for each in engine.generate([Ask(ids, 3) for ids in prompts(engine, 3)])]


def test_a_damaged_base_is_an_error(base, tmp_path):
    folder = shutil.copytree(base, tmp_path / "damaged")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])

    with pytest.raises(ModelError, match="copy or download it again"):
        Generator.load(folder)


def test_a_base_with_a_missing_weight_is_not_filled_at_random(base, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(base, tmp_path / "missing")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ModelError, match=r"1 weights are missing.*up_proj"):
        Generator.load(folder)


def test_code_that_a_model_brings_along_is_refused(base, tmp_path):
    folder = shutil.copytree(base, tmp_path / "remote")
    config = json.loads((folder / "config.json").read_text())
    changed = config | {"model_type": "own", "auto_map": {"AutoModelForCausalLM": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(changed))

    with pytest.raises(ConfigError, match="trust_remote_code"):
        Generator.load(folder)


@pytest.mark.parametrize("other", [{"num_hidden_layers": 3}, {"hidden_size": 64}])
def test_an_adapter_of_another_base_is_a_mismatch(base, tmp_path, other):
    elsewhere = make_base(tmp_path / "other", **other)
    adapter = make_adapter(tmp_path / "adapter", elsewhere)

    with pytest.raises(MismatchError, match="base"):
        Generator.load(base, adapters={"a": adapter})


def test_a_damaged_adapter_is_an_error(base, tmp_path):
    adapter = make_adapter(tmp_path / "adapter", base)
    (adapter / "adapter_model.safetensors").write_bytes(b"half")

    with pytest.raises(ModelError, match="copy it again"):
        Generator.load(base, adapters={"a": adapter})


def test_folders_that_are_not_there_are_not_found(base, tmp_path):
    with pytest.raises(NotFoundError, match=r"config\.json"):
        Generator.load(tmp_path)
    with pytest.raises(NotFoundError, match="adapter_model"):
        Generator.load(base, adapters={"a": tmp_path})


def test_layers_that_keep_something_else_are_sent_to_another_engine():
    config = SimpleNamespace(model_type="hybrid", layer_types=["full_attention", "linear_attention"])

    with pytest.raises(ConfigError, match="vllm"):
        attention(config)
