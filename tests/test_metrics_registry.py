"""The registry: what each kind of task shows, what every metric keeps to, and that the page lists them."""

import re
from pathlib import Path

import numpy as np
import pytest

from offramp.errors import DataError
from offramp.metrics import (
    METRICS,
    Batch,
    Metric,
    find,
    row_metric_names,
    row_scores,
    scored,
    summary,
    versions,
)
from offramp.metrics.likert import LIKERT
from offramp.types import Kind, Task

PAGE = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"


def task(kind: Kind, **fields: object) -> Task:
    return Task(name="t", kind=kind, inputs=("q",), target="a", **fields)


def ones(texts: list[str]) -> np.ndarray:
    return np.ones((len(texts), 1), dtype=np.float32)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("classify", ["accuracy", "hierarchical_f1"]),
        ("extract", ["json_fields", "json_exact", "json_valid", "exact", "normalised_match"]),
        ("generate", ["exact", "normalised_match", "rouge_l", "chrf", "tool_calls"]),
        ("chat", ["exact", "normalised_match", "rouge_l", "chrf", "tool_calls"]),
    ],
)
def test_each_kind_shows_its_metrics(kind: Kind, names: list[str]):
    assert row_metric_names(task(kind)) == names


@pytest.mark.parametrize("name", [name for name in METRICS if name not in LIKERT])
def test_a_right_answer_gets_the_top_and_a_missing_one_the_bottom(name: str):
    target = '[{"name": "f", "arguments": {"a": 1}}]'
    batch = Batch([target, None], [target, target], task("generate"), embed=ones)

    metric = METRICS[name]

    assert scored(metric, batch).values == pytest.approx([metric.high, metric.low])
    assert metric.name == name
    assert metric.title
    assert metric.version


@pytest.mark.parametrize("name", METRICS)
def test_a_batch_of_nothing_has_no_scores(name: str):
    assert scored(METRICS[name], Batch([], [], task("generate"), embed=ones)).values.shape == (0,)


def test_the_page_lists_every_metric_with_its_kinds_scale_and_version():
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \| (\d+)-(\d+) \| .+ \| (\w+) \|$", PAGE.read_text(), re.M)
    listed = {name: (kinds, float(low), float(high), version) for name, kinds, low, high, version in rows}

    assert listed == {
        name: (", ".join(each.kinds), each.low, each.high, each.version) for name, each in METRICS.items()
    }


def test_any_metric_can_be_asked_of_any_kind():
    assert row_scores("chrf", ["x"], ["x"], task=task("classify")).tolist() == [1.0]


@pytest.mark.parametrize("name", ["bleu", "level_1x", "level_9", "field:", "", "level_"])
def test_an_unknown_name_is_an_error_that_lists_the_names(name: str):
    with pytest.raises(DataError, match="json_fields"):
        find(name, task("extract"))


def test_a_summary_leaves_out_what_scored_no_row():
    found = summary(["hello", None], ["hello", "hi"], task=task("chat"))

    assert found == {"exact": 0.5, "normalised_match": 0.5, "rouge_l": 0.5, "chrf": 0.5}


def test_versions_are_told_by_name():
    assert versions(["accuracy", "level_1"], task("classify", levels=2)) == {"accuracy": "1", "level_1": "1"}


def test_columns_of_different_length_are_an_error():
    with pytest.raises(DataError, match=r"'answers': 2.*'latency_s': 3"):
        Batch(["x", "y"], ["x"], task("chat"), latency_s=[1, 2, 3])


@pytest.mark.parametrize("wrong", [np.zeros(3), np.zeros((1, 1)), np.array([np.inf])])
def test_a_metric_that_gives_no_number_per_row_is_an_error(wrong: np.ndarray):
    metric = Metric("odd", "odd", "1", lambda batch: wrong)

    with pytest.raises(DataError, match="'odd'"):
        scored(metric, Batch(["x"], ["x"], task("chat")))
