"""Bad input: every quality detector and the lexical one give an answer, in time that grows with the length."""

import base64
import random
import time
from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offramp.curate import duplicates, lexical, quality
from offramp.curate.quality import broken, echo, encoding, gibberish, language, markup, refusals, truncated

SOUND = [f"how do i order card number {i} today please" for i in range(120)]
DETECTORS = {
    "encoding": encoding.findings,
    "markup": markup.findings,
    "broken": broken.findings,
    "truncated": truncated.findings,
    "refusals": refusals.findings,
    "echo": echo.findings,
    "language": language.findings,
    "gibberish": gibberish.findings,
    "lexical": lambda rows: lexical.find(rows, lexical.survey([rows])),
    "exact": duplicates.find_exact,
}
UNITS = (
    "word and. ",
    "a",
    " ",
    "\n",
    '"',
    '"\\',
    "[",
    '{"a":',
    "<",
    "<p ",
    "<script>",
    "<!--",
    "&amp",
    "`",
    "` ",
)
UNITS += ("Ã©", "É»", "漢字", "\u202e", "I cannot ", "i'm ", "'", "\ufffd", "\x00", "👍🏽", "a-", "1")
CELL_CHARS = 40_000


def table(texts: list[str]) -> pa.Table:
    ids = [f"r{i}" for i in range(len(texts))]
    column = pa.array(texts, pa.large_string())
    return pa.table({"id": ids, "field.text": column, "target": column})


@pytest.fixture(params=DETECTORS)
def detect(request: pytest.FixtureRequest) -> Callable[[pa.Table], list]:
    return DETECTORS[request.param]


def test_no_row_and_one_row_are_no_findings(detect: Callable[[pa.Table], list]) -> None:
    assert detect(table([])) == []
    assert detect(table(["hello there"])) == []


def test_long_cells_of_anything_take_no_more_than_their_length(detect: Callable[[pa.Table], list]) -> None:
    rows = table([*SOUND, *(unit * (CELL_CHARS // len(unit)) for unit in UNITS)])

    began = time.process_time()
    detect(rows)

    # The square of one cell's length would be a minute and more.
    assert time.process_time() - began < 10


def test_many_equal_rows_are_one_row_and_its_weight() -> None:
    rows = table(["the very same question again"] * 2_000)

    assert len(lexical.find(rows, lexical.survey([rows]))) == 1_999
    assert len(duplicates.find_exact(rows)) == 1_999
    assert [one for one in quality.findings(rows) if one.rule != echo.RULE and one.acts] == []


def test_a_column_of_blobs_is_the_data_s_own() -> None:
    draw = random.Random(0)
    rows = table([base64.b64encode(draw.randbytes(1_000)).decode() for _ in range(100)])

    assert quality.find(rows) == []
    assert lexical.find(rows, lexical.survey([rows])) == []


@pytest.mark.parametrize(
    "texts",
    [
        [f"أريد تغيير كلمة المرور رقم {i} من فضلك" for i in range(100)],
        [f"请取消我昨天的第{i}笔转账" for i in range(100)],
        [f"cancel 👍🏽 the 👨‍👩‍👧 order {i} 🚀 please" for i in range(100)],
        [f"he said \"she said 'it said «number {i}»'\" to me" for i in range(100)],
    ],
    ids=["right to left", "chinese", "emoji", "nested quotes"],
)
def test_any_script_is_sound_where_all_rows_have_it(texts: list[str]) -> None:
    rows = table(texts).set_column(2, "target", [[f"answer {i % 5}" for i in range(len(texts))]])

    assert quality.find(rows) == []


def test_control_characters_become_an_edit() -> None:
    [line] = encoding.find(table([*SOUND, "a\x00b\x07c"]).drop_columns(["target"]))

    assert (line.row, line.after) == ("r120", "abc")


def test_a_lone_surrogate_is_refused_before_any_detector_by_arrow() -> None:
    with pytest.raises(UnicodeEncodeError):
        table(["\ud800 alone"])
    assert encoding.repair("\ud800 alone") == "\ud800 alone"


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), min_size=1, max_size=8))
def test_any_text_beside_sound_rows_leaves_the_sound_rows_alone(texts: list[str]) -> None:
    rows = table([*SOUND, *texts]).set_column(2, "target", [["card"] * (120 + len(texts))])

    touched = {line.row for line in quality.find(rows)}

    assert touched <= {f"r{i}" for i in range(120, 120 + len(texts))}


@pytest.mark.slow
def test_200_000_equal_rows_take_under_two_minutes() -> None:
    rows = table(["the very same question again"] * 200_000)

    began = time.process_time()
    lexical.find(rows, lexical.survey([rows]))
    quality.find(rows)

    assert time.process_time() - began < 120


@pytest.mark.slow
def test_a_cell_of_100_mb_takes_under_two_minutes() -> None:
    rows = table([*SOUND, "the patient is well and here. " * 3_400_000])

    began = time.process_time()
    lexical.find(rows, lexical.survey([rows]))
    quality.find(rows)

    assert time.process_time() - began < 120
