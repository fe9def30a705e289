import json

import numpy as np
import pyarrow as pa
from sklearn.feature_extraction.text import TfidfVectorizer

from offramp.models.tfidf import ALL, MAX_CHARS, Block, Tfidf, read


def two_fields(titles: list[str], descriptions: list[str]) -> pa.Table:
    return pa.table(
        {"id": [str(i) for i in range(len(titles))], "field.title": titles, "field.text": descriptions}
    )


def test_features_are_those_of_scikit_learn() -> None:
    texts = ["a red red apple", "a green pear", "", "pear and apple"]

    ours = Block.fit("text", "word", texts)

    assert ours is not None
    theirs = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    assert np.allclose(ours.transform(texts).toarray(), theirs.fit_transform(texts).toarray(), atol=1e-6)


def test_a_restored_block_gives_the_same_features() -> None:
    texts = ["gold ring", "silver ring", "häkelgarn 50g"] * 2
    block = Block.fit("text", "char_wb", texts)
    assert block is not None

    again = Block.restore(json.loads(json.dumps(block.facts())), block.idf)

    assert (again.transform(texts) != block.transform(texts)).nnz == 0


def test_the_same_word_in_two_fields_is_two_features_and_one_of_all_fields() -> None:
    rows = two_fields(["gold", "rust"], ["mint", "gold"])

    tfidf = Tfidf.fit(rows)

    shared = [
        (
            block.transform(read(rows, block.field_name))[0]
            @ block.transform(read(rows, block.field_name))[1].T
        ).nnz
        for block in tfidf.blocks
    ]
    assert [block.field_name for block in tfidf.blocks] == ["title", "title", "text", "text", ALL]
    assert shared == [0, 0, 0, 0, 1]


def test_long_fields_get_no_character_features() -> None:
    rows = two_fields(["ring", "chain"], ["word " * 60, "other " * 60])

    kinds = {(block.field_name, block.analyzer) for block in Tfidf.fit(rows).blocks}

    assert kinds == {("title", "word"), ("title", "char_wb"), ("text", "word"), (ALL, "word")}


def test_empty_and_unknown_text_gives_empty_features() -> None:
    tfidf = Tfidf.fit(two_fields(["ring", "chain"], ["", ""]))

    assert {block.field_name for block in tfidf.blocks} == {"title", ALL}
    assert tfidf.transform(two_fields(["", "ξ"], ["", ""])).nnz == 0
    assert Tfidf.fit(two_fields(["", ""], ["", ""])).transform(two_fields(["a"], ["b"])).shape == (1, 0)


def test_text_beyond_the_limit_is_not_read() -> None:
    long = "a " * MAX_CHARS + "needle"

    terms = [term for block in Tfidf.fit(two_fields([long, "b"], ["", ""])).blocks for term in block.terms]

    assert "a" in terms
    assert "needle" not in terms
