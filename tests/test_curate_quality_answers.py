"""Cut, refused, broken and echoing answers."""

import json

import numpy as np
import pyarrow as pa
import pytest

from offramp.curate.quality import broken, echo, refusals, truncated

NOUNS = (
    "patient",
    "doctor",
    "nurse",
    "mother",
    "son",
    "clinic",
    "knee",
    "fever",
    "pain",
    "cough",
    "visit",
    "drug",
)


def note(i: int) -> str:
    draw = np.random.default_rng(i)
    a, b, c, d = draw.choice(NOUNS, 4)
    return f"The {a} was seen with the {b} number {i} today. There is no {c} and no {d}."


def table(answers: list[str], **columns: list) -> pa.Table:
    ids = [f"r{i}" for i in range(len(answers))]
    return pa.table({"id": ids, "field.text": [f"row {i} asks" for i in ids], "target": answers, **columns})


def test_a_finish_reason_and_a_token_limit_tell_a_cut():
    answers = [note(i) for i in range(40)]
    reasons = ["stop"] * 39 + ["length"]
    tokens = [20 + i for i in range(34)] + [100] * 6

    assert [line.row for line in truncated.find(table(answers, finish_reason=reasons))] == ["r39"]
    assert [line.row for line in truncated.find(table(answers, output_tokens=tokens))] == [
        f"r{i}" for i in range(34, 40)
    ]
    assert truncated.find(table(answers, finish_reason=reasons), from_incumbent=False) == []


def test_open_json_is_cut_and_wrong_json_is_broken():
    answers = [json.dumps({"label": note(i), "sure": True}) for i in range(40)]
    rows = table([*answers, answers[0][:30], '{"label",: "x", "sure": true}'])

    assert [line.row for line in truncated.find(rows)] == ["r40"]
    assert {"r41"} <= {line.row for line in broken.find(rows)}


def test_endings_that_no_whole_answer_has_tell_cuts():
    cut = [note(1000 + i)[: 30 + 4 * i] for i in range(10)]

    findings = truncated.findings(table([note(i) for i in range(300)] + cut))

    assert {one.row for one in findings} <= {f"r{i}" for i in range(300, 310)}
    assert len(findings) >= 5
    assert any(one.acts for one in findings)


def test_answers_that_never_end_in_a_full_stop_are_not_cut():
    assert truncated.find(table([note(i).replace(".", "") for i in range(300)])) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("We are unable to fulfill this request.", "refusal"),
        ("As an AI, I have opinions on nothing.", "refusal"),
        ("I'm just an AI. My training data ends in 2023.", "disclaimer"),
        ("I apologize for the delay. Your card is on its way.", "apology"),
        ("I'm not sure, but it is probably the battery.", "hedge"),
        ("The patient cannot walk and is unable to provide a sample.", "answer"),
        (
            "I cannot access your account, but "
            + "here is what to do next in the app. Open it and tap. " * 10,
            "hedge",
        ),
    ],
)
def test_refusals_are_told_from_hedges_and_answers(text: str, kind: str):
    assert refusals.kind(text) == kind


def test_where_refusing_is_the_task_refusals_stay():
    answers = [note(i) for i in range(30)]
    refusing = [f"I'm sorry, but I can't help with question {i}." for i in range(30)]

    assert len(refusals.find(table([*answers, refusing[0]]))) == 1
    assert refusals.find(table([*answers, *refusing])) == []


def test_blank_rows_are_empty_and_a_label_called_none_is_not():
    rows = table([*(note(i) for i in range(40)), " \u200b", "none", "..."])

    assert [line.row for line in broken.find(rows)] == ["r40", "r42"]


def test_keys_and_types_are_held_against_the_data_s_own():
    sound = [json.dumps({"a": i, "b": "x"}) for i in range(40)]
    odd = ['{"a": 1}', '{"a": "1", "b": "x"}', '{"a": null, "b": "x"}', "sound?"]

    assert [line.row for line in broken.find(table(sound + odd))] == ["r43", "r40", "r41", "r42"]


def test_a_shape_that_stays_once_it_has_come_is_left_to_a_person():
    old = [json.dumps({"a": i, "b": "x"}) for i in range(600)]
    new = [json.dumps({"a": i, "b": "x", "c": 1}) for i in range(10)]
    times = [f"2026-01-01T{i // 60:02}:{i % 60:02}" for i in range(600)] + [
        f"2026-02-01T00:{i:02}" for i in range(10)
    ]
    findings = broken.findings(table(old + new, time=times))

    assert {one.action for one in findings} == {"review"}
    assert findings[0].evidence["since"] == "2026-02-01T00:00"


def test_an_answer_that_is_its_prompt_is_an_echo_unless_copying_is_the_task():
    prompts = [f"please say what is wrong with the {NOUNS[i % 12]} of row {i} today" for i in range(40)]
    answers = [note(i) for i in range(39)] + [prompts[39].upper() + "?"]
    rows = table(answers).set_column(1, "field.text", [prompts])

    assert [line.row for line in echo.find(rows)] == ["r39"]
    assert echo.find(rows.set_column(2, "target", [prompts])) == []
