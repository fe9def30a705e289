"""Known bases, and whether one may be used here."""

import json
from pathlib import Path

import pytest

from offramp.bases import Base, base_of, check, known, located, weights_sha256
from offramp.errors import ConfigError, NotFoundError
from tiny_decoder import make_base

GIB = 2**30
MINE = """
bases:
- name: mine
  source: {folder}
  parameters: 100000
  context_tokens: 512
  licence: own
  licence_url: https://example.com
  family: qwen3
  layers: 2
  hidden: 48
  kv_heads: 2
  head_dim: 16
  dtype: float32
  read: by hand
  checked: 2026-11-21
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_base(tmp_path_factory.mktemp("bases") / "mine")


@pytest.fixture
def mine(folder, tmp_path) -> Base:
    (tmp_path / "bases.yaml").write_text(MINE.format(folder=folder))
    return base_of("mine", tmp_path / "bases.yaml")


def test_the_known_bases_go_from_the_embedded_one_to_8b():
    bases = list(known().values())

    assert bases[0].name == "tiny"
    assert bases[0].standin
    assert [base.name for base in bases if base.standin] == ["tiny"]
    assert bases[-1].name == "qwen3-8b"
    assert [base.parameters for base in bases] == sorted(base.parameters for base in bases)
    assert len(bases) >= 12


def test_every_base_says_where_its_facts_are_from():
    assert [base.name for base in known().values() if not (base.read and base.licence_url)] == []
    assert {base.name for base in known().values() if base.use == "policy" and not base.policy_url} == set()


def test_the_embedded_base_is_what_its_files_say():
    tiny = base_of("tiny")
    config = json.loads((located(tiny) / "config.json").read_text())

    keys = ("num_hidden_layers", "hidden_size", "num_key_value_heads", "head_dim", "max_position_embeddings")
    shape = [config[key] for key in keys]

    assert [tiny.layers, tiny.hidden, tiny.kv_heads, tiny.head_dim, tiny.context_tokens] == shape
    size = (located(tiny) / "model.safetensors").stat().st_size
    assert abs(size - 2 * tiny.parameters) < 20_000  # bfloat16 and a header


def test_sizes_are_those_of_the_published_shapes():
    qwen = base_of("qwen3-0.6b")

    assert qwen.weights_bytes() == 2 * 596_049_920
    assert qwen.weights_bytes("float32") == 4 * 596_049_920
    # 2 (keys, values) x 28 layers x 8 heads x 128 x 2 bytes
    assert qwen.cache_bytes(1, 1) == 114_688
    assert qwen.memory_bytes("vllm", tokens=1000, rows=10) == int((1_192_099_840 + 1_146_880_000) * 1.1)


def test_tuning_needs_more_than_answering_and_all_weights_more_than_adapters():
    need = [
        base_of("qwen3-1.7b").memory_bytes(p, tokens=256, rows=4) for p in ("transformers", "lora", "full")
    ]

    assert need == sorted(need)
    assert need[2] > 16 * 1_720_574_976


def test_a_base_that_does_not_fit_is_refused_with_both_sizes():
    (problem,) = check(base_of("qwen3-8b"), memory_bytes=8 * GIB, tokens=512, rows=1, purpose="transformers")

    assert "about 16.9 GiB" in problem
    assert "8.0 GiB" in problem


def test_a_conversation_longer_than_the_context_is_refused():
    (problem,) = check(base_of("smollm2-135m"), memory_bytes=64 * GIB, tokens=9000, rows=1, purpose="lora")

    assert "reads 8192 tokens; the longest conversation has 9000" in problem


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("llama-3.2-1b", "under a policy"),
        ("gemma-3-1b", "under a policy"),
        ("qwen2.5-3b", "does not permit commercial"),
    ],
)
def test_a_licence_with_terms_is_asked_about_until_it_is_accepted(name, words):
    base = base_of(name)
    asked = {"memory_bytes": 64 * GIB, "tokens": 512, "rows": 1, "purpose": "lora"}

    (problem,) = check(base, **asked)

    assert words in problem
    assert check(base, **asked, accepted={base.licence}) == []


def test_an_engine_that_cannot_serve_a_base_is_refused(folder):
    tiny = base_of("tiny").model_copy(update={"source": str(folder)})

    (problem,) = check(tiny, memory_bytes=GIB, tokens=100, rows=1, purpose="openvino")

    assert "cannot be served with `openvino`" in problem


def test_a_base_without_a_template_or_tokenizer_is_refused(mine, folder, tmp_path):
    asked = {"memory_bytes": GIB, "tokens": 100, "rows": 1, "purpose": "transformers"}
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text("{}")
    other = mine.model_copy(update={"source": str(bare)})

    assert check(mine, **asked) == []
    assert "no tokenizer.json" in check(other, **asked)[0]
    (bare / "tokenizer.json").write_text((folder / "tokenizer.json").read_text())
    (bare / "tokenizer_config.json").write_text(json.dumps({}))
    assert "set `template: chatml`" in check(other, **asked)[0]
    assert check(other.model_copy(update={"template": "chatml"}), **asked) == []


def test_a_users_file_adds_and_replaces(tmp_path, folder):
    (tmp_path / "bases.yaml").write_text(
        MINE.format(folder=folder)
        + MINE.format(folder=folder).replace("bases:\n- name: mine", "- name: tiny").lstrip()
    )

    bases = known(tmp_path / "bases.yaml")

    assert bases["mine"].parameters == 100_000
    assert bases["tiny"].source == str(folder)
    assert len(bases) == len(known()) + 1


def test_a_wrong_entry_or_unreadable_file_says_so(tmp_path):
    (tmp_path / "bases.yaml").write_text("bases:\n- name: mine\n  paramters: 3\n")

    with pytest.raises(ConfigError, match="paramters"):
        known(tmp_path / "bases.yaml")
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        known(tmp_path / "none.yaml")


def test_a_base_nobody_knows_is_not_found():
    with pytest.raises(NotFoundError, match="'gpt-9'"):
        base_of("gpt-9")


def test_a_base_is_found_where_its_folder_is(mine, folder, tmp_path):
    empty = mine.model_copy(update={"source": str(tmp_path)})

    assert located(mine) == folder
    with pytest.raises(NotFoundError, match=r"no config\.json"):
        located(empty)


def test_weights_are_known_by_their_content(folder, tmp_path):
    data = (folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data)
    same = weights_sha256(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))

    assert same == weights_sha256(folder)
    assert weights_sha256(tmp_path) != same
    with pytest.raises(NotFoundError, match="safetensors"):
        weights_sha256(tmp_path / "nothing")
