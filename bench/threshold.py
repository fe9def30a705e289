"""Does the confidence threshold keep its promise, and what does keeping it cost? Simulated, then on real routing data.

Simulated: a local model that is wrong in 14.4 % of cases; every calibration chooses a threshold such that the error
among locally answered requests is at most the limit, with probability 90 %. The truth is known from a million draws.
Beside ours: the naive choice (the loosest threshold whose error on the sample is within the limit), trusting the
confidence itself, and Clopper-Pearson over 50 shares of the rows, as a fixed sequence and with Bonferroni's correction.
`ceiling` is about the coverage that no rule that is valid for every distribution can pass (Neyman-Pearson against the
nearest bad distribution, coverage past the oracle's not counted). Seeds are apart from those that `START_RATIO` and the
bets were chosen with.

Real: `routing_routellm`, MMLU answers of Mixtral-8x7B and GPT-4 judged right or wrong. A router is fitted on half of
the questions (TF-IDF and logistic regression of "Mixtral is right"), a fifth chooses the threshold, the rest tests it.
"""

import csv
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, expit, logit

from _common import SMALL, data_dir, emit, table
from offramp.stats.proportion import clopper_pearson_interval
from offramp.stats.threshold import (
    START_RATIO,
    _cuts,
    _threshold,
    _whole_error_steps,
    audited,
    choose_threshold,
    watch,
)

DELTA = 0.1
CALIBRATIONS = 40 if SMALL else 1_000
POPULATION = 50_000 if SMALL else 1_000_000
ROWS = (200, 1000) if SMALL else (200, 500, 1000, 3000)
LIMITS = (0.05, 0.08)
PAIRED_CALIBRATIONS = 5 if SMALL else 300
STREAMS = 5 if SMALL else 200
SPLITS = 1 if SMALL else 3
SEED = 20_261_121

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], tuple[Floats, Floats]]


