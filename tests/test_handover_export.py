"""Exports say what was trained, carry what serving needs, and are there whole or not at all."""

import json
import sys

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from offramp.bases import weights_sha256
from offramp.errors import ConfigError, MismatchError, ModelError, NotFoundError
from offramp.handover import export
from offramp.handover.card import STANDIN, ModelFacts, model_card
from offramp.handover.gguf import converter, to_gguf
from offramp.handover.ollama import derived, modelfile
from offramp.handover.subjects import Prompt, TransformersSubject, load_model
from offramp.render import Renderer
from tiny_decoder import make_adapter, make_base

PROMPT = ({"role": "user", "content": "the card arrived late"},)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = make_base(tmp_path_factory.mktemp("export") / "base")
    said = {"temperature": 0.7, "repetition_penalty": 1.3, "do_sample": True, "eos_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(said))
    return folder


@pytest.fixture(scope="module")
def adapter(base):
    return make_adapter(base.parent / "adapter", base)


@pytest.fixture(scope="module")
def renderer(base):
    return Renderer.load(base)


@pytest.fixture(scope="module")
def probes(renderer):
    return [renderer.prompt(PROMPT), renderer.prompt(({"role": "user", "content": "a receipt"},))]


@pytest.fixture(scope="module")
def merged(base, adapter, renderer, probes):
    out = base.parent / "merged"
    return export.merge(base, adapter, renderer=renderer, out=out, probes=probes)


def test_a_merged_model_says_what_base_and_adapter_say(merged, base, adapter, renderer):
    prompts = [Prompt(PROMPT)]
    trained = TransformersSubject.load(base, renderer, adapter=adapter).ask(prompts, max_tokens=8, top=5)

    again = Renderer.load(merged.folder)
    found = TransformersSubject.load(merged.folder, again).ask(prompts, max_tokens=8, top=5)

    assert found[0].prompt == trained[0].prompt
    assert found[0].answer == trained[0].answer
    assert merged.gap < 1e-4
    assert merged.rounding_gap < 1e-4
    assert merged.size_bytes > 100_000


def test_a_merged_folder_names_every_stop_token_and_no_sampling(merged, renderer):
    said = json.loads((merged.folder / "generation_config.json").read_text())

    assert said["eos_token_id"] == list(renderer.stop_ids)
    assert len(renderer.stop_ids) == 2
    assert not {"temperature", "repetition_penalty", "do_sample"} & set(said)
    assert (merged.folder / "chat_template.jinja").exists()
    assert json.loads((merged.folder / export.FACTS).read_text())["form"] == "merged"


def test_a_merge_to_a_smaller_type_is_rounded_and_says_by_how_much(base, adapter, renderer, probes, tmp_path):
    found = export.merge(
        base, adapter, renderer=renderer, out=tmp_path / "small", probes=probes, dtype="bfloat16"
    )

    weights = load_file(tmp_path / "small" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    assert found.gap < 1e-4 < found.rounding_gap


def test_a_merge_whose_model_is_broken_leaves_nothing(base, adapter, renderer, probes, tmp_path):
    broken = tmp_path / "adapter"
    broken.mkdir()
    weights = load_file(adapter / "adapter_model.safetensors")
    name = next(iter(weights))
    save_file(weights | {name: torch.full_like(weights[name], 3e38)}, broken / "adapter_model.safetensors")
    (broken / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())

    with pytest.raises((MismatchError, ValueError), match=r"NaN|nan"):
        export.merge(base, broken, renderer=renderer, out=tmp_path / "out", probes=probes)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter"]


def test_a_merge_without_prompts_to_check_it_on_is_refused(base, adapter, renderer, tmp_path):
    with pytest.raises(ConfigError, match="at least one prompt"):
        export.merge(base, adapter, renderer=renderer, out=tmp_path / "out", probes=[])


def test_a_folder_in_use_is_not_written_over(merged, base, adapter, renderer, probes):
    with pytest.raises(ConfigError, match="is in use"):
        export.merge(base, adapter, renderer=renderer, out=merged.folder, probes=probes)
    with pytest.raises(ConfigError, match="is in use"):
        export.export_adapter(adapter, merged.folder, renderer=renderer, base=base, base_name="tiny")


def test_an_export_that_fails_half_way_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), export.fresh(tmp_path / "out") as folder:
        (folder / "half").write_text("x")
        raise RuntimeError

    assert list(tmp_path.iterdir()) == []


def test_an_adapter_travels_with_stop_tokens_template_and_the_hash_of_its_base(
    base, adapter, renderer, tmp_path
):
    notes = export.export_adapter(adapter, tmp_path / "out", renderer=renderer, base=base, base_name="tiny")

    said = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    facts = json.loads((tmp_path / "out" / export.FACTS).read_text())
    assert notes == ()
    assert said["eos_token_id"] == list(renderer.stop_ids)
    assert facts["base_sha256"] == weights_sha256(base)
    assert facts["base"] == "tiny"
    assert Renderer.load(tmp_path / "out").identity == renderer.identity
    assert load_model(base, tmp_path / "out") is not None


def test_an_adapter_that_vllm_refuses_is_exported_with_a_note(base, renderer, tmp_path):
    dora = make_adapter(tmp_path / "dora", base, use_dora=True)

    notes = export.export_adapter(dora, tmp_path / "out", renderer=renderer, base=base, base_name="tiny")
    found = export.merge(
        base, dora, renderer=renderer, out=tmp_path / "merged", probes=[renderer.prompt(PROMPT)]
    )

    assert "DoRA" in notes[0]
    assert "merged model" in notes[0]
    assert found.gap < 1e-4


def test_the_vllm_command_has_template_tokenizer_and_stop_tokens(base, adapter, renderer, tmp_path):
    export.export_adapter(adapter, tmp_path / "out", renderer=renderer, base=base, base_name="tiny")

    said = export.vllm_command(base, renderer=tmp_path / "out", adapters={"mine": tmp_path / "out"})

    assert said.startswith(f"vllm serve {base} ")
    for words in ("--chat-template", "--generation-config", "--max-lora-rank 8", f"mine={tmp_path / 'out'}"):
        assert words in said


# ---- GGUF ------------------------------------------------------------------------------------------------------------


def script(folder, body):
    file = folder / "convert_hf_to_gguf.py"
    file.write_text("import sys\n" + body)
    return file


WRITES = (
    "open(sys.argv[sys.argv.index('--outfile') + 1], 'wb').write(b'GGUF' + ' '.join(sys.argv[1:]).encode())\n"
)


def test_without_a_converter_it_says_where_to_get_one(monkeypatch, tmp_path):
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(NotFoundError, match=r"clone .*llama\.cpp.* set LLAMA_CPP"):
        converter()
    with pytest.raises(NotFoundError, match="correct the path"):
        converter(tmp_path)


def test_the_users_own_converter_is_found_and_run(monkeypatch, merged, tmp_path):
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path))
    script(tmp_path, WRITES)

    found = to_gguf(merged.folder, tmp_path / "out" / "model.gguf", precision="q8_0")

    said = found.read_bytes()
    assert said.startswith(b"GGUF" + str(merged.folder).encode())
    assert said.endswith(b"--outtype q8_0")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("sys.exit('NotImplementedError: BPE pre-tokenizer was not recognized')\n", "was not recognized"),
        (WRITES.replace("GGUF", "HTML"), "no GGUF file"),
        ("pass\n", "exit code 0 and no GGUF"),
    ],
)
def test_a_converter_that_fails_leaves_no_file(merged, tmp_path, body, why):
    with pytest.raises(ModelError, match=why):
        to_gguf(merged.folder, tmp_path / "model.gguf", script=script(tmp_path, body))

    assert not list(tmp_path.glob("*.gguf*"))


