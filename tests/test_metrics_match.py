"""Match metrics and the pattern metric: what counts as the same, and what never does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.errors import ConfigError
from offramp.metrics import Batch, find, row_scores, scored
from offramp.metrics.match import items, normalise, normalised_match, set_f1
from offramp.types import Task

CHAT = Task(name="t", kind="generate", inputs=("q",), target="a")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Paris.", "paris"),
        ("  New\tYork ", "new york"),
        ("ﬁve", "five"),
        ("It’s", "its"),
        ("well-known", "well known"),
        ("−5", "-5"),
        ("(yes)", "yes"),
        ("STRASSE", "straße"),
    ],
)
def test_writing_does_not_matter(one: str, other: str):
    assert normalised_match(one, other) == 1.0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-5", "5"),
        ("1.5", "15"),
        ("C#", "C"),
        ("C++", "C"),
        ("50%", "50"),
        ("?", "!"),
        ("the cat", "cat"),
        ("a/b", "ab"),
    ],
)
def test_what_changes_the_meaning_matters(one: str, other: str):
    assert normalised_match(one, other) == 0.0


def test_articles_are_dropped_on_request_but_never_everything():
    assert normalise("The cat", drop_articles=True) == "cat"
    assert normalise("the", drop_articles=True) == "the"


@settings(deadline=None)
@given(st.text(max_size=30))
def test_normalising_twice_changes_nothing(text: str):
    assert normalise(normalise(text)) == normalise(text)


@settings(deadline=None)
@given(st.text(max_size=20), st.text(max_size=20))
def test_matches_are_symmetric_and_true_of_equal_texts(one: str, other: str):
    assert normalised_match(one, other) == normalised_match(other, one)
    assert normalised_match(one, one) == set_f1(one, one) == 1.0
    assert set_f1(one, other) == set_f1(other, one)


def test_lists_are_read_from_json_lines_or_separators():
    assert items('["B", "a", 1]') == {"b", "a", "1"}
    assert items("1. Milk\n2. Eggs\n- bread") == {"milk", "eggs", "bread"}
    assert items("x, y; z") == {"x y", "z"}
    assert items("a,b") == {"a", "b"}


def test_set_f1_counts_shared_items():
    assert set_f1("a, b, c", '["C", "d"]') == pytest.approx(2 * 1 / 5)
    assert set_f1("", "[]") == 1.0
    assert set_f1("", "a") == 0.0


def test_a_missing_answer_scores_zero():
    assert row_scores("exact", [None, "x"], ["", "x"], task=CHAT).tolist() == [0.0, 1.0]
    assert row_scores("normalised_match", [None], [""], task=CHAT).tolist() == [0.0]


def test_a_pattern_is_searched_in_each_answer():
    found = row_scores(r"regex:^\d{3}$", ["123", "1234", None, "x"], ["-"] * 4, task=CHAT)

    assert found.tolist() == [1.0, 0.0, 0.0, 0.0]


def test_a_pattern_that_is_none_is_an_error_before_scoring():
    with pytest.raises(ConfigError, match=r"\(unclosed"):
        find("regex:(unclosed", CHAT)


def test_a_pattern_that_explodes_leaves_the_row_unscored_and_scores_the_others(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("offramp.metrics.pattern.ROW_S", 0.2)
    batch = Batch(["aaa", "a" * 40 + "b", "b"], ["-"] * 3, CHAT)

    found = scored(find("regex:(a+)+$", CHAT), batch)

    assert found.values[[0, 2]].tolist() == [1.0, 0.0]
    assert np.isnan(found.values[1])
    assert found.reasons == {1: "the pattern '(a+)+$' took longer than 0.2 s"}


def test_after_three_slow_texts_a_pattern_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("offramp.metrics.pattern.ROW_S", 0.05)
    batch = Batch([*("a" * n + "b" for n in (40, 41, 42)), "b"], ["-"] * 4, CHAT)

    found = scored(find("regex:(a+)+$", CHAT), batch)

    assert np.isnan(found.values).all()
    assert found.reasons[3].startswith("not tried")


def test_a_pattern_has_its_text_in_its_version():
    assert find("regex:a", CHAT).version != find("regex:b", CHAT).version
