import numpy as np
import pytest
import torch
from transformers import AutoModel

from offramp.embed import Embedder
from offramp.embed.packed import load_backbone, locate, pack, plan
from offramp.errors import NotFoundError, StoreError

TEXTS = [
    "card arrived yesterday",
    "",
    "My top-up was reverted, why?",
    "word " * 700,
    "card arrived yesterday",
    "naïve café 東京 \U0001f600 \x00 \ud800",
]


@pytest.fixture(scope="module")
def embedder():
    return Embedder.load("minilm")


@pytest.fixture(scope="module")
def full_precision():
    """The same encoder in float32, run by transformers itself with padding."""
    model = AutoModel.from_pretrained(locate("minilm"), dtype=torch.float32).eval()

    def encode(backbone, texts):
        tokens = backbone.tokenize(texts)
        vectors = []
        for start, length in zip(tokens.starts, tokens.lengths, strict=True):
            ids = torch.from_numpy(tokens.flat[start : start + length].astype(np.int64))[None]
            with torch.inference_mode():
                vectors.append(
                    torch.nn.functional.normalize(model(input_ids=ids).last_hidden_state.mean(1))[0].numpy()
                )
        return np.stack(vectors)

    return encode


def test_vectors_have_length_one_and_follow_the_order_of_the_texts(embedder):
    vectors = embedder.encode(TEXTS)

    assert vectors.shape == (6, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (vectors[0] == vectors[4]).all()
    assert vectors[0] @ vectors[2] < 0.9


def test_packed_vectors_agree_with_the_plain_model(embedder, full_precision):
    texts = TEXTS[:5]

    cosine = (embedder.encode(texts) * full_precision(embedder.backbone, texts)).sum(axis=1)

    assert cosine.min() > 0.999


def test_a_vector_does_not_depend_on_the_texts_beside_it(embedder):
    texts = [f"{'please ' * (i % 7)}tell me about order {i}" for i in range(300)]

    together = embedder.encode(texts)
    alone = np.concatenate([embedder.encode([text]) for text in texts[:20]])

    assert (together[:20] * alone).sum(axis=1).min() > 0.9999


def test_no_texts_give_no_vectors(embedder):
    assert embedder.encode([]).shape == (0, 384)


def test_kept_vectors_are_the_same_and_are_not_encoded_again(embedder, tmp_path):
    cold = Embedder(embedder.backbone, cache=tmp_path).encode(TEXTS[:5])
    seen = []

    warm = Embedder(embedder.backbone, cache=tmp_path).encode(
        TEXTS[:5], progress=lambda *step: seen.append(step)
    )

    assert (cold == warm).all()
    assert seen == []


def test_a_duplicate_is_encoded_once(embedder):
    seen = []

    embedder.encode(["a", "b", "a", "a"], progress=lambda *step: seen.append(step))

    assert seen == [("embedding", 2, 2)]


def test_a_broken_cache_says_which_file_to_delete(embedder, tmp_path):
    (tmp_path / f"{embedder.id}.sqlite").write_bytes(b"not a database" * 100)

    with pytest.raises(StoreError, match="delete it to start afresh"):
        Embedder(embedder.backbone, cache=tmp_path).encode(["a"])


def test_an_unknown_encoder_is_not_found():
    with pytest.raises(NotFoundError, match="no-such-folder"):
        Embedder.load("./no-such-folder/at all")


def test_the_id_names_content_and_precision(embedder):
    assert embedder.id.startswith("encoder-sha256-")
    assert Embedder(load_backbone("minilm", dtype=torch.float32)).id != embedder.id or (
        embedder.backbone.model.dtype == torch.float32
    )


def test_batches_hold_every_text_once_by_rising_length():
    lengths = np.array([5, 90, 3, 40, 3, 70])

    batches = list(plan(lengths, budget=100))

    assert [b.tolist() for b in batches] == [[2, 4, 0, 3], [5], [1]]


def test_a_text_longer_than_the_budget_gets_a_batch_of_its_own():
    assert [b.tolist() for b in plan(np.array([300, 10]), budget=100)] == [[1], [0]]


def test_packing_keeps_tokens_and_places(embedder):
    tokens = embedder.backbone.tokenize(["hi", "hi there"])

    packed = pack(tokens, np.array([0, 1]))

    assert packed.ids.tolist() == [101, 7632, 102, 101, 7632, 2045, 102]
    assert packed.positions.tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert packed.runs == ((1, 3), (1, 4))


@pytest.mark.parametrize("kind", ["distilbert", "roberta"])
def test_other_encoders_go_the_padded_way(kind, tmp_path, embedder):
    from transformers import AutoConfig

    sizes = {"distilbert": {"dim": 32, "n_heads": 2, "n_layers": 1, "hidden_dim": 64}}.get(
        kind,
        {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 64},
    )
    config = AutoConfig.for_model(kind, vocab_size=30522, pad_token_id=0, **sizes)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((locate("minilm") / "tokenizer.json").read_bytes())
    other = Embedder.load(str(tmp_path))

    together = other.encode(["a", "three words here", "and two"])

    assert other.dim == 32
    assert np.allclose(together[1], other.encode(["three words here"])[0], atol=2e-2)
