"""What the monitor's choice of answers to check does to its estimate and to its alarm, simulated as it is run.

A stream of 200 calls a day; 70 % of the answers are sure and nearly always right, the others are not; the confidence
is calibrated. 20 a day are chosen by `offramp.monitor.chosen` and labelled; the detector of accuracy is made of 400
labelled holdout rows with its share of the default budget. Quiet: 90 days. Drop: from day 31 on right answers turn
wrong until accuracy is 10 points lower. Beside the choice: all its labels fed to the alarm, which is what the even part
prevents, and 20 a day drawn evenly. Seeds are apart from those that `EVEN_RATIO` was looked at with.
"""

import time
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _common import SMALL, emit, table
from offramp.monitor import chosen
from offramp.monitor.chosen import SCHEMA, Frame, Framed
from offramp.monitor.settings import MonitorSettings
from offramp.monitor.signals import ACCURACY
from offramp.monitor.state import Series
from offramp.monitor.usual import YEAR_S, alpha_of
from offramp.monitor.watch import Audit
from offramp.stats.alarm import detector, seeded, update

STREAMS = 4 if SMALL else 200
DROPS = 2 if SMALL else 100
DAYS, A_DAY, HOLDOUT = 90, 200, 400
DROP, FROM_DAY = 0.1, 31
SEED = 20_261_122
DAY_S = 86_400.0
SETTINGS = MonitorSettings(audits_per_day=20, audit_days=DAYS + 1)
WINDOW = MonitorSettings(audits_per_day=20)
ALPHA = alpha_of(Series("desk", 1), ACCURACY, SETTINGS)
WAYS = ("all chosen", "even part", "20 drawn evenly")

Floats = NDArray[np.float64]


