"""Can a judge be trusted? Three parts, each with what the field does beside it.

1. Correction: simulated judges of several kappas and biases score 2,000 rows, people label 50 to 200. How often does
   the 95 % interval hold the truth, and how many human labels is the judge worth? Peers: the judge's mean alone, the
   human labels alone. Also for paired differences, for clustered rows, and resampling SummEval's real scores.
2. The gate: judges with a planted defect must be refused, clean ones must not. Peer: "kappa 0.6 or more on the labelled
   rows" alone.
3. Real people as judges: one SummEval expert against the two others, and the crowd against the experts.

Seeds are fixed and were not used while the bars were chosen; `BENCH_SMALL=1` makes fewer draws.
"""

import itertools
import json
import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from _common import SMALL, data_dir, emit, table
from offramp.judge.check import JudgedPairs, JudgedRows, check
from offramp.judge.gate import gate
from offramp.judge.simulate import PEOPLE_NOISE, Planted, likert, simulated_judge
from offramp.stats.agreement import krippendorff_alpha, quadratic_kappa
from offramp.stats.ppi import Corrected, Judged, corrected_difference, corrected_mean

Floats = NDArray[np.float64]
ROWS = 2_000
DRAWS = 60 if SMALL else 1_000
CLUSTER_DRAWS = 40 if SMALL else 1_000
GATE_DRAWS = 20 if SMALL else 200
POPULATION = 200_000 if SMALL else 2_000_000
KAPPAS = (0.5, 0.65, 0.75, 0.8)
BIASES = (0.0, 0.3, 0.5)
LABELS = (50, 100, 200)
ALPHA = 0.05
SEED = 20261305
PLANTED: tuple[Planted, ...] = ("position", "length", "lenient", "random", "own", "drifting")
SUMMEVAL = ("coherence", "consistency", "fluency", "relevance")


def scores(random: np.random.Generator, quality: Floats, noise: float, bias: float) -> tuple[Floats, Floats]:
    """Return one person's and one judge's 1-5 scores of rows of this quality."""
    human = likert(quality + random.normal(0, PEOPLE_NOISE, quality.shape))
    return human, likert(quality + bias + random.normal(0, noise, quality.shape))


def covers(interval: tuple[float, float], truth: float) -> bool:
    """Say whether the interval holds the truth."""
    return interval[0] <= truth <= interval[1]


def z_interval(values: Floats, alpha: float = 0.025) -> tuple[float, float]:
    """Return the normal interval of a mean: what a judge's report usually prints."""
    half = -float(ndtri(alpha)) * float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) - half, float(values.mean()) + half


def summary(found: list[Corrected], naive: list[bool], truth: float) -> dict[str, float]:
    """Return coverage of three methods and what the labels were worth."""
    human = [abs(x.human_mean - truth) <= -float(stdtrit(x.labels - 1, 0.025)) * x.human_error for x in found]
    error = np.sqrt(np.mean([(x.estimate - truth) ** 2 for x in found]))
    alone = np.sqrt(np.mean([(x.human_mean - truth) ** 2 for x in found]))
    return {
        "offramp": float(np.mean([covers((x.low, x.high), truth) for x in found])),
        "humans alone": float(np.mean(human)),
        "judge alone": float(np.mean(naive)),
        "width": float(np.mean([x.high - x.low for x in found])),
        "label worth said": float(np.median([x.effective_labels / x.labels for x in found])),
        "label worth true": float((alone / error) ** 2),
    }


def noise_for(kappa: float, bias: float) -> float:
    """Return the judge noise, in points, that gives this kappa at this bias; 0 where none is small enough."""
    low, high = 0.0, 3.0
    quality = np.random.default_rng(1).normal(3.4, 1.1, 50_000)
    for _ in range(12):
        middle = (low + high) / 2
        reached = quadratic_kappa(*scores(np.random.default_rng(2), quality, middle, bias)).estimate
        low, high = (middle, high) if reached > kappa else (low, middle)
    return low


