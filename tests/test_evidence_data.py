"""The account of curation: what each rule touched and spared, what waits, and nothing of the inputs in a bare pack."""

import json

import pyarrow as pa

from offramp.curate import finding, ledger
from offramp.curate.finding import Finding
from offramp.curate.ledger import Line
from offramp.evidence.data import Tables, account
from offramp.pack import private
from offramp.report import charts_data
from offramp.report.curation import WhatIf
from offramp.types import Task

TASK = Task(name="t", inputs=("text",), target="label")
ROWS = pa.table(
    {
        "id": [f"r{i}" for i in range(12)],
        "field.text": [f"write to ann{i}@example.com about order {i}" for i in range(12)],
        "target": ["ask", "Ask", *["ask", "tell"] * 5],
        "time": [f"2026-03-{i + 1:02d}T{2 * i:02d}:00:00Z" for i in range(12)],
    }
)
MASKED = [
    Line(f"r{i}", "edit", "personal_data", {"kind": "email", "span": f"ann{i}@example.com", "all": [1]}, {},
         "field.text", f"write to ann{i}@example.com about order {i}", f"write to [EMAIL_1] about order {i}")
    for i in range(12)
]  # fmt: skip
LINES = [
    *MASKED,
    Line("r1", "edit", "label_form", {}, {}, "target", "Ask", "ask"),
    Line("r9", "quarantine", "gibberish", {"score": 0.9}),
    Line("r10", "merge", "near_duplicate", {"into": "r2", "cosine": 0.99}),
    Line("r11", "quarantine", "label_conflict", {"of": "r0"}),
]


def gibberish(row: str, score: float) -> Finding:
    return Finding(row, "gibberish", score, 0.6, {"bits": 7})


def doubt(row: str, score: float) -> Finding:
    return Finding(row, "label_error", score, 0.5, {"suggested": "tell"}, "review")


FOUND = [gibberish("r9", 0.9), gibberish("r3", 0.4), gibberish("r4", 0.59), gibberish("r11", 0.5),
         doubt("r2", 0.7), doubt("r5", 0.8), doubt("r9", 0.99)]  # fmt: skip
KEPT = [f"r{i}" for i in range(9)]
SPLITS = pa.table(
    {
        "id": KEPT,
        "split": ["train"] * 6 + ["validation", "holdout", "holdout"],
        "family": ["r0", "r1", "r2", "r2", "r2", "r5", "r6", "r7", "r7"],
        "weight": pa.array([1, 1, 2, *[1] * 6], pa.int64()),
    }
)
POINTS = pa.table({"id": ["r0", "r8", "r9"], "x": [0.0, 0.5, 1.0], "y": [1.0, 0.5, 0.0]})
TABLES = Tables(ROWS, ledger.table(LINES), finding.table(FOUND), SPLITS, POINTS)


def test_the_account_adds_up_to_the_row():
    found = account(TABLES, TASK)

    assert (found.rows_in, found.rows_kept, charts_data.unexplained(found)) == (12, 9, 0)
    assert [(one.rule, one.action, one.count) for one in found.steps] == [
        ("personal_data", "edit", 12),
        ("label_form", "edit", 1),
        ("gibberish", "quarantine", 1),
        ("near_duplicate", "merge", 1),
        ("label_conflict", "quarantine", 1),
    ]
    assert found.splits == {"train": 6, "validation": 1, "holdout": 2}


def test_a_rule_shows_what_it_spared_nearest_first_and_what_other_thresholds_would_do():
    step = next(one for one in account(TABLES, TASK).steps if one.rule == "gibberish")

    assert step.threshold == 0.6
    # r11 is out by another rule, so nothing was spared there.
    assert [(one.row, one.note) for one in step.borderline] == [
        ("r4", "score 0.59; bits: 7"),
        ("r3", "score 0.4; bits: 7"),
    ]
    assert step.what_if == tuple(
        WhatIf(threshold=at, rows=rows) for at, rows in ((0.4, 4), (0.5, 3), (0.59, 2), (0.6, 1), (0.9, 1))
    )


def test_what_was_masked_is_masked_in_every_example():
    written = account(TABLES, TASK).model_dump_json()

    assert "example.com" not in written
    assert "[EMAIL_1]" in written
    assert "kind: email; all: 1" in written.replace("all: 1; kind: email", "kind: email; all: 1")
    assert "'Ask' became 'ask'" in written


def test_only_rows_in_use_wait_for_people_the_surest_first():
    (review,) = account(TABLES, TASK).reviews

    assert (review.rule, review.count) == ("label_error", 2)
    assert [one.row for one in review.examples] == ["r5", "r2"]


def test_precision_is_shown_where_people_judged_and_nowhere_else():
    found = account(
        TABLES, TASK, judged={"gibberish": (8, 10, 0.49, 0.94, 9, 12), "label_error": (0, 0, 0.0, 1.0)}
    )

    judged = {one.rule: one.precision for one in (*found.steps, *found.reviews)}
    assert judged["gibberish"] is not None and judged["gibberish"].confirmed == 8
    assert judged["label_error"] is None and judged["near_duplicate"] is None


def test_families_and_merged_rows_show_their_representative_first():
    families = account(TABLES, TASK).families

    assert families is not None
    assert (families.count, families.rows, families.largest, families.grouped) == (2, 5, 3, False)
    assert families.sizes == (("2", 1), ("3", 1))
    assert [[one.row for one in family.members] for family in families.examples] == [
        ["r2", "r3", "r4"],
        ["r7", "r8"],
    ]
    assert [[one.row for one in family.members] for family in families.merged] == [["r2", "r10"]]
    assert families.conflicts_aside == 1


def test_a_group_is_not_called_a_family_of_variants():
    grouped = ROWS.append_column("group", pa.array(["shop"] * 12))

    families = account(Tables(grouped, TABLES.ledger, TABLES.findings, SPLITS), TASK).families

    assert families is not None
    assert families.grouped and families.examples == ()


def test_a_rule_that_spared_every_row_is_listed_with_zero():
    only = finding.table([gibberish("r3", 0.4), gibberish("r4", 0.5)])

    found = account(Tables(ROWS, ledger.table([]), only, SPLITS), TASK)

    assert [(one.rule, one.count, len(one.borderline)) for one in found.steps] == [("gibberish", 0, 2)]


def test_the_map_says_which_rows_were_set_aside():
    shown = account(TABLES, TASK).map

    assert shown is not None
    assert shown.kinds == ("train", "holdout", "set aside")
    assert account(Tables(ROWS, TABLES.ledger, TABLES.findings, SPLITS), TASK).map is None


def test_a_pack_without_inputs_gives_the_same_account_without_texts():
    bare = Tables(
        private._rows(ROWS),
        private._ledger(TABLES.ledger),
        private._findings(TABLES.findings),
        SPLITS,
        POINTS,
    )

    again, shown = account(bare, TASK).without_texts(), account(TABLES, TASK).without_texts()

    assert json.loads(again.model_dump_json()) == json.loads(shown.model_dump_json())
    assert "about" not in shown.model_dump_json()
    assert [one.title for one in shown.distributions][:2] == ["Label", "When it came"]


def test_every_rule_has_a_title_for_people() -> None:
    from offramp.curate import RULES as known
    from offramp.evidence.rules import RULES as titled

    assert [rule for rule in known if rule not in titled] == []
