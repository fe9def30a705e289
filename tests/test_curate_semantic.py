"""Paraphrases by margin, on made-up rows with a table of random token vectors."""

import numpy as np
import pyarrow as pa
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from offramp.curate import semantic
from offramp.curate.semantic import ParaphraseThresholds, find, findings, margins, survey
from offramp.embed.static import StaticEmbedder
from offramp.errors import DataError

TOPICS, WORDS, TEXTS = 6, 400, 240


@pytest.fixture(scope="module")
def embedder() -> StaticEmbedder:
    vocabulary = {"[UNK]": 0} | {f"v{i}": i + 1 for i in range(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    table = np.random.default_rng(0).normal(size=(WORDS + 1, 256)).astype(np.float32)
    return StaticEmbedder(table, tokenizer, tag="test")


def _texts() -> list[str]:
    """Rows of one of six topics: half common words of the topic, half any words."""
    draw = np.random.default_rng(1)
    rows = []
    for at in range(TEXTS):
        topic = at % TOPICS
        common = draw.integers(topic * 20, topic * 20 + 20, 15)
        rows.append(" ".join(f"v{i}" for i in draw.permutation(np.r_[common, draw.integers(120, WORDS, 15)])))
    return rows


def _said_otherwise(text: str, seed: int) -> str:
    """The same row in other words: a fifth of the words replaced, and the two halves swapped."""
    draw = np.random.default_rng(seed)
    words = text.split()
    for at in draw.choice(len(words), len(words) // 5, replace=False):
        words[at] = f"v{draw.integers(WORDS)}"
    half = len(words) // 2
    return " ".join(words[half:] + words[:half])


def _rows(texts: list[str], targets: list[str | None], **more: list[str]) -> pa.Table:
    ids = [f"r{i:04d}" for i in range(len(texts))]
    return pa.table({"id": ids, "field.text": texts, "target": pa.array(targets, pa.string()), **more})


def _planted(count: int = 12) -> tuple[list[str], set[tuple[int, int]]]:
    texts = _texts()
    made = [_said_otherwise(texts[at], at) for at in range(count)]
    return texts + made, {(at, TEXTS + at) for at in range(count)}


def test_planted_paraphrases_stand_out_and_rows_of_one_topic_do_not(embedder: StaticEmbedder) -> None:
    texts, wanted = _planted()

    seen = survey(texts, embedder=embedder)

    assert set(zip(seen.first.tolist(), seen.second.tolist(), strict=True)) == wanted
    assert (seen.margin >= 0.3).all()
    assert seen.links([str(i) for i in range(len(texts))]) == [(str(a), str(b)) for a, b in sorted(wanted)]


def test_clean_rows_have_no_paraphrases(embedder: StaticEmbedder) -> None:
    assert len(survey(_texts(), embedder=embedder).first) == 0


def test_a_family_of_five_is_found_whole(embedder: StaticEmbedder) -> None:
    texts = _texts() + [_said_otherwise(_texts()[0], seed) for seed in range(4)]

    seen = survey(texts, embedder=embedder)

    members = {0, *range(TEXTS, TEXTS + 4)}
    assert set(seen.first.tolist()) | set(seen.second.tolist()) == members


def test_margins_of_given_pairs_are_those_of_the_survey(embedder: StaticEmbedder) -> None:
    texts, _ = _planted()
    seen = survey(texts, embedder=embedder)

    found = margins(texts, seen.first, seen.second, embedder=embedder)

    assert np.allclose(found, seen.margin, atol=1e-5)
    assert margins(texts, np.array([1]), np.array([2]), embedder=embedder)[0] < 0.2


def test_too_few_rows_say_nothing(embedder: StaticEmbedder) -> None:
    few = _texts()[:29]

    assert len(survey([*few[:28], few[0]], embedder=embedder).first) == 0
    with pytest.raises(DataError, match="found 29"):
        margins(few, np.array([0]), np.array([1]), embedder=embedder)


@pytest.mark.parametrize("texts", [[""] * 40, ["v1 v2 v3"] * 40, ["\ud800", "v1" * 9000, *["?"] * 40]])
def test_empty_equal_and_broken_texts_are_no_paraphrases_of_each_other(
    embedder: StaticEmbedder, texts: list[str]
) -> None:
    assert len(survey(texts, embedder=embedder).first) == 0


def test_findings_tell_paraphrases_from_conflicts_and_only_ask(embedder: StaticEmbedder) -> None:
    texts, _ = _planted(2)
    targets: list[str | None] = ["a"] * len(texts)
    targets[TEXTS + 1] = "b"
    rows = _rows(texts, targets)

    found = findings(rows, survey(texts, embedder=embedder))

    assert [(one.row, one.rule, one.evidence["like"]) for one in found] == [
        ("r0000", "paraphrase", "r0240"),
        ("r0001", "paraphrase_conflict", "r0241"),
        ("r0240", "paraphrase", "r0000"),
        ("r0241", "paraphrase_conflict", "r0001"),
    ]
    assert found[1].evidence["other_output"] == "b"
    assert all(one.action == "review" and not one.acts for one in found)


def test_short_texts_with_other_outputs_must_be_nearer_to_count_as_a_conflict() -> None:
    long = " ".join(f"word{at}" for at in range(20))
    rows = _rows([long, long, "short text", "short text too", "a b", "a b c"], list("ababab"))
    seen = semantic.Paraphrases(np.array([0, 2, 4]), np.array([1, 3, 5]), np.array([0.3, 0.59, 0.6]), 1.0)

    assert [one.row for one in findings(rows, seen)] == ["r0000", "r0001", "r0004", "r0005"]


def test_merging_is_asked_for_and_needs_equal_output_numbers_and_negations(embedder: StaticEmbedder) -> None:
    texts, _ = _planted(5)
    targets: list[str | None] = ["a"] * len(texts)
    targets[TEXTS + 1] = "b"
    texts[TEXTS + 2] += " v390 not"
    texts[TEXTS + 3] += " 1999"
    pinned = ["holdout" if at == TEXTS + 4 else "" for at in range(len(texts))]
    rows = _rows([text.replace("v", "q") for text in texts], targets, split=pinned)
    rows = rows.set_column(1, "field.text", pa.array(_letters(texts)))
    seen = survey(texts, embedder=embedder)
    limits = ParaphraseThresholds(strict_margin=0.3)

    assert find(rows, seen, thresholds=limits) == []
    lines = find(rows, seen, merge=True, thresholds=limits)

    assert len(seen.first) == 5
    assert [(line.row, line.action, line.rule, line.evidence["into"]) for line in lines] == [
        ("r0240", "merge", "paraphrase", "r0000")
    ]


def _letters(texts: list[str]) -> list[str]:
    """Replace made-up words, which carry digits, by letters, so that only planted numbers differ."""
    shown = "abcdefghij"
    return [
        " ".join(
            "".join(shown[int(c)] for c in word[1:]) if word.startswith("v") else word
            for word in text.split()
        )
        for text in texts
    ]


def test_a_merged_row_takes_no_others_in() -> None:
    rows = _rows([f"text {'abc'[at]}" for at in range(3)], ["a"] * 3)
    seen = semantic.Paraphrases(np.array([0, 1]), np.array([1, 2]), np.array([0.9, 0.9]), 1.0)

    lines = find(rows, seen, merge=True)

    assert [(line.row, line.evidence["into"]) for line in lines] == [("r0001", "r0000")]