def measure_means(random: np.random.Generator) -> list[dict[str, float]]:
    """Simulate the correction of one mean over the grid of judges, biases and labels."""
    found = []
    for wanted in KAPPAS:
        for bias in BIASES:
            noise = noise_for(wanted, bias)
            human, judge = scores(random, random.normal(3.4, 1.1, POPULATION), noise, bias)
            truth, kappa = float(human.mean()), quadratic_kappa(human[:200_000], judge[:200_000]).estimate
            for n in LABELS:
                draws, naive = [], []
                for _ in range(DRAWS):
                    human, judge = scores(random, random.normal(3.4, 1.1, ROWS), noise, bias)
                    human[n:] = math.nan
                    draws.append(corrected_mean(judge, human, alpha=0.025))
                    naive.append(covers(z_interval(judge), truth))
                row: dict[str, float] = {"kappa": kappa, "bias": bias, "labels": n}
                found.append(row | summary(draws, naive, truth))
    return found


def two_candidates(
    random: np.random.Generator, n: int, *, spread: float, bias: float, families: int
) -> tuple[Floats, Floats, Floats, Floats, NDArray[np.int64]]:
    """Return human and judge scores of candidate and reference on the same rows, and the rows' families.

    The candidate is 0.1 worse, row by row with a standard deviation of `spread`; the judge (kappa about 0.75) is
    `bias` kinder to the candidate, which a paired judge mean cannot see.
    """
    codes = np.arange(n) if not families else np.arange(n) % families
    common = random.normal(0, 0.8, n)
    gap = random.normal(-0.1, spread, n)
    if families:
        common, gap = (
            common + random.normal(0, 0.5, families)[codes],
            gap + random.normal(0, 0.3, families)[codes],
        )
    reference = scores(random, 3.4 + common, 0.6, 0.0)
    candidate = scores(random, 3.4 + common + gap, 0.6, bias)
    return candidate[0], candidate[1], reference[0], reference[1], codes


def measure_pairs(random: np.random.Generator, families: int, draws: int) -> list[dict[str, float]]:
    """Simulate the correction of a paired difference, with clustered rows when `families` is not 0."""
    found = []
    for spread in (0.5, 1.0):
        for bias in (0.0, 0.3, 0.5):
            many = two_candidates(
                random, POPULATION, spread=spread, bias=bias, families=POPULATION // 50 if families else 0
            )
            truth = float((many[0] - many[2]).mean())
            for n in (100, 200):
                results, naive = [], []
                for _ in range(draws):
                    human, judge, human_2, judge_2, codes = two_candidates(
                        random, ROWS, spread=spread, bias=bias, families=families
                    )
                    human[random.permutation(ROWS)[n:]] = math.nan
                    results.append(
                        corrected_difference(
                            Judged(judge, human),
                            Judged(judge_2, human_2),
                            clusters=codes if families else None,
                            alpha=0.025,
                        )
                    )
                    naive.append(covers(z_interval(judge - judge_2), truth))
                row: dict[str, float] = {
                    "bias": bias,
                    "row spread": spread,
                    "labels": n,
                    "clusters": families,
                }
                row |= summary(results, naive, truth)
                # With the margin at the truth the candidate is just too bad: every certificate is false.
                row["false certificates"] = float(
                    np.mean([x.noninferiority_p(-truth) <= ALPHA for x in results])
                )
                found.append(row)
    return found


def measure_gate() -> tuple[list[dict[str, float | str]], dict[str, int]]:
    """Return outcome rates per planted defect and label count, and the outcome of the first 20 clean judges."""
    found: list[dict[str, float | str]] = []
    first = Counter[str]()
    for planted in ("none", *PLANTED):
        for labels in (60, 100, 200, 300):
            outcomes, kappa_only = Counter[str](), 0
            for i in range(GATE_DRAWS):
                report = check(*simulated_judge(planted, labels=labels, seed=SEED + i))
                result = gate(report)
                outcomes[result.outcome] += 1
                kappa_only += report.agreement is not None and report.agreement.estimate >= 0.6
                if labels == 200 and i < 20:
                    first[f"{planted} {result.outcome}"] += 1
            rates = {x: outcomes[x] / GATE_DRAWS for x in ("pass", "refuse", "not enough data")}
            found.append(
                {
                    "planted": planted,
                    "labels": labels,
                    **rates,
                    "passed by kappa alone": kappa_only / GATE_DRAWS,
                }
            )
    return found, dict(first)