def test_an_adapter_alone_cannot_become_gguf(adapter, tmp_path):
    with pytest.raises(ConfigError, match="merge the adapter"):
        to_gguf(adapter, tmp_path / "model.gguf", script=script(tmp_path, WRITES))


# ---- Ollama ----------------------------------------------------------------------------------------------------------


def trl_template(name):
    from importlib.resources import files

    return (files("trl") / "chat_templates" / name).read_text(encoding="utf-8")


def test_a_modelfile_makes_the_renderers_prompts(renderer):
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]

    parts, text = (
        derived(renderer),
        modelfile(renderer, gguf="./model.gguf", context_tokens=512, max_tokens=64),
    )

    assert parts.played(turns) == renderer.text(turns)
    assert parts.ask == "<|im_end|>\n<|im_start|>assistant\n"
    assert text.startswith('FROM ./model.gguf\nTEMPLATE """{{ if .System }}<|im_start|>system\n{{ .System }}')
    for line in (
        'PARAMETER stop "<|im_end|>"', "PARAMETER temperature 0", "PARAMETER repeat_penalty 1", "PARAMETER num_ctx 512",
        "PARAMETER num_predict 64",
    ):  # fmt: skip
        assert line in text.splitlines()


@pytest.mark.parametrize("name", ["qwen2_5.jinja", "qwen3.jinja"])
def test_known_templates_are_derived_or_refused_never_wrong(base, name):
    renderer = Renderer.load(base, template=trl_template(name))
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]

    assert derived(renderer).played(turns) == renderer.text(turns)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}>", "0 times"),
        (
            "{% for m in messages %}{{ loop.index }}<{{ m.role }}>{{ m.content }}<|im_end|>{% endfor %}>",
            "no Ollama",
        ),
    ],
)
def test_a_template_that_ollama_cannot_make_is_refused(base, template, why):
    class Shown:
        """What derives a Modelfile reads of a renderer."""

        @staticmethod
        def text(messages):
            import jinja2

            return jinja2.Template(template).render(messages=messages)

    with pytest.raises(ConfigError, match=why):
        derived(Shown)


