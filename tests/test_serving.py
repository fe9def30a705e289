"""A tuned decoder is handed over: forms with their cards, and the parity test before it is served."""

import json
import os
from pathlib import Path

import pytest

from classical import WordEmbedder
from offramp.cli import serving as faces
from offramp.errors import ConfigError
from offramp.evidence.results import role_of
from offramp.serving import export, parity
from offramp.settings import resolve
from offramp.workspace import Workspace, init

TALKS = ("where is my parcel", "i want my money back", "cannot sign in today")
SAID = ("We are looking for it.", "The refund is on its way.", "Please reset the password.")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace of a small chat whose stand-in decoder was tuned for a few steps."""
    folder = tmp_path_factory.mktemp("serving")
    lines = []
    for i in range(90):
        user = {"role": "user", "content": f"{TALKS[i % 3]}, order {i * 7919 % 100_003}"}
        lines.append({"messages": [user], "completion": SAID[i % 3]})
    (folder / "calls.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    content = {
        "name": "desk",
        "data": {
            "kind": "chat",
            "sources": [str(folder / "calls.jsonl")],
            "mapping": {
                "inputs": ["transcript"],
                "target": ["answer"],
                "incumbent": "answer",
                "free_text": True,
            },
        },
        "curate": {"holdout_ratio": 0.3, "undo": ["near_duplicate"]},
        "ladder": {"bases": ["tiny"], "decoder": {"epochs": 3, "score_rows": 4}},
        "verdict": {"bars": [{"metric": "chrf", "margin": 0.1}]},
    }
    made = init(folder / "ws", resolve(content, overrides=None, where="a test"))
    made.roster.__dict__ |= {"embedder": WordEmbedder(), "static": None}
    return made


def test_the_embedded_engine_says_what_was_trained(tuned: Workspace) -> None:
    data = tuned.curate()

    found = parity(tuned.roster, tuned.roster.fitted("tiny", data), data, engine="embedded", prompts=12)

    assert found.passed, found.body["text"]
    assert (found.body["prompts"], found.body["same_prompts"]) == (12, 12)
    assert found.body["identical"] >= 11


def test_a_merged_model_says_what_was_trained_and_carries_a_card(tuned: Workspace, tmp_path: Path) -> None:
    data = tuned.curate()
    candidate = tuned.roster.fitted("tiny", data)

    found = parity(tuned.roster, candidate, data, engine="merged", prompts=6)
    notes = export(tuned.roster, candidate, data, form="merged", out=tmp_path / "merged")

    assert found.passed, found.body["text"]
    card = (tmp_path / "merged" / "README.md").read_text()
    assert "stand-in" in card
    assert "merged: passed" in card
    assert (tmp_path / "merged" / "model.safetensors").exists()
    assert any("vllm" in note for note in notes)


def test_an_adapter_is_exported_with_tokenizer_and_stop_tokens(tuned: Workspace, tmp_path: Path) -> None:
    data = tuned.curate()

    export(tuned.roster, tuned.roster.fitted("tiny", data), data, form="adapter", out=tmp_path / "out")

    names = set(os.listdir(tmp_path / "out"))
    assert {
        "adapter_model.safetensors",
        "generation_config.json",
        "chat_template.jinja",
        "README.md",
    } <= names


def test_what_cannot_be_handed_over_is_told(tuned: Workspace, tmp_path: Path) -> None:
    data = tuned.curate()
    untuned, recorded = tuned.roster.fitted("tiny-untuned", data), tuned.candidate("incumbent")

    with pytest.raises(ConfigError, match="untuned and has none"):
        export(tuned.roster, untuned, data, form="adapter", out=tmp_path / "a")
    with pytest.raises(ConfigError, match="a decoder was asked for"):
        parity(tuned.roster, recorded, data)
    with pytest.raises(ConfigError, match="engine 'tgi'"):
        parity(tuned.roster, untuned, data, engine="tgi")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="form 'exe'"):
        export(tuned.roster, untuned, data, form="exe", out=tmp_path / "b")
    assert not list(tmp_path.iterdir())


def test_engines_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    faces.engines()

    assert "embedded" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="install vllm"):
        faces.engines("install", "ollama")


def test_a_prompted_decoder_is_shown_as_untuned(tuned: Workspace) -> None:
    data = tuned.curate()

    assert role_of(tuned.roster.fitted("tiny-untuned", data)) == "untuned"
    assert role_of(tuned.roster.fitted("tiny", data)) == "tuned"