def answers(random: np.random.Generator, count: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Draw confidences and whether the answers are right."""
    sure = np.where(random.random(count) < 0.7, random.beta(60, 1, count), random.beta(4, 2, count))
    return sure, random.random(count) < sure


def labelled(calls: list[Framed], right: NDArray[np.bool_]) -> tuple[Frame, list[Audit], list[Audit]]:
    """Return the frame with labels, every label, and those that reach the alarm."""
    empty = Frame(SCHEMA.empty_table())
    frame = chosen.extended(empty, calls, SETTINGS, deployment="d")
    drawn = frame.drawn
    said = [
        Audit(one.id, "desk", one.at, ACCURACY, 1.0 - fine, one.id, "d")
        for one, fine in zip(calls, right.tolist(), strict=True)
        if one.id in drawn
    ]
    after, heard = chosen.told(frame, said, Counter(), signal=ACCURACY, choosing=True)
    return after, said, heard


def rings(baseline: Floats, audits: list[Audit], name: str) -> int | None:
    """Return the place of the label that rang, from 1."""
    state = seeded(detector(baseline.tolist(), period=YEAR_S, alpha=ALPHA), name)
    after = update(state, [one.loss for one in audits], at=np.array([one.at for one in audits]))
    return after.alarm_row if after.alarm else None


def stream(seed: int, *, drop: float) -> dict[str, Any]:
    """Run one stream; returns labels and alarms by way, and what the estimate is worth."""
    random = np.random.default_rng([SEED, seed])
    sure, right = answers(random, DAYS * A_DAY)
    late = np.arange(len(right)) >= FROM_DAY * A_DAY
    right &= ~(late & (random.random(len(right)) < drop / right.mean()))
    baseline = 1.0 - answers(random, HOLDOUT)[1]
    names = [f"{seed}-{n}" for n in range(len(right))]
    calls = [
        Framed(name, n * DAY_S / A_DAY, "d", confidence=float(c))
        for n, (name, c) in enumerate(zip(names, sure, strict=True))
    ]
    frame, said, heard = labelled(calls, right)
    _, plain, _ = labelled([Framed(f"even {one.id}", one.at, "d") for one in calls], right)
    found: dict[str, Any] = {"right": right, "sure": sure, "frame": frame}
    for way, audits in zip(WAYS, (said, heard, plain), strict=True):
        found[way] = (audits, rings(baseline, audits, f"{seed}"))
    return found


def estimated(one: dict[str, Any]) -> tuple[float, bool, float, float]:
    """Return the estimate's gap over the first 30 days, whether its ends hold, what a label is worth, the plain gap."""
    first = 30 * A_DAY
    rows = one["frame"].rows.slice(0, first)
    (found,) = chosen.estimates(Frame(rows), "desk", WINDOW, usual={})
    scores = np.array([score for score in rows.column("people").to_pylist() if score is not None])
    truth, expected = one["right"][:first].mean(), one["sure"][:first].mean()
    assert found.value is not None
    inside = found.low <= expected <= found.high
    return found.value - truth, bool(inside), found.effective_labels / found.labels, scores.mean() - truth


def delay(one: dict[str, Any], way: str) -> float:
    """Return the days from the drop to the alarm; NaN for one before the drop, infinite for none."""
    audits, row = one[way]
    if row is None:
        return np.inf
    at = audits[row - 1].at / DAY_S - FROM_DAY
    return at if at >= 0 else np.nan


def main() -> None:
    """Run quiet and dropping streams and report."""
    began = time.process_time()
    quiet = [stream(seed, drop=0.0) for seed in range(STREAMS)]
    falling = [stream(1_000_000 + seed, drop=DROP) for seed in range(DROPS)]
    alarms = {way: float(np.mean([one[way][1] is not None for one in quiet])) for way in WAYS}
    delays = {way: float(np.nanmedian([delay(one, way) for one in falling])) for way in WAYS}
    heard = {way: float(np.mean([len(one[way][0]) for one in quiet]) / DAYS) for way in WAYS}
    table(
        [(way, f"{heard[way]:.1f}", f"{alarms[way]:.1%}", f"{delays[way]:.1f}") for way in WAYS],
        (
            "labels that the alarm hears",
            "a day",
            "false alarms in 90 quiet days",
            "days to find 10 points (median)",
        ),
    )
    gaps, inside, worth, plain = (np.array(x, dtype=float) for x in zip(*map(estimated, quiet), strict=True))
    error = float(gaps.std() / np.sqrt(len(gaps)))
    print(
        f"estimate of 30 days: {100 * gaps.mean():+.2f} points off on average (standard error {100 * error:.2f}), "
        f"the plain mean of the chosen {100 * plain.mean():+.2f}; ends held in {inside.mean():.1%}; "
        f"a label is worth {worth.mean():.2f} of a random sample's"
    )
    figures = {
        "streams": STREAMS,
        "drops": DROPS,
        "seed": SEED,
        "alpha_per_year": ALPHA,
        "false_alarms_ratio": alarms,
        "delay_days": delays,
        "labels_per_day": heard,
        "gap": float(gaps.mean()),
        "gap_error": error,
        "plain_gap": float(plain.mean()),
        "covered_ratio": float(inside.mean()),
        "effective_per_label": float(worth.mean()),
        "cpu_s": time.process_time() - began,
    }
    goals = {
        "false alarms in 90 quiet days": (alarms["even part"], "<= 0.05", alarms["even part"] <= 0.05),
        "estimate unbiased (|gap| in standard errors)": (
            round(abs(float(gaps.mean())) / error, 2),
            "<= 3",
            abs(float(gaps.mean())) <= 3 * error,
        ),
        "ends hold": (float(inside.mean()), ">= 0.95", inside.mean() >= 0.95),
        "labels beside random sampling": (
            round(1 / float(worth.mean()), 3),
            "<= 0.6",
            1 / float(worth.mean()) <= 0.6,
        ),
    }
    emit("audit_chosen", figures, goals)


if __name__ == "__main__":
    main()