# ---- card ------------------------------------------------------------------------------------------------------------


def test_a_card_tells_what_is_known_and_says_what_is_not():
    facts = ModelFacts(
        title="intake",
        kind="chat",
        base="tiny",
        base_licence="mit",
        standin=True,
        verdict="ready: −0.4 points [−1.1, +0.3] against a margin of 2",
        data=("400 conversations, written by a generator",),
        data_id="dataset-sha256-1",
        training={"rank": 16, "note": "a | b"},
        parity=("300 of 300 answers identical in vLLM",),
        serve={"vLLM": "vllm serve DIR"},
    )

    text = model_card(facts, adapter=True)

    front = yaml.safe_load(text.split("---")[1])
    assert front == {
        "base_model": "tiny",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["offramp", "stand-in"],
    }
    assert STANDIN in text
    for line in ("- base: mit", "- this model: none was given", "| note | a \\| b |", "## Serve with vLLM"):
        assert line in text
    assert "## Intended use\n\nNot known." in text


def test_an_empty_card_claims_nothing():
    text = model_card(ModelFacts(title="x", kind="extract"), adapter=False)

    assert "nothing shows that it is as good" in text
    assert "No parity test of this artefact was run." in text
    assert "- base: not known" in text
    assert STANDIN not in text


# ---- ONNX ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A tuned encoder of two random layers."""
    from transformers import AutoModel, BertConfig

    from offramp.embed import Embedder
    from offramp.embed.packed import locate
    from offramp.models.encoder import EncoderModel
    from offramp.train.encoder import EncoderJob, fit_encoder
    from test_encoder import QUICK, offers, task_of

    folder = tmp_path_factory.mktemp("onnx")
    torch.manual_seed(1)
    shape = BertConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128)
    AutoModel.from_config(shape).save_pretrained(folder / "base")
    (folder / "base" / "tokenizer.json").write_bytes((locate("minilm") / "tokenizer.json").read_bytes())
    rows = offers(64)
    fit_encoder(
        rows, None, EncoderJob(task_of(rows), folder / "tuned", Embedder.load(str(folder / "base")), QUICK)
    )
    return EncoderModel.load(folder / "tuned"), offers(40, seed=1)


def test_an_encoder_in_onnx_answers_like_the_model(encoder, tmp_path):
    pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
    from onnxruntime import InferenceSession

    from offramp.handover.onnx import FILE, LABELS, export_encoder

    model, rows = encoder
    found = export_encoder(model, tmp_path / "out", rows=rows)

    session = InferenceSession(str(tmp_path / "out" / FILE))
    ids = np.array([[101, 2000, 2001, 102]], np.int64)
    one = session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0]
    assert found.gap < 0.05
    assert found.same_label_ratio == 1.0
    assert one.shape == (1, 4)
    assert one.sum() == pytest.approx(1, abs=1e-5)
    assert json.loads((tmp_path / "out" / LABELS).read_text())["labels"] == list(model.labels)
    assert (tmp_path / "out" / "tokenizer.json").exists()


def test_an_onnx_export_without_rows_or_without_its_extra_is_said(encoder, tmp_path, monkeypatch):
    from offramp.handover.onnx import export_encoder

    model, rows = encoder
    with pytest.raises(ConfigError, match="at least one row"):
        export_encoder(model, tmp_path / "out", rows=rows.slice(0, 0))
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ConfigError, match="extra `onnx`"):
        export_encoder(model, tmp_path / "out", rows=rows)
    assert list(tmp_path.iterdir()) == []