def calibrated(random: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """Draw (confidence, chance to be wrong): the confidence is the chance to be right."""
    right = random.beta(0.856 * 8, 0.144 * 8, n)
    return right, 1 - right


def overconfident(random: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """Draw confidences that are noisy and far too high."""
    right, wrong = calibrated(random, n)
    return expit(2 * (logit(right) + random.normal(0, 0.7, n))), wrong


def neighbours(random: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """Draw shares of 10 agreeing neighbours: 11 values."""
    right = random.beta(0.856 * 3, 0.144 * 3, n)
    return random.binomial(10, right) / 10, 1 - right


def bad_top(random: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """Draw calibrated confidences but for 2 % of requests that are wrong in 40 % and at the very top."""
    right, wrong = calibrated(random, n)
    fooled = random.random(n) < 0.02
    return np.where(fooled, 0.999 + 0.001 * right, 0.999 * right), np.where(fooled, 0.4, wrong)


SHAPES: dict[str, Draw] = {
    "calibrated": calibrated,
    "overconfident": overconfident,
    "k-NN, 11 values": neighbours,
    "bad top": bad_top,
}


class Truth:
    """The whole traffic: coverage and error above any threshold."""

    def __init__(self, draw: Draw, random: np.random.Generator) -> None:
        c, p = draw(random, POPULATION)
        order = np.argsort(-c)
        self.c, self.p = c[order], p[order]
        self.error = np.cumsum(self.p) / np.arange(1, POPULATION + 1)
        self.last = np.append(self.c[1:] < self.c[:-1], True)

    def at(self, threshold: float | None) -> tuple[float, float]:
        """Return (coverage, error) of requests at or above the threshold."""
        many = 0 if threshold is None else int(np.searchsorted(-self.c, -threshold, side="right"))
        return many / POPULATION, float(self.error[many - 1]) if many else 0.0

    def oracle(self, limit: float) -> float:
        """Return the largest coverage whose error is within the limit."""
        good = np.flatnonzero((self.error <= limit) & self.last)
        return (int(good[-1]) + 1) / POPULATION if len(good) else 0.0

    def ceiling(self, n: int, limit: float) -> float:
        """Return about the mean coverage, up to the oracle's, that no valid rule can pass."""
        p = self.p[: POPULATION // 1000 * 1000].reshape(1000, -1).mean(axis=1)
        odds = p / (1 - p)
        reach = []
        last = int(self.oracle(limit) * 1000)
        for many in range(5, last + 1, 5):
            low, high = 0.0, 10.0
            for _ in range(40):
                tilt = (low + high) / 2
                worse = odds * np.exp(tilt) / (1 + odds * np.exp(tilt))
                low, high = (tilt, high) if worse[:many].mean() < limit else (low, tilt)
            used = max(many, int(np.searchsorted(p, limit)))
            reach.append(power(round(n * used / 1000), float(p[:used].mean()), float(worse[:used].mean())))
        return float(np.minimum.accumulate(reach).sum()) * 5 / 1000 if reach else 0.0


def power(n: int, error: float, bad: float) -> float:
    """Return the power of the randomised binomial test at delta of `bad` against a smaller true error."""
    k = np.arange(n + 1)
    below = bdtr(k, n, bad)
    whole = int((below <= DELTA).sum())
    size = float(below[whole - 1]) if whole else 0.0
    share = (DELTA - size) / (float(below[whole]) - size)
    sure = float(bdtr(whole - 1, n, error)) if whole else 0.0
    return sure + share * (float(bdtr(whole, n, error)) - sure)


def peers(c: Floats, errors: Floats, limit: float) -> dict[str, int]:
    """Return how many top rows each rule lets through; rows are sorted, `errors` (rows + 1,) are counts."""
    n = len(c)
    cuts = np.arange(1, n + 1)
    whole = np.append(c[1:] < c[:-1], True)
    fifty = np.unique(np.linspace(0, n, 51).astype(int)[1:])
    p = bdtr(errors[fifty], fifty, limit)
    naive = np.flatnonzero((errors[1:] <= limit * cuts) & whole)
    trusted = np.flatnonzero((np.cumsum(1 - c) <= limit * cuts) & whole)
    first = int(np.argmax(fifty >= np.log(DELTA) / np.log1p(-limit)))
    sequence = int(np.logical_and.accumulate(p[first:] <= DELTA).sum())
    bonferroni = np.flatnonzero(p <= DELTA / len(fifty))
    return {
        "naive": int(naive[-1]) + 1 if len(naive) else 0,
        "trusted": int(trusted[-1]) + 1 if len(trusted) else 0,
        "sequence": int(fifty[first + sequence - 1]) if sequence else 0,
        "bonferroni": int(fifty[bonferroni[-1]]) if len(bonferroni) else 0,
    }


def ours(c: Floats, errors: Floats, steps: NDArray[np.int64], limit: float) -> float | None:
    """Return what `choose_threshold` chooses, without its curve; compared with it on the first calibrations."""
    cuts = _cuts(c, np.append(steps[steps >= np.ceil(START_RATIO * len(c))], len(c)))
    passed = bdtr(errors[cuts], cuts, limit) <= DELTA * (1 + 1e-9)
    many = int(np.logical_and.accumulate(passed).sum())
    return _threshold(c, int(cuts[many - 1])) if many else None


def simulate() -> tuple[list[dict[str, Any]], int]:
    """Return one row per shape, rows and limit, and how often the fast path and the function differ."""
    found, torn = [], 0
    for number, (name, draw) in enumerate(SHAPES.items()):
        truth = Truth(draw, np.random.default_rng((SEED, number)))
        for n in ROWS:
            for limit in LIMITS:
                random = np.random.default_rng((SEED, number, n, int(limit * 100)))
                steps = _whole_error_steps(n, limit, DELTA)
                seen: dict[str, list[tuple[float, float]]] = {}
                for i in range(CALIBRATIONS):
                    c, wrong = draw(random, n)
                    x = (random.random(n) < wrong).astype(float)
                    order = np.argsort(-c, kind="stable")
                    top, errors = c[order], np.append(0.0, np.cumsum(x[order]))
                    chosen = ours(top, errors, steps, limit)
                    if i < 5:
                        torn += choose_threshold(c, x, limit).threshold != chosen
                    seen.setdefault("ours", []).append(truth.at(chosen))
                    for rule, many in peers(top, errors, limit).items():
                        at = float(top[many - 1]) if many else None
                        seen.setdefault(rule, []).append(truth.at(at))
                oracle = truth.oracle(limit)
                row: dict[str, Any] = {"confidence": name, "rows": n, "limit": limit, "oracle": oracle}
                for rule, pairs in seen.items():
                    covered, error = np.array(pairs).T
                    row |= {f"{rule} broken": float((error > limit).mean()), rule: float(covered.mean())}
                row["ours / oracle"] = row["ours"] / oracle if oracle else 1.0
                row["sequence / oracle"] = row["sequence"] / oracle if oracle else 1.0
                kept = float(np.minimum(np.array(seen["ours"])[:, 0], oracle).mean())
                if name == "calibrated":
                    top_coverage = truth.ceiling(n, limit)
                    row |= {"ceiling / oracle": top_coverage / oracle, "ours / ceiling": kept / top_coverage}
                found.append(row)
    return found, torn


def simulate_paired() -> dict[str, Any]:
    """Simulate the loss against an incumbent that is wrong in about 7 % of cases, often on the same requests."""
    n, limit = 1000, 0.03
    c, p = calibrated(np.random.default_rng((SEED, 90)), POPULATION)
    order = np.argsort(-c)
    worse = np.cumsum((p - (0.03 + 0.3 * p))[order]) / np.arange(1, POPULATION + 1)
    oracle = (int(np.flatnonzero(worse <= limit)[-1]) + 1) / POPULATION
    random, covered = np.random.default_rng((SEED, 91)), []
    for _ in range(PAIRED_CALIBRATIONS):
        c, p = calibrated(random, n)
        luck = random.random(n)  # shared: what one gets wrong is often wrong for both
        theirs = np.where(random.random(n) < 0.5, luck, random.random(n)) < 0.03 + 0.3 * p
        found = choose_threshold(c, (luck < p).astype(float), limit, incumbent_loss=theirs.astype(float))
        top = 0.856 * 8, 0.144 * 8
        covered.append(_beta_above(found.threshold, top))
    share = np.array(covered)
    return {
        "calibrations": PAIRED_CALIBRATIONS,
        "rows": n,
        "limit": limit,
        "oracle": oracle,
        "broken": float((share > oracle).mean()),
        "ours": float(share.mean()),
        "ours / oracle": float(share.mean()) / oracle,
    }


def _beta_above(threshold: float | None, shape: tuple[float, float]) -> float:
    from scipy.special import betaincc

    return 0.0 if threshold is None else float(betaincc(*shape, min(threshold, 1.0)))


def simulate_watch() -> dict[str, Any]:
    """Return false alarms while the error is just the limit, and audits until a rise from 3 % to 10 % is found."""
    limit, random, false, delays = 0.05, np.random.default_rng((SEED, 95)), 0, []
    for _ in range(STREAMS):
        false += audited(watch(limit), random.random(2000) < limit).p_value <= 0.05
        state, later = audited(watch(limit), random.random(500) < 0.03), 0
        while state.p_value > 0.05 and later < 5000:
            state, later = audited(state, random.random(10) < 0.1), later + 10
        delays.append(later)
    return {
        "streams": STREAMS,
        "false alarms in 2,000 audits": false / STREAMS,
        "audits to find 3 % -> 10 %, median": float(np.median(delays)),
        "80th percentile": float(np.quantile(delays, 0.8)),
    }


def routed(rank: Floats, weak: Floats, strong: Floats) -> dict[str, Any]:
    """Return quality by share of strong calls when the lowest of `rank` go to the strong model first.

    APGR and CPT: Ong et al. (2024), RouteLLM, arXiv 2406.18665, section 2: the mean over shares of (quality - weak) /
    (strong - weak), and the share of strong calls at which that is 50 or 80 %.
    """
    order = np.argsort(rank, kind="stable")
    gain = np.append(0.0, np.cumsum((strong - weak)[order])) / (strong - weak).sum()
    share = np.linspace(0, 1, len(gain))
    cpt = {f"CPT {level:.0%}": float(share[np.argmax(gain >= level)]) for level in (0.5, 0.8)}
    curve = {f"{s:.1f}": float(weak.mean() + np.interp(s, share, gain) * (strong - weak).mean())
             for s in np.linspace(0, 1, 11)}  # fmt: skip
    return {"APGR": float(gain.mean())} | cpt | {"quality by strong share": curve}


def route_mmlu() -> list[dict[str, Any]]:
    """Return one row per split: routers side by side, and what the chosen thresholds did on the test part."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    files = sorted((data_dir() / "routing_routellm" / "mmlu").glob("*.csv"))
    lines = [(f.stem, *row) for f in files for row in list(csv.reader(f.open(newline="")))[1:]]
    subject, prompt = np.array([r[0] for r in lines]), [str(r[1]) for r in lines]
    weak, strong = (np.array([r[i] == "True" for r in lines], dtype=float) for i in (2, 3))
    found = []
    for split in range(SPLITS):
        order = np.random.default_rng((SEED, 70, split)).permutation(len(lines))
        fit, calibrate, test = np.split(order, [len(order) // 2, len(order) * 7 // 10])
        if SMALL:
            fit = fit[:1500]
        vectors = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2), max_features=60_000)
        model = LogisticRegression(C=2.0, max_iter=300).fit(
            vectors.fit_transform([prompt[i] for i in fit]), weak[fit]
        )
        confidence = model.predict_proba(vectors.transform(prompt))[:, 1]
        mean = float(weak[fit].mean())
        prior = {s: (weak[fit][subject[fit] == s].sum() + 5 * mean) / ((subject[fit] == s).sum() + 5)
                 for s in np.unique(subject)}  # fmt: skip
        by_subject = np.array([prior[s] for s in subject])
        luck = np.random.default_rng((SEED, 71, split)).random(len(lines))
        row: dict[str, Any] = {
            "split": split,
            "weak": float(weak[test].mean()),
            "strong": float(strong[test].mean()),
        }
        ranks = {"router": confidence, "subject": by_subject, "random": luck, "oracle": weak - strong}
        row |= {name: routed(rank[test], weak[test], strong[test]) for name, rank in ranks.items()}
        for name, limit, incumbent in (
            ("own error", 0.2, None),
            ("against GPT-4", 0.06, 1 - strong[calibrate]),
        ):
            promise = choose_threshold(
                confidence[calibrate], 1 - weak[calibrate], limit, incumbent_loss=incumbent
            )
            local = confidence[test] >= (2.0 if promise.threshold is None else promise.threshold)
            loss = 1 - weak[test] - (0 if incumbent is None else 1 - strong[test])
            mixed = np.where(local, weak[test], strong[test]).mean()
            row[name] = {"limit": limit, "threshold": promise.threshold, "bound": promise.bound}
            row[name] |= {
                "local": float(local.mean()),
                "loss": float(loss[local].mean()) if local.any() else None,
            }
            row[name] |= {"quality": float(mixed)}
        found.append(row)
    return found


def report_routes(rows: list[dict[str, Any]]) -> None:
    """Print the routers and the promises of all splits."""
    print("\nrouting_routellm: quality = share of right answers; GPT-4 answers what is not answered locally")
    shares = list(rows[0]["router"]["quality by strong share"])[::2]
    lines = []
    for name in ("router", "subject", "random", "oracle"):
        line = [name] + [float(np.mean([r[name][k] for r in rows])) for k in ("APGR", "CPT 50%", "CPT 80%")]
        lines.append(
            line + [float(np.mean([r[name]["quality by strong share"][s] for r in rows])) for s in shares]
        )
    table(lines, ["router", "APGR", "CPT 50%", "CPT 80%", *(f"at {s}" for s in shares)])
    for name in ("own error", "against GPT-4"):
        print(f"\nthreshold chosen on a fifth, {name}")
        table([list(r[name].values()) for r in rows], list(rows[0][name]))


def main() -> None:
    """Run everything and report."""
    began = time.process_time()
    rows, torn = simulate()
    rules = ("naive", "trusted", "sequence", "bonferroni", "ours")
    shown = [
        [r["confidence"], r["rows"], r["limit"], r["oracle"]]
        + [f"{r[f'{rule} broken']:.3f} {r[rule]:.2f}" for rule in rules]
        + [r["ours / oracle"], r.get("ceiling / oracle", "")]
        for r in rows
    ]
    print(f"{CALIBRATIONS} calibrations each: share of broken promises (10 % allowed), then mean coverage")
    table(shown, ["confidence", "rows", "limit", "oracle", *rules, "ours / oracle", "ceiling / oracle"])
    paired, live = simulate_paired(), simulate_watch()
    print("\nagainst an incumbent:", paired, "\nlive:", live)
    routes = route_mmlu()
    report_routes(routes)
    worst = max(r["ours broken"] for r in rows)
    at = {(r["confidence"], r["rows"], r["limit"]): r["ours / oracle"] for r in rows}
    ours_gain, prior_gain = (float(np.mean([r[k]["APGR"] for r in routes])) for k in ("router", "subject"))
    high = clopper_pearson_interval(round(worst * CALIBRATIONS), CALIBRATIONS)[1]
    figures = {"simulated": rows, "paired": paired, "live": live, "routes": routes, "torn": torn}
    figures |= {"cpu_s": time.process_time() - began}
    emit(
        "threshold",
        figures,
        {
            "broken promises, worst of all settings (upper end " + f"{high:.3f})": (worst, "<= 0.1", worst <= DELTA),
            "coverage / oracle, calibrated, n = 1000, limit 8 %": _goal(at["calibrated", 1000, 0.08]),
            "coverage / oracle, calibrated, n = 1000, limit 5 %": _goal(at["calibrated", 1000, 0.05]),
            "coverage / oracle, worst shape, n = 1000, limit 8 %": _goal(
                min(v for (_, n, limit), v in at.items() if n == 1000 and limit == 0.08)
            ),
            "broken promises against an incumbent": (paired["broken"], "<= 0.1", paired["broken"] <= DELTA),
            "false live alarms": (
                live["false alarms in 2,000 audits"], "<= 0.05", live["false alarms in 2,000 audits"] <= 0.05
            ),
            "fast path equals choose_threshold": (torn, 0, torn == 0),
            "APGR of the router above the subject prior": (ours_gain, f"> {prior_gain:.3f}", ours_gain > prior_gain),
        },
    )  # fmt: skip


def _goal(value: float) -> tuple[float, str, bool]:
    return value, ">= 0.8", value >= 0.8


if __name__ == "__main__":
    main()
