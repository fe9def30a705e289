"""How many labels does choosing save, and how far can accuracy be told without any?

Audits: simulated streams of 4,000 calls and the published test rows of three tasks answered by a linear head. Beside
a random sample with Wilson's interval (shrunk for the share of calls seen) stands ours at 60 % of its labels. `labels`
is the share of labels at which both intervals are equally wide (width goes with one over the root of labels); bias is
in standard errors of its mean, so 2 is noise and 5 is not. `calibrated` draws confidences that are right; the others
are wrong in shape, blind, stale after a fall, or sure of errors. `live` draws call by call with a policy made from
earlier calls. `any look` takes 20 looks at a growing stream.

Without labels: rows that the head did not learn from are split anew in every run into a holdout and traffic. Told
are confidence, familiarity and predicted label of a holdout and of up to 2,000 calls whose mix was
changed. `answered` is how often something is said, `off` the mean and `worst` the largest error in points then,
`beyond 2` the share of all runs that said something further off. Beside it: the holdout's accuracy, and the plain mean
confidence. Strangers have no right answer: CLINC150's out-of-scope test rows, and branches (of Banking77 intents) that
neither the head nor the holdout saw.

Constants were chosen on other seeds, on the training rows and with other branches left out (`ARGS=--dev` shows those).
"""

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from _audit_data import Model, Seen, Task, both, tasks
from _common import SMALL, data_dir, emit, table
from offramp.stats.audit import audit_chances, audited_mean, draw, is_drawn, policy
from offramp.stats.labelfree import LabelFree, label_free
from offramp.stats.proportion import wilson_interval

Floats = NDArray[np.float64]
World = Callable[[np.random.Generator, int], tuple[Floats, Floats]]

SEED = 20_261_122
RUNS = 8 if SMALL else 400
SHIFT_RUNS = 1 if SMALL else 40
CALLS = 4_000
SIZE = 100 if SMALL else 2_000
LABELS = 300
SHARE = 0.6
ALPHA = 0.025
POINTS = 0.02
SHARES = (0.02, 0.05, 0.1, 0.2, 0.5)
LOOKS = 20
CURVE = () if SMALL else (0.01, 0.015, 0.025, 0.03)
"""Other tolerances, to see what asking for less or more would give; errors count from 2 points on all the same."""


