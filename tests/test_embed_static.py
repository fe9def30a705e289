import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from offramp.embed.static import StaticEmbedder, distill
from offramp.errors import NotFoundError, StoreError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[unused0]", *(f"w{i}" for i in range(60))]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A tiny encoder with random weights, in the layout of the embedded one."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    BertModel(shape).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(WORDS[:4])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def embedder(encoder):
    return StaticEmbedder.load(str(encoder))


def test_vectors_have_length_one_whatever_the_text(embedder):
    vectors = embedder.encode(["w1 w2", "", "[CLS]", "w3 " * 9000, "\ud800 w4"])

    assert vectors.shape == (5, 16)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (vectors[1] == vectors[2]).all()


def test_a_text_is_the_sum_of_its_tokens_in_any_order(embedder):
    first, second, doubled, both = embedder.encode(["w7 w9", "w9 w7", "w7 w7 w9 w9", "w7"])

    assert first @ second == pytest.approx(1, abs=1e-5)
    assert first @ doubled == pytest.approx(1, abs=1e-5)
    assert first @ both < 0.999


def test_a_vector_does_not_depend_on_the_texts_beside_it(embedder):
    texts = [f"w{i % 60} w{i * 7 % 60}" for i in range(1500)]

    assert np.allclose(embedder.encode(texts)[1300], embedder.encode([texts[1300]])[0], atol=1e-6)


def test_special_and_unused_tokens_weigh_nothing_and_rare_tokens_weigh_more(encoder):
    table, _ = distill(str(encoder))

    lengths = np.linalg.norm(table.astype(np.float32), axis=1)
    assert table.shape == (65, 16)
    assert table.dtype == np.float16
    assert (lengths[:5] == 0).all()
    assert lengths[-20:].mean() > 3 * lengths[5:8].mean()


def test_the_table_keeps_the_geometry_of_tokens_encoded_alone(encoder):
    table, tokenizer = distill(str(encoder))
    plain = BertModel.from_pretrained(encoder).eval()
    with torch.inference_mode():
        ids = torch.tensor([tokenizer.encode(f"w{i}").ids for i in range(60)])
        alone = plain(input_ids=ids).last_hidden_state.mean(1).numpy()

    centred = alone - alone.mean(axis=0)
    wanted = centred @ centred.T / np.outer(*[np.linalg.norm(centred, axis=1)] * 2)
    rows = table[5:].astype(np.float32)
    found = rows @ rows.T / np.outer(*[np.linalg.norm(rows, axis=1)] * 2)
    assert np.allclose(found, wanted, atol=0.01)


def test_the_table_is_kept_and_read_without_the_encoder(encoder, tmp_path, monkeypatch):
    made = StaticEmbedder.load(str(encoder), cache=tmp_path)
    monkeypatch.setattr("offramp.embed.static.distill", None)

    again = StaticEmbedder.load(str(encoder), cache=tmp_path)

    assert made.id == again.id
    assert sorted(file.name for file in (tmp_path / made.id).iterdir()) == [
        "table.safetensors",
        "tokenizer.json",
    ]
    assert (made.encode(["w1 w2"]) == again.encode(["w1 w2"])).all()


def test_a_damaged_cache_says_what_to_delete(encoder, tmp_path):
    made = StaticEmbedder.load(str(encoder), cache=tmp_path)
    (tmp_path / made.id / "table.safetensors").write_bytes(b"not a table")

    with pytest.raises(StoreError, match="delete the folder"):
        StaticEmbedder.load(str(encoder), cache=tmp_path)


def test_an_encoder_that_does_not_exist_is_not_found(tmp_path):
    with pytest.raises(NotFoundError):
        StaticEmbedder.load(str(tmp_path / "nothing" / "here"))
