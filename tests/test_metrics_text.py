"""Text metrics: values worked out by hand, and those that sacrebleu 2.6.0 and rouge-score 0.1.2 gave."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.metrics import Batch, find, row_scores, scored, summary
from offramp.metrics.text import chrf, common_subsequence, rouge_l, tokens
from offramp.types import Task

TASK = Task(name="t", kind="generate", inputs=("q",), target="a")
WORDS = st.lists(st.sampled_from("abcd"), max_size=12)


def letters(texts: list[str]) -> np.ndarray:
    """Encode a text as its counts of a and b, as a unit vector."""
    counts = np.array([[text.count("a"), text.count("b")] for text in texts], dtype=np.float32)
    return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def test_words_are_folded_and_scripts_without_blanks_are_cut_by_character():
    assert tokens("The Cat's 2nd-best_toy.") == ["the", "cat", "s", "2nd", "best", "toy"]
    assert tokens("Größe 東京tower") == ["grösse", "東", "京", "tower"]


def test_rouge_l_by_hand():
    # The common subsequence is "the cat on the mat", 5 words; 6 words were said and 6 wanted.
    assert rouge_l("The cat sat on the mat.", "the cat is on the mat") == pytest.approx(10 / 12)
    # "the on the", 3 of 6 and 6.
    assert rouge_l("mat the on sat cat the", "the cat sat on the mat") == pytest.approx(6 / 12)
    assert rouge_l("", "word") == 0.0
    assert rouge_l("?", "?") == 1.0
    assert rouge_l("?", "!") == 0.0


def naive(left: list[str], right: list[str]) -> int:
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@settings(deadline=None)
@given(WORDS, WORDS)
def test_the_common_subsequence_is_that_of_the_table(left: list[str], right: list[str]):
    assert common_subsequence(left, right) == naive(left, right)


def test_chrf_by_hand():
    # "abc" against "abcd": precision 1, 1, 1; recall 3/4, 2/3, 1/2; orders 4-6 do not fit both. F2 of 1 and 23/36.
    recall = (3 / 4 + 2 / 3 + 1 / 2) / 3
    assert chrf("abc", "abcd") == pytest.approx(5 * recall / (4 + recall))
    # "a b" against "ab": white space does not count.
    assert chrf("a b", "ab") == 1.0
    assert chrf("x", "y") == 0.0
    assert chrf("", "a") == 0.0
    assert chrf("", "") == 1.0


def counted(answer: str, target: str) -> float:
    """ChrF from counters of substrings, as the paper has it."""
    used = min(6, len(answer), len(target))
    parts = []
    for n in range(1, used + 1):
        ours, theirs = (
            Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in (answer, target)
        )
        hits = (ours & theirs).total()
        parts.append((hits / ours.total(), hits / theirs.total()))
    precision, recall = (sum(side) / used for side in zip(*parts, strict=True))
    return 5 * precision * recall / (4 * precision + recall) if precision else 0.0


@settings(deadline=None)
@given(st.text("abé\0\ud800", min_size=1, max_size=25), st.text("abé\0\ud800", min_size=1, max_size=25))
def test_chrf_counts_as_the_paper_does(answer: str, target: str):
    assert chrf(answer, target) == pytest.approx(counted(answer, target))


@pytest.mark.parametrize(
    ("answer", "target", "chrf_there", "rouge_there"),
    [
        ("The cat sat on the mat.", "The cat is on the mat.", 0.6717273492330232, 0.8333333333333334),
        (
            "Total amount due: 1,200.50 EUR by May 1",
            "Amount due is 1200.50 EUR, by 1 May",
            0.5262193361197594,
            0.631578947368421,
        ),
        ("yes", "No, it is not.", 0.03546099290780142, 0.0),
        (
            "a much longer answer than anybody asked for, really",
            "short answer",
            0.29418811095199154,
            0.1818181818181818,
        ),
    ],
)
def test_the_reference_programs_give_the_same(
    answer: str, target: str, chrf_there: float, rouge_there: float
):
    assert chrf(answer, target) == pytest.approx(chrf_there, abs=1e-12)
    assert rouge_l(answer, target) == pytest.approx(rouge_there, abs=1e-12)


@settings(deadline=None)
@given(st.text("abc ", max_size=20), st.text("abc ", max_size=20))
def test_text_metrics_lie_between_0_and_1_and_are_1_for_equal_texts(one: str, other: str):
    assert rouge_l(one, other) == rouge_l(other, one)
    assert 0.0 <= rouge_l(one, other) <= 1.0
    assert 0.0 <= chrf(one, other) <= 1.0 + 1e-12
    assert rouge_l(one, one) == 1.0
    assert chrf(one, one) == pytest.approx(1.0)


def test_similarity_is_the_cosine_and_opposite_meanings_are_0():
    batch = Batch(["a", None, "aab", "a"], ["a", "a", "b", "b"], TASK, embed=letters)

    assert find("similarity", TASK).score(batch) == pytest.approx([1.0, 0.0, 1 / 5**0.5, 0.0])


def test_similarity_without_an_encoder_is_not_scored_and_says_why():
    found = scored(find("similarity", TASK), Batch(["a"], ["a"], TASK))

    assert np.isnan(found.values).all()
    assert found.reasons == {0: "no text encoder was given"}


def test_a_summary_has_similarity_only_with_an_encoder():
    assert "similarity" not in summary(["a"], ["a"], task=TASK)
    assert summary(["a"], ["a"], task=TASK, embed=letters)["similarity"] == pytest.approx(1.0)
    assert row_scores("similarity", ["a"], ["a"], task=TASK, embed=letters).tolist() == [1.0]
