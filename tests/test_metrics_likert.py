import hashlib
import json
import math

import numpy as np
import pyarrow as pa
import pytest

from offramp.errors import DataError
from offramp.metrics.base import Batch
from offramp.metrics.likert import LIKERT, Spec, of_items, of_schema, of_spec
from offramp.metrics.likert.completeness import leaves, parsed, required_paths
from offramp.metrics.likert.formatting import headings, kind_of_lines
from offramp.metrics.likert.scale import blend, likert
from offramp.metrics.likert.schema import schema_of, share_met
from offramp.metrics.likert.source import source_of
from offramp.metrics.likert.text import is_fact, negated, sentences, stem, words
from offramp.types import Task

VISIT = (
    "Doctor: How long have you had the headaches?\n"
    "Patient: About three weeks now.\n"
    "Doctor: Any nausea?\n"
    "Patient: No.\n"
    "Doctor: I will start you on Lisinopril twenty milligrams once a day for your blood pressure.\n"
    "Patient: Okay. I am not allergic to anything.\n"
    "Doctor: Please come back to Riverside Clinic in six weeks."
)
NOTE = (
    "The patient has had headaches for three weeks. He was started on Lisinopril 20 mg once a day for blood pressure. "
    "He will come back to Riverside Clinic in six weeks."
)


def embed(texts):
    """Put each content word at a fixed random direction: texts with the same words are near."""
    found = np.full((len(texts), 64), 1e-3, np.float32)
    for row, text in zip(found, texts, strict=True):
        for word in words(text):
            if word.is_content:
                seed = int.from_bytes(hashlib.blake2b(word.stem.encode(), digest_size=8).digest(), "big")
                row += np.random.default_rng(seed).standard_normal(64).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def batch(answers, *, target="", source=VISIT, vectors=embed):
    return Batch(
        answers=answers,
        targets=[target] * len(answers),
        task=Task(name="notes", kind="generate", inputs=("dialogue",), target="note"),
        rows=None
        if source is None
        else pa.table(
            {"id": [str(i) for i in range(len(answers))], "field.dialogue": [source] * len(answers)}
        ),
        embed=vectors,
    )


def score(name, *answers, **where):
    return LIKERT[name].score(batch(list(answers), **where)).tolist()


# ---------------------------------------------------------------- text


def test_sentences_keep_abbreviations_and_list_numbers_together():
    found = sentences("Dr. Smith saw her at 3.5 weeks. 1. Rest!\n- Fluids\n* Sleep")

    assert found == ("Dr. Smith saw her at 3.5 weeks.", "1. Rest!", "Fluids", "Sleep")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("forty", "40"),
        ("twenty-six", "26"),
        ("two hundred fifty", "250"),
        ("two thousand five", "2005"),
        ("three million", "3000000"),
        ("fifteenth", "15"),
        ("1,200.50", "1200.5"),
        ("007", "7"),
    ],
)
def test_a_number_is_its_value_however_it_is_written(text, number):
    assert [word.stem for word in words(text) if word.is_number] == [number]


def test_two_numbers_in_a_row_stay_two_numbers():
    assert [word.stem for word in words("one two three")] == ["one", "2", "3"]


def test_spelled_letters_and_units_have_one_form():
    assert [word.stem for word in words("forty M G or 40 milligrams")] == ["40", "mg", "or", "40", "mg"]


def test_stems_join_the_forms_of_a_word():
    assert {stem(word) for word in ("stop", "stops", "stopped", "stopping")} == {"stop"}
    assert stem("worries") == stem("worry") == stem("worried")
    assert stem("Patient's") == "patient"


def test_names_numbers_and_medications_are_facts():
    facts = [
        word.raw
        for word in words("He took atorvastatin in Paris on 3 days because rain fell")
        if is_fact(word)
    ]

    assert facts == ["atorvastatin", "Paris", "3"]


def test_negations_are_counted():
    assert negated("He didn't deny it, there was no pain") == 3
    assert negated("He has pain") == 0


def test_long_sentences_are_cut_into_windows():
    found = source_of(" ".join(["word"] * 100) + ". Short one.").windows

    assert [len(window.split()) for window in found] == [34, 34, 32, 2]


