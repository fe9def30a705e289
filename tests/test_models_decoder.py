"""Decoders as candidates: legal answers, the right base, honest confidence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from offramp.bases import Base, weights_sha256
from offramp.errors import DataError, MismatchError, ModelError
from offramp.models.base import Model
from offramp.models.confidence import Confidence, fit_confidence
from offramp.models.decoder import DecoderConfig, DecoderModel, Untuned, answer_schema_of, fit_untuned, note
from offramp.models.saying import Said
from offramp.render import Renderer
from offramp.types import Task
from tiny_decoder import make_adapter, make_base

LABELS = ("card", "card arrival", "payment failed")
CLASSIFY = Task(name="t", inputs=("text",), target="label", labels=LABELS)
EXTRACT = Task(name="t", kind="extract", inputs=("text",), target="json")


def table(texts: list[str], targets: list[str], **more: list[str]) -> pa.Table:
    ids = [f"r{i}" for i in range(len(texts))]
    return pa.table({"id": ids, "field.text": texts, "target": targets, **more})


ROWS = table([f"my card number {i} is late" for i in range(12)], [LABELS[i % 3] for i in range(12)])
JSON_ROWS = table(
    [f"bread {i} euro" for i in range(6)], [json.dumps({"item": "bread", "total": i}) for i in range(6)]
)


class Letters:
    """An embedder that counts letters."""

    def encode(self, texts):
        found = np.array(
            [[text.count(letter) + 0.01 for letter in "abcdefgh0123"] for text in texts], np.float32
        )
        return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Base:
    folder = make_base(tmp_path_factory.mktemp("base") / "tiny")
    return Base(
        name="mine",
        source=str(folder),
        parameters=100_000,
        context_tokens=512,
        licence="own",
        licence_url="-",
        family="qwen3",
        layers=2,
        hidden=48,
        kv_heads=2,
        head_dim=16,
        dtype="float32",
        read="-",
        checked="2026-11-21",
    )


@pytest.fixture
def tuned(base, tmp_path) -> Path:
    """A candidate's folder as training leaves it."""
    folder = tmp_path / "tuned"
    renderer = Renderer.load(Path(base.source))
    renderer.save(folder)
    make_adapter(folder / "adapter", Path(base.source))
    config = {
        "engine": "decoder",
        "base": "mine",
        "base_sha256": weights_sha256(Path(base.source)),
        "adapter": True,
        "mode": "lora",
        "dtype": "float32",
        "instruction": "Choose.",
        "max_new_tokens": 24,
        "render": dict(renderer.identity),
        "chosen_step": 7,
    }
    (folder / "decoder.json").write_text(json.dumps(config))
    return folder


def test_an_untuned_base_answers_labels_and_is_the_same_after_loading(base, tmp_path):
    model = fit_untuned(ROWS, ROWS, Untuned(base, CLASSIFY, tmp_path / "out"))

    answers = model.answer(ROWS)

    assert isinstance(model, Model)
    assert set(answers.column("text").to_pylist()) <= set(LABELS)
    assert answers.column("error").null_count == 12
    assert all(0 <= chance <= 1 for chance in answers.column("confidence").to_pylist())
    again = DecoderModel.load(tmp_path / "out", task=CLASSIFY, base=base).answer(ROWS)
    assert again.equals(answers)


def test_shots_are_kept_with_the_candidate(base, tmp_path):
    job = Untuned(base, CLASSIFY, tmp_path / "out", shots=2, embedder=Letters)
    model = fit_untuned(ROWS, None, job)

    (asked,) = model.asker.ask(ROWS.slice(0, 1))
    again = DecoderModel.load(tmp_path / "out", task=CLASSIFY, base=base, embedder=Letters)

    assert [turn["role"] for turn in asked.messages] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert again.asker.ask(ROWS) == model.asker.ask(ROWS)
    assert set(again.answer(ROWS).column("text").to_pylist()) <= set(LABELS)
    assert model.answer(ROWS).column("confidence").null_count == 12


def test_shots_without_an_embedder_are_refused(base, tmp_path):
    with pytest.raises(DataError, match="no embedder"):
        fit_untuned(ROWS, None, Untuned(base, CLASSIFY, tmp_path / "out", shots=2))


