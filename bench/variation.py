"""Does a model that reads instruction and text together care about the wording, and what helps: variation or cutting?

Every logged request is one instruction and a customer's text in one user message. Models of the ladder are trained on
such rows as they are, with varied wordings, with some bare rows, and with the prompt taken out; the same test rows are
then asked under seen and unseen wordings. Differences are paired by row, seeds of a row are one cluster, intervals are
95 %. Then: how much of a long prompt can go (choices on validation rows, the verdict on test rows), and detection of
planted prompts. `BENCH_SMALL=1` takes few rows and one seed.
"""

import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import _variation as v
import _variation_detect as detect
from _common import SMALL, data_dir, emit, table
from offramp.curate.prompts.prune import PruneSettings, prune
from offramp.embed import Embedder
from offramp.models.encoder import EncoderModel
from offramp.models.linear import LinearModel
from offramp.stats.paired import paired_sample, score_interval
from offramp.stats.proportion import clopper_pearson_interval, effective_counts
from offramp.train.encoder import EncoderJob, EncoderSettings, fit_encoder
from offramp.train.linear import LinearJob, LinearSettings, fit_linear
from offramp.types import Task

Fit = Callable[[pa.Table, int], Callable[[pa.Table], list[str | None]]]
"""Rows and seed to a function that answers rows."""
Right = dict[tuple[str, str, str, str], np.ndarray]
"""Data, model, training and test wording to right or wrong, float64 (seeds, rows)."""
SEEDS = (31,) if SMALL else (31, 32, 33)
LABELS, PER_LABEL = (6, (10, 5)) if SMALL else (20, (12, 8))
ENCODER_LABELS, ENCODER_PER_LABEL = (4, (8, 5)) if SMALL else (10, (15, 10))
ENCODER_TOKENS = 128
"""Tokens the encoder reads here; its own default ends inside the prompt, which is measured apart."""
REQUESTS_PER_MONTH, USD_PER_MTOK = 1_000_000, Decimal("2.50")
"""Traffic of the demo and list price of its incumbent, gpt-4o, uncached input.

Source: https://openai.com/api/pricing, as in `offramp/prices/hosted.yml`.
"""
LOSS_GOAL = 0.01
OWN_LENGTH = "own length"

SOURCES = {
    "banking77": ("banking77", v.PROMPT, SEEDS),
    "clinc150": ("clinc150", v.PROMPT, SEEDS),
    "banking77, long prompt": ("banking77", v.LONG_PROMPT, SEEDS[:1]),
    "banking77, prompt with slots": ("banking77", v.SLOT_PROMPT, SEEDS[:1]),
}
"""Data, prompt and seeds; the prompts other than the usual one show what they hide, not small differences."""
COMPARED = (
    (v.FIXED, v.UNSEEN, v.FIXED, v.ORIGINAL),
    (v.FIXED, v.HAND, v.FIXED, v.ORIGINAL),
    (v.VARIED, v.UNSEEN, v.FIXED, v.UNSEEN),
    (v.VARIED, v.HAND, v.FIXED, v.HAND),
    (v.VARIED, v.UNSEEN, v.VARIED, v.SEEN),
    (v.SOME_BARE, v.BARE, v.FIXED, v.BARE),
    (v.CUT, v.ORIGINAL, v.FIXED, v.ORIGINAL),
    (v.CUT, v.UNSEEN, v.FIXED, v.UNSEEN),
    (v.AGAIN, v.UNSEEN, v.VARIED, v.UNSEEN),
    (v.AGAIN, v.HAND, v.VARIED, v.HAND),
    (v.SENTENCES, v.UNSEEN, v.VARIED, v.UNSEEN),
    (v.BOTH, v.ORIGINAL, v.FIXED, v.ORIGINAL),
    (v.BOTH, v.UNSEEN, v.VARIED, v.UNSEEN),
    (v.BOTH, v.HAND, v.VARIED, v.HAND),
    (v.BOTH, v.HAND, v.SENTENCES, v.HAND),
)
"""Which pairs of training and wording are compared."""


