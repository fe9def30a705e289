"""The parts of `bench/stats.py` that are no fixed samples: live pairs, learning curves, winners, agreement."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW, ttost_paired

from _common import SMALL
from _scenarios import LIVE, Scenario, verdict_p
from offramp.stats.anytime import interval, log_e_values, planned_sample, start, update
from offramp.stats.cluster import design_effect
from offramp.stats.equivalence import equivalence_of_means
from offramp.stats.learning import learning_curve, predict, share_errors
from offramp.stats.means import mean_power, mean_sample_size, t_interval
from offramp.stats.multiple import holm
from offramp.stats.paired import score_statistic
from offramp.stats.power import sample_size
from offramp.stats.proportion import clopper_pearson_interval, wilson_interval
from offramp.stats.selection import winner

ALPHA = 0.05
STREAMS = 100 if SMALL else 4_000
FALSE_STREAMS = 100 if SMALL else 20_000
"""More where a rate is held against its bound: the error of a simulated 5 % is .0015 then."""
HOLDOUT = 400
"""Pairs known before a live comparison, from the verdict that came before it."""
HORIZON = 6
"""Fixed samples that a live comparison is watched for."""
BLOCK = 400_000
"""Pairs that are simulated at once."""
CURVES = 20 if SMALL else 150
SWEEPS = 40 if SMALL else 1_000

Floats = NDArray[np.float64]


def eight_bets(d: Floats, margin: float) -> Floats:
    """Return log wealth of an equal mixture over eight fixed bets, the usual way to bet without knowing how much."""
    bets = np.array([0.025, 0.05, 0.1, 0.2, 0.3, 0.45, 0.65, 0.9]) / (1 - margin)
    paths = np.stack([np.cumsum(np.log1p(bet * (d + margin)), axis=-1) for bet in bets])
    return np.asarray(np.logaddexp.reduce(paths, axis=0) - math.log(len(bets)), dtype=float)


def peeking(scenario: Scenario, d: Floats) -> NDArray[np.bool_]:
    """Return which streams Tango's fixed-sample test certifies when looked at every 10 pairs from the 50th on."""
    looks = np.arange(49, d.shape[1], 10)
    gains = np.cumsum(np.maximum(d, 0), axis=1)[:, looks]
    losses = np.cumsum(np.maximum(-d, 0), axis=1)[:, looks]
    if scenario.binary:
        z = score_statistic(gains, losses, looks + 1.0, -scenario.margin)
    else:
        mean = (gains - losses) / (looks + 1)
        squares = np.cumsum(d**2, axis=1)[:, looks] / (looks + 1)
        z = (mean + scenario.margin) / np.sqrt(np.maximum(squares - mean**2, 1e-12) / (looks + 1))
    return np.asarray((ndtr(-z) <= ALPHA).any(axis=1))


def first_passage(log_e: Floats) -> Floats:
    """Return the pair at which each stream (streams, pairs) is certified, infinite if never."""
    over = log_e >= -math.log(ALPHA)
    return np.where(over.any(axis=1), over.argmax(axis=1) + 1.0, np.inf)


def fixed_sample(scenario: Scenario, random: np.random.Generator) -> int:
    """Return rows with which a verdict, looked at once, certifies 80 % of equal candidates; graded: simulated."""
    if scenario.binary:
        return sample_size(scenario.discordance, scenario.margin) or 0
    guess = mean_sample_size(scenario.deviation, scenario.margin) or 0
    for _ in range(3):
        tried = replace(scenario, n=guess)
        tables = tried.tables(random, 0.0, 4_000 if SMALL else 40_000)
        power = float((verdict_p(tried, tables, tried.margin) <= ALPHA).mean())
        # In units of the standard error, power is about normal in the root of n.
        guess = math.ceil(guess * ((1.645 + 0.8416) / (1.645 + float(ndtri(power)))) ** 2)
    return guess


