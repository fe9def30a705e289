"""Settings: argument over environment over file over default; unknown keys are errors."""

from pathlib import Path

import pytest

from offramp.cli.parse import assignments, mapping_of, relative
from offramp.errors import ConfigError, NotFoundError
from offramp.settings import Settings, append, dump, load, resolve


def _write(folder: Path, text: str) -> Path:
    (folder / "offramp.toml").write_text(text)
    return folder


def test_an_argument_beats_the_environment_beats_the_file_beats_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, "seed = 1\n[verdict]\nmargin = 0.05\nalpha = 0.1\n")
    monkeypatch.setenv("OFFRAMP_VERDICT__MARGIN", "0.04")
    monkeypatch.setenv("OFFRAMP_VERDICT__ALPHA", "0.2")

    settings = load(tmp_path, overrides={"verdict": {"alpha": 0.3}})

    verdict = settings.verdict
    assert (settings.seed, verdict.margin, verdict.alpha, verdict.power) == (1, 0.04, 0.3, 0.8)


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`verdict.magrin`"):
        load(_write(tmp_path, "[verdict]\nmagrin = 0.05\n"))


def test_a_value_out_of_range_is_named_with_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"`verdict.margin`.*found 7"):
        load(_write(tmp_path, "[verdict]\nmargin = 7\n"))


def test_a_folder_without_a_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="offramp init"):
        load(tmp_path)


def test_a_file_that_is_no_toml_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(_write(tmp_path, "a = = 1"))
    (tmp_path / "offramp.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="reading"):
        load(tmp_path)


def test_an_environment_value_that_is_no_value_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFRAMP_SEED", "[1")

    with pytest.raises(ConfigError, match="OFFRAMP_SEED"):
        load(_write(tmp_path, ""))


@pytest.mark.parametrize("key", ["store", "stroe"])
def test_a_password_in_the_url_of_the_calls_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    url = "postgresql://ann:s3cret@db.example/calls"

    with pytest.raises(ConfigError, match=r"PGPASSWORD|stroe") as raised:
        resolve({"gateway": {key: url}}, overrides=None, where="a test")
    assert "s3cret" not in str(raised.value)

    monkeypatch.setenv(f"OFFRAMP_GATEWAY__{key.upper()}", url)
    with pytest.raises(ConfigError, match=r"PGPASSWORD|stroe") as raised:
        resolve({}, overrides=None, where="a test")
    assert "s3cret" not in str(raised.value)


def test_what_is_written_is_read_back_the_same() -> None:
    content = {
        "name": 'odd "name" \\ with\ttabs, ü and 🙂',
        "data": {"sources": ["a.csv"], "mapping": {"inputs": ["t"], "target": ["c"]}},
        "verdict": {"bars": [{"metric": "accuracy", "level": 0.9}, {"metric": "level_1", "margin": 0.01}]},
    }
    settings = resolve(content, overrides=None, where="test")

    import tomllib

    assert resolve(tomllib.loads(dump(settings)), overrides=None, where="test") == settings


def test_adding_to_a_list_keeps_comments_and_adds_each_value_once(tmp_path: Path) -> None:
    _write(tmp_path, '# mine\nseed = 3\n\n[curate]\nkeep = ["a"]  # the good one\n')

    append(tmp_path, "curate", {"keep": ["a", "b"]})

    text = (tmp_path / "offramp.toml").read_text()
    assert "# mine" in text
    assert load(tmp_path).curate.keep == ("a", "b")


def test_an_addition_that_is_not_valid_leaves_the_file_alone(tmp_path: Path) -> None:
    _write(tmp_path, "seed = 3\n")

    with pytest.raises(ConfigError):
        append(tmp_path, "curate", {"nonsense": ["x"]})
    assert (tmp_path / "offramp.toml").read_text() == "seed = 3\n"


def test_without_bars_accuracy_within_the_margin_is_the_bar() -> None:
    (bar,) = Settings().verdict.resolved()

    assert (bar.metric, bar.margin, bar.level) == ("accuracy", 0.02, None)


def test_assignments_nest_at_dots_and_read_values() -> None:
    assert assignments(["verdict.margin=0.03", "ladder.rungs=[linear]", "name=a=b"]) == {
        "verdict": {"margin": 0.03},
        "ladder": {"rungs": ["linear"]},
        "name": "a=b",
    }
    assert assignments(None) == {}


@pytest.mark.parametrize("pair", ["margin", "=3", "a=[1"])
def test_an_assignment_that_cannot_be_read_is_a_config_error(pair: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        assignments([pair])


def test_column_flags_become_a_mapping() -> None:
    assert mapping_of(inputs="title, description", target="category", incumbent=None) == {
        "inputs": ["title", "description"],
        "target": ["category"],
    }
    assert mapping_of(inputs=None, target=None) is None


def test_paths_are_written_as_the_workspace_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert relative("logs.csv", Path("ws")) == "../logs.csv"


def test_a_value_cannot_be_a_section_at_the_same_time() -> None:
    with pytest.raises(ConfigError, match="cannot hold"):
        assignments(["seed=1", "seed.more=2"])