def main() -> None:
    """Run and report."""
    folder = data_dir()
    figures, goals = detect.measure(folder)
    right: Right = {}
    with tempfile.TemporaryDirectory() as scratch:
        embedder = Embedder.load(cache=Path(scratch))
        fits: dict[str, Fit] = {
            "embedding + linear": _linear(Path(scratch), embedder, words=False),
            "TF-IDF + linear": _linear(Path(scratch), embedder, embedding=False),
        }
        for key, (name, prompt, seeds) in SOURCES.items():
            right |= _gathered(key, [_experiment((folder, name, prompt), fits, seed) for seed in seeds])
            _show(key, right)
        right |= _gathered("banking77, 10 intents", [_tuned(folder, Path(scratch), embedder)])
        _show("banking77, 10 intents", right)
        pruning = _pruning(folder, fits)
    figures |= {"accuracy": _figures(right), "pruning": pruning}
    emit("variation", figures, goals | _goals(right))


def _experiment(
    source: tuple[Path, str, str], fits: dict[str, Fit], seed: int
) -> dict[tuple[str, str, str], np.ndarray]:
    folder, name, prompt = source
    train, test = v.read(folder, name, labels=LABELS, per_label=PER_LABEL, seed=seed)
    return _asked(train, test, fits, v.wordings(prompt, seed), seed)


def _asked(
    train: v.Part, test: v.Part, fits: dict[str, Fit], words: Any, seed: int
) -> dict[tuple[str, str, str], np.ndarray]:
    """Fit each model under each condition and ask it the test rows in each wording."""
    found = {}
    asked = v.tests(test, words, seed)
    ways = v.trains(train, words, seed)
    for model, fit in fits.items():
        for way, (rows, serve) in ways.items():
            if OWN_LENGTH in model and way not in (v.FIXED, v.SENTENCES, v.BOTH):
                continue
            answer = fit(rows, seed)
            for wording, messages in asked.items():
                served = [serve(text) for text in messages]
                found[model, way, wording] = _right(answer, test, served)
                if way == v.CUT:
                    again = v.cut_again(test, messages)
                    found[model, v.AGAIN, wording] = _right(answer, test, again)
    return found


def _right(answer: Callable[[pa.Table], list[str | None]], test: v.Part, messages: list[str]) -> np.ndarray:
    said = answer(test.table(messages))
    return np.array([float(a == b) for a, b in zip(said, test.labels, strict=True)])


def _gathered(key: str, per: list[dict[tuple[str, str, str], np.ndarray]]) -> Right:
    return {(key, *what): np.stack([one[what] for one in per]) for what in per[0]}


def _linear(scratch: Path, embedder: Embedder, **views: bool) -> Fit:
    def fit(rows: pa.Table, seed: int) -> Callable[[pa.Table], list[str | None]]:
        out = Path(tempfile.mkdtemp(dir=scratch))
        fit_linear(rows, None, LinearJob(_task(rows), out, embedder, LinearSettings(**views), seed=seed))
        model = LinearModel.load(out, embedder=embedder)
        return lambda asked: model.answer(asked).column("text").to_pylist()

    return fit


def _tuned(folder: Path, scratch: Path, embedder: Embedder) -> dict[tuple[str, str, str], np.ndarray]:
    """Return the tuned encoder's answers; one seed, few intents, because prompts make training slow."""

    def fitting(tokens: int | None) -> Fit:
        def fit(rows: pa.Table, seed: int) -> Callable[[pa.Table], list[str | None]]:
            out = Path(tempfile.mkdtemp(dir=scratch))
            settings = EncoderSettings(epochs=3, max_tokens=tokens)
            fit_encoder(rows, None, EncoderJob(_task(rows), out, embedder, settings, seed=seed))
            model = EncoderModel.load(out)
            return lambda asked: model.answer(asked).column("text").to_pylist()

        return fit

    seed = SEEDS[0]
    train, test = v.read(folder, "banking77", labels=ENCODER_LABELS, per_label=ENCODER_PER_LABEL, seed=seed)
    fits = {"tuned encoder": fitting(ENCODER_TOKENS), f"tuned encoder, {OWN_LENGTH}": fitting(None)}
    return _asked(train, test, fits, v.wordings(v.PROMPT, seed), seed)


def _task(rows: pa.Table) -> Task:
    labels = tuple(sorted(set(rows.column("target").to_pylist())))
    return Task(name="intents", inputs=("prompt",), target="target", labels=labels)


