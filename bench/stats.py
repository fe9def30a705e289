"""Does every statistic keep its promise? Simulated where the truth is known, with what the field does beside it.

Fixed samples: the candidate is exactly one margin worse, so every certificate is false and 5 % is right. Peers: Wald
(for graded scores the paired z), an unpaired z-test, and "no significant difference, so it is as good". Power is held
against Tango's statistic (the paired t for graded scores) with a critical value that is tuned to err in exactly 5 %
of this very scenario: nobody can know it in practice, so it is an upper mark.

Live comparison: the same, looked at after every pair. Then equivalence, learning curves, the winner of a sweep, and
agreement with statsmodels. Scenarios and seeds are fixed; `BENCH_SMALL=1` makes fewer draws.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincc, ndtri, stdtr

from _common import SMALL, emit, table
from _scenarios import FEW_CLUSTERS, PLAIN, Scenario, reduced, verdict_p
from _stats_more import agreement, measure_learning, measure_live, measure_winners
from offramp.stats.equivalence import equivalence_power
from offramp.stats.means import t_noninferiority_p
from offramp.stats.paired import p_value, paired_sample, score_statistic

ALPHA = 0.05
DRAWS = 4_000 if SMALL else 100_000
CLUSTER_DRAWS = 150 if SMALL else 8_000
CLUSTERS = 20
CHECKED = 100

Floats = NDArray[np.float64]


def path_error(scenario: Scenario, tables: NDArray[np.int64], p: Floats) -> float:
    """Return how far the vectorised p-values are from what `compare` runs, at most, where it matters."""
    worst = 0.0
    for row, fast in zip(tables[:CHECKED], p[:CHECKED], strict=True):
        sample = paired_sample(np.repeat(scenario.values, row), span=scenario.span)
        slow = p_value(sample, -scenario.margin)
        if min(slow, fast) < 0.2:
            worst = max(worst, abs(slow - fast))
    return worst


def peers(scenario: Scenario, tables: NDArray[np.int64]) -> dict[str, float]:
    """Return the share of tables (draws, outcomes) that each habit of the field certifies."""
    gains, losses, squares, _ = reduced(scenario, tables)
    n, z = scenario.n, -float(ndtri(ALPHA))
    d = (gains - losses) / n
    error = np.sqrt(np.maximum(squares / n - d**2, 0) / n)
    unpaired = scenario.spread * math.sqrt(2 / n)
    if scenario.binary:
        fewer = np.minimum(gains, losses)
        different = 2 * betaincc(fewer + 1, gains + losses - fewer, 0.5)  # exact McNemar
        different = np.where(gains == losses, 1.0, np.minimum(different, 1.0))
    else:
        different = 2 * stdtr(n - 1, -np.abs(d) / np.maximum(error, 1e-12))
    return {
        "wald": float((d - z * error > -scenario.margin).mean()),
        "unpaired z": float((d - z * unpaired > -scenario.margin).mean()),
        "not significant": float((different > ALPHA).mean()),
    }


def statistic(scenario: Scenario, tables: NDArray[np.int64]) -> Floats:
    """Return what the level-tuned peer ranks tables by: Tango's statistic, or t."""
    gains, losses, squares, _ = reduced(scenario, tables)
    if scenario.binary:
        return score_statistic(gains, losses, scenario.n, -scenario.margin)
    d = (gains - losses) / scenario.n
    error = np.sqrt(np.maximum(squares / scenario.n - d**2, 1e-15) / scenario.n)
    return np.asarray((d + scenario.margin) / error, dtype=float)


def measure_plain(random: np.random.Generator) -> list[dict[str, Any]]:
    """Simulate fixed samples of plain rows."""
    found = []
    for scenario in PLAIN:
        worse = scenario.tables(random, -scenario.margin, DRAWS)
        equal = scenario.tables(random, 0.0, DRAWS)
        p = verdict_p(scenario, worse, scenario.margin)
        powered = verdict_p(scenario, equal, scenario.margin) <= ALPHA
        row: dict[str, Any] = {"score": scenario.kind, "n": scenario.n, "differ": scenario.discordance}
        row |= {"margin": scenario.margin, "offramp": float((p <= ALPHA).mean())}
        row |= peers(scenario, worse)
        ranked = statistic(scenario, worse)
        # Discrete statistics: the largest level that is not above 5 %.
        critical = float(np.quantile(ranked, 1 - ALPHA, method="higher"))
        row["power"] = float(powered.mean())
        row["tuned power"] = float((statistic(scenario, equal) > critical + 1e-9).mean())
        row["unpaired power"] = peers(scenario, equal)["unpaired z"]
        row["path off by"] = path_error(scenario, worse, p)
        found.append(row)
    return found