# ---------------------------------------------------------------- scale


def test_the_map_is_a_line_between_two_anchors():
    assert [likert(raw, floor=0.25, ceiling=0.75) for raw in (0.1, 0.25, 0.5, 0.75, 0.9)] == [1, 1, 3, 5, 5]
    assert math.isnan(likert(float("nan"), floor=0.0, ceiling=1.0))


def test_a_part_that_is_not_there_leaves_its_weight_to_the_others():
    assert blend({"a": 1.0, "b": float("nan")}, {"a": 0.2, "b": 0.8}) == 1.0
    assert math.isnan(blend({"a": float("nan")}, {"a": 1.0}))


# ---------------------------------------------------------------- all four


@pytest.mark.parametrize("name", LIKERT)
def test_scores_are_between_1_and_5_and_no_answer_is_1(name):
    found = score(name, NOTE, "Completely different, about football in Brazil.", "", "...", None, target=NOTE)

    assert all(1.0 <= value <= 5.0 for value in found)
    assert found[2:] == [1.0, 1.0, 1.0]
    assert found[0] > 4.0
    assert LIKERT[name].low == 1.0 and LIKERT[name].high == 5.0


@pytest.mark.parametrize("name", LIKERT)
def test_a_score_does_not_depend_on_the_other_rows(name):
    together = score(name, NOTE, "He has headaches.", None, target=NOTE)

    assert together[1] == pytest.approx(score(name, "He has headaches.", target=NOTE)[0], abs=1e-6)


@pytest.mark.parametrize("name", ["completeness", "formatting"])
def test_without_a_reference_there_is_no_score_even_for_no_answer(name):
    assert all(math.isnan(value) for value in score(name, NOTE, None))


def test_without_input_faithfulness_is_not_scored():
    assert math.isnan(score("faithfulness", NOTE, source=None)[0])
    assert math.isnan(score("faithfulness", NOTE, source="")[0])


def test_relevance_needs_input_or_reference():
    assert math.isnan(score("relevance", NOTE, source=None)[0])
    assert score("relevance", NOTE, source=None, target=NOTE)[0] > 4.0
    assert score("relevance", NOTE)[0] > 3.0


@pytest.mark.parametrize("name", ["completeness", "relevance", "faithfulness"])
def test_without_an_embedding_nothing_is_guessed(name):
    assert math.isnan(score(name, NOTE, target=NOTE, vectors=None)[0])


def test_empty_batches_give_empty_scores():
    for metric in LIKERT.values():
        assert metric.score(batch([])).shape == (0,)


# ---------------------------------------------------------------- faithfulness


def faith(text):
    return score("faithfulness", text)[0]


def test_a_changed_number_lowers_faithfulness():
    assert faith(NOTE.replace("20 mg", "40 mg")) < faith(NOTE) - 0.2


def test_a_changed_unit_lowers_faithfulness():
    assert faith(NOTE.replace("20 mg", "20 g")) < faith(NOTE) - 0.1


def test_a_number_without_unit_goes_with_every_unit():
    source = source_of("The patient is twenty six. He takes 40 milligrams, and 5% of it twice.")

    assert [source.has(fact) for fact in ("26 year", "40 mg", "40 g", "40", "5 %", "6")] == [
        True,
        True,
        False,
        True,
        True,
        False,
    ]


def test_another_medication_lowers_faithfulness():
    assert faith(NOTE.replace("Lisinopril", "metoprolol")) < faith(NOTE) - 0.2


def test_another_name_lowers_faithfulness():
    assert faith(NOTE.replace("Riverside", "Lakeside")) < faith(NOTE) - 0.2


def test_a_flipped_negation_lowers_faithfulness():
    honest = "The patient is not allergic to anything. He has had headaches for three weeks."

    assert faith(honest.replace("is not", "is")) < faith(honest) - 0.2


def test_a_negation_that_nobody_said_lowers_faithfulness():
    assert faith("I will not start you on Lisinopril.") < faith("I will start you on Lisinopril.") - 0.5


def test_a_question_answered_with_no_is_a_negation():
    assert faith("No nausea.") > faith("Nausea.") + 0.5


