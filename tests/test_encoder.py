import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModel, BertConfig

from offramp import rows as _rows
from offramp.embed import Embedder
from offramp.embed.packed import load_backbone, locate
from offramp.errors import DataError, MismatchError, ModelError, TrainingError
from offramp.models.base import Classifier
from offramp.models.encoder import EncoderModel, share, tokenize
from offramp.train.encoder import CHECKPOINT, EncoderJob, EncoderSettings, fit_encoder
from offramp.types import Task

PLACES = ["kitchen", "garden", "office", "bathroom"]
THINGS = ["chair", "lamp", "table"]
QUICK = EncoderSettings(epochs=2, rank=4, batch_rows=16, checkpoint_steps=3, learning_rate=5e-3)


def offers(n, *, seed=0, taxonomy=False):
    random = np.random.default_rng(seed)
    places, things = random.choice(PLACES, n), random.choice(THINGS, n)
    return pa.table(
        {
            "id": [f"r{seed}.{i}" for i in range(n)],
            "field.title": [f"{t} no {i}" for i, t in enumerate(things)],
            "field.text": [f"nice for the {p} " * (1 + i % 3) for i, p in enumerate(places)],
            "target": [f"{p} > {t}" if taxonomy else p for p, t in zip(places, things, strict=True)],
        }
    )


def task_of(rows, **more):
    return Task(
        name="t", inputs=("title", "text"), target="t", labels=tuple(sorted(set(_rows.targets(rows)))), **more
    )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A two-layer BERT with random weights that reads like the embedded encoder."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(1)
    shape = BertConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128)
    AutoModel.from_config(shape).save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((locate("minilm") / "tokenizer.json").read_bytes())
    return folder


@pytest.fixture(scope="session")
def embedder(tiny):
    return Embedder.load(str(tiny))


@pytest.fixture(scope="session")
def tuned(embedder, tmp_path_factory):
    rows, held = offers(160), offers(60, seed=1)
    job = EncoderJob(task_of(rows), tmp_path_factory.mktemp("tuned"), embedder, QUICK)
    return fit_encoder(rows, held, job), EncoderModel.load(job.out), held


@pytest.fixture(scope="session")
def blind(embedder, tmp_path_factory):
    """A fit without validation: its weights have seen every epoch."""
    rows = offers(160)
    job = EncoderJob(task_of(rows), tmp_path_factory.mktemp("blind"), embedder, QUICK)
    return fit_encoder(rows, None, job), EncoderModel.load(job.out)


def test_a_tuned_encoder_answers_rows(tuned):
    fit, model, held = tuned

    answers = model.answer(held)

    assert isinstance(model, Classifier)
    assert model.labels == ("bathroom", "garden", "kitchen", "office")
    assert answers.column("id").to_pylist() == held.column("id").to_pylist()
    right = np.mean(
        [a == t for a, t in zip(answers.column("text").to_pylist(), _rows.targets(held), strict=True)]
    )
    assert right >= 0.9
    assert len(fit.losses) == 20
    assert len(fit.validation_accuracy) == 3
    assert fit.size_bytes == model.size_bytes > 3_000_000


def test_probabilities_sum_to_one(tuned):
    _, model, held = tuned

    chances = model.probabilities(held)

    assert chances.shape == (60, 4)
    assert chances.dtype == np.float32
    assert np.allclose(chances.sum(axis=1), 1, atol=1e-5)


def test_the_adapter_reloads_with_peft_and_equals_the_merged_weights(blind, tiny):
    from peft import PeftModel

    _, model = blind
    base = load_backbone(tiny, dtype=torch.float32).model

    merged = PeftModel.from_pretrained(base, model.path / "adapter").merge_and_unload()

    name = "encoder.layer.1.intermediate.dense.weight"
    served = load_backbone(model.path / "merged", dtype=torch.float32).model.state_dict()[name]
    untuned = load_backbone(tiny, dtype=torch.float32).model.state_dict()[name]
    assert (merged.state_dict()[name] - served).abs().max() < 0.2 * (untuned - served).abs().max()


def test_the_checkpoint_is_gone_when_the_model_is_there(tuned):
    _, model, _ = tuned

    assert not (model.path / CHECKPOINT).exists()
    assert json.loads((model.path / "config.json").read_text())["engine"] == "encoder"


def test_a_refit_takes_over_the_choices_of_the_first(tuned, embedder, tmp_path):
    fit, model, held = tuned
    both = pa.concat_tables([offers(160), held])

    again = fit_encoder(both, None, EncoderJob(task_of(both), tmp_path, embedder, QUICK, first=model.path))

    assert again.chosen_epoch == fit.chosen_epoch
    assert again.temperature == fit.temperature
    assert again.max_tokens == fit.max_tokens
    assert again.validation_accuracy == ()


def test_a_taxonomy_answers_with_whole_paths(embedder, tmp_path):
    rows = offers(200, taxonomy=True)

    fit_encoder(
        rows,
        offers(40, seed=1, taxonomy=True),
        EncoderJob(task_of(rows, levels=2), tmp_path, embedder, QUICK),
    )

    said = EncoderModel.load(tmp_path).answer(offers(40, seed=2, taxonomy=True)).column("text").to_pylist()
    assert set(said) <= set(_rows.targets(rows))