def _pruning(folder: Path, fits: dict[str, Fit]) -> dict[str, Any]:
    """Prune the long prompt sentence by sentence, training again each time; the verdict is on test rows."""
    seed = SEEDS[0]
    train, test = v.read(folder, "banking77", labels=LABELS, per_label=PER_LABEL, seed=seed)
    at = np.arange(len(train.ids)) % 4 == 0
    held, kept = (
        v.Part(*([column[i] for i in np.flatnonzero(which)] for column in _columns(train)))
        for which in (at, ~at)
    )
    found, shown = {}, []
    for model, fit in fits.items():

        def scores(prompt: str, asked: v.Part = held, fit: Fit = fit) -> np.ndarray:
            answer = fit(kept.table([v.message(prompt, text) for text in kept.texts]), seed)
            return _right(answer, asked, [v.message(prompt, text) for text in asked.texts])

        def accuracy(prompt: str, scores: Callable[..., np.ndarray] = scores) -> float:
            return float(scores(prompt).mean())

        result = prune(v.LONG_PROMPT, accuracy, settings=PruneSettings(max_loss=LOSS_GOAL, max_calls=40))
        gain, low, high = _difference(scores(result.rule.after, test) - scores(v.LONG_PROMPT, test))
        usd = result.saving_usd_per_month(
            requests_per_month=REQUESTS_PER_MONTH, usd_per_mtok_input=USD_PER_MTOK
        )
        found[model] = {
            "tokens": [result.tokens_before, result.tokens_after],
            "validation": [result.accuracy_before, result.accuracy_after],
            "test_difference": [gain, low, high],
            "usd_per_month": float(usd),
            "left": result.rule.after,
        }
        shown.append(
            [
                model,
                f"{result.tokens_before} -> {result.tokens_after}",
                f"{result.accuracy_before:.3f} -> {result.accuracy_after:.3f}",
                f"{100 * gain:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]",
                f"{usd:.0f}",
            ]
        )
    table(shown, ["pruned for", "tokens", "validation accuracy", "test, points", "USD/month saved"])
    return found


def _columns(part: v.Part) -> tuple[list[str], list[str], list[str]]:
    return part.ids, part.texts, part.labels


def _difference(differences: np.ndarray) -> tuple[float, float, float]:
    """Return the mean difference and its 95 % interval; the seeds of a row are one cluster."""
    flat, codes = _flat(differences)
    sample = paired_sample(flat, clusters=codes if len(flat) > codes.max() + 1 else None)
    low, high = score_interval(sample, 0.025)
    return float(flat.mean()), low, high


def _flat(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    two = np.atleast_2d(values)  # (seeds, rows)
    return two.ravel(), np.tile(np.arange(two.shape[1]), two.shape[0])


def _share(right: np.ndarray) -> tuple[float, float, float]:
    flat, codes = _flat(right)
    several = len(flat) > codes.max() + 1 and 0 < flat.mean() < 1
    low, high = clopper_pearson_interval(*effective_counts(flat, codes if several else None), 0.025)
    return float(flat.mean()), low, high


def _show(key: str, right: Right) -> None:
    for model in dict.fromkeys(model for data, model, *_ in right if data == key):
        ways = list(dict.fromkeys(way for data, name, way, _ in right if (data, name) == (key, model)))
        print(f"\n{key}: {model}")
        cells = []
        for way in ways:
            shares = [_share(right[key, model, way, wording]) for wording in v.TESTS]
            cells.append([way, *(f"{a:.3f} [{low:.3f}, {high:.3f}]" for a, low, high in shares)])
        table(cells, ["trained on", *v.TESTS])
        pairs = []
        for way, wording, other, reference in COMPARED:
            if (key, model, way, wording) in right and (key, model, other, reference) in right:
                gain, low, high = _difference(
                    right[key, model, way, wording] - right[key, model, other, reference]
                )
                what = f"{way} ({wording}) - {other} ({reference})"
                pairs.append([what, f"{100 * gain:+.1f}", f"[{100 * low:+.1f}, {100 * high:+.1f}]"])
        table(pairs, ["difference, points", "", "95 % interval"])


def _figures(right: Right) -> dict[str, list[float]]:
    return {" | ".join(what): [round(x, 4) for x in _share(values)] for what, values in right.items()}


def _goals(right: Right) -> dict[str, tuple[Any, Any, bool]]:
    found: dict[str, tuple[Any, Any, bool]] = {}
    for key, model in dict.fromkeys((data, name) for data, name, *_ in right):
        if "prompt" in key or OWN_LENGTH in model:
            continue
        gap, low, high = _difference(
            right[key, model, v.VARIED, v.UNSEEN] - right[key, model, v.VARIED, v.SEEN]
        )
        said = f"{100 * gap:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}] points"
        found[f"{key}, {model}: unseen against seen wording, varied"] = (said, ">= -1", gap >= -LOSS_GOAL)
    return found


if __name__ == "__main__":
    main()