def test_json_answers_meet_the_schema_that_the_rows_show(base, tmp_path):
    model = fit_untuned(JSON_ROWS, JSON_ROWS, Untuned(base, EXTRACT, tmp_path / "out"))

    for text in model.answer(JSON_ROWS).column("text").to_pylist():
        value = json.loads(text)
        assert set(value) == {"item", "total"}
        assert isinstance(value["item"], str)
        assert isinstance(value["total"], int)


def test_json_answers_meet_the_schema_of_the_task(base, tmp_path):
    schema = {
        "type": "object",
        "properties": {"paid": {"type": "boolean"}},
        "required": ["paid"],
        "additionalProperties": False,
    }
    task = EXTRACT.model_copy(update={"answer_schema": schema})

    model = fit_untuned(JSON_ROWS, None, Untuned(base, task, tmp_path / "out"))

    found = {json.dumps(json.loads(text)) for text in model.answer(JSON_ROWS).column("text").to_pylist()}
    assert found <= {'{"paid": true}', '{"paid": false}'}


def test_free_text_has_a_confidence_only_where_somebody_scored_it(base, tmp_path):
    task = Task(name="t", kind="generate", inputs=("text",), target="x")
    job = Untuned(base, task, tmp_path / "out")

    assert fit_untuned(ROWS, ROWS, job).config.calibration is None
    scored = Untuned(
        base, task, tmp_path / "out", right=lambda texts, rows: [float("a" in (t or "")) for t in texts]
    )
    assert fit_untuned(ROWS, ROWS, scored).config.calibration.rows == 12


def test_a_tuned_candidate_answers_with_its_adapter(tuned, base):
    model = DecoderModel.load(tuned, task=CLASSIFY, base=base)
    plain = json.loads((tuned / "decoder.json").read_text()) | {"adapter": False, "mode": "lora"}

    texts = model.answer(ROWS).column("text").to_pylist()

    assert set(texts) <= set(LABELS)
    assert model.size_bytes == sum(f.stat().st_size for f in (tuned / "adapter").iterdir())
    assert plain["max_new_tokens"] == model.ask([{"role": "user", "content": "x"}]).max_tokens


