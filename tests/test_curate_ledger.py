"""The ledger: views, undo, weights, and counts that add up."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.curate import ledger
from offramp.curate.ledger import Line
from offramp.errors import MismatchError

ROWS = pa.table(
    {
        "id": ["a", "b", "c", "d"],
        "field.text": ["one", "two", "three", "four"],
        "target": pa.array(["x", "y", None, "x"], pa.string()),
    }
)


def _edit(
    row: str, before: str | None, after: str | None, rule: str = "clean", name: str = "field.text"
) -> Line:
    return Line(row, "edit", rule, field=name, before=before, after=after)


def test_an_empty_ledger_gives_the_raw_rows_themselves() -> None:
    assert ledger.apply(ROWS, ledger.table([])) is ROWS


def test_taken_out_rows_leave_the_view_and_edits_are_made_in_order() -> None:
    lines = [
        Line("b", "remove", "r"),
        _edit("a", "one", "1"),
        _edit("a", "1", "uno", "again"),
        _edit("c", None, "y", "label", "target"),
        Line("d", "merge", "m", {"into": "a"}),
    ]

    view = ledger.apply(ROWS, ledger.table(lines))

    assert view.to_pylist() == [
        {"id": "a", "field.text": "uno", "target": "x"},
        {"id": "c", "field.text": "three", "target": "y"},
    ]


def test_dropping_an_edit_drops_the_edits_built_on_it() -> None:
    written = ledger.table(
        [_edit("a", "one", "1"), _edit("a", "1", "uno", "again"), _edit("b", "two", "2", "again")]
    )

    left = ledger.drop(written, rules=["clean"])

    assert left.column("row").to_pylist() == ["b"]
    assert ledger.apply(ROWS, left).column("field.text").to_pylist() == ["one", "2", "three", "four"]


def test_dropping_a_row_puts_it_back() -> None:
    written = ledger.table([Line("a", "remove", "r"), Line("b", "remove", "r")])

    assert ledger.apply(ROWS, ledger.drop(written, rows=["a"])).column("id").to_pylist() == ["a", "c", "d"]


def test_a_ledger_of_other_rows_is_refused() -> None:
    with pytest.raises(MismatchError, match="'zz', which is not in these rows"):
        ledger.apply(ROWS, ledger.table([Line("zz", "remove", "r")]))


def test_an_edit_of_another_text_is_refused() -> None:
    with pytest.raises(MismatchError, match="from 'other'; found 'one'"):
        ledger.apply(ROWS, ledger.table([_edit("a", "other", "x")]))


def test_weights_follow_merges_to_the_row_that_stays() -> None:
    lines = [Line("a", "merge", "m", {"into": "b"}), Line("b", "merge", "m", {"into": "c"})]

    assert ledger.weights(["c", "d"], ledger.table(lines)) == {"c": 3, "d": 1}
    assert ledger.weights(["d"], ledger.table(lines)) == {"d": 1}


def test_counts_add_up() -> None:
    lines = [
        Line("a", "remove", "r"),
        Line("b", "merge", "m", {"into": "c"}),
        _edit("c", "three", "3"),
        Line("d", "quarantine", "q"),
    ]

    assert ledger.counts(4, 1, ledger.table(lines)) == {
        **{"in": 4, "kept": 1, "removed": 1, "merged": 1, "quarantined": 1, "edited": 1},
    }
    assert ledger.by_rule(ledger.table(lines)) == {"clean": 1, "m": 1, "q": 1, "r": 1}


def test_counts_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(MismatchError, match="4 rows came in; found 4 kept and 1 taken out"):
        ledger.counts(4, 4, ledger.table([Line("a", "remove", "r")]))
    with pytest.raises(MismatchError, match="1 different"):
        ledger.counts(4, 2, ledger.table([Line("a", "remove", "r"), Line("a", "quarantine", "q")]))


def test_params_and_evidence_are_json_with_sorted_keys() -> None:
    written = ledger.table([Line("a", "remove", "r", {"b": 1, "a": "é"}, {"t": 0.9})])

    assert written.column("evidence")[0].as_py() == '{"a": "é", "b": 1}'
    assert written.column("params")[0].as_py() == '{"t": 0.9}'
    assert written.column("who")[0].as_py() == "rule"
    assert written.schema == ledger.SCHEMA


@st.composite
def _decisions(draw: st.DrawFn) -> tuple[pa.Table, list[Line]]:
    """Draw rows and a ledger that a chain of rules could have written on them."""
    n = draw(st.integers(1, 12))
    texts = draw(st.lists(st.text(max_size=6), min_size=n, max_size=n))
    rows = pa.table({"id": [f"r{i}" for i in range(n)], "field.text": texts})
    lines: list[Line] = []
    for i, text in enumerate(texts):
        for rule in draw(st.lists(st.sampled_from("pq"), max_size=2)):
            after = draw(st.text(max_size=6))
            lines.append(_edit(f"r{i}", text, after, rule))
            text = after
        action = draw(st.sampled_from(["keep", "remove", "quarantine", "merge"]))
        if action != "keep":
            lines.append(Line(f"r{i}", action, action, {"into": "r0"} if action == "merge" else {}))
    return rows, lines


@settings(deadline=None)  # a busy machine is no failure
@given(_decisions(), st.sets(st.sampled_from(["p", "q", "remove", "merge", "quarantine"])))
def test_whatever_is_decided_adds_up_and_can_be_taken_back(
    decided: tuple[pa.Table, list[Line]], undone: set[str]
) -> None:
    rows, lines = decided
    written = ledger.table(lines)

    view = ledger.apply(rows, written)
    part = ledger.drop(written, rules=undone)

    counts = ledger.counts(rows.num_rows, view.num_rows, written)
    assert counts["in"] == counts["kept"] + counts["removed"] + counts["merged"] + counts["quarantined"]
    assert not undone & set(part.column("rule").to_pylist())
    ledger.counts(rows.num_rows, ledger.apply(rows, part).num_rows, part)
    nothing = ledger.drop(written, rules={"p", "q", "remove", "merge", "quarantine"})
    assert ledger.apply(rows, nothing).equals(rows)


def test_made_rows_come_after_the_others_and_only_through_their_line() -> None:
    rows = pa.table({"id": ["a", "b"], "field.text": ["one", "two"], "time": ["1", "2"]})
    made = pa.table({"id": ["m", "n"], "field.text": ["three", "four"], "extra": ["x", "y"]})
    lines = ledger.table([Line("a", "remove", "empty_input"), Line("m", "synthetic", "synthetic")])

    view = ledger.apply(rows, lines, made)

    assert view.to_pylist() == [
        {"id": "b", "field.text": "two", "time": "2"},
        {"id": "m", "field.text": "three", "time": None},
    ]
    assert ledger.apply(rows, ledger.drop(lines, rules=["synthetic", "empty_input"]), made).equals(rows)
    with pytest.raises(MismatchError, match="'m'"):
        ledger.apply(rows, lines)


def test_counts_add_up_with_made_rows() -> None:
    lines = ledger.table([Line("a", "remove", "empty_input"), Line("m", "synthetic", "synthetic")])

    assert ledger.counts(2, 2, lines) == {
        **{"in": 2, "kept": 2, "removed": 1, "merged": 0, "quarantined": 0, "edited": 0},
        "synthetic": 1,
    }
    with pytest.raises(MismatchError, match="2 rows came in and 1 were made; found 1 kept"):
        ledger.counts(2, 1, lines)
