"""Tuning decoders: packing, equal losses, killed fits, choices on validation, room made when memory runs out."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.numpy import load_file

from offramp.errors import ConfigError, DataError, ModelError, NotFoundError, TrainingError
from offramp.render import Renderer
from offramp.train.decoder import CONFIG, DecoderJob, fit_decoder, read_candidate
from offramp.train.decoder_data import MASKABLE, Row, packing_of, parts, shared_tokens
from offramp.train.decoder_settings import DecoderSettings, Shape, plan
from offramp.types import Task
from tiny_decoder import make_base

WORDS = "where is my parcel card lost late refund please help order the blue red box was broken again today".split()
LABELS = ("delivery", "payment", "damage")
TELLS = {"delivery": "parcel", "payment": "card", "damage": "broken"}
TASK = Task(name="tickets", inputs=("text",), target="label", labels=LABELS)
INSTRUCTION = "Say which one it is: delivery, payment or damage."
FAST = {"learning_rate": 1e-2, "dtype": "float32", "batch_rows": 8, "rank": 8}


def ticket_rows(count: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    labels = [LABELS[i] for i in rng.integers(0, 3, count)]
    texts = [" ".join([*rng.choice(WORDS[:4] + WORDS[6:16], 4), TELLS[label]]) for label in labels]
    return pa.table({"id": [str(i) for i in range(count)], "field.text": texts, "target": labels})


def exact(answers, rows) -> float:
    return float(np.mean([a == b for a, b in zip(answers, rows.column("target").to_pylist(), strict=True)]))


def job_of(base: Path, out: Path, **given) -> DecoderJob:
    settings = DecoderSettings(**{**FAST, **given.pop("settings", {})})
    return DecoderJob(TASK, out, base, Renderer.load(base), settings, instruction=INSTRUCTION, **given)


def conversation(text: str, answer: str) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": INSTRUCTION},
        {"role": "user", "content": text},
        {"role": "assistant", "content": answer},
    ]


def weights_of(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def killable_fit(base: str, out: str, at_step: str = "0", at_score: str = "0"):
    """Fit 12 steps with checkpoints every 2 and evaluations every 4; die after a step or in the n-th evaluation."""
    torch.set_num_threads(1)
    scored = []

    def score(answers, rows) -> float:
        scored.append(1)
        if len(scored) == int(at_score):
            os.kill(os.getpid(), signal.SIGKILL)
        return exact(answers, rows)

    def progress(text: str, done: int, total: int) -> None:
        if done == int(at_step):
            os.kill(os.getpid(), signal.SIGKILL)

    settings = {"epochs": 2, "checkpoint_steps": 2}
    job = job_of(Path(base), Path(out), settings=settings, score=score, progress=progress)
    return fit_decoder(ticket_rows(48, 1), ticket_rows(12, 2), job)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("bases") / "tiny")


def rows_with(prefix: list[int], tails: list[tuple[list[int], list[int]]]) -> list[Row]:
    """Rows of a common prefix, an own prompt and an answer."""
    return [
        Row(
            np.array([*prefix, *prompt, *answer]),
            np.array([False] * (len(prefix) + len(prompt)) + [True] * len(answer)),
        )
        for prompt, answer in tails
    ]


# ---- packing -------------------------------------------------------------------------------------------------------


def test_a_part_holds_the_shared_prompt_once_and_each_row_at_its_own_places():
    rows = rows_with([5, 6, 7, 8, 9], [([11, 12], [13]), ([21, 22, 23], [24, 25])])

    (part,) = parts(rows, 100, "shared")

    assert part.ids.tolist() == [[5, 6, 7, 8, 9, 11, 12, 13, 21, 22, 23, 24, 25]]
    assert part.positions.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 5, 6, 7, 8, 9]]
    assert part.at.tolist() == [6, 10, 11]
    assert part.gold.tolist() == [13, 24, 25]
    assert part.mask[0, 0, 9].nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 8, 9]


def test_the_token_before_an_answer_is_never_shared():
    rows = rows_with([5, 6, 7, 8, 9], [([11], [13]), ([11], [14])])

    assert shared_tokens(rows) == 5


def test_parts_keep_to_the_budget_and_lose_no_row():
    rows = rows_with(list(range(10, 20)), [([i, i + 1, i + 2], [99]) for i in range(20, 32)])

    found = list(parts(rows, 30, "shared"))

    assert [part.ids.shape[1] for part in found] == [30, 30, 18]
    assert sum(part.rows for part in found) == 12
    assert [len(part.ids[0]) for part in parts(rows, 30, "rows")] == [14] * 12


@pytest.mark.parametrize("family", ["qwen3", "llama", "mistral", "gemma3_text", "phi3", "granite"])
@pytest.mark.parametrize("packing", ["shared", "flat"])
def test_packed_rows_have_the_loss_of_separate_rows(family: str, packing: str, family_models):
    from offramp.train.decoder_trainer import part_losses

    model = family_models(family)
    rng = np.random.default_rng(3)
    tails = [(rng.integers(3, 300, 6).tolist(), rng.integers(3, 300, n).tolist()) for n in (1, 3, 2)]
    rows = rows_with(rng.integers(3, 300, 12).tolist(), tails)
    assert packing_of(model.config, 32) == "shared"

    def loss_and_gradient(how: str) -> tuple[list[float], torch.Tensor]:
        model.zero_grad()
        losses = torch.cat([part_losses(model, part, autocast=False) for part in parts(rows, 999, how)])
        losses.sum().backward()
        return losses.tolist(), next(model.parameters()).grad.clone()

    alone, packed = loss_and_gradient("rows"), loss_and_gradient(packing)

    assert packed[0] == pytest.approx(alone[0], abs=2e-5)
    assert (packed[1] - alone[1]).abs().max() < 1e-4 * alone[1].abs().max()


@pytest.fixture(scope="session")
def family_models(tmp_path_factory: pytest.TempPathFactory):
    from transformers import AutoModelForCausalLM

    made = {}

    def model_of(family: str):
        if family not in made:
            folder = make_base(tmp_path_factory.mktemp("families") / family, family=family)
            made[family] = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        return made[family]

    return model_of


def test_an_architecture_with_state_along_the_sequence_gets_one_row_per_part():
    from transformers import AutoConfig

    assert "mamba" not in MASKABLE
    assert packing_of(AutoConfig.for_model("mamba"), 32) == "rows"
    assert packing_of(AutoConfig.for_model("mistral", sliding_window=16), 32) == "rows"


# ---- the fit -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def fitted(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory):
    out = tmp_path_factory.mktemp("fits") / "lora"
    said: list[str] = []
    job = job_of(
        tiny_base,
        out,
        settings={"epochs": 4},
        score=exact,
        progress=lambda text, done, total: said.append(text),
    )
    fit = fit_decoder(ticket_rows(96, 1), ticket_rows(24, 2), job)
    return job, fit, said


def test_a_tuned_decoder_learns_the_task_and_its_folder_is_complete(fitted):
    job, fit, _ = fitted

    assert fit.validation_score[-1] > 0.8
    assert fit.losses[-1] < fit.losses[0] / 4
    assert read_candidate(job.out)["chosen_step"] == fit.chosen_step
    assert Renderer.load(job.out).identity == job.renderer.identity
    assert json.loads((job.out / "generation_config.json").read_text())["eos_token_id"] == [2, 0]
    assert not (job.out / "training").exists()


def test_the_saved_adapter_answers_as_the_score_saw_it(fitted):
    from offramp.models.constrain import Grammar
    from offramp.models.generation import Ask, Generator

    job, fit, _ = fitted
    rows = ticket_rows(24, 2)
    messages = [conversation(text, "")[:2] for text in rows.column("field.text").to_pylist()]
    engine = Generator.load(job.base, adapters={"a": job.out / "adapter"}, renderer=Renderer.load(job.out))

    said = engine.generate(
        [Ask(job.renderer.prompt(each), 20, Grammar.of_labels(LABELS), "a") for each in messages]
    )

    assert exact([job.renderer.decode(each.ids) for each in said], rows) == max(fit.validation_score)


def test_progress_tells_loss_speed_and_time_left(fitted):
    _, fit, said = fitted

    assert said[-1].startswith(f"decoder: loss {fit.losses[-1]:.3f}, ")
    assert said[-1].endswith(" tokens/s, 0 s left")


def test_the_forecast_is_made_of_the_steps_that_are_run(fitted):
    job, fit, _ = fitted
    rows = ticket_rows(96, 1)
    said = zip(rows.column("field.text").to_pylist(), rows.column("target").to_pylist(), strict=True)
    tokens = sum(len(job.renderer.train(conversation(*pair))[0].ids) for pair in said)

    assert fit.forecast.steps == 48
    assert fit.forecast.tokens == 4 * tokens
    assert fit.forecast.duration_s < 60


def test_a_refused_forecast_trains_nothing(tiny_base: Path, tmp_path: Path):
    def refuse(forecast) -> None:
        raise TrainingError(f"{forecast.steps} steps are too many")

    with pytest.raises(TrainingError, match="12 steps are too many"):
        fit_decoder(
            ticket_rows(32, 1), None, job_of(tiny_base, tmp_path, settings={"epochs": 3}, announce=refuse)
        )

    assert not (tmp_path / CONFIG).exists()


def test_a_killed_fit_that_is_started_again_ends_with_bitwise_the_same_weights(
    tiny_base: Path, tmp_path: Path
):
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_train_decoder as t; t.killable_fit(*sys.argv[1:])"
    )
    out, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    threads = torch.get_num_threads()
    wanted = killable_fit(str(tiny_base), str(undisturbed))

    # After step 5, the last checkpoint being of step 4; then while step 8 is evaluated, before anything of it is kept.
    for moment in (["5", "0"], ["0", "1"]):
        command = [sys.executable, "-W", "ignore", "-c", code, str(tiny_base), str(out), *moment]
        ended = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
        assert ended.returncode == -signal.SIGKILL
        (work,) = (out / "training").iterdir()
        (whole,) = [path for path in work.glob("checkpoint-*") if (path / "whole").exists()]
        assert whole.name == {"5": "checkpoint-4", "0": "checkpoint-6"}[moment[0]]
        assert not (out / CONFIG).exists()
        shutil.copytree(whole, work / "checkpoint-98", ignore=lambda folder, names: ["whole", "optimizer.pt"])
    found = killable_fit(str(tiny_base), str(out))
    torch.set_num_threads(threads)

    assert (found.losses, found.validation_loss) == (wanted.losses, wanted.validation_loss)
    assert (found.validation_score, found.chosen_step) == (wanted.validation_score, wanted.chosen_step)
    kept, again = weights_of(undisturbed), weights_of(out)
    assert kept.keys() == again.keys()
    assert all(np.array_equal(kept[name], again[name]) for name in kept)


def test_the_earliest_best_step_is_kept_and_a_tired_fit_stops(tiny_base: Path, tmp_path: Path):
    scores = iter([0.5, 0.9, 0.7, 0.6, 0.8, 0.9])
    job = job_of(
        tiny_base,
        tmp_path,
        settings={"epochs": 6, "patience": 2, "score_rows": 2},
        score=lambda answers, rows: next(scores),
    )
    # The forecast does not score, so every score is an evaluation's.
    fit = fit_decoder(ticket_rows(32, 1), ticket_rows(8, 2), job)

    assert fit.validation_score == (0.5, 0.9, 0.7, 0.6)
    assert (fit.chosen_step, len(fit.losses)) == (8, 16)


def test_a_refit_keeps_the_choices_and_learns_from_all_rows(fitted, tiny_base: Path, tmp_path: Path):
    job, fit, _ = fitted
    both = pa.concat_tables([ticket_rows(96, 1), ticket_rows(24, 2)])

    again = fit_decoder(both, None, job_of(tiny_base, tmp_path, first=job.out))

    assert read_candidate(tmp_path)["plan"] == read_candidate(job.out)["plan"]
    assert again.chosen_step == len(again.losses) == round(fit.chosen_step / 12 * 15)
    assert again.validation_loss == ()


@pytest.mark.parametrize("mode", ["rslora", "dora", "full"])
def test_every_mode_trains_and_loads_again(mode: str, tiny_base: Path, tmp_path: Path):
    job = job_of(tiny_base, tmp_path, settings={"mode": mode, "epochs": 2, "learning_rate": 3e-3})

    fit = fit_decoder(ticket_rows(32, 1), None, job)

    assert fit.losses[-1] < fit.losses[0]
    assert (tmp_path / ("model" if mode == "full" else "adapter")).is_dir()
    assert read_candidate(tmp_path)["adapter"] is (mode != "full")


def test_bfloat16_reaches_the_loss_of_float32(tiny_base: Path, tmp_path: Path):
    ends = [
        fit_decoder(
            ticket_rows(64, 1),
            None,
            job_of(tiny_base, tmp_path / dtype, settings={"dtype": dtype, "epochs": 2}),
        ).losses[-1]
        for dtype in ("float32", "bfloat16")
    ]

    assert ends[1] == pytest.approx(ends[0], abs=0.1)


# ---- memory --------------------------------------------------------------------------------------------------------


def test_when_memory_runs_out_parts_are_halved_and_the_losses_stay(tiny_base: Path, tmp_path: Path):
    def strain(tokens: int, checkpointing: bool) -> None:
        if tokens > 200:
            raise MemoryError(f"{tokens} tokens")

    rows, settings = ticket_rows(32, 1), {"epochs": 1, "packing": "flat"}
    roomy = fit_decoder(rows, None, job_of(tiny_base, tmp_path / "roomy", settings=settings))
    tight = fit_decoder(rows, None, job_of(tiny_base, tmp_path / "tight", settings=settings, strain=strain))

    assert roomy.halved == 0
    assert tight.halved >= 1
    assert tight.losses == pytest.approx(roomy.losses, abs=1e-4)


def test_a_row_that_does_not_fit_gets_activation_checkpointing(tiny_base: Path, tmp_path: Path):
    def strain(tokens: int, checkpointing: bool) -> None:
        if not checkpointing:
            raise torch.OutOfMemoryError("CUDA out of memory")

    rows = ticket_rows(16, 1)
    roomy = fit_decoder(rows, None, job_of(tiny_base, tmp_path / "roomy", settings={"epochs": 1}))
    tight = fit_decoder(
        rows, None, job_of(tiny_base, tmp_path / "tight", settings={"epochs": 1}, strain=strain)
    )

    assert tight.losses == pytest.approx(roomy.losses, abs=1e-4)


def test_a_row_that_cannot_fit_at_all_is_an_error_that_says_what_to_do(tiny_base: Path, tmp_path: Path):
    def strain(tokens: int, checkpointing: bool) -> None:
        raise MemoryError

    with pytest.raises(TrainingError, match="lower `max_tokens`"):
        fit_decoder(ticket_rows(16, 1), None, job_of(tiny_base, tmp_path, strain=strain))


# ---- bad input -----------------------------------------------------------------------------------------------------


def test_answers_too_long_are_counted_and_prompts_are_shortened_instead_of_answers(
    tiny_base: Path, tmp_path: Path
):
    rows = pa.table(
        {
            "id": ["a", "b", "c", "d", "e"],
            "field.text": ["where is my parcel", "card " * 100, "box", "late", "red"],
            "target": ["delivery", "payment", "damage " * 100, "delivery", "damage"],
        }
    )

    settings = {"epochs": 1, "max_tokens": 120, "most_dropped_ratio": 0.2}
    fit = fit_decoder(rows, None, job_of(tiny_base, tmp_path, settings=settings))

    assert (fit.truncated, fit.dropped) == (1, 1)
    assert fit.max_tokens <= 120


def test_no_row_left_is_an_error(tiny_base: Path, tmp_path: Path):
    rows = pa.table({"id": ["a"], "field.text": ["box"], "target": ["damage " * 100]})

    with pytest.raises(DataError, match="nothing to learn from"):
        fit_decoder(rows, None, job_of(tiny_base, tmp_path, settings={"max_tokens": 40}))


def test_an_empty_answer_is_an_error_that_names_its_row(tiny_base: Path, tmp_path: Path):
    rows = pa.table({"id": ["a", "b"], "field.text": ["box", "late"], "target": ["damage", " "]})

    with pytest.raises(DataError, match=r"row 1: .*empty assistant turn"):
        fit_decoder(rows, None, job_of(tiny_base, tmp_path))


def test_a_loss_that_is_no_number_stops_the_fit(tiny_base: Path, tmp_path: Path):
    base = tmp_path / "broken"
    shutil.copytree(tiny_base, base)
    weights = load_file(base / "model.safetensors")
    weights["model.norm.weight"] = weights["model.norm.weight"] * np.nan
    from safetensors.numpy import save_file

    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(TrainingError, match="the loss is nan"):
        fit_decoder(ticket_rows(16, 1), None, job_of(base, tmp_path / "out"))


def test_a_damaged_base_is_an_error_and_a_missing_one_too(tiny_base: Path, tmp_path: Path):
    base = tmp_path / "broken"
    shutil.copytree(tiny_base, base)
    (base / "model.safetensors").write_bytes(b"not weights")

    with pytest.raises(ModelError, match="copy or download it again"):
        fit_decoder(ticket_rows(16, 1), None, job_of(base, tmp_path / "out"))
    with pytest.raises(NotFoundError, match="run the fit again"):
        read_candidate(tmp_path / "out")


def test_four_bits_without_bitsandbytes_is_an_error(tiny_base: Path, tmp_path: Path):
    import importlib.util

    if importlib.util.find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is installed")
    with pytest.raises(ConfigError, match="bitsandbytes"):
        fit_decoder(ticket_rows(16, 1), None, job_of(tiny_base, tmp_path, settings={"mode": "qlora"}))


# ---- defaults ------------------------------------------------------------------------------------------------------


def test_small_data_gets_small_batches_and_more_epochs():
    shape = Shape("qwen3", 1024, 600_000_000)

    small, medium, large = (plan(DecoderSettings(), shape, rows) for rows in (60, 2_000, 200_000))

    assert (small.batch_rows, small.epochs, small.rank) == (4, 7, 16)
    assert (medium.batch_rows, medium.epochs, medium.rank) == (16, 3, 16)
    assert (large.batch_rows, large.epochs, large.rank) == (16, 1, 64)


def test_the_learning_rate_follows_the_width_and_the_mode():
    def rate(family: str, hidden: int, parameters: float, **settings) -> float:
        return plan(DecoderSettings(**settings), Shape(family, hidden, int(parameters)), 2_000).learning_rate

    assert rate("qwen3", 1024, 6e8) == pytest.approx(5.27e-4, rel=1e-2)
    assert rate("llama", 2048, 1e9) == pytest.approx(4.91e-4, rel=1e-2)
    assert rate("llama", 256, 1e7) == 1e-3
    assert rate("qwen3", 4096, 8e9) == 2e-4
    assert rate("qwen3", 1024, 6e8, mode="full") == pytest.approx(5.27e-5, rel=1e-2)
    assert rate("qwen3", 1024, 6e8, learning_rate=3e-4) == 3e-4


def test_memory_by_formula_counts_weights_adapters_activations_and_logits():
    from offramp.train.forecast import Dimensions, memory_bytes

    size = Dimensions(parameters=600_000_000, layers=28, hidden=1024, vocabulary=151_936)

    found = memory_bytes(size, "lora", rank=16, batch_tokens=1024, label_tokens=64, weight_bytes=2)

    parts_bytes = 1.2e9 + 16 * 21 * 16 * 1024 * 28 + 34 * 1024 * 1024 * 28 + 12 * 64 * 151_936
    assert found == pytest.approx(1.15 * parts_bytes, rel=1e-6)
    assert math.isclose(found, 2.81e9, rel_tol=0.02)


# ---- preferences ---------------------------------------------------------------------------------------------------


def pairs_of(count: int) -> pa.Table:
    """Pairs where people rather read an answer in capitals."""
    rows = ticket_rows(count, 5)
    chosen = pa.array([target.upper() for target in rows.column("target").to_pylist()])
    return rows.append_column("chosen", chosen).append_column("rejected", rows.column("target"))


def test_learning_from_pairs_raises_the_margin_and_leaves_the_tuned_candidate_alone(fitted, tmp_path: Path):
    from offramp.train.preference import PreferenceJob, PreferenceSettings, fit_preference

    job, _, _ = fitted
    before = weights_of(job.out)

    fit = fit_preference(
        pairs_of(16),
        PreferenceJob(
            job.out, job.base, tmp_path, PreferenceSettings(learning_rate=1e-2, epochs=4, batch_rows=8)
        ),
    )

    assert fit.pairs == 16
    assert (round(fit.losses[0], 3), fit.margins[0]) == (0.693, 0.0)
    assert fit.margins[-1] > 0.5
    assert fit.losses[-1] < 0.5
    after, found = weights_of(job.out), weights_of(tmp_path)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert before.keys() == found.keys()
    assert not all(np.array_equal(before[name], found[name]) for name in before)
    assert read_candidate(tmp_path)["preference"]["beta"] == 0.1
    assert not (tmp_path / "training").exists()


def test_a_pair_of_equal_answers_is_an_error(tiny_base: Path):
    from offramp.train.preference import token_pairs

    rows = ticket_rows(2, 1)
    pairs = rows.append_column("chosen", rows.column("target")).append_column(
        "rejected", rows.column("target")
    )

    with pytest.raises(DataError, match="row '0': two different answers"):
        token_pairs(pairs, Renderer.load(tiny_base))


# ---- the benchmark -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_small_benchmark_runs_and_losses_agree():
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, str(root / "bench" / "decoder.py")],
        env={**os.environ, "BENCH_SMALL": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    found = json.loads(done.stdout.strip().splitlines()[-1])["goals"]
    assert found["small instructed: loss apart from plain TRL"]["met"]
