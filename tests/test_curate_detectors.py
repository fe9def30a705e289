"""The detectors alone: neighbours, likeness, refusals, cut labels."""

import numpy as np
import pyarrow as pa
import pytest

from offramp.curate import answers, outliers
from offramp.curate.neighbours import Thresholds, family_pairs, survey
from offramp.curate.text import Pieces, likeness, normal, numbers, shingles


def _vectors(n: int, seed: int = 0, spread: float = 1.0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    found = 1.0 + spread * draw.normal(size=(n, 16))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("n", [1, 2, 11, 64, 300, 1100])
def test_the_survey_finds_what_comparing_all_pairs_finds(n: int) -> None:
    vectors = _vectors(n)
    texts = [f"text number {i}" for i in range(n)]

    found = survey(texts, vectors, thresholds=Thresholds(family_cosine=0.92))

    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2)
    k = min(10, n - 1)
    assert found.nearest.shape == (n, k)
    assert np.allclose(found.nearest_cosine, -np.sort(-cosines, axis=1)[:, :k], atol=1e-6)
    wanted = {(i, j) for i, j in zip(*np.nonzero(cosines >= 0.92), strict=True) if i < j}
    assert {(a, b) for a, b, _, _ in found.pairs.rows()} == wanted


def test_a_crowd_of_near_rows_keeps_memory_small_and_stays_one_family() -> None:
    vectors = _vectors(600, spread=0.01)

    found = survey(["same"] * 600, vectors, thresholds=Thresholds())

    assert len(found.pairs.first) <= 600 * 64
    assert set(found.pairs.first.tolist()) | set(found.pairs.second.tolist()) == set(range(600))
    assert np.all(found.pairs.likeness == 1.0)


def test_a_family_needs_shared_pieces_or_a_very_high_cosine() -> None:
    vectors = np.array([[1, 0], [0.92, np.sqrt(1 - 0.92**2)], [0.96, -np.sqrt(1 - 0.96**2)]], np.float32)

    def linked(texts: list[str]) -> set[tuple[int, int]]:
        around = survey(texts, vectors, thresholds=Thresholds())
        return {(a, b) for a, b, _, _ in family_pairs(around.pairs, Thresholds()).rows()}

    assert linked(["one thing", "other words", "third text"]) == {(0, 2)}
    assert linked(["one thing", "one things", "third text"]) == {(0, 1), (0, 2)}


def test_normal_forms_ignore_case_punctuation_and_width_but_not_symbols() -> None:
    assert normal("  Top-up:  ＡＢＣ, Straße! ") == "top up abc strasse"
    assert normal("???") == "???"
    assert normal("👍") != normal("👎")
    assert normal("漢字、かな") == "漢字 かな"


def test_likeness_uses_characters_for_short_texts_and_words_for_long_ones() -> None:
    long = " ".join(f"word{i}" for i in range(60))
    pieces = Pieces(["card lost", "card lose", long, long + " end", "word1 word2"])

    assert pieces.likeness(0, 1) == pytest.approx(6 / 10)
    assert pieces.likeness(2, 3) == pytest.approx(119 / 121)
    assert pieces.likeness(2, 4) == pytest.approx(2 / 60)
    assert likeness(frozenset(), frozenset()) == 1.0
    assert shingles("") == frozenset({"  "})
    assert numbers("size 12 of xl2 and 7") == ("12", "7", "xl2")


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that request.",
        "I’m sorry, I cannot determine the category.",
        "Sorry, I am not able to classify this.",
        "I cannot help with that.",
        "I am unable to categorize this product.",
        "As an AI language model, I do not have opinions.",
        "Unfortunately, I can't tell from this text.",
        "I apologize, but I cannot answer.",
        "I don't have enough information to classify it.",
    ],
)
def test_refusals_are_seen(text: str) -> None:
    assert answers.is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        *("unable_to_verify_identity", "Sorry I got lost > Apologies", "cannot_pay", "declined_card_payment"),
        *(
            "Sorry about the delay, your card is on its way.",
            "Home & Garden > Kitchen",
            "as an aside",
            "I can pay",
        ),
    ],
)
def test_labels_and_polite_answers_are_no_refusals(text: str) -> None:
    assert not answers.is_refusal(text)


def _labels(*labels: str | None) -> pa.Table:
    rows = [f"r{i}" for i in range(len(labels))]
    return pa.table({"id": rows, "field.text": rows, "target": pa.array(labels, pa.string())})


def test_a_cut_label_is_told_from_a_shorter_one() -> None:
    common = ["Home > Kitchen", "Phones", "Home"] * 6
    table = _labels(*common, "Home > Kit", "Home >", "Phone", "Hom", "Garden")

    lines = answers.find(table, from_incumbent=False)

    assert [line.evidence["label"] for line in lines] == ["Home > Kit", "Home >"]


def test_a_known_label_is_neither_cut_nor_a_refusal() -> None:
    table = _labels(*["Home > Kitchen"] * 6, "Home > Kit", "I cannot pay")

    assert answers.find(table, from_incumbent=False, labels=("Home > Kit", "I cannot pay")) == []


def test_nothing_is_far_among_few_or_equal_rows() -> None:
    for n, vectors in ((50, _vectors(50)), (300, np.tile(_vectors(1), (300, 1)))):
        table = _labels(*(f"label {i % 3}" for i in range(n)))
        around = survey(["x"] * n, vectors, thresholds=Thresholds())

        assert outliers.find(table, around, [True] * n) == []