def test_a_label_without_rows_can_still_be_answered(embedder, tmp_path):
    rows = offers(120)
    task = Task(name="t", inputs=("title", "text"), target="t", labels=("attic", *PLACES))

    fit_encoder(rows, None, EncoderJob(task, tmp_path, embedder, QUICK))

    assert EncoderModel.load(tmp_path).labels[0] == "attic"
    assert EncoderModel.load(tmp_path).probabilities(rows)[:, 0].min() > 0


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_encoder import QUICK, EncoderJob, Embedder, fit_encoder, offers, task_of

def die(stage, done, total):
    if stage.startswith("encoder: epoch") and done == 14:
        os.kill(os.getpid(), signal.SIGKILL)

rows = offers(160)
job = EncoderJob(task_of(rows), Path(sys.argv[3]), Embedder.load(sys.argv[2]), QUICK, progress=die)
fit_encoder(rows, None, job)
"""


def test_a_fit_killed_half_way_ends_with_the_same_weights(blind, tiny, embedder, tmp_path):
    fit, model = blind
    here = str(Path(__file__).parent)
    child = subprocess.run([sys.executable, "-c", KILLED, here, str(tiny), str(tmp_path)], check=False)
    steps = []

    rows = offers(160)
    note = lambda stage, done, total: steps.append(done)  # noqa: E731
    again = fit_encoder(rows, None, EncoderJob(task_of(rows), tmp_path, embedder, QUICK, progress=note))

    assert child.returncode == -9
    assert steps[0] == 13
    assert again.losses == fit.losses
    for name in ("merged/model.safetensors", "head.safetensors", "adapter/adapter_model.safetensors"):
        assert (tmp_path / name).read_bytes() == (model.path / name).read_bytes()


def test_another_fits_checkpoint_is_not_taken(embedder, tmp_path):
    rows = offers(48)

    def stop(stage, done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_encoder(rows, None, EncoderJob(task_of(rows), tmp_path, embedder, QUICK, progress=stop))
    assert (tmp_path / CHECKPOINT).exists()

    fit = fit_encoder(rows, None, EncoderJob(task_of(rows), tmp_path, embedder, QUICK, seed=5))

    assert len(fit.losses) == 6


def test_full_tuning_needs_no_adapter(embedder, tmp_path):
    rows = offers(96)

    fit_encoder(
        rows,
        None,
        EncoderJob(
            task_of(rows),
            tmp_path,
            embedder,
            QUICK.model_copy(update={"mode": "full", "learning_rate": 1e-3}),
        ),
    )

    assert not (tmp_path / "adapter").exists()
    assert EncoderModel.load(tmp_path).probabilities(rows).shape == (96, 4)


def test_a_saved_model_that_answers_otherwise_is_refused(tuned, embedder, tmp_path):
    from offramp.train.student import Shape, Student, checked

    _, model, held = tuned
    head = (torch.randn(4, 64), torch.zeros(4))
    other = Student.make(Shape(embedder.backbone.path, "lora", 4, 0.0, 0), head)

    with pytest.raises(MismatchError, match="should answer like the one trained"):
        checked(model.path, other, tokenize(embedder.backbone, held))


def test_one_label_is_not_a_task(embedder, tmp_path):
    rows = offers(30).filter(pa.compute.equal(offers(30).column("target"), "kitchen"))

    with pytest.raises(DataError, match="two labels with rows were expected; found 1"):
        fit_encoder(rows, None, EncoderJob(task_of(rows), tmp_path, embedder, QUICK))


def test_a_loss_that_is_no_number_stops_the_fit(embedder, tmp_path):
    rows = offers(64)
    wild = QUICK.model_copy(update={"learning_rate": 1e30})

    with pytest.raises(TrainingError, match="lower `learning_rate`"):
        fit_encoder(rows, None, EncoderJob(task_of(rows), tmp_path, embedder, wild))


def test_a_folder_without_a_model_says_so(tmp_path):
    with pytest.raises(ModelError, match="could not be read"):
        EncoderModel.load(tmp_path)


def test_long_fields_are_cut_first():
    assert share([10, 80, 30], 60) == [10, 25, 25]
    assert share([5, 5], 60) == [5, 5]
    assert share([100, 100, 2], 32) == [15, 15, 2]
    assert share([3], 0) == [0]


def test_fields_are_read_with_separators_and_empty_ones_left_out(embedder):
    rows = pa.table(
        {
            "id": ["a", "b", "c"],
            "field.x": ["hi", "", ""],
            "field.y": ["there", "there", ""],
            "target": ["t"] * 3,
        }
    )

    tokens = tokenize(embedder.backbone, rows, max_tokens=16)

    assert tokens.lengths.tolist() == [5, 3, 2]
    assert tokens.flat.tolist() == [101, 7632, 102, 2045, 102, 101, 2045, 102, 101, 102]


def test_the_embedded_encoder_learns_from_few_rows(tmp_path):
    rows, held = offers(96), offers(60, seed=1)
    settings = EncoderSettings(epochs=1)

    fit = fit_encoder(rows, held, EncoderJob(task_of(rows), tmp_path, Embedder.load(), settings))

    assert max(fit.validation_accuracy) >= 0.9
    assert fit.size_bytes < 100_000_000
