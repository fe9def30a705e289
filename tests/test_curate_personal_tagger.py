import numpy as np
import pytest

from offramp.curate.personal.synthetic import Maker
from offramp.curate.personal.tagger import TYPES, Tagger, TaggerSettings, _spans, load_tagger
from offramp.errors import MismatchError

TINY = TaggerSettings(texts=6, batch_texts=3)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Tagger:
    return load_tagger(tmp_path_factory.mktemp("tagger"), settings=TINY)


def test_the_same_seed_makes_the_same_texts_and_another_seed_others():
    assert list(Maker(3).texts(20)) == list(Maker(3).texts(20))
    assert list(Maker(3).texts(20)) != list(Maker(4).texts(20))


def test_spans_of_made_texts_are_whole_values_inside_the_text():
    for text, spans in Maker(5).texts(400):
        for start, end, kind in spans:
            assert kind in TYPES[1:]
            assert text[start:end] == text[start:end].strip() != ""


def test_made_texts_have_no_slot_left_open():
    assert [
        text for text, _ in Maker(6).texts(1500) if "{person}" in text or "{NUM}" in text or "{place}" in text
    ] == []


def test_training_is_repeatable_and_done_once(tiny, tmp_path):
    again = load_tagger(tmp_path, settings=TINY)
    written = (next(tmp_path.iterdir()) / "tagger.safetensors").stat().st_mtime_ns
    third = load_tagger(tmp_path, settings=TINY)

    assert tiny.id == again.id == third.id
    assert (next(tmp_path.iterdir()) / "tagger.safetensors").stat().st_mtime_ns == written


def test_changed_weights_are_refused(tmp_path):
    load_tagger(tmp_path, settings=TINY)
    file = next(tmp_path.iterdir()) / "tagger.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(bytes(raw))

    with pytest.raises(MismatchError, match="Delete the folder"):
        load_tagger(tmp_path, settings=TINY)


def test_clean_texts_of_the_customer_make_another_tagger(tiny, tmp_path):
    assert load_tagger(tmp_path, settings=TINY, clean=["The Widget broke."]).id != tiny.id


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n\n", "\x00\x07", "🙂" * 300, "x" * 20_000, "שלום עולם", "\ud800", "a b " * 2_000, "____"],
)
def test_any_text_gives_spans_inside_it(tiny, text):
    for span in tiny.find([text], threshold=0.0)[0]:
        assert 0 <= span.start < span.end <= len(text)


def test_a_text_is_read_the_same_alone_and_among_others(tiny):
    texts = ["My name is Ana Costa.", "I live in Oslo " * 60, "hello"]

    together = tiny.chances(texts)
    alone = [tiny.chances([text])[0] for text in texts]

    for (words, chances), (same, other) in zip(together, alone, strict=True):
        assert words == same
        assert np.allclose(chances, other, atol=0.03)


def at(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_parts_of_an_address_are_joined_over_signs_and_lines_but_names_are_not():
    text = "12 Rue X,\nLyon Ana, Bo"
    words = [(0, 2), (3, 6), (7, 8), (8, 9), (10, 14), (15, 18), (18, 19), (20, 22)]
    address, place, person, none = (0, 0, 0, 1), (0, 0, 1, 0), (0, 1, 0, 0), (1, 0, 0, 0)

    spans = _spans(text, at(address, address, address, none, place, person, none, person), words, 0.5)

    assert [(span.type, text[span.start : span.end]) for span in spans] == [
        ("ADDRESS", "12 Rue X,\nLyon"),
        ("PERSON", "Ana"),
        ("PERSON", "Bo"),
    ]


def test_a_doubtful_word_beside_a_sure_one_counts_and_alone_does_not():
    words = [(0, 3), (4, 9), (10, 13), (14, 17)]
    doubtful = (0.85, 0.15, 0, 0)

    spans = _spans("Ana Costa saw Bo_", at((0, 1, 0, 0), doubtful, (1, 0, 0, 0), doubtful), words, 0.5)

    assert [(span.start, span.end) for span in spans] == [(0, 9)]


def test_the_s_of_a_possessive_stays():
    spans = _spans("Ana's car", at((0, 1, 0, 0), (1, 0, 0, 0)), [(0, 5), (6, 9)], 0.5)

    assert [(span.start, span.end) for span in spans] == [(0, 3)]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_full_training_finds_names_and_places_and_leaves_clinical_words(tmp_path):
    tagger = load_tagger(tmp_path)
    texts = [
        "Doctor: Good morning, Mrs. Okonkwo. Are you still taking Lisinopril?",
        "please send it to Vestergade 12, Roskilde, and ask for ingrid",
        "Patient: I took Tylenol for my Crohn's disease in April.",
    ]

    found = [
        [text[s.start : s.end] for s in spans]
        for text, spans in zip(texts, tagger.find(texts, threshold=0.2), strict=True)
    ]

    assert found[0] == ["Okonkwo"]
    assert "Roskilde" in found[1][0] and found[1][-1] == "ingrid"
    assert found[2] == []