def calibrated(random: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """Draw (confidence, chance to be right): accuracy 95 %, as sure as a good classifier is."""
    right = random.beta(0.95 * 1.5, 0.05 * 1.5, n)
    return right, right


def vague(random: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """Draw calibrated confidences that tell little: accuracy 90 %."""
    right = random.beta(3.6, 0.4, n)
    return right, right


def overconfident(random: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """Draw confidences that are noisy and far too high."""
    right, _ = vague(random, n)
    return expit(2 * (logit(np.clip(right, 1e-6, 1 - 1e-6)) + random.normal(0, 0.7, n))), right


def fooled(random: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """Draw calibrated confidences but for 2 % of calls at the very top, of which 40 % are wrong."""
    confidence, right = calibrated(random, n)
    bad = random.random(n) < 0.02
    return np.where(bad, 0.999, confidence), np.where(bad, 0.6, right)


def stale(random: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """Draw confidences from before a fall: the odds of being right are e times worse."""
    confidence, _ = calibrated(random, n)
    return confidence, expit(logit(np.clip(confidence, 1e-6, 1 - 1e-6)) - 1)


def blind(random: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """Draw confidences that say nothing."""
    return random.beta(9, 1, n), np.full(n, 0.9)


WORLDS: dict[str, World] = {f.__name__: f for f in (calibrated, vague, overconfident, fooled, stale, blind)}
USEFUL = ("calibrated", "vague")


class Tally:
    """Intervals against the truth, gathered over runs."""

    def __init__(self) -> None:
        self.ours: list[tuple[float, ...]] = []
        self.random: list[tuple[float, ...]] = []

    def add(self, random: np.random.Generator, seen: tuple[Floats, Floats, Floats], labels: int) -> None:
        """Audit the calls with 60 % of the labels of a random sample; `seen` = confidence, familiar, right."""
        confidence, familiar, right = seen
        truth, n = float(right.mean()), len(right)
        hits = random.choice(right, labels, replace=False).sum()
        worth = labels / (1 - labels / n)  # finite population: the calls that were seen are known
        low, high = wilson_interval(hits / labels * worth, worth, ALPHA)
        self.random.append((float(low), float(high), hits / labels, truth, labels))
        chance = audit_chances(confidence, round(SHARE * labels), familiar=familiar)
        drawn = draw(chance, seed=int(random.integers(2**31)), along=(confidence,))
        self.keep(confidence, chance, np.where(drawn, right, np.nan), truth)

    def keep(self, confidence: Floats, chance: Floats, outcome: Floats, truth: float) -> None:
        """Keep one audit of ours."""
        found = audited_mean(confidence, chance, outcome, alpha=ALPHA)
        self.ours.append((found.low, found.high, found.estimate, truth, found.labels))

    def figures(self) -> dict[str, float]:
        """Sum up."""
        ours, base = np.array(self.ours), np.array(self.random)
        off = ours[:, 2] - ours[:, 3]
        widths = [float((x[:, 1] - x[:, 0]).mean()) for x in (ours, base)]
        counts = [float(x[:, 4].mean()) for x in (ours, base)]
        return {
            "accuracy": float(base[:, 3].mean()),
            "random_labels": counts[1],
            "random_width": widths[1],
            "random_cover_ratio": float(((base[:, 0] <= base[:, 3]) & (base[:, 3] <= base[:, 1])).mean()),
            "our_labels": counts[0],
            "our_width": widths[0],
            "our_cover_ratio": float(((ours[:, 0] <= ours[:, 3]) & (ours[:, 3] <= ours[:, 1])).mean()),
            "labels_ratio": counts[0] / counts[1] * (widths[0] / widths[1]) ** 2,
            "bias_points": 100 * float(off.mean()),
            "bias_errors": float(off.mean() / max(off.std(), 1e-12) * len(off) ** 0.5),
        }


def simulated() -> dict[str, dict[str, float]]:
    """Audit simulated streams, drawn at once and live."""
    found = {}
    for name, world in WORLDS.items():
        for labels in (LABELS,) if SMALL else (LABELS // 2, LABELS):
            random, tally = np.random.default_rng(SEED), Tally()
            for _ in range(RUNS):
                confidence, chance = world(random, CALLS)
                right = (random.random(CALLS) < chance).astype(float)
                tally.add(random, (confidence, np.ones(CALLS), right), labels)
            found[f"{name}, {labels}"] = tally.figures()
    random, tally = np.random.default_rng(SEED), Tally()
    for run in range(RUNS):
        confidence, right_chance = calibrated(random, CALLS)
        right = (random.random(CALLS) < right_chance).astype(float)
        tally.add(random, (confidence, np.ones(CALLS), right), LABELS)
        tally.ours.pop()
        chance = policy(calibrated(random, 2000)[0], SHARE * LABELS / CALLS).chances(confidence)
        drawn = np.array([is_drawn(f"{run}-{i}", chance[i]) for i in range(CALLS)])
        tally.keep(confidence, chance, np.where(drawn, right, np.nan), float(right.mean()))
    found[f"live, {LABELS}"] = tally.figures()
    return found


def any_look() -> dict[str, float]:
    """Return how often a growing stream stays covered at all looks, with and without the price of looking."""
    random, kept, plain = np.random.default_rng(SEED + 1), 0, 0
    runs = RUNS if SMALL else 200
    for _ in range(runs):
        confidence, chance = vague(random, CALLS)
        right = (random.random(CALLS) < chance).astype(float)
        chances = policy(confidence[:1000], 0.1).chances(confidence)
        outcome = np.where(random.random(CALLS) < chances, right, np.nan)
        good = [True, True]
        for end in np.linspace(600, CALLS, LOOKS).astype(int):
            found = audited_mean(confidence[:end], chances[:end], outcome[:end], alpha=ALPHA, process=True)
            low, high = found.at_any_look(ALPHA, planned=200)
            good[0] &= low <= 0.9 <= high
            good[1] &= found.low <= 0.9 <= found.high
        kept, plain = kept + good[0], plain + good[1]
    return {"any_look_cover_ratio": kept / runs, "one_look_cover_ratio": plain / runs, "looks": LOOKS}


def real(models: dict[str, tuple[Task, Model]]) -> dict[str, dict[str, float]]:
    """Audit the traffic of real models, once with strangers in it."""
    found = {}
    for name, (task, model) in models.items():
        traffic, strangers = model.seen(task.traffic), model.seen(task.strangers)
        for share in (0.0, 0.1):
            random, tally = np.random.default_rng(SEED), Tally()
            for _ in range(RUNS):
                if share == 0:
                    seen = traffic.confidence, traffic.familiar, traffic.right
                else:
                    seen = mixed(random, traffic, strangers, share)
                labels = min(LABELS, len(seen[0]) // 3)
                tally.add(random, seen, labels)
            found[f"{name}{', 10 % strangers' if share else ''}"] = tally.figures()
    return found


def mixed(
    random: np.random.Generator, traffic: Seen, strangers: Seen, share: float
) -> tuple[Floats, Floats, Floats]:
    """Return confidence, familiarity and outcome of the traffic with a share of strangers."""
    extra = random.permutation(len(strangers.right))[: round(len(traffic.right) * share / (1 - share))]
    pairs = (
        (traffic.confidence, strangers.confidence),
        (traffic.familiar, strangers.familiar),
        (traffic.right, strangers.right),
    )
    a, b, c = (np.concatenate([mine, other[extra]]) for mine, other in pairs)
    return a, b, c


def shifted(random: np.random.Generator, traffic: Seen, strangers: Seen) -> Iterator[tuple[str, Seen]]:
    """Yield samples of the traffic under each shift."""
    n = len(traffic.right)
    lengths = np.array([len(text) for text in traffic.rows.texts])
    branch, label = traffic.rows.branch, traffic.rows.label
    many = np.isin(branch, random.permutation(np.unique(branch))[: max(len(np.unique(branch)) // 5, 1)])
    half = np.isin(branch, random.permutation(np.unique(branch))[: max(len(np.unique(branch)) // 2, 1)])
    some = np.isin(label, random.permutation(np.unique(label))[: max(len(np.unique(label)) // 5, 1)])
    weights = {
        "none": np.ones(n),
        "a fifth of branches x8": np.where(many, 8.0, 1.0),
        "half of the branches": np.where(half, 1.0, 0.0),
        "a fifth of labels x8": np.where(some, 8.0, 1.0),
        "longest third": (lengths >= np.quantile(lengths, 2 / 3)).astype(float),
        "shortest third": (lengths <= np.quantile(lengths, 1 / 3)).astype(float),
        "harder calls": 1.02 - traffic.confidence,
    }
    for name, weight in weights.items():
        size = min(SIZE, int((weight > 0).sum()) * 3 // 4)
        yield name, traffic.take(random.choice(n, size, replace=False, p=weight / weight.sum()))
    yield from stranger_mixes(random, traffic, strangers, "out of scope")


def stranger_mixes(
    random: np.random.Generator, traffic: Seen, strangers: Seen, what: str
) -> Iterator[tuple[str, Seen]]:
    """Yield traffic mixed with a share of strangers."""
    for share in SHARES:
        size = min(SIZE, int(len(strangers.right) / share), len(traffic.right))
        mine = traffic.take(random.permutation(len(traffic.right))[: round(size * (1 - share))])
        other = strangers.take(random.permutation(len(strangers.right))[: round(size * share)])
        parts = [np.concatenate([getattr(mine, f), getattr(other, f)]) for f in ("confidence", "familiar")]
        group, right = (np.concatenate([getattr(mine, f), getattr(other, f)]) for f in ("group", "right"))
        yield f"{share:.0%} {what}", Seen(parts[0], parts[1], group, right, both(mine.rows, other.rows))


def branches_left_out(task: Task, random: np.random.Generator) -> Iterator[tuple[str, Seen, Model]]:
    """Yield traffic with branches that neither the head nor its holdout saw."""
    gone = random.permutation(task.left_out)[: len(np.unique(task.traffic.branch)) // 5]
    parts = [rows.take(~np.isin(rows.branch, gone)) for rows in (task.train, task.holdout)]
    model = Model(*parts)
    away = np.isin(task.traffic.branch, gone)
    traffic, strangers = model.seen(task.traffic.take(~away)), model.seen(task.traffic.take(away))
    for name, sample in stranger_mixes(random, traffic, strangers, "new branches"):
        yield name, sample, model


Line = tuple[LabelFree, float, float]


def unlabelled(
    models: dict[str, tuple[Task, Model]], seed: int
) -> tuple[dict[str, list[Line]], dict[float, dict[str, list[Line]]]]:
    """Return what was said, the truth and the mean confidence, by task and shift; and so for other tolerances."""
    found: dict[str, list[Line]] = {}
    curve: dict[float, dict[str, list[Line]]] = {tolerance: {} for tolerance in CURVE}

    def keep(name: str, holdout: Seen, sample: Seen) -> None:
        for tolerance, lines in ((POINTS, found), *curve.items()):
            said = label_free(holdout.traits, holdout.right, sample.traits, tolerance=tolerance)
            line = (said, float(sample.right.mean()), float(sample.confidence.mean()))
            lines.setdefault(name, []).append(line)

    for name, (task, model) in models.items():
        random = np.random.default_rng(seed)
        seen, strangers = model.seen(both(task.holdout, task.traffic)), model.seen(task.strangers)
        rows = len(task.holdout.texts)
        published = np.arange(len(seen.right)) >= rows
        keep(f"{name}: published test rows", model.holdout, seen.take(published))
        for _ in range(SHIFT_RUNS):
            held = np.isin(np.arange(len(seen.right)), random.permutation(len(seen.right))[:rows])
            parts = [seen.take(held), seen.take(~held), strangers]
            holdout, traffic, others = (part.ranked_by(parts[0]) for part in parts)
            for shift, sample in shifted(random, traffic, others):
                keep(f"{name}: {shift}", holdout, sample)
        for _ in range(0 if SMALL else SHIFT_RUNS // 2):
            for shift, sample, without in branches_left_out(task, random):
                keep(f"{name}: {shift}", without.holdout, sample)
    return found, curve


def traded(shifts: dict[str, dict[str, float]]) -> dict[str, float]:
    """Sum up all shifts of the mix and all strangers."""
    strange = {k: v for k, v in shifts.items() if "out of scope" in k or "new branches" in k}
    mixes = [v for k, v in shifts.items() if k not in strange]
    return {
        "mix_answered_ratio": float(np.mean([v["answered_ratio"] for v in mixes])),
        "mix_beyond_ratio": float(np.mean([v["beyond_ratio"] for v in mixes])),
        "strangers_answered_ratio": float(np.mean([v["answered_ratio"] for v in strange.values()])),
        "strangers_beyond_ratio": float(np.mean([v["beyond_ratio"] for v in strange.values()])),
        "worst_beyond_ratio": max(v["beyond_ratio"] for v in shifts.values()),
        "worst_off_points": max(v["off_points"] for v in shifts.values() if v["answered_ratio"] > 0),
    }


def summed(lines: list[Line]) -> dict[str, float]:
    """Sum up the runs of one shift."""
    truth, confidence = (np.array([line[i] for line in lines]) for i in (1, 2))
    said = [line[0] for line in lines]
    answered = np.array([s.estimate is not None for s in said])
    off = np.array(
        [np.nan if s.estimate is None else s.estimate - t for s, t in zip(said, truth, strict=True)]
    )
    inside = [s.low <= t <= s.high for s, t in zip(said, truth, strict=True) if s.estimate is not None]
    known = np.array([s.known for s in said])
    return {
        "accuracy": float(truth.mean()),
        "holdout_off_points": 100 * float(np.abs(known - truth).mean()),
        "confidence_off_points": 100 * float(np.abs(confidence - truth).mean()),
        "novel_ratio": float(np.mean([s.novel_ratio for s in said])),
        "answered_ratio": float(answered.mean()),
        "off_points": 100 * float(np.nanmean(np.abs(off))) if answered.any() else float("nan"),
        "worst_points": 100 * float(np.nanmax(np.abs(off))) if answered.any() else float("nan"),
        "beyond_ratio": float((np.abs(off[answered]) > POINTS).sum() / len(off)),
        "cover_ratio": float(np.mean(inside)) if inside else float("nan"),
    }


def show(title: str, found: dict[str, dict[str, float]]) -> None:
    """Print one table."""
    print(f"\n{title}")
    heads = list(next(iter(found.values())))
    short = [h.removesuffix("_ratio").removesuffix("_points").replace("_", " ") for h in heads]
    table([[name, *(round(v, 4) for v in row.values())] for name, row in found.items()], ["", *short])


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dev", action="store_true", help="the rows that constants were chosen on")
    parser.add_argument("--shifts", action="store_true", help="accuracy without labels alone")
    given = parser.parse_args()
    models = {task.name: (task, Model(task.train, task.holdout)) for task in tasks(data_dir(), dev=given.dev)}
    told, others = unlabelled(models, SEED + 2)
    shifts = {name: summed(lines) for name, lines in told.items()}
    curve = {
        f"{tolerance:.1%}": traded({name: summed(lines) for name, lines in found.items()})
        for tolerance, found in sorted([(POINTS, told), *others.items()])
    }
    show("without labels", shifts)
    show("without labels, by what was asked for", curve)
    if given.shifts:
        return
    real_streams = real(models)
    show("real", real_streams)
    if given.dev:
        return
    streams, looks = simulated(), any_look()
    show("simulated", streams)
    plain = {
        k: {m: None if v != v else v for m, v in row.items()} for k, row in shifts.items()
    }  # JSON has no NaN
    figures: dict[str, Any] = {
        "streams": streams, "looks": looks, "real": real_streams, "shifts": plain, "curve": curve,
        "runs": RUNS, "shift_runs": SHIFT_RUNS,
    }  # fmt: skip
    emit("audit", figures, goals(streams, looks, real_streams, shifts))


def goals(
    streams: dict[str, dict[str, float]],
    looks: dict[str, float],
    real_streams: dict[str, dict[str, float]],
    shifts: dict[str, dict[str, float]],
) -> dict[str, tuple[Any, Any, bool]]:
    """Hold the figures against what was promised."""
    useful = max(v["labels_ratio"] for k, v in streams.items() if k.split(",")[0] in USEFUL)
    clinc = max(v["labels_ratio"] for k, v in real_streams.items() if k.startswith("CLINC150"))
    audits = [*streams.values(), *real_streams.values()]
    cover = min(v["our_cover_ratio"] for v in audits)
    bias = max(abs(v["bias_errors"]) for v in audits)
    least = 0.95 - 2.5 * (0.95 * 0.05 / RUNS) ** 0.5
    strange = {k: v for k, v in shifts.items() if any(f"{s:.0%} out" in k for s in SHARES[2:])}
    said = max(v["answered_ratio"] for k, v in strange.items() if k.startswith("CLINC150"))
    mixes = [v for k, v in shifts.items() if "out of scope" not in k and "new branches" not in k]
    beyond = float(np.mean([v["beyond_ratio"] for v in mixes]))
    answered = float(np.mean([v["answered_ratio"] for v in mixes]))
    strangers = {k: v for k, v in shifts.items() if "out of scope" in k or "new branches" in k}
    beyond_strange = max(v["beyond_ratio"] for v in strangers.values())
    off = max(v["off_points"] for v in shifts.values() if v["answered_ratio"] > 0)
    named = [v for k, v in strangers.items() if "out of scope" in k or k.startswith("MWPD")]
    off_named = max((v["off_points"] for v in named if v["answered_ratio"] > 0), default=0.0)
    beyond_named = max(v["beyond_ratio"] for v in named)
    pct = lambda x: f"{x:.1%}"  # noqa: E731
    return {
        "labels of random sampling, simulated, informative confidence": (pct(useful), "<= 60 %", useful <= 0.6),
        "labels of random sampling, CLINC150": (pct(clinc), "<= 60 %", clinc <= 0.6),
        "lowest coverage of 95 % intervals, all streams": (
            pct(cover), f"95 % less noise: >= {pct(least)}", cover >= least),
        "largest bias, all streams": (f"{bias:.1f} standard errors", "<= 3.5", bias <= 3.5),
        "coverage at all looks together": (
            pct(looks["any_look_cover_ratio"]), ">= 95 %", looks["any_look_cover_ratio"] >= 0.95),
        "largest mean error of any shift when answered": (f"{off:.2f} points", "<= 2", off <= 2),
        "shifts of the mix: said and more than 2 points off": (pct(beyond), "<= 5 %", beyond <= 0.05),
        "shifts of the mix: answered": (pct(answered), ">= 60 %", answered >= 0.6),
        "CLINC150 with 10 % or more out of scope: answered": (pct(said), "0 %", said == 0),
        "strangers, worst share: said and more than 2 points off": (
            pct(beyond_strange), "<= 5 %", beyond_strange <= 0.05),
        "out of scope and new branches of MWPD alone: largest mean error": (
            f"{off_named:.2f} points", "<= 2", off_named <= 2),
        "out of scope and new branches of MWPD alone: said and more than 2 points off": (
            pct(beyond_named), "<= 5 %", beyond_named <= 0.05),
    }  # fmt: skip


if __name__ == "__main__":
    main()