def test_an_invented_sentence_lowers_faithfulness():
    assert faith(NOTE + " Surgery on his left knee went badly in Boston.") < faith(NOTE) - 1.0


# ---------------------------------------------------------------- relevance


def test_an_off_topic_sentence_lowers_relevance():
    strayed = NOTE + " The football season in Brazil opened with fireworks yesterday."

    assert score("relevance", strayed, target=NOTE)[0] < score("relevance", NOTE, target=NOTE)[0] - 0.2


def test_saying_it_twice_lowers_relevance():
    assert (
        score("relevance", f"{NOTE} {NOTE}", target=NOTE)[0] < score("relevance", NOTE, target=NOTE)[0] - 0.5
    )


def test_an_answer_to_another_question_is_near_1():
    assert score("relevance", "Mix flour and butter, then bake the cake.", target=NOTE)[0] < 1.7


# ---------------------------------------------------------------- completeness


def test_a_missing_item_lowers_completeness():
    short = NOTE.rsplit("He will", 1)[0]

    assert score("completeness", short, target=NOTE)[0] < score("completeness", NOTE, target=NOTE)[0] - 0.5
    assert score("completeness", NOTE, target=NOTE) == [5.0]


def test_more_than_was_asked_costs_no_completeness():
    assert score("completeness", NOTE + " And more.", target=NOTE) == [5.0]


def test_a_missing_number_costs_more_than_a_missing_word():
    without_number = score("completeness", NOTE.replace("20 ", ""), target=NOTE)[0]
    without_word = score("completeness", NOTE.replace("blood ", ""), target=NOTE)[0]

    assert without_number < without_word


def test_a_reference_without_content_words_is_still_required():
    found = score("completeness", "Yes.", "Not at all.", target="Yes.")

    assert found[0] == 5.0 and found[1] < 4.0


def test_a_list_of_items_can_be_required():
    metric = of_items(["headaches for three weeks", "Lisinopril 20 mg", "allergies"])
    all_of_them = "Headaches for 3 weeks. Lisinopril 20 mg. Allergies: none."

    full, part, none = metric.score(batch([all_of_them, "Lisinopril 20 mg.", None]))

    assert full > 4.5 and 1.0 < part < full and none == 1.0
    assert metric.version != of_items(["other"]).version


def test_json_fields_are_items():
    target = json.dumps({"merchant": "Blue Cafe", "total": 12.5, "lines": [{"name": "tea"}]})
    right = '```json\n{"total": 12.50, "lines": [{"name": "Tea"}], "merchant": "blue cafe"}\n```'
    missing = '{"merchant": "Blue Cafe", "total": 12.5}'

    found = score("completeness", right, missing, "no idea", target=target, vectors=None)

    assert found[0] == 5.0 and 3.0 < found[1] < 4.0 and found[2] == 1.0


def test_the_required_fields_of_a_schema_are_items():
    schema = {
        "required": ["who", "when"],
        "properties": {"who": {"type": "object", "required": ["name"], "properties": {"name": {}}}},
    }

    found = of_schema(schema).score(
        batch(['{"who": {"name": "A"}, "when": "x"}', '{"when": "x"}', "prose", None])
    )

    assert required_paths(schema) == ("who.name", "when")
    assert found.tolist() == [5.0, 3.0, 1.0, 1.0]
    assert np.isnan(of_schema({}).score(batch(["x"]))).all()


def test_json_is_recognised_with_and_without_a_fence():
    assert parsed('```json\n{"a": 1}\n```') == {"a": 1}
    assert parsed("[1, 2]") == [1, 2]
    assert parsed("[" * 100_000) is None and parsed("{broken") is None and parsed("prose") is None
    assert leaves({"a": {"b": [1, 2]}, "c": None}) == {"a.b": "1 2", "c": ""}


# ---------------------------------------------------------------- formatting

REPORT = (
    "# History\nHeadaches for weeks.\n\n# Exam\nNormal findings.\n\n# Plan\n- Rest\n- Fluids\n- Come back"
)


def form(*answers, target=REPORT):
    return score("formatting", *answers, target=target, vectors=None)