def robust_t_p(d: Floats, sizes: NDArray[np.int64], margin: float) -> float:
    """Return the p-value of the usual cluster-robust t-test with clusters - 1 degrees of freedom."""
    totals = np.add.reduceat(d, np.cumsum(sizes) - sizes)
    error = math.sqrt(((totals - sizes * d.mean()) ** 2).sum() * len(sizes) / (len(sizes) - 1)) / len(d)
    return float(stdtr(len(sizes) - 1, -(d.mean() + margin) / error)) if error > 0 else 1.0


def measure_clustered(random: np.random.Generator) -> list[dict[str, Any]]:
    """Simulate rows in 20 clusters with the code a verdict runs."""
    found = []
    for scenario, even, correlation in FEW_CLUSTERS:
        weights = np.ones(CLUSTERS) if even else np.random.default_rng(5).lognormal(0, 0.8, CLUSTERS)
        sizes = np.maximum(1, np.round(weights / weights.sum() * scenario.n)).astype(np.int64)
        codes = np.repeat(np.arange(CLUSTERS), sizes)
        margin, span = scenario.margin, scenario.span
        tests: dict[str, Callable[[Floats], float]] = {
            "offramp": lambda d, c=codes, m=margin, s=span: p_value(paired_sample(d, clusters=c, span=s), -m),
            "offramp t": lambda d, c=codes, m=margin: t_noninferiority_p(d, m, clusters=c),
            "robust t": lambda d, z=sizes, m=margin: robust_t_p(d, z, m),
            "ignoring clusters": lambda d, m=margin, s=span: p_value(paired_sample(d, span=s), -m),
        }
        certified = dict.fromkeys(tests, 0)
        for i in range(CLUSTER_DRAWS):
            d = scenario.clustered(random, sizes, -margin, correlation)
            for name, test in tests.items():
                if name != "ignoring clusters" or i % 8 == 0:  # the exact p-value is slow
                    certified[name] += test(d) <= ALPHA
        row: dict[str, Any] = {"score": scenario.kind, "n": len(codes), "differ": scenario.discordance}
        row |= {"margin": margin, "even": even, "correlation": correlation}
        looked = {name: CLUSTER_DRAWS for name in tests}
        looked["ignoring clusters"] = len(range(0, CLUSTER_DRAWS, 8))
        found.append(row | {name: k / looked[name] for name, k in certified.items()})
    return found


