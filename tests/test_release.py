"""The policy gate on training and export, and the exported dataset with its card."""

import json

import pyarrow.parquet as pq
import pytest

from offramp import release
from offramp.errors import ConfigError, DataError, NotFoundError
from test_cli import offramp
from tickets import workspace

FORBIDS = """
providers:
- provider: acme
  models: [acme-large]
  uses: {train: forbid, distribute: forbid, export: forbid}
  terms_url: https://acme.example/terms
  source: our contract, clause 7
  checked: 2026-05-02
"""
ORIGIN = {"writer": "model", "model": "acme-large"}


@pytest.fixture
def forbidden(tmp_path):
    (tmp_path / "terms.yml").write_text(FORBIDS)
    made = workspace(tmp_path, provenance={"origin": ORIGIN, "policy": str(tmp_path / "terms.yml")})
    yield made
    made.close()


def test_training_on_what_the_policy_forbids_stops_before_anything_is_fitted(forbidden):
    with pytest.raises(DataError, match=r"training on 2\d\d answers was asked for"):
        forbidden.tune()

    assert forbidden.store.named("chosen") is None


def test_export_of_what_the_policy_forbids_writes_nothing(forbidden, tmp_path):
    with pytest.raises(DataError, match="exporting"):
        release.export_dataset(forbidden.roster, forbidden.curate(), tmp_path / "out")

    assert not (tmp_path / "out").exists()


def test_without_a_policy_nothing_is_blocked_and_the_doubt_is_said(tmp_path):
    with workspace(tmp_path, provenance={"origin": {"writer": "model", "model": "gpt-4o"}}) as ws:
        notes = release.permit(ws.roster, ws.curate(), "train")

    assert "not for train" in notes[0]


def test_an_exported_dataset_has_the_rows_of_each_split_and_a_card_that_describes_them(tmp_path):
    with workspace(tmp_path) as ws:
        data = ws.curate()
        files = release.export_dataset(ws.roster, data, tmp_path / "out")
        counts = dict(data.counts)

    assert files == ["README.md", "croissant.json", "holdout.parquet", "train.parquet", "validation.parquet"]
    for split in ("train", "validation", "holdout"):
        assert pq.read_table(tmp_path / "out" / f"{split}.parquet").num_rows == counts[split]
    card = json.loads((tmp_path / "out" / "croissant.json").read_text())
    assert len(card["distribution"]) >= 3
    assert f"{counts['kept']}" in (tmp_path / "out" / "README.md").read_text()


def test_a_folder_with_files_is_not_written_over(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with workspace(tmp_path) as ws, pytest.raises(ConfigError, match="an empty folder was expected"):
        release.export_dataset(ws.roster, ws.curate(), tmp_path / "out")

    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_test_set_that_is_not_there_is_an_error_and_one_that_changed_makes_a_new_dataset(tmp_path):
    with workspace(tmp_path, curate={"test_sets": ["public.txt"]}) as ws:
        with pytest.raises(NotFoundError, match=r"public\.txt"):
            ws.curate()
        (ws.path / "public.txt").write_text("nothing like the rows at all\n")
        first = ws.curate()
        (ws.path / "public.txt").write_text("money back please ticket 0\n")
        second = ws.curate()

    assert first.id != second.id
    assert second.counts["rule.contamination"] == 1


def test_findings_say_what_another_threshold_would_do(tmp_path):
    with workspace(tmp_path) as ws:
        ws.curate()
        folder = str(ws.path)

    shown = offramp("findings", "--dir", folder, "--json", cwd=tmp_path)
    wrong = offramp("findings", "--dir", folder, "--rule", "nothing", cwd=tmp_path)

    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout) == {}
    assert wrong.returncode == 2
    assert "findings of 'nothing' were asked for" in wrong.stderr
