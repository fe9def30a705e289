"""Cleaning, whatever the text: twice is once, and text without markup only has its encoding mended."""

from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.curate import clean_text
from offramp.curate.clean import sentences
from offramp.curate.mojibake import repair
from offramp.curate.text import normal

TAGS = ["<p>", "</b>", "<br/>", "<", ">", "<script>", "<!--", "-->"]
MARKUP = st.sampled_from([*TAGS, "&amp;", "&lt;", "p&gt;", "&amp;lt;"])
TEXTS = st.lists(st.one_of(MARKUP, st.text(max_size=6), st.sampled_from([". ", "! ", "\n", " "]))).map(
    "".join
)


@settings(deadline=None)
@given(TEXTS)
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    once = clean_text(text)

    assert clean_text(once) == once
    for known in (
        {normal(part) for part in sentences(once)[:1]},
        {normal(part) for part in sentences(once)[1:3]},
    ):
        short = clean_text(text, known)
        assert clean_text(short, known) == short


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_characters="<&")))
def test_a_text_without_markup_comes_back_as_it_is_but_for_its_encoding(text: str) -> None:
    assert clean_text(text, ["some known sentence of a shop"]) == repair(text)


@settings(deadline=None)
@given(TEXTS)
def test_the_sentences_of_a_text_are_the_text(text: str) -> None:
    assert "".join(sentences(text)) == text