def test_wrong_section_order_lowers_formatting():
    history, exam, plan = REPORT.split("\n\n")

    right, swapped, missing = form(REPORT, f"{plan}\n\n{exam}\n\n{history}", f"{history}\n\n{plan}")

    assert right == 5.0
    assert swapped < 4.5 and missing < right


def test_words_never_matter_for_formatting():
    assert form(REPORT.replace("Headaches", "Dizziness")) == [5.0]


def test_bullets_instead_of_a_paragraph_lower_formatting():
    plain = "Rest well. Drink a lot. Come back soon."

    assert form(plain, "- Rest well\n- Drink a lot\n- Come back soon.", target=plain)[1] < 4.0


def test_a_text_that_stops_in_the_middle_lowers_formatting():
    assert form("Rest well and drink.", "Rest well and drink", target="Rest a lot and drink.")[1] < 5.0


def test_far_too_long_lowers_formatting():
    limit = of_spec(Spec(max_words=10))

    found = limit.score(batch(["word " * 10, "word " * 20, "word " * 40, None]))

    assert found.tolist() == [5.0, pytest.approx(3.0), 1.0, 1.0]


def test_broken_json_has_no_form():
    target = '{"a": 1, "b": ["x"]}'

    found = form('{"a": 5, "b": []}', '{"a": "5", "b": []}', '{"a": 5', "a is 5", target=target)

    assert found[0] == 5.0 and 3.0 < found[1] < 5.0 and found[2:] == [1.0, 1.0]


def test_a_form_that_says_nothing_scores_nothing():
    assert np.isnan(of_spec(Spec()).score(batch(["x"]))).all()


def test_headings_and_lines_are_recognised():
    assert headings("# A\n**B b**\nPLAN: rest\nFollow-up:\nnot a heading at all") == [
        "a",
        "b b",
        "plan",
        "follow-up",
    ]
    assert kind_of_lines("1. a\n2. b\n3) c") == "number"
    assert kind_of_lines("| a | b |\n| 1 | 2 |") == "table"


def test_a_schema_is_met_in_parts():
    schema = {
        "type": "object",
        "required": ["kind", "count"],
        "additionalProperties": False,
        "properties": {
            "kind": {"enum": ["a", "b"]},
            "count": {"type": "integer", "minimum": 1, "maximum": 9},
            "tags": {
                "type": "array",
                "maxItems": 1,
                "items": {"type": "string", "pattern": "^x", "minLength": 2},
            },
        },
    }

    assert share_met({"kind": "a", "count": 3.0, "tags": ["xy"]}, schema) == 1.0
    # type, required x 2, no others, enum | integer | minimum, maximum: all but the enum.
    assert share_met({"kind": "c", "count": 3}, schema) == pytest.approx(7 / 8)
    assert share_met({"kind": "a", "count": True}, schema) == pytest.approx(5 / 6)
    assert share_met("text", schema) == 0.0
    assert share_met(None, {"type": ["string", "null"]}) == 1.0
    assert share_met(7, {}) == 1.0


def test_a_broken_pattern_is_the_users_error():
    with pytest.raises(DataError, match="pattern"):
        share_met("x", {"pattern": "("})


def test_a_reference_shows_its_schema():
    assert share_met({"a": 2, "b": ["z"]}, schema_of({"a": 1.5, "b": ["x"]})) == 1.0
    assert share_met({"a": 2, "c": None}, schema_of({"a": True, "c": None})) < 1.0


def test_the_answer_of_a_chat_is_held_against_the_whole_conversation():
    turns = [{"role": "system", "content": "Zebras."}]
    for line in VISIT.splitlines():
        role, said = line.split(": ", 1)
        turns.append({"role": "assistant" if role == "Doctor" else "user", "content": said})
    rows = pa.table({"id": ["a"], "field.prompt": ["Okay."], "messages": [json.dumps(turns)]})
    chat = Task(name="t", kind="chat", inputs=("prompt",), target="note")
    text = Task(name="t", kind="generate", inputs=("prompt",), target="note")

    def scored(task, answer):
        return LIKERT["faithfulness"].score(Batch([answer], [NOTE], task, rows=rows, embed=embed))[0]

    assert scored(chat, NOTE) > scored(text, NOTE) + 1
    assert scored(chat, NOTE) > scored(chat, "Zebras. Zebras were seen.")
