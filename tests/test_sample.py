"""The embedded sample task: deterministic, honest about what is simulated, and defects where the manifest says."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from offramp.errors import DataError, StoreError
from offramp.sample import TITLES, SampleData, generate, sample_config, write
from offramp.sample.catalog import catalog

TAXONOMY = (
    Path(os.environ.get("OFFRAMP_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
    / "google_taxonomy"
    / "taxonomy-with-ids.en-US.txt"
)
WHO = ("incumbent", "human_1", "human_2", "human_3")


@pytest.fixture(scope="module")
def sample() -> SampleData:
    return generate()


def _lines(sample: SampleData) -> list[dict]:
    return list(sample.rows)


def _with(sample: SampleData, defect: str) -> list[str]:
    return [row_id for row_id, entry in sample.manifest["rows"].items() if defect in entry["defects"]]


def _plain(sample: SampleData) -> list[dict]:
    """Rows whose reference label and answers nobody tampered with."""
    traits = {"html", "boilerplate"}
    entries = sample.manifest["rows"]
    return [row for row in sample.rows if set(entries.get(row["id"], {}).get("defects", ())) <= traits]


def _accuracy(rows: list[dict], who: str, level: int) -> float:
    right = [row[who].split(" > ")[:level] == row["category"].split(" > ")[:level] for row in rows]
    return sum(right) / len(right)


def test_the_same_seed_gives_the_same_rows_in_another_process_with_another_hash_seed(tmp_path: Path) -> None:
    here = write(tmp_path / "here", generate(3, 600))
    code = "import sys; from pathlib import Path; from offramp.sample import generate, write\n"
    code += "write(Path(sys.argv[1]), generate(3, 600))"
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "123",
        "PYTHONPATH": str(Path(__file__).parents[1] / "src"),
    }

    subprocess.run([sys.executable, "-c", code, str(tmp_path / "there")], check=True, env=environment)

    for name, path in here.items():
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes(), name


def test_another_seed_gives_other_rows() -> None:
    assert generate(1, 500).rows != generate(2, 500).rows


def test_there_are_over_100_leaves_on_three_levels_in_12_or_more_top_categories(sample: SampleData) -> None:
    assert len(sample.labels) >= 100
    assert all(label.count(" > ") == 2 for label in sample.labels)
    assert len({label.split(" > ")[0] for label in sample.labels}) >= 12
    assert len(sample.rows) == 6000


def test_every_category_is_a_real_one(sample: SampleData) -> None:
    if not TAXONOMY.exists():
        pytest.skip("the Google taxonomy is not in the shared data folder; set OFFRAMP_DATA")
    lines = TAXONOMY.read_text(encoding="utf-8").splitlines()
    real = {" > ".join(line.split(" - ", 1)[1].split(" > ")[:3]) for line in lines if " - " in line}

    assert [label for label in sample.labels if label not in real] == []


def test_the_class_distribution_has_a_long_tail(sample: SampleData) -> None:
    seen = Counter(row["category"] for row in _plain(sample)).most_common()

    assert len(seen) == len(sample.labels)
    assert seen[0][1] > 8 * seen[-1][1]


def test_defect_counts_are_the_planned_ones_and_equal_the_manifest(sample: SampleData) -> None:
    wanted = {
        "exact_duplicate": 180,
        "near_duplicate": 180,
        "wrong_label": 180,
        "truncated_answer": 60,
        "refused_answer": 60,
        "out_of_domain": 60,
        "conflicting_label": 30,
        "label_outside_set": 30,
        "empty_input": 18,
    }

    assert {name: sample.manifest["counts"][name] for name in wanted} == wanted
    for name, count in sample.manifest["counts"].items():
        assert len(_with(sample, name)) == count, name


def test_the_manifest_points_at_the_right_lines(sample: SampleData) -> None:
    lines = _lines(sample)
    for row_id, entry in sample.manifest["rows"].items():
        assert lines[entry["line"] - 1]["id"] == row_id
        if "partner" in entry:
            assert lines[entry["partner_line"] - 1]["id"] == entry["partner"]
    assert len({row["id"] for row in lines}) == len(lines)


def test_each_defect_is_what_its_name_says(sample: SampleData) -> None:
    by_id = {row["id"]: row for row in sample.rows}
    entries = sample.manifest["rows"]
    inputs = ("title", "description", "merchant_category", "brand")

    for row_id in _with(sample, "exact_duplicate"):
        partner = by_id[entries[row_id]["partner"]]
        assert all(by_id[row_id][name] == partner[name] for name in (*inputs, "category"))
    for row_id in _with(sample, "near_duplicate"):
        assert by_id[row_id]["title"] != by_id[entries[row_id]["partner"]]["title"]
    for row_id in _with(sample, "conflicting_label"):
        partner = by_id[entries[row_id]["partner"]]
        assert all(by_id[row_id][name] == partner[name] for name in inputs)
        assert by_id[row_id]["category"] != partner["category"]
    for row_id in _with(sample, "wrong_label"):
        assert by_id[row_id]["category"] != entries[row_id]["true_category"]
        assert by_id[row_id]["category"] in sample.labels
    assert all(by_id[i]["category"] not in sample.labels for i in _with(sample, "label_outside_set"))
    assert all(by_id[i]["finish_reason"] == "length" for i in _with(sample, "truncated_answer"))
    assert all(by_id[i]["incumbent"] not in sample.labels for i in _with(sample, "truncated_answer"))
    assert all(by_id[i]["incumbent"] not in sample.labels for i in _with(sample, "refused_answer"))
    assert all(not any(by_id[i][name] for name in inputs) for i in _with(sample, "empty_input"))


def test_no_defect_that_is_not_in_the_manifest(sample: SampleData) -> None:
    plain = _plain(sample)

    assert all(row["category"] in sample.labels for row in plain)
    assert all(row["incumbent"] in sample.labels and row["finish_reason"] == "stop" for row in plain)
    assert all(row["title"] for row in plain)


def test_audited_rows_carry_no_wrong_label(sample: SampleData) -> None:
    audited = {row["id"]: row for row in sample.rows if row["audited"]}
    tampered = ("wrong_label", "conflicting_label", "label_outside_set", "out_of_domain", "empty_input")

    assert 0.12 < len(audited) / len(sample.rows) < 0.18
    assert not any(row_id in audited for name in tampered for row_id in _with(sample, name))
    rest = {row["merchant"] for row in sample.rows if not row["audited"]}
    assert not {row["merchant"] for row in audited.values()} & rest


def test_the_simulated_answerers_are_right_about_as_often_as_planned(sample: SampleData) -> None:
    plain = _plain(sample)

    assert 0.89 < _accuracy(plain, "incumbent", 3) < 0.93
    for who in WHO[1:]:
        assert 0.73 < _accuracy(plain, who, 3) < 0.79
        assert 0.81 < _accuracy(plain, who, 2) < 0.88
        assert 0.87 < _accuracy(plain, who, 1) < 0.94


def test_whoever_errs_errs_more_often_where_others_err_too(sample: SampleData) -> None:
    plain = _plain(sample)
    hard = [row for row in plain if row["incumbent"] != row["category"]]
    easy = [row for row in plain if row["incumbent"] == row["category"]]

    assert _accuracy(hard, "human_1", 3) < _accuracy(easy, "human_1", 3) - 0.1


def test_everything_simulated_is_called_simulated(sample: SampleData) -> None:
    assert all(row["simulated"] is True and "simulated" in row["source"] for row in sample.rows)
    assert sample.manifest["simulated"] is True
    assert sum("simulated" in note for note in sample.notes) == 2
    assert all(TITLES[who].endswith("(simulated)") for who in WHO)
    assert sample_config()["data"]["simulated"] == list(WHO)


def test_the_log_has_usage_and_times_over_sixty_days(sample: SampleData) -> None:
    times = [row["time"] for row in sample.rows]

    assert times == sorted(times)
    assert times[0].startswith("2026-03-02") and times[-1].startswith("2026-04-30")
    assert all(row["latency_s"] > 0 and row["input_tokens"] > 2000 for row in sample.rows)
    assert all(0 < row["output_tokens"] < 60 for row in sample.rows)


def test_write_puts_the_log_and_the_manifest_on_disk(tmp_path: Path, sample: SampleData) -> None:
    paths = write(tmp_path / "new", sample)

    lines = paths["calls"].read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == _lines(sample)
    assert json.loads(paths["manifest"].read_text(encoding="utf-8"))["counts"] == sample.manifest["counts"]
    assert set(paths) == {"calls", "manifest"}


def test_audited_rows_can_be_written_apart_as_the_holdout(tmp_path: Path, sample: SampleData) -> None:
    paths = write(tmp_path, sample, audited_apart=True)

    calls = [json.loads(line) for line in paths["calls"].read_text(encoding="utf-8").splitlines()]
    holdout = [json.loads(line) for line in paths["holdout"].read_text(encoding="utf-8").splitlines()]
    assert len(calls) + len(holdout) == 6000
    assert all(row["audited"] for row in holdout) and not any(row["audited"] for row in calls)


def test_the_config_names_columns_that_exist(sample: SampleData) -> None:
    mapping = sample_config()["data"]["mapping"]
    columns = set(sample.rows[0])

    for value in (value for key, value in mapping.items() if key != "separator"):
        assert set([value] if isinstance(value, str) else value) <= columns
    assert sample_config()["data"]["labels"] == list(sample.labels)


@pytest.mark.parametrize(
    "arguments", [(7, 10), (7, 2_000_000), (7, 0), (7, -1), ("7", 600), (7, 600.0), (True, 600)]
)
def test_a_bad_seed_or_size_is_a_data_error(arguments: tuple) -> None:
    with pytest.raises(DataError, match="expected"):
        generate(*arguments)


def test_a_folder_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StoreError, match="sample task"):
        write(tmp_path / "file", generate(1, 500))


def test_shared_nouns_name_categories_that_exist() -> None:
    words = catalog()

    assert {path for nouns in words.shared.values() for noun in nouns for path, _ in noun.shares} <= set(
        words.leaves
    )
    assert all(
        abs(sum(w for _, w in noun.shares) - 1) < 1e-9 for nouns in words.shared.values() for noun in nouns
    )