def read_summeval() -> tuple[dict[str, Floats], dict[str, Floats], Floats, list[str], list[str]]:
    """Return per dimension the experts' (3, rows) and crowd's (5, rows) scores, lengths, articles and systems."""
    experts: dict[str, list[list[float]]] = {d: [] for d in SUMMEVAL}
    crowd: dict[str, list[list[float]]] = {d: [] for d in SUMMEVAL}
    lengths, articles, systems = [], [], []
    for path in sorted((data_dir() / "judge_summeval" / "per_annotator").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            lengths.append(float(len(row["decoded"])))
            articles.append(row["id"])
            systems.append(path.name.split("_")[0])
            for d in SUMMEVAL:
                experts[d].append([float(x[d]) for x in row["expert_annotations"]])
                crowd[d].append([float(x[d]) for x in row["turker_annotations"]])
    return (
        {d: np.array(x).T for d, x in experts.items()},
        {d: np.array(x).T for d, x in crowd.items()},
        np.maximum(np.array(lengths), 1.0),
        articles,
        systems,
    )


def measure_people() -> list[dict[str, Any]]:
    """Treat people as judges of SummEval: an expert against the two others, the crowd's mean against the experts'."""
    experts, crowd, lengths, articles, _ = read_summeval()
    found = []
    for d in SUMMEVAL:
        judges = {f"expert {i + 1}": (experts[d][i], np.delete(experts[d], i, axis=0)) for i in range(3)}
        judges["crowd mean"] = (crowd[d].mean(axis=0), experts[d])
        for name, (judge, others) in judges.items():
            report = check(
                JudgedRows(judge=judge, human=others.mean(axis=0), length=lengths, clusters=articles)
            )
            result = gate(report)
            kappa = report.agreement
            bias, length = report.finding("leniency"), report.finding("length")
            found.append(
                {
                    "dimension": d,
                    "judge": name,
                    "kappa": kappa.estimate if kappa else math.nan,
                    "interval": f"{kappa.low:.2f}-{kappa.high:.2f}" if kappa else "",
                    "alpha": krippendorff_alpha(np.vstack([judge[None], others])).estimate,
                    "bias": bias.effect if bias else math.nan,
                    "length": length.effect if length else math.nan,
                    "gate": result.outcome,
                    "why": "; ".join(reason.split(":")[0][:40] for reason in result.reasons),
                }
            )
    return found


def measure_real_correction(random: np.random.Generator, draws: int) -> list[dict[str, Any]]:
    """Resample SummEval's articles: an expert as judge of all, the two others' mean as 50 or 100 human labels."""
    experts, crowd, _, _, _ = read_summeval()
    found = []
    for d in SUMMEVAL:
        human_all = experts[d][1:].mean(axis=0)
        people = {"expert 1": experts[d][0], "crowd mean": crowd[d].mean(axis=0)}
        for (name, judge_all), labels in itertools.product(people.items(), (50, 100)):
            truth = float(human_all.mean())
            results, naive = [], []
            for _ in range(draws):
                rows = random.integers(len(human_all), size=1000)
                human, judge = human_all[rows].copy(), judge_all[rows]
                human[labels:] = math.nan
                results.append(corrected_mean(judge, human, alpha=0.025))
                naive.append(covers(z_interval(judge), truth))
            found.append({"dimension": d, "judge": name, "labels": labels} | summary(results, naive, truth))
    return found


def cost() -> dict[str, float]:
    """Time one check and one correction, CPU seconds."""
    rows, pairs = simulated_judge(rows=10_000, labels=500, pairs=2_000)
    calls: dict[str, Callable[[], object]] = {
        "check_10000_rows_s": lambda: check(rows, pairs),
        "correct_10000_rows_s": lambda: corrected_mean(rows.judge, rows.human),
        "krippendorff_10000_rows_s": lambda: krippendorff_alpha(
            [np.asarray(rows.judge), np.asarray(rows.repeat)]
        ),
    }
    figures = {}
    for name, call in calls.items():
        start = time.process_time()
        call()
        figures[name] = round(time.process_time() - start, 4)
    return figures


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """Print a table."""
    print(f"\n{title}", flush=True)
    table([[round(v, 3) if isinstance(v, float) else v for v in row.values()] for row in rows], list(rows[0]))


def main() -> None:
    """Run every part and report."""
    random = np.random.default_rng(SEED)
    means = measure_means(random)
    show(f"Correction of a mean, {ROWS} rows judged: coverage at 95 % ({DRAWS} draws each)", means)
    paired = measure_pairs(random, 0, DRAWS)
    clustered = [row for k in (20, 40) for row in measure_pairs(random, k, CLUSTER_DRAWS)]
    show("Correction of a paired difference, plain and clustered rows", paired + clustered)
    gates, first = measure_gate()
    show(f"The gate, {GATE_DRAWS} judges each, 1,000 rows, 200 pairs", gates)
    people = measure_people()
    show(
        "Real people as judges: SummEval, 1,200 rows of 100 articles, quadratic kappa clustered by article",
        people,
    )
    real = measure_real_correction(random, DRAWS)
    show("Correction on SummEval: 50 or 100 of 1,000 rows labelled by the mean of experts 2 and 3", real)
    pairs_only = gate(check(pairs=layout_of_pairs()))
    figures = {
        "means": means,
        "paired": paired,
        "clustered": clustered,
        "gate": gates,
        "people": people,
        "real": real,
        "cost": cost(),
        "order_blind": pairs_only.outcome,
    }
    emit("judge", figures, goals(figures, first))


def layout_of_pairs() -> JudgedPairs:
    """Return a judge that always prefers what it saw first, in the layout of a pairwise benchmark."""
    return JudgedPairs(a_first=np.ones(100), b_first=-np.ones(100), human=np.tile([1.0, -1.0], 50))


def goals(figures: dict[str, Any], first: dict[str, int]) -> dict[str, tuple[Any, Any, bool]]:
    """Compare figures with the goals; the short form allows for its own noise and says so."""
    floor = 0.93 - (4 * math.sqrt(0.05 * 0.95 / DRAWS) if SMALL else 0.0)
    least = {
        name: min(row["offramp"] for row in figures[name])
        for name in ("means", "paired", "clustered", "real")
    }
    worth = [row["label worth true"] for row in figures["means"] if abs(row["kappa"] - 0.75) < 0.01]
    value, lowest = float(np.mean(worth)), min(worth)
    said = max(abs(row["label worth said"] / row["label worth true"] - 1) for row in figures["means"])
    loose = 0.6 if SMALL else 0.25
    caught = sum(first.get(f"{x} refuse", 0) == 20 for x in PLANTED)
    clean = [row for row in figures["gate"] if row["planted"] == "none" and row["labels"] >= 200]
    bad = [row for row in figures["gate"] if row["planted"] != "none" and row["labels"] >= 200]
    leaked = max(row["pass"] for row in figures["gate"] if row["planted"] != "none")
    found: dict[str, tuple[Any, Any, bool]] = {
        f"lowest coverage, {name}": (round(x, 3), f">= {floor:.3g}", x >= floor) for name, x in least.items()
    }
    false = [row["false certificates"] for row in figures["paired"] + figures["clustered"]]
    mean_false = float(np.mean(false))
    limit = ALPHA + 4 * math.sqrt(ALPHA * (1 - ALPHA) / CLUSTER_DRAWS)
    found |= {
        f"false certificates from a judge, mean of {len(false)}": _rate(mean_false, 0.06, False),
        "false certificates from a judge, highest (4 sigma of the draws allowed)": _rate(
            max(false), round(limit, 3), False
        ),
    }
    return found | {
        f"human labels are worth, kappa .75, mean of {len(worth)}": (
            f"{value:.2f} (lowest {lowest:.2f})",
            ">= 2",
            value >= 2,
        ),
        "worth said against worth measured, off by at most": (round(said, 2), f"<= {loose}", said <= loose),
        "planted judges refused 20 times of 20, of 6": (caught, 6, caught == 6),
        "clean judges refused, of 20": (first.get("none refuse", 0), 0, first.get("none refuse", 0) == 0),
        "clean judges passed, of 20": (first.get("none pass", 0), 20, first.get("none pass", 0) == 20),
        "lowest refusal rate of planted judges, 200+ labels": _rate(
            min(r["refuse"] for r in bad), 0.98, True
        ),
        "highest refusal rate of clean judges, 200+ labels": _rate(
            max(r["refuse"] for r in clean), 0.01, False
        ),
        "highest pass rate of planted judges, 60+ labels": _rate(leaked, 0.02, False),
    }


def _rate(value: float, bound: float, at_least: bool) -> tuple[Any, Any, bool]:
    met = value >= bound if at_least else value <= bound
    return round(value, 4), f"{'>=' if at_least else '<='} {bound}", met


if __name__ == "__main__":
    main()
