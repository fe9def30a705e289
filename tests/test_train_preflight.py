"""Before training: what is shown, counted and refused."""

from dataclasses import replace

import numpy as np
import pytest

from offramp.render import CHATML, Rendered, Renderer
from offramp.train import preflight as module
from offramp.train.preflight import preflight
from render_fixture import family


def row(number, *, answer="late", question="where is my order"):
    return [
        {"role": "system", "content": "Give one word."},
        {"role": "user", "content": f"{question} {number}"},
        {"role": "assistant", "content": answer},
    ]


@pytest.fixture(scope="module")
def renderer(tmp_path_factory):
    return Renderer.load(family("chatml", tmp_path_factory.mktemp("chatml")).folder)


def test_good_rows_pass_and_are_shown(renderer):
    found = preflight([row(number) for number in range(10)], renderer, max_tokens=256)

    assert (found.problems, found.warnings) == ((), ())
    assert (found.rows, found.answers, found.truncated, found.dropped) == (10, 10, 0, 0)
    assert found.loss_tokens == sum(int(sequence.loss.sum()) for sequence in found.sequences)
    assert found.tokens == sum(len(sequence.ids) for sequence in found.sequences)
    assert found.longest_tokens == max(len(sequence.ids) for sequence in found.sequences)
    assert found.sequence_rows == tuple(range(10))
    assert [sample.row for sample in found.samples] == [0, 4, 9]
    assert found.samples[0].loss_text == "late<|im_end|>"
    assert str(found.samples[0]) == (
        "<|im_start|>system\nGive one word.<|im_end|>\n<|im_start|>user\nwhere is my order 0<|im_end|>\n"
        "<|im_start|>assistant\n⟦late<|im_end|>⟧"
    )


def test_what_all_rows_begin_with_is_counted(renderer):
    found = preflight([row(1), row(2)], renderer, max_tokens=256)

    shared = renderer.tokenizer.decode(found.sequences[0].ids[: found.shared_tokens])
    assert shared == "<|im_start|>system\nGive one word.<|im_end|>\n<|im_start|>user\nwhere is my order "


def test_bad_rows_are_named_and_refused(renderer):
    rows = [row(0), row(1, answer=" "), [{"role": "user", "content": "?"}]]

    found = preflight(rows, renderer, max_tokens=256)

    assert len(found.problems) == 1
    assert found.problems[0].startswith(
        "2 rows cannot be rendered: row 1: turn 3 of 3 is an empty assistant turn"
    )
    assert "row 2: an answered conversation ends" in found.problems[0]
    assert len(found.sequences) == 1


def test_a_long_answer_is_left_out_and_above_a_share_refused(renderer):
    rows = [row(number) for number in range(29)] + [row(29, answer="late " * 200)]

    few = preflight(rows, renderer, max_tokens=128)
    many = preflight(rows, renderer, max_tokens=128, most_dropped_ratio=0.01)

    assert (few.dropped, few.problems) == (1, ())
    assert few.warnings == ("1 of 30 answers were left out: too long",)
    assert many.problems[0].startswith("1 of 30 answers (3.3%) leave no room")


def test_a_long_prompt_is_shortened_and_its_answer_kept(renderer):
    found = preflight([row(0, question="word " * 300), row(1)], renderer, max_tokens=128)

    assert (found.truncated, found.dropped, found.problems) == (1, 0, ())
    assert found.warnings[0].startswith("1 of 2 prompts were shortened")
    assert [sample.loss_text for sample in found.samples] == ["late<|im_end|>", "late<|im_end|>"]
    assert found.longest_tokens <= 128


def test_nothing_to_learn_from_is_refused(renderer):
    assert preflight([], renderer, max_tokens=64).problems[0].startswith("nothing to learn from: 0 answers")
    found = preflight([row(0, answer="late " * 99)], renderer, max_tokens=64)
    assert found.problems[0] == "nothing to learn from: 1 answers, 1 of them too long for 64 tokens"


def test_an_empty_think_block_that_would_be_learned_is_refused(tmp_path):
    folder = family("qwen3", tmp_path).folder

    thinking = preflight([row(0)], Renderer.load(folder, kwargs={"enable_thinking": True}), max_tokens=256)
    quiet = preflight([row(0)], Renderer.load(folder), max_tokens=256)

    assert "train an empty think block" in thinking.problems[0]
    assert quiet.problems == ()
    assert quiet.samples[0].loss_text == "late<|im_end|>"


def test_a_template_that_changes_the_answer_is_refused(tmp_path):
    changing = CHATML.replace("(message.content or '')", "(message.content or '') | lower")
    renderer = Renderer.load(
        family("chatml", tmp_path).folder, template=changing.replace("| lower", "| replace('L', 'l')")
    )

    found = preflight([row(0, answer="Late Lunch")], renderer, max_tokens=256)

    assert "do not spell the answer (rows 0)" in found.problems[0]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda ids, loss: (ids[:-1], loss[:-1]), "without a stop token at its end"),
        (lambda ids, loss: (ids, np.zeros_like(loss)), "carry no loss"),
        (lambda ids, loss: (ids, np.ones_like(loss)), "stop token inside an answer"),
        (lambda ids, loss: (np.r_[ids[:1], ids], np.r_[loss[:1], loss]), "exactly one BOS"),
        (lambda ids, loss: (ids[1:], loss[1:]), "exactly one BOS"),
    ],
)
def test_each_broken_mask_is_caught(tmp_path, spoil, words):
    renderer = Renderer.load(family("gemma", tmp_path).folder)
    rows = [turn for turn in row(0)]
    good = renderer.train(rows)[0]
    ids, loss = spoil(good.ids, good.loss)

    problems = module._broken([Rendered(ids, loss)], [0], renderer)

    assert any(words in problem for problem in problems)
    assert module._broken([good], [0], renderer) == []


def test_a_prompt_that_serving_would_not_send_is_caught(renderer):
    class Drifted(Renderer):
        def prompt(self, messages, *, tools=None):
            return [*super().prompt(messages, tools=tools), 5]

    drifted = Drifted(**{name: getattr(renderer, name) for name in renderer.__dataclass_fields__})

    found = preflight([row(0)], drifted, max_tokens=256)

    assert "not what serving sends (rows 0)" in found.problems[0]


def test_todays_date_in_a_prompt_is_a_warning(tmp_path):
    import datetime

    today = datetime.date.today().strftime("%d %b %Y")
    renderer = Renderer.load(family("chatml", tmp_path).folder, template=f"Today is {today}.\n" + CHATML)

    found = preflight([row(0)], renderer, max_tokens=256)

    assert any("today's date" in warning for warning in found.warnings)


def test_a_replaced_generation_prompt_and_a_missing_pad_are_warnings(tmp_path):
    renderer = Renderer.load(family("deepseek_r1_distill", tmp_path).folder)

    found = preflight([row(0)], renderer, max_tokens=256)

    assert found.problems == ()
    assert "think block" in found.warnings[0]
    assert "no pad token" in found.warnings[1]


def test_tools_travel_with_their_rows(renderer):
    tool = {
        "type": "function",
        "function": {"name": "find", "parameters": {"type": "object", "properties": {}}},
    }
    call = {"id": "c1", "function": {"name": "find", "arguments": "{}"}}
    rows = [[{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": [call]}], row(1)]

    found = preflight(rows, renderer, max_tokens=256, tools=[[tool], None])

    assert found.problems == ()
    assert "You can call these tools" in str(found.samples[0])
    assert "You can call these tools" not in str(found.samples[1])
    assert replace(found, rows=3).rows == 3
