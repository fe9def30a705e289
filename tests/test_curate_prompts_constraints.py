"""Constraints of a prompt: what is found, and that a loss is seen."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.curate.prompts.constraints import extract, listed, lost, protected, sentences

PROMPT = """You are a support classifier for Acme Bank. Assign exactly one category:
- card arrival
- lost card

Respond with JSON like {"label": "…", "score": 0.5}. Do not explain. If the text isn't English, say "unknown".
See https://acme.example/help. The text is {message}."""


def kinds(prompt: str, **known: list[str]) -> set[tuple[str, str]]:
    return {(item.kind, item.text) for item in extract(prompt, **known)}


def test_every_kind_of_constraint_is_found() -> None:
    found = kinds(PROMPT)

    assert {
        ("block", '{"label": "…", "score": 0.5}'),
        ("quoted", "unknown"),
        ("key", "score"),
        ("placeholder", "{message}"),
        ("url", "https://acme.example/help"),
        ("number", "one"),
        ("number", "0.5"),
        ("name", "Acme Bank"),
        ("name", "JSON"),
        ("label", "card arrival"),
        ("limit", "exactly"),
        ("negation", "not explain"),
        ("negation", "not english say"),
    } <= found


def test_a_prompt_keeps_its_own_constraints() -> None:
    assert lost(extract(PROMPT), PROMPT) == ()


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ('"score": 0.5', '"points": 0.5', "key"),
        ('"unknown"', '"other"', "quoted"),
        ("{message}", "", "placeholder"),
        ("https://acme.example/help", "our help", "url"),
        ("exactly one", "exactly a", "number"),
        ("Acme Bank", "a bank", "name"),
        ("- lost card\n", "", "label"),
        ("exactly ", "", "limit"),
        ("Do not explain", "Explain", "negation"),
        ("isn't English", "is English", "negation"),
    ],
)
def test_a_loss_of_each_kind_is_seen(before: str, after: str, kind: str) -> None:
    assert before in PROMPT

    assert kind in {item.kind for item in lost(extract(PROMPT), PROMPT.replace(before, after))}


def test_a_contraction_is_the_same_negation() -> None:
    assert lost(extract("Do not explain the label."), "Don't explain the label.") == ()


def test_an_added_negation_is_a_loss() -> None:
    found = lost(extract("Explain the label."), "Do not explain the label.")

    assert [str(item) for item in found] == ["negation 'not explain the (added)'"]


def test_a_negation_moved_to_another_word_is_a_loss() -> None:
    assert lost(extract("Give the code, not the name."), "Give the name, not the code.") != ()


def test_a_number_inside_another_number_does_not_count() -> None:
    assert [
        item.text for item in lost(extract("Give 1 label and 1.5 points."), "Give a label and 1.5 points.")
    ] == ["1"]


def test_a_number_said_twice_is_needed_twice() -> None:
    found = lost(extract("At least 2 words. At most 2 lines."), "At least 2 words. At most some lines.")

    assert [str(item) for item in found] == ["number '2' (2 times)"]


def test_a_sentence_repeated_word_for_word_may_be_said_once() -> None:
    assert lost(extract("Use 5 words. Be kind. Use 5 words."), "Use 5 words. Be kind.") == ()


def test_labels_and_names_the_caller_knows_are_kept() -> None:
    found = kinds("say spam or ham, the shop is acme", labels=["spam", "ham", "eggs"], names=["acme"])

    assert {("label", "spam"), ("label", "ham"), ("name", "acme")} <= found
    assert ("label", "eggs") not in found


def test_a_list_after_a_colon_is_a_label_list() -> None:
    assert listed("Use one of: refund, card arrival, or other.") == ["refund", "card arrival", "other"]


def test_no_sentence_ends_inside_code_quotes_or_an_abbreviation() -> None:
    prompt = 'Write e.g. this. Say "Yes. No." now. ```\na. b\n``` End.'

    assert sentences(prompt) == ["Write e.g. this. ", 'Say "Yes. No." now. ', "```\na. b\n``` End."]
    assert [prompt[a:b] for a, b in protected(prompt)] == ['"Yes. No."', "```\na. b\n```"]


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="ab .!?\n\"'`{}:-<>1N", max_size=60))
def test_sentences_joined_are_the_prompt_and_nothing_is_lost_from_itself(text: str) -> None:
    assert "".join(sentences(text)) == text
    assert lost(extract(text), text) == ()