def test_an_adapter_in_bfloat16_stays_beside_the_weights(tuned, base):
    config = json.loads((tuned / "decoder.json").read_text())
    (tuned / "decoder.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))

    model = DecoderModel.load(tuned, task=CLASSIFY, base=base)

    assert model.generator.adapters == ("decoder",)
    assert set(model.answer(ROWS).column("text").to_pylist()) <= set(LABELS)


def test_weights_tuned_whole_need_no_base(tuned, base, tmp_path):
    shutil.rmtree(tuned / "adapter")
    shutil.copytree(base.source, tuned / "model")
    config = json.loads((tuned / "decoder.json").read_text())
    (tuned / "decoder.json").write_text(json.dumps(config | {"adapter": False, "mode": "full"}))
    gone = base.model_copy(update={"source": str(tmp_path / "gone")})

    model = DecoderModel.load(tuned, task=CLASSIFY, base=gone)

    assert set(model.answer(ROWS).column("text").to_pylist()) <= set(LABELS)


def test_calibration_is_written_into_the_folder_and_keeps_what_training_wrote(tuned, base):
    model = DecoderModel.load(tuned, task=CLASSIFY, base=base).calibrated(ROWS)

    written = json.loads((tuned / "decoder.json").read_text())

    assert written["chosen_step"] == 7
    assert written["calibration"]["rows"] == 12
    assert model.config == DecoderModel.load(tuned, task=CLASSIFY, base=base).config


def test_an_adapter_of_another_base_is_refused(tuned, base, tmp_path):
    other = make_base(tmp_path / "other", seed=5)

    with pytest.raises(MismatchError, match="made for weights"):
        DecoderModel.load(tuned, task=CLASSIFY, base=base.model_copy(update={"source": str(other)}))
    with pytest.raises(MismatchError, match="base 'mine'; found 'yours'"):
        DecoderModel.load(tuned, task=CLASSIFY, base=base.model_copy(update={"name": "yours"}))


def test_a_changed_template_is_refused(tuned, base):
    template = tuned / "chat_template.jinja"
    template.write_text(template.read_text() + "\n")

    with pytest.raises(MismatchError, match="tokenizer or template"):
        DecoderModel.load(tuned, task=CLASSIFY, base=base)


def test_a_folder_of_another_kind_or_version_is_refused(tmp_path, tuned, base):
    with pytest.raises(ModelError, match="could not be read"):
        DecoderModel.load(tmp_path, task=CLASSIFY, base=base)
    (tuned / "decoder.json").write_text(json.dumps({"engine": "decoder", "base": "mine"}))
    with pytest.raises(ModelError, match="another version"):
        DecoderModel.load(tuned, task=CLASSIFY, base=base)


def test_a_long_conversation_is_shortened_and_an_impossible_one_is_a_failed_row(tuned, base):
    task = Task(name="t", kind="chat", inputs=("text",), target="x")
    turns = [
        [{"role": "user", "content": "late " * 2000}],
        [{"role": "user", "content": "hi"}, {"role": "user", "content": "again"}],
        [{"role": "user", "content": "hi"}],
    ]
    rows = table(["a", "b", "c"], ["x", "y", "z"], messages=[json.dumps(each) for each in turns])
    model = DecoderModel.load(tuned, task=task, base=base)

    answers = model.answer(rows)

    errors = answers.column("error").to_pylist()
    assert errors[0] is None
    assert "user" in errors[1]
    assert answers.column("text").to_pylist()[1] is None
    assert len(model.ask(turns[0]).ids) <= 512 - 24


def test_a_schema_noted_beside_a_tuned_model_holds_its_answers(tuned, base):
    schema = answer_schema_of(EXTRACT, JSON_ROWS)
    note(tuned, {"answer_schema": schema})

    answers = DecoderModel.load(tuned, task=EXTRACT, base=base).answer(JSON_ROWS).column("text").to_pylist()

    assert all(set(json.loads(text)) == {"item", "total"} for text in answers)
    assert json.loads((tuned / "decoder.json").read_text())["chosen_step"] == 7


def test_a_tool_call_becomes_the_message_that_logs_have():
    from offramp.models.decoder import message_of

    found = json.loads(
        message_of('Let me look.\n<tool_call>\n{"name": "find", "arguments": {"id": 3}}\n</tool_call>')
    )

    assert found["content"] == "Let me look."
    assert found["tool_calls"] == [
        {"type": "function", "function": {"name": "find", "arguments": '{"id": 3}'}}
    ]
    assert message_of("no call") == "no call"
    assert message_of("<tool_call>{broken}</tool_call>") == "<tool_call>{broken}</tool_call>"


def said(*logprobs: float) -> Said:
    return Said(tuple(range(len(logprobs))), logprobs, "stop", 5, sum(logprobs))


def test_confidence_is_calibrated_and_rises_with_probability():
    rng = np.random.default_rng(7)
    whole = -rng.exponential(1.0, 3000)
    right = rng.random(3000) < np.exp(whole) ** 0.5

    fitted = fit_confidence([said(value / 2, value / 2) for value in whole[:2000]], right[:2000])
    chances = fitted.of([said(value / 2, value / 2) for value in whole[2000:]])

    for low, high in ((0.1, 0.5), (0.5, 0.8), (0.8, 1.0)):
        inside = (chances >= low) & (chances < high)
        assert abs(chances[inside].mean() - right[2000:][inside].mean()) < 0.06
    assert min(fitted.weights) >= 0
    assert fitted.of([said(-0.1)])[0] > fitted.of([said(-3.0)])[0]


def test_with_little_to_learn_from_the_confidence_is_the_share_that_was_right():
    assert Confidence().of([said(-9.0)])[0] == 0.5
    assert fit_confidence([said(-1.0)] * 3, [1, 1, 0]).of([said(-5.0)])[0] == pytest.approx(0.6)
    assert fit_confidence([said(-1.0)] * 18, [1] * 18).of([said(-5.0)])[0] == pytest.approx(0.95)


def test_the_config_of_training_is_read_without_what_only_training_needs(tuned):
    config = DecoderConfig.model_validate(json.loads((tuned / "decoder.json").read_text()))

    assert config.tuned
    assert config.shots == 0
