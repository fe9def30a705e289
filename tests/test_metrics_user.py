"""A user's function as a metric: it may fail on a row, and never runs unasked."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from offramp.errors import ConfigError, DataError, NotFoundError
from offramp.metrics import Batch, Metric, find, scored, versions
from offramp.metrics.user import is_user, load
from offramp.types import Task

TASK = Task(name="t", kind="generate", inputs=("q",), target="a")


def write(folder: Path, body: str) -> str:
    path = folder / "checks.py"
    path.write_text(body)
    return f"{path}:score"


def values(metric: Metric, answers: list[str | None], **columns: object) -> list[float]:
    return scored(metric, Batch(answers, ["t"] * len(answers), TASK, **columns)).values.tolist()


def test_a_function_is_asked_for_each_answer_and_a_missing_one_scores_low(tmp_path: Path):
    metric = load(
        write(
            tmp_path,
            "def score(answer, target):\n    '''Same length.'''\n    return len(answer) == len(target)\n",
        )
    )

    assert values(metric, ["x", "xy", None]) == [1.0, 0.0, 0.0]
    assert metric.title == "Same length."


def test_a_row_on_which_it_fails_is_unscored_with_its_reason(tmp_path: Path):
    metric = load(
        write(
            tmp_path,
            "def score(answer):\n"
            "    return {'throw': lambda: 1 / 0, 'exit': exit, 'text': lambda: '1', 'big': lambda: 7,\n"
            "            'none': lambda: None, 'nan': lambda: float('nan'), 'ok': lambda: 0.5}[answer]()\n",
        )
    )

    found = scored(metric, Batch(["ok", "throw", "exit", "text", "big", "none", "nan"], ["t"] * 7, TASK))

    assert found.values[0] == 0.5
    assert np.isnan(found.values[1:]).all()
    assert found.reasons == {
        1: "ZeroDivisionError: division by zero",
        2: "SystemExit: None",
        3: "returned '1', which is no number",
        4: "returned 7.0, outside 0-1",
        5: "returned None, which is no number",
        6: "returned nan, outside 0-1",
    }


def test_it_gets_what_it_names(tmp_path: Path):
    body = (
        "def score(fields, text, latency_s, cost_usd, task, extra=1):\n"
        "    return (fields['q'], latency_s, cost_usd, task.name) == (text, 2, None, 't')\n"
    )
    metric = load(write(tmp_path, body))
    rows = pa.table({"id": ["1"], "field.q": ["hello"], "target": ["t"]})

    assert values(metric, ["x"], rows=rows, latency_s=[2.0]) == [1.0]
    with pytest.raises(DataError, match="pass `rows`"):
        values(metric, ["x"])


def test_a_function_may_set_its_scale(tmp_path: Path):
    metric = load(
        write(
            tmp_path,
            "def score(answer):\n    return len(answer)\nscore.low, score.high, score.higher_is_better = 1, 5, False\n",
        )
    )

    assert (metric.low, metric.high, metric.higher_is_better) == (1.0, 5.0, False)
    assert values(metric, ["four", None]) == [4.0, 1.0]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("def score(answer, colour):\n    return 1\n", "'colour'"),
        ("async def score(answer):\n    return 1\n", "async"),
        ("import nothing_of_that_name\n", "ModuleNotFoundError"),
        ("raise SystemExit(3)\n", "SystemExit"),
        ("score = dict\n", "parameters of the metric"),
        ("def score(answer):\n    return 1\nscore.high = float('inf')\n", "finite"),
    ],
)
def test_a_function_that_cannot_be_used_is_an_error_at_once(tmp_path: Path, body: str, says: str):
    with pytest.raises(ConfigError, match=says):
        load(write(tmp_path, body))


def test_what_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(NotFoundError, match="no such file"):
        load(f"{tmp_path}/none.py:score")
    with pytest.raises(NotFoundError, match=r"\['other'\]"):
        load(write(tmp_path, "def other(answer):\n    return 1\n"))


def test_nothing_runs_unless_the_caller_says_the_user_asked(tmp_path: Path):
    name = write(
        tmp_path,
        "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\ndef score(answer):\n    return 1\n",
    )

    with pytest.raises(ConfigError, match="not allowed"):
        find(name, TASK)
    assert not (tmp_path / "ran").exists()
    assert find(name, TASK, run_user_code=True).name == name
    assert (tmp_path / "ran").exists()


def test_a_changed_file_is_another_version(tmp_path: Path):
    name = write(tmp_path, "def score(answer):\n    return 1\n")
    before = versions([name, "exact"], TASK, run_user_code=True)
    write(tmp_path, "def score(answer):\n    return 0\n")

    after = versions([name, "exact"], TASK, run_user_code=True)

    assert before[name] != after[name]
    assert before["exact"] == after["exact"] == "1"


def test_a_module_on_the_path_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "checks_of_mine.py").write_text("def score(answer):\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "checks_of_mine", raising=False)

    assert values(load("checks_of_mine:score"), ["x"]) == [1.0]


def test_other_names_are_no_function():
    assert [is_user(name) for name in ("a.py:f", "a.b:f", "accuracy", "a b:f", ":f", "a.py:")] == [
        True,
        True,
    ] + [False] * 4
    with pytest.raises(ConfigError, match="found 'accuracy'"):
        load("accuracy")
