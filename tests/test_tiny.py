"""The embedded tiny decoder: what is shipped loads and says what it is; what makes it is repeatable."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
TINY = ROOT / "src" / "offramp" / "tiny"
ASKED = [{"role": "system", "content": "Repeat the text."}, {"role": "user", "content": "the red lamp"}]


@pytest.fixture(scope="module")
def model() -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(TINY).eval()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(TINY)


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The pretraining scripts; torch's switches are put back afterwards."""
    import torch

    monkeypatch.syspath_prepend(str(ROOT / "pretrain"))
    threads = torch.get_num_threads()
    import pretrain

    yield pretrain
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def test_the_shipped_files_are_small_and_say_what_they_are():
    sizes = {path.name: path.stat().st_size for path in TINY.iterdir() if path.is_file()}

    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= set(sizes)
    assert {"generation_config.json", "chat_template.jinja", "README.md"} <= set(sizes)
    assert sizes["model.safetensors"] <= 16_000_000
    assert sum(sizes.values()) <= 16_777_216
    config = json.loads((TINY / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["Qwen3ForCausalLM"]
    assert config["offramp_note"] == "a stand-in to see the loop run, not a model to deploy"
    assert "not a model to deploy" in (TINY / "README.md").read_text(encoding="utf-8")


def test_the_weights_are_bfloat16_in_an_open_format():
    from safetensors import safe_open

    with safe_open(TINY / "model.safetensors", "np") as file:
        kinds = {file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118

    assert kinds == {"BF16"}


def test_it_answers_a_chat_and_stops_by_itself(model, tokenizer):
    ids = tokenizer.apply_chat_template(
        ASKED, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )

    said = model.generate(**ids, max_new_tokens=40)[0, ids["input_ids"].shape[1] :].tolist()

    assert tokenizer.decode(said) == "the red lamp<|im_end|>"


def test_its_template_is_the_one_of_the_renderer_and_the_one_it_was_trained_with(tokenizer, scripts):
    from offramp.render import CHATML

    shown = tokenizer.apply_chat_template(ASKED, add_generation_prompt=True, tokenize=False)
    trained, _ = scripts.bpe.encode(
        tokenizer.backend_tokenizer, [*ASKED, {"role": "assistant", "content": "Yes"}]
    )

    assert (TINY / "chat_template.jinja").read_text(encoding="utf-8") == CHATML
    assert tokenizer.decode(trained) == f"{shown}Yes<|im_end|>\n"


def test_any_text_survives_its_tokenizer(tokenizer):
    text = "Größe 12,5 → “naïve” 東京 🙂\n\n\tx_1 <b> it's 2026\r\n"

    assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_pretraining_is_repeatable_bit_for_bit_stopped_or_not(scripts, tmp_path):
    import torch
    from safetensors.torch import load_file

    settings = scripts.Settings(seed=3, steps=5, workers=1, documents=6)
    folders = [tmp_path / name for name in ("whole", "again", "stopped")]
    for folder in folders:
        folder.mkdir()
        shutil.copy(TINY / "tokenizer.json", folder)

    losses = [scripts.train(folder, settings)["losses"] for folder in folders[:2]]
    scripts.train(folders[2], settings, stop=2)
    scripts.train(folders[2], settings)

    whole, again, stopped = (load_file(folder / "checkpoint.safetensors") for folder in folders)
    assert losses[0] == losses[1] != []
    assert whole.keys() == again.keys() == stopped.keys()
    assert all(
        torch.equal(whole[name], again[name]) and torch.equal(whole[name], stopped[name]) for name in whole
    )


def test_before_its_first_step_the_model_already_continues_a_repeat(scripts):
    import torch

    torch.manual_seed(20)
    fresh = scripts.Qwen3ForCausalLM(scripts.config()).eval()
    ids = torch.randperm(4000, generator=torch.Generator().manual_seed(1))[:40].repeat(2)[None] + 64

    def right() -> float:
        with torch.no_grad():
            said = fresh(ids).logits[0, 41:-1].argmax(-1)
        return float((said == ids[0, 42:]).float().mean())

    before = right()
    scripts.prepare(fresh)

    assert before < 0.1
    assert right() > 0.9


def test_held_out_text_is_never_trained_on_and_steps_differ(scripts):
    first = scripts.documents(1, 0, 20)

    assert first == scripts.documents(1, 0, 20)
    assert first != scripts.documents(1, 1, 20)
    assert first != scripts.documents(2, 0, 20)
    assert scripts.Settings.steps < scripts.HELD