def measure_live(random: np.random.Generator) -> list[dict[str, Any]]:
    """Simulate streams of pairs, with a look after each."""
    found = []
    for scenario in LIVE:
        fixed, margin, span = fixed_sample(scenario, random), scenario.margin, scenario.span
        pairs = HORIZON * fixed
        false, after_false, peeked, blocks = 0, 0, 0, max(BLOCK // pairs, 1)
        holdout = scenario.streams(random, 0.0, (1, HOLDOUT))[0]
        for first in range(0, FALSE_STREAMS, blocks):
            d = scenario.streams(random, -margin, (min(blocks, FALSE_STREAMS - first), pairs))
            false += int(np.isfinite(first_passage(log_e_values(d, margin, span=span))).sum())
            after_false += int(
                np.isfinite(first_passage(log_e_values(d, margin, span=span, known=holdout))).sum()
            )
            peeked += int(peeking(scenario, d).sum())
        equal, eight, better, after = [], [], [], []
        for first in range(0, STREAMS, blocks):
            many = min(blocks, STREAMS - first)
            d = scenario.streams(random, 0.0, (many, 3 * fixed))
            equal.append(first_passage(log_e_values(d, margin, span=span)))
            after.append(first_passage(log_e_values(d, margin, span=span, known=holdout)))
            eight.append(first_passage(eight_bets(d / span, margin / span)))
            d = scenario.streams(random, margin / 2, (many, 2 * fixed))
            better.append(first_passage(log_e_values(d, margin, span=span)))
        times, theirs = np.concatenate(equal), np.concatenate(eight)
        row: dict[str, Any] = {"score": scenario.kind, "differ": scenario.discordance, "margin": margin}
        row |= {"streams": STREAMS, "fixed": fixed, "false": false / FALSE_STREAMS}
        row["false, after a holdout"] = after_false / FALSE_STREAMS
        row["false, peeking"] = peeked / FALSE_STREAMS
        row["median / fixed"] = float(np.median(times)) / fixed
        row["80th / fixed"] = float(np.quantile(times, 0.8, method="higher")) / fixed
        row["80th after a holdout"] = float(np.quantile(np.concatenate(after), 0.8, method="higher")) / fixed
        row["known truth 80th"] = best_bet(scenario, random, fixed)
        row["eight bets 80th"] = float(np.quantile(theirs, 0.8, method="higher")) / fixed
        row["half a margin better, median"] = float(np.median(np.concatenate(better))) / fixed
        planned = planned_sample(scenario.discordance, margin) if scenario.binary else None
        row["planned / fixed"] = "" if planned is None else f"{planned / fixed:.3f}"
        row |= interval_errors(scenario, random, 2 * fixed)
        found.append(row)
    return found


def best_bet(scenario: Scenario, random: np.random.Generator, fixed: int) -> float:
    """Return the 80th percentile over the fixed sample of the fixed bet that is log-optimal for the true chances.

    Nobody has this bet; it shows how much of the price is for looking and how much for learning how to bet.
    """
    margin, values = scenario.margin / scenario.span, scenario.values / scenario.span
    bets = np.linspace(0.01, 0.95 / (1 - margin), 200)
    growth = [scenario.chances(0.0) @ np.log1p(bet * (values + margin)) for bet in bets]
    bet = bets[int(np.argmax(growth))]
    blocks = max(BLOCK // (3 * fixed), 1)
    times = [
        first_passage(
            np.cumsum(np.log1p(bet * (scenario.streams(random, 0.0, (min(blocks, STREAMS - first), 3 * fixed))
                                      / scenario.span + margin)), axis=-1)
        )
        for first in range(0, STREAMS, blocks)
    ]  # fmt: skip
    return float(np.quantile(np.concatenate(times), 0.8, method="higher")) / fixed


def interval_errors(scenario: Scenario, random: np.random.Generator, pairs: int) -> dict[str, float]:
    """Return how often a lower end passes the truth, and how often it contradicts a certificate."""
    high = torn = 0
    streams = max(STREAMS // 10, 20)
    for _ in range(streams):
        d = scenario.streams(random, 0.0, (1, pairs))[0]
        state = update(start(scenario.margin, span=scenario.span), d)
        low, _ = interval(state, ALPHA)
        high += low > 0
        torn += (state.p_value <= ALPHA) != (low >= -scenario.margin)
    return {"low end wrong": high / streams, "torn": torn / streams}


FORMS = {
    "power law, slow": lambda n: 0.95 - 0.4 * (n / 100) ** -0.3,
    "power law, fast": lambda n: 0.92 - 0.3 * (n / 100) ** -0.7,
    "exponential": lambda n: 0.93 - 0.35 * np.exp(-((n / 600) ** 0.6)),
    "Hill": lambda n: 0.4 + 0.55 * n**0.8 / (n**0.8 + 200**0.8),
    "logarithm": lambda n: 0.6 + 0.035 * np.log(n / 100),
    "flat": lambda n: 0.9 + 0.0 * n,
}
"""True learning curves; only two are of the fitted kind."""


def measure_learning(random: np.random.Generator) -> list[dict[str, Any]]:
    """Simulate scores on 1,000 holdout rows of runs that differ by half a point from seed to seed."""
    found = []
    for name, form in FORMS.items():
        for sizes in (np.array([250.0, 500, 1000]), np.array([100.0, 200, 400, 800, 1600])):
            truth, far = form(sizes), 4 * sizes[-1]
            held, width, error, flat = 0, 0.0, 0.0, 0.0
            for _ in range(CURVES):
                scores = (
                    random.binomial(1000, np.clip(truth + random.normal(0, 0.005, len(sizes)), 0, 1)) / 1000
                )
                seen = predict(learning_curve(sizes, scores, share_errors(scores, 1000)), far)
                held += seen.low <= form(far) <= seen.high
                width += seen.high - seen.low
                error += abs(seen.score - form(far))
                flat += abs(scores[-1] - form(far))
            row: dict[str, Any] = {"true curve": name, "sizes": len(sizes), "held": held / CURVES}
            row |= {
                "width": width / CURVES,
                "mean error": error / CURVES,
                "error of no change": flat / CURVES,
            }
            found.append(row)
    return found


def measure_winners(random: np.random.Generator) -> list[dict[str, Any]]:
    """Simulate sweeps whose candidates fail on the same rows half of the time."""
    found = []
    for name, shares, rows in (
        ("5 equal", np.full(5, 0.8), 400),
        ("20 equal", np.full(20, 0.8), 400),
        ("20 equal, few rows", np.full(20, 0.9), 100),
        ("20 spread over 10 points", np.linspace(0.7, 0.8, 20), 400),
        ("1 good of 10", np.array([0.9, *np.full(9, 0.8)]), 400),
        ("1", np.array([0.8]), 400),
    ):
        naive = fair = low = high = leader = 0.0
        for seed in range(SWEEPS):
            noise = np.sqrt(0.5) * (random.normal(size=rows) + random.normal(size=(len(shares), rows)))
            seen = winner((noise < ndtri(shares)[:, None]).astype(float), draws=300, seed=seed)
            truth = shares[seen.index]
            naive, fair = naive + seen.naive - truth, fair + seen.estimate - truth
            low, high = low + (seen.low > truth), high + (seen.high < truth)
            leader += clopper_pearson_interval(seen.naive * rows, rows)[0] > truth
        row: dict[str, Any] = {"sweep": name, "rows": rows, "sweeps": SWEEPS, "naive bias": naive / SWEEPS}
        row |= {"bias": fair / SWEEPS, "false low, leaderboard": leader / SWEEPS}
        found.append(row | {"false low": low / SWEEPS, "false high": high / SWEEPS})
    return found


def agreement() -> list[dict[str, Any]]:
    """Compare with statsmodels wherever both compute the same."""
    random = np.random.default_rng(7)
    d, base = random.choice([-2.0, -1, 0, 1], p=[0.05, 0.2, 0.5, 0.25], size=120), random.normal(size=120)
    p = random.uniform(size=12)
    codes = np.repeat(np.arange(12), 10)
    ours = equivalence_of_means(d, 0.3)
    theirs = ttost_paired(base + d, base, -0.3, 0.3)
    clustered = sm.OLS(d, np.ones(120)).fit(
        cov_type="cluster", cov_kwds={"groups": codes, "use_correction": False}
    )
    chi2 = mcnemar([[50, 14], [25, 11]], exact=False, correction=False).statistic
    pairs: dict[str, tuple[Any, Any]] = {
        "t interval": (t_interval(d), DescrStatsW(d).tconfint_mean(0.1)),
        "TOST of paired means": ((ours.p_worse, ours.p_better), (theirs[1][1], theirs[2][1])),
        "power of a mean": (
            mean_power(0.9, 0.2, 90),
            TTestPower().power(0.2 / 0.9, 90, 0.05, alternative="larger"),
        ),
        "Holm": (holm(p), multipletests(p, method="holm")[1]),
        "Wilson": (wilson_interval(37, 50), proportion_confint(37, 50, 0.1, "wilson")),
        "Clopper-Pearson": (clopper_pearson_interval(37, 50), proportion_confint(37, 50, 0.1, "beta")),
        "McNemar (Tango at 0)": (float(score_statistic(14, 25, 100, 0.0)) ** 2, chi2),
        "cluster variance, even sizes": (
            design_effect(d, codes).variance * (11 / 12) ** 2,
            float(clustered.cov_params()[0, 0]),
        ),
    }
    return [
        {"what": name, "largest difference": float(np.abs(np.subtract(*pair)).max())}
        for name, pair in pairs.items()
    ]
