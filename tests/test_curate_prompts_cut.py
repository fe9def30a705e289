"""Cutting templates out of inputs: what is learned, what is cut, and what stays."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offramp.curate import ledger
from offramp.curate.ledger import apply
from offramp.curate.prompts.cut import CutRule, cut, find, fits, learn

BEFORE = "Classify the product below into one category of our shop.\nTitle: "
AFTER = "\nAnswer with the path only."
WORDS = "red blue shoe shirt large small new old cable phone".split()
RULE = CutRule(column="prompt", spans=(BEFORE, AFTER), ends=(True, True))


def rows(texts: list[str], targets: list[str] | None = None) -> pa.Table:
    columns = {"id": [f"r{i}" for i in range(len(texts))], "field.prompt": texts}
    return pa.table(columns if targets is None else {**columns, "target": targets})


def products(count: int) -> list[str]:
    return [f"{WORDS[i % 10]} {WORDS[i * 7 % 9]} {i}" for i in range(count)]


def wrapped(texts: list[str]) -> list[str]:
    return [BEFORE + text + AFTER for text in texts]


def test_the_template_of_a_field_is_learned_and_cut() -> None:
    texts = products(60)

    found = learn(rows(wrapped(texts), ["a", "b"] * 30))

    assert found == (RULE,)
    assert [cut(text, found) for text in wrapped(texts)] == texts


def test_a_template_that_tells_the_label_stays() -> None:
    other = [
        f"Write a short and friendly poem about the next thing, please: {text}!" for text in products(60)
    ]
    texts = [*wrapped(products(60)), *other]

    assert learn(rows(texts, ["product"] * 60 + ["poem"] * 60)) == ()
    assert len(learn(rows(texts, ["a", "b"] * 60))) == 2


def test_few_rows_with_labels_teach_nothing_but_live_inputs_without_labels_do() -> None:
    texts = wrapped(products(12))

    assert learn(rows(texts, ["a", "b"] * 6)) == ()
    assert learn(rows(texts)) == (RULE,)


@pytest.mark.parametrize(
    "text",
    ["hello", BEFORE + AFTER, "Hi! " + BEFORE + "shoe" + AFTER, BEFORE + "shoe" + AFTER + " Thanks", ""],
)
def test_what_was_not_made_from_the_template_comes_back_as_it_is(text: str) -> None:
    assert cut(text, [RULE]) == text
    assert not fits(text, RULE)


def test_the_texts_of_several_slots_stand_on_lines() -> None:
    rule = CutRule(column="prompt", spans=("Title: ", "\nText: "), ends=(True, False))

    assert cut("Title: shoe\nText: red", [rule]) == "shoe\nred"


def test_each_cut_is_a_ledger_edit_that_can_be_undone() -> None:
    table = rows([*wrapped(products(3)), "bare"], ["a", "b", "a", "b"])

    lines = find(table, [RULE])

    assert [(line.row, line.action, line.rule, line.field) for line in lines] == [
        (f"r{i}", "edit", "prompt", "field.prompt") for i in range(3)
    ]
    assert apply(table, ledger.table(lines)).column("field.prompt").to_pylist() == [*products(3), "bare"]
    assert find(table, [RULE.model_copy(update={"column": "other"})]) == []


@given(st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])))
def test_what_a_customer_wrote_survives_the_cut(text: str) -> None:
    kept = cut(BEFORE + text + AFTER, [RULE])

    assert kept == (text.strip() or BEFORE + text + AFTER)


def test_a_rule_survives_json() -> None:
    assert CutRule.model_validate_json(RULE.model_dump_json()) == RULE