def measure_equivalence(random: np.random.Generator) -> list[dict[str, Any]]:
    """Simulate both ends of equivalence: one margin better must not be called equivalent either."""
    found = []
    for scenario in (PLAIN[2], PLAIN[4], PLAIN[8], PLAIN[15]):
        row: dict[str, Any] = {"score": scenario.kind, "n": scenario.n, "margin": scenario.margin}
        mirror = np.concatenate(
            [np.arange(len(scenario.sizes)) + len(scenario.sizes), np.arange(len(scenario.sizes))]
        )
        mirror = np.append(mirror, 2 * len(scenario.sizes))
        for name, truth in (("false, worse", -1.0), ("false, better", 1.0), ("power", 0.0)):
            tables = scenario.tables(random, truth * scenario.margin, DRAWS // 4)
            both = (verdict_p(scenario, tables, scenario.margin) <= ALPHA) & (
                verdict_p(scenario, tables[:, mirror], scenario.margin) <= ALPHA
            )
            row[name] = float(both.mean())
        if scenario.binary:
            row["power"] = f"{row['power']:.4f}"
            row["predicted"] = f"{equivalence_power(scenario.discordance, scenario.margin, scenario.n):.4f}"
        else:
            row["power"], row["predicted"] = f"{row['power']:.4f}", ""
        found.append(row)
    return found


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Print a table with ratios to four digits."""
    print(f"\n{title}")
    table([[round(v, 4) if isinstance(v, float) else v for v in row.values()] for row in rows], list(rows[0]))


def noise(share: float, draws: int) -> float:
    """Return the simulation's own error that the short form is granted: four standard errors, full size none."""
    return 4 * math.sqrt(share * (1 - share) / draws) if SMALL else 0.0


def at_most(value: float, limit: float, slack: float = 0.0) -> tuple[Any, Any, bool]:
    """Return a goal; `slack` is what the short form's own noise adds to the limit."""
    return round(value, 4), f"<= {limit + slack:.3g}", value <= limit + slack


def goals_of(figures: dict[str, Any]) -> dict[str, tuple[Any, Any, bool]]:
    """Hold the figures against what was promised."""
    false = [row["offramp"] for row in figures["plain"]]
    low, high = 0.03 - noise(0.03, DRAWS), 0.055 + noise(0.055, DRAWS)
    inside = sum(low <= x <= high for x in false)
    gaps = [(row["score"], row["tuned power"] - row["power"]) for row in figures["plain"]]
    live, winners = figures["live"], figures["winners"]
    first = sum(row["80th / fixed"] <= 1.6 for row in live[:4])
    held = float(np.mean([row["held"] for row in figures["learning"]]))
    return {
        f"false certificates, {len(false)} scenarios": (
            f"{inside} of {len(false)}; {min(false):.4f}-{max(false):.4f}",
            f"all in {low:.3g}-{high:.3g}",
            inside == len(false),
        ),
        f"false certificates, {CLUSTERS} clusters": at_most(
            max(row["offramp"] for row in figures["clustered"]), 0.06, noise(0.06, CLUSTER_DRAWS)
        ),
        "power behind a test tuned to the scenario, right/wrong": at_most(
            max(gap for kind, gap in gaps if kind == "right/wrong"), 0.02, noise(0.5, DRAWS)
        ),
        "power behind a test tuned to the scenario, graded": at_most(
            max(gap for kind, gap in gaps if kind != "right/wrong"), 0.02, noise(0.5, DRAWS)
        ),
        "false certificates, looked at after every pair": at_most(
            max(max(row["false"], row["false, after a holdout"]) for row in live),
            0.05,
            noise(0.05, live[0]["streams"]),
        ),
        "80th percentile within 1.6 fixed samples, first four": (f"{first} of 4", "4 of 4", first == 4),
        f"80th percentile over the fixed sample after a holdout of 400, worst of {len(live)}": at_most(
            max(row["80th after a holdout"] for row in live), 1.6
        ),
        f"80th percentile over the fixed sample knowing nothing, worst of {len(live)}": at_most(
            max(row["80th / fixed"] for row in live), 1.6
        ),
        "90 % learning-curve intervals that held, mean": (round(held, 3), ">= 0.88", held >= 0.88),
        "winner's lower end too high, worst": at_most(
            max(row["false low"] for row in winners), 0.06, noise(0.06, winners[0]["sweeps"])
        ),
        "winner's estimate biased by, worst": at_most(max(abs(row["bias"]) for row in winners), 0.006),
        "vectorised test off the verdict's by": at_most(
            max(row["path off by"] for row in figures["plain"]), 1e-9
        ),
        "off statsmodels by": at_most(max(row["largest difference"] for row in figures["agreement"]), 1e-8),
    }


def main() -> None:
    """Run every part and report."""
    began = time.process_time()
    random = np.random.default_rng(20261121)
    figures: dict[str, Any] = {"plain": measure_plain(random)}
    show(f"False certificates at the margin, nominal {ALPHA}; {DRAWS:,} draws", figures["plain"])
    figures["clustered"] = measure_clustered(random)
    show(f"The same in {CLUSTERS} clusters; {CLUSTER_DRAWS:,} draws", figures["clustered"])
    figures["equivalence"] = measure_equivalence(random)
    show("Equivalence", figures["equivalence"])
    figures["live"] = measure_live(random)
    show("Looked at after every pair; times are in fixed samples of 80 % power", figures["live"])
    figures["learning"] = measure_learning(random)
    show("Learning curves: the score at 4 times the largest size", figures["learning"])
    figures["winners"] = measure_winners(random)
    show("The winner of a sweep", figures["winners"])
    figures["agreement"] = agreement()
    show("Agreement with statsmodels", figures["agreement"])
    figures["cpu_s"] = round(time.process_time() - began, 1)
    print(f"\n{figures['cpu_s']} s of CPU")
    emit("stats", figures, goals_of(figures))


if __name__ == "__main__":
    main()
