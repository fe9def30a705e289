"""Markup is stripped where it is stray, and stays where it is the data's own or the subject."""

import pyarrow as pa

from offramp.curate import ledger
from offramp.curate.quality import markup


def table(*extra: str, n: int = 200) -> pa.Table:
    answers = [f"Your card number {i} is on its way & will arrive, if a < b, in {i} days." for i in range(n)]
    answers += extra
    ids = [f"r{i}" for i in range(len(answers))]
    return pa.table({"id": ids, "field.text": [f"ask {i}" for i in ids], "target": answers})


def test_tags_scripts_and_entities_become_an_edit_that_applies():
    rows = table(
        "<p>Your card is <b>blocked</b>.</p>",
        "Fish &amp; chips are not sold here.",
        "Hello there.<script>track('x', 1)</script> How are you?",
        "first line<br>second line",
    )

    lines = markup.find(rows)

    assert [line.action for line in lines] == ["edit"] * 4
    assert ledger.apply(rows, ledger.table(lines)).column("target").to_pylist()[200:] == [
        "Your card is blocked .",
        "Fish & chips are not sold here.",
        "Hello there. How are you?",
        "first line second line",
    ]


def test_a_tag_that_is_talked_about_or_fenced_is_content():
    rows = table("Use <br> at the end", "```html\n<p>hello</p>\n```", "Write `<b>bold</b>` in HTML.")

    found = markup.findings(rows)

    assert [(one.row, one.acts) for one in found] == [("r200", False)]


def test_where_answers_are_web_pages_nothing_is_found():
    assert markup.findings(table(*(f"<p>Page {i}</p>" for i in range(10)))) == []


def test_a_row_that_is_all_markup_is_for_a_person():
    rows = table("<script>alert(1)</script>")

    assert [(one.action, one.acts) for one in markup.findings(rows)] == [("review", False)]
