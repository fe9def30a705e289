"""Two candidates on the same rows in, a verdict out.

Each bar is tested by itself and all must hold, so no bar needs a correction for the others (Berger 1982,
Multiparameter hypothesis testing and acceptance sampling, Technometrics 24: the intersection-union test). Slices are
looked at for information and are Holm-adjusted.

Guarantee: `ready` is a one-sided test against the margin at the bar's alpha, never "no significant difference";
what cannot be decided is `not enough data` with the rows that would decide it, or `not ready` when more rows would not
help. Numbers that make no sense (NaN, unequal rows, a metric nobody computed) are errors.

Trap: `power` is design power: the chance for a candidate that is *truly equal*, at the discordance seen. It says
whether the holdout was large enough, not how likely this candidate is to pass.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from offramp.errors import DataError
from offramp.stats.multiple import holm
from offramp.stats.paired import EXACT_UP_TO, PairedSample, p_value, paired_ends, score_interval
from offramp.stats.power import power, sample_size
from offramp.stats.proportion import clopper_pearson_interval, effective_counts, level_p, level_sample_size
from offramp.types import Bar, BarResult, Outcome, VerdictBody

REACH = 10
"""A projection that needs more than this many times the holdout is not a plan: it hangs on noise."""

_ORDER: tuple[Outcome, ...] = ("not ready", "not enough data", "ready", "better")

Doubt = Literal["", "as seen", "if equal", "midway", "shown worse", "eaten", "too few"]


@dataclass(frozen=True)
class Outcomes:
    """How one candidate did, row by row."""

    ids: Sequence[str]
    """Row ids, unique."""
    scores: Mapping[str, Sequence[float | None]]
    """Per metric, one score per row in the order of `ids`; `None` = not scored. A failed answer scores 0."""
    clusters: Sequence[str | None] | None = None
    """What each row belongs to (conversation, customer, near-duplicate family); `None` where a row stands alone."""
    failed_answers: int = 0
    """Rows without an answer, already counted as wrong in `scores`."""
    spans: Mapping[str, float] = field(default_factory=dict)
    """Largest possible difference of two scores per metric (4 for 1-5); read off the scores where not given."""


@dataclass(frozen=True)
class _Rows:
    """Joined rows of one metric, unscored ones left out."""

    candidate: NDArray[np.float64]
    reference: NDArray[np.float64] | None
    clusters: NDArray[np.int64] | None
    span: float
    """Largest possible difference."""
    shares: bool
    """All scores lie in 0-1, so differences are told in points."""


@dataclass(frozen=True)
class _Finding:
    """One bar's result with what the sentence needs."""

    result: BarResult
    points: bool
    doubt: Doubt = field(default="")


def compare(
    candidate: Outcomes,
    reference: Outcomes | None = None,
    *,
    bars: Sequence[Bar],
    slices: Mapping[str, Collection[str]] | None = None,
    alpha: float = 0.05,
    power_target: float = 0.8,
) -> VerdictBody:
    """Test `candidate` against every bar, and against `reference` where the bar has a margin.

    Args:
        candidate: The candidate that asks to be used.
        reference: What it would replace; needed when a bar has a margin. Rows are joined by id.
        bars: What must hold, all of it.
        slices: Name to row ids; each bar for all rows is also reported per slice.
        alpha: Chance of any false `ready` among the slices together (bars carry their own alpha).
        power_target: Power that a projected sample size must reach.

    Raises:
        DataError: no rows, unequal row sets, a repeated id, a score that is not a number, a bar that cannot be tested.
    """
    if not bars:
        raise DataError(
            "asked for a verdict; found no bar; give at least one, e.g. a margin of 0.02 on accuracy"
        )
    for bar in bars:
        _check_bar(bar, reference is not None)
    members = {name: frozenset(ids) for name, ids in (slices or {}).items()}
    order = _join(candidate, reference)
    found = [_judge(bar, _rows(bar, candidate, reference, order, members), power_target) for bar in bars]
    looks = []
    for bar in (bar for bar in bars if bar.slice is None):
        for name in members:
            sliced = bar.model_copy(update={"slice": name, "alpha": alpha})
            rows = _rows(sliced, candidate, reference, order, members, empty_ok=True)
            if len(rows.candidate):
                looks.append(_judge(sliced, rows, power_target).result)
    outcome = _overall([one.result for one in found])
    return VerdictBody(
        outcome=outcome,
        sentence=_sentence(outcome, found, candidate.failed_answers, power_target),
        bars=tuple(one.result for one in found),
        slices=_adjusted(looks, alpha),
        failed_answers=candidate.failed_answers,
        unscored=_unscored(bars, candidate, reference, order),
    )


def amended(
    body: VerdictBody, replaced: Mapping[Bar, BarResult], *, power_target: float = 0.8
) -> VerdictBody:
    """Return the verdict with some bars' results replaced, such as a judge's by what people's ratings make of it.

    Slices of replaced bars are left out: they rest on the scores that were replaced.
    """
    found = [
        _Finding(replaced.get(result.bar, result), result.scale == "share" and result.bar not in replaced)
        for result in body.bars
    ]
    metrics = {bar.metric for bar in replaced}
    outcome = _overall([one.result for one in found])
    return body.model_copy(
        update={
            "outcome": outcome,
            "sentence": _sentence(outcome, found, body.failed_answers, power_target),
            "bars": tuple(one.result for one in found),
            "slices": tuple(one for one in body.slices if one.bar.metric not in metrics),
        }
    )


def _overall(results: Sequence[BarResult]) -> Outcome:
    outcome = min((result.outcome for result in results), key=_ORDER.index)
    relative = [result for result in results if result.bar.margin is not None]
    if outcome == "ready" and relative and all(result.outcome == "better" for result in relative):
        return "better"  # the other bars are levels, which can only be met
    return outcome


def _check_bar(bar: Bar, has_reference: bool) -> None:
    if (bar.margin is None) == (bar.level is None):
        raise DataError(f"asked for {bar!r}; found neither or both of `margin` and `level`; give one of them")
    if bar.margin is not None and not has_reference:
        raise DataError(f"asked for a margin on {bar.metric!r}; found no reference; give one, or a `level`")
    if bar.margin is not None and not bar.margin > 0:
        raise DataError(
            f"asked for a margin of {bar.margin!r} on {bar.metric!r}; a margin is above 0, e.g. 0.02"
        )
    if bar.level is not None and not 0 < bar.level < 1:
        raise DataError(f"asked for a level of {bar.level!r} on {bar.metric!r}; a level is between 0 and 1")
    if not 0 < bar.alpha < 0.5:
        raise DataError(
            f"asked for alpha {bar.alpha!r} on {bar.metric!r}; give a one-sided rate such as 0.05"
        )


def _join(candidate: Outcomes, reference: Outcomes | None) -> NDArray[np.int64]:
    """Return, for each row of the candidate, its place in the reference (its own place without one)."""
    for who, side in (("candidate", candidate), ("reference", reference)):
        if side is None:
            continue
        if len(set(side.ids)) != len(side.ids) or not len(side.ids):
            raise DataError(
                f"asked to compare the {who}'s {len(side.ids)} rows; found {len(set(side.ids))} different ids; "
                "give at least one row, each id once"
            )
        lengths = {name: len(scores) for name, scores in side.scores.items()}
        lengths |= {} if side.clusters is None else {"clusters": len(side.clusters)}
        wrong = {name: length for name, length in lengths.items() if length != len(side.ids)}
        if wrong:
            raise DataError(
                f"asked to compare the {who}'s {len(side.ids)} rows; found {wrong!r}; give one per row"
            )
    if reference is None:
        return np.arange(len(candidate.ids))
    place = {row: i for i, row in enumerate(reference.ids)}
    ours = set(candidate.ids)
    if ours != place.keys():
        raise DataError(
            f"asked to compare row by row; found {len(ours - place.keys())} rows only the candidate has and "
            f"{len(place.keys() - ours)} only the reference has, {len(ours & place.keys())} in common; "
            "evaluate both on the same rows"
        )
    return np.array([place[row] for row in candidate.ids])


def _scores(side: Outcomes, metric: str) -> NDArray[np.float64]:
    """Return one float per row, NaN where not scored."""
    if metric not in side.scores:
        raise DataError(
            f"asked for a bar on {metric!r}; found scores for {sorted(side.scores)!r}; compute it first"
        )
    given = side.scores[metric]
    values = np.array([math.nan if score is None else score for score in given], dtype=float)
    missing = np.array([score is None for score in given])
    bad = ~np.isfinite(values) & ~missing
    if bad.any():
        raise DataError(
            f"asked to compare {metric!r}; found {int(bad.sum())} scores that are not numbers, the first at row "
            f"{side.ids[int(bad.argmax())]!r}; a row that could not be scored is `None`"
        )
    return values


def _rows(
    bar: Bar,
    candidate: Outcomes,
    reference: Outcomes | None,
    order: NDArray[np.int64],
    members: Mapping[str, frozenset[str]],
    *,
    empty_ok: bool = False,
) -> _Rows:
    if bar.slice is not None and bar.slice not in members:
        raise DataError(
            f"asked for a bar on slice {bar.slice!r}; found slices {sorted(members)!r}; name one of them"
        )
    ours = _scores(candidate, bar.metric)
    theirs = None if reference is None or bar.margin is None else _scores(reference, bar.metric)[order]
    use = np.isfinite(ours) if theirs is None else np.isfinite(ours) & np.isfinite(theirs)
    if bar.slice is not None:
        use &= np.array([row in members[bar.slice] for row in candidate.ids])
    if not use.any() and not empty_ok:
        where = "" if bar.slice is None else f" in slice {bar.slice!r}"
        raise DataError(
            f"asked for a bar on {bar.metric!r}{where}; found no row scored there; score some first"
        )
    clusters = candidate.clusters
    if clusters is None and reference is not None and reference.clusters is not None:
        clusters = [reference.clusters[i] for i in order]
    codes = None if clusters is None else _codes(clusters)[use]
    both = np.concatenate([ours[use], [] if theirs is None else theirs[use]])
    shares = bool(((both >= 0) & (both <= 1)).all())
    span = candidate.spans.get(bar.metric) or (1.0 if shares else max(float(both.max() - both.min()), 1.0))
    if bar.margin is not None and bar.margin >= span:
        raise DataError(
            f"asked for a margin of {bar.margin!r} on {bar.metric!r}; found scores that differ by {span!r} "
            "at most; give a smaller margin"
        )
    if bar.level is not None and not shares:
        raise DataError(f"asked for a level of {bar.metric!r}; found scores outside 0-1; rescale the metric")
    return _Rows(ours[use], None if theirs is None else theirs[use], codes, span, shares)


def _codes(clusters: Sequence[str | None]) -> NDArray[np.int64]:
    """Number the clusters; a row without one gets its own."""
    numbers: dict[str | int, int] = {}
    return np.array(
        [
            numbers.setdefault(row if name is None else name, len(numbers))
            for row, name in enumerate(clusters)
        ],
        dtype=np.int64,
    )


def _judge(bar: Bar, rows: _Rows, target: float) -> _Finding:
    groups = None if rows.clusters is None else len(np.unique(rows.clusters))
    # Clusters of one row each are no clusters, and the exact test is for rows without.
    alone = groups is None or groups == len(rows.candidate)
    if len(rows.candidate) < 2 or groups == 1:
        return _too_few(bar, rows, groups)
    codes = None if alone else rows.clusters
    if rows.reference is not None and bar.margin is not None:
        return _against_reference(bar, rows, codes, groups, target)
    return _against_level(bar, rows, codes, groups, target)


def _too_few(bar: Bar, rows: _Rows, groups: int | None) -> _Finding:
    """One row, or one cluster, says nothing of others: the interval is everything that is possible."""
    ours = float(rows.candidate.mean())
    theirs = None if rows.reference is None else float(rows.reference.mean())
    flawless = 1 - bar.margin / rows.span if bar.margin is not None else bar.level
    fewest = math.ceil(math.log(bar.alpha) / math.log(flawless or 0.5))
    result = BarResult(
        bar=bar,
        n=len(rows.candidate),
        candidate_mean=ours,
        reference_mean=theirs,
        difference=None if theirs is None else ours - theirs,
        low=0.0 if theirs is None else -rows.span,
        high=1.0 if theirs is None else rows.span,
        p_value=1.0,
        power=None if theirs is None else 0.0,
        discordance=None if rows.reference is None else float((rows.candidate != rows.reference).mean()),
        clusters=groups,
        method="none: fewer than two independent rows",
        scale="share" if rows.shares else "score",
        outcome="not enough data",
        more_rows=max(fewest - 1, 1),
    )
    return _Finding(result, rows.shares, "too few")


def _against_reference(
    bar: Bar, rows: _Rows, codes: NDArray[np.int64] | None, groups: int | None, target: float
) -> _Finding:
    assert rows.reference is not None and bar.margin is not None
    differences = rows.candidate - rows.reference
    sample, above = paired_ends(differences, clusters=codes, span=rows.span)
    p = p_value(sample, -bar.margin)
    low, high = score_interval(sample, bar.alpha)[0], score_interval(above, bar.alpha)[1]
    step = _step(sample, bar.margin)
    chance = power(sample.discordance, bar.margin / step, sample.n, alpha=bar.alpha, df=sample.df)
    more: int | None = None
    doubt: Doubt = ""
    outcome: Outcome = "better" if low > 0 else "ready"
    if not (p <= bar.alpha and low > -bar.margin):
        outcome, more, doubt = _plan(bar, sample, high, len(differences), target)
    binary = bool(np.isin(differences, (-1.0, 0.0, 1.0)).all())
    exact = math.isinf(sample.df) and binary and sample.gains + sample.losses <= EXACT_UP_TO
    method = "paired score test (Tango)" + (", exact" if exact else "")
    method += "" if binary else f", steps of {sample.step:.2g}"
    if codes is not None and math.isinf(sample.df):
        method += ", a family is its worst row below and its best above"
    elif codes is not None:
        method += f", {len(differences) / sample.n:.2f} rows count as one, {sample.df:.0f} degrees of freedom"
    result = BarResult(
        bar=bar,
        n=len(differences),
        candidate_mean=float(rows.candidate.mean()),
        reference_mean=float(rows.reference.mean()),
        difference=float(differences.mean()),
        low=low,
        high=high,
        p_value=p,
        power=chance,
        discordance=float((differences != 0).mean()),
        clusters=groups,
        method=method,
        scale="share" if rows.shares else "score",
        outcome=outcome,
        more_rows=more,
    )
    return _Finding(result, rows.shares, doubt)


def _plan(
    bar: Bar, sample: PairedSample, high: float, n: int, target: float
) -> tuple[Outcome, int | None, Doubt]:
    """Say what to do about a bar that is not met: stop, or collect how many more rows.

    If the difference stays as seen, how many rows would be needed? Up to `REACH` times the holdout that is a plan.
    Otherwise the difference seen eats (nearly) the whole margin, and more rows help only if it is not real: if an
    equal candidate is still inside the interval and the holdout was too small to be fair to one.
    """
    assert bar.margin is not None
    margin = bar.margin
    if high < -margin:
        return "not ready", None, "shown worse"
    step = _step(sample, margin)
    # Half a row stands for the discordance that was not seen yet.
    discordance = max(sample.discordance, 0.5 / sample.n)
    rows_each = n / sample.n

    def needed(difference: float) -> float:
        size = sample_size(
            discordance,
            margin / step,
            alpha=bar.alpha,
            target=target,
            difference=difference / step,
            df=sample.df,
        )
        return math.inf if size is None else size * rows_each

    as_seen, if_equal = needed(min(sample.difference, 0.0)), needed(0.0)
    if as_seen <= REACH * n:
        return "not enough data", max(math.ceil(as_seen) - n, 1), "as seen"
    if n < if_equal < math.inf and high >= 0:
        return "not enough data", math.ceil(if_equal) - n, "if equal"
    return "not ready", None, "eaten"


def _step(sample: PairedSample, margin: float) -> float:
    """Return the size of one step as the test at the margin counts it."""
    return min(sample.span, max(sample.step, 2 * margin))


def _against_level(
    bar: Bar, rows: _Rows, codes: NDArray[np.int64] | None, groups: int | None, target: float
) -> _Finding:
    assert bar.level is not None
    n, mean = len(rows.candidate), float(rows.candidate.mean())
    successes, effective = effective_counts(rows.candidate, codes)
    low, high = clopper_pearson_interval(successes, effective, bar.alpha)
    p = level_p(successes, effective, bar.level)
    outcome: Outcome = "ready"
    more: int | None = None
    doubt: Doubt = ""
    if not (p <= bar.alpha and low > bar.level):
        outcome, doubt = "not ready", "shown worse" if high < bar.level else "eaten"
        seen = level_sample_size(bar.level, mean, alpha=bar.alpha, power=target)
        midway = level_sample_size(bar.level, (1 + bar.level) / 2, alpha=bar.alpha, power=target) or 0
        needed = None
        if seen is not None and seen * n / effective <= REACH * n:
            needed, doubt = seen, "as seen"
        elif high >= bar.level and midway > effective:
            needed, doubt = midway, "midway"
        if needed is not None:
            outcome, more = "not enough data", max(math.ceil(needed * n / effective) - n, 1)
    result = BarResult(
        bar=bar,
        n=n,
        candidate_mean=mean,
        reference_mean=None,
        difference=None,
        low=low,
        high=high,
        p_value=p,
        power=None,
        discordance=None,
        clusters=groups,
        method="Clopper-Pearson" + ("" if codes is None else f", {n / effective:.2f} rows count as one"),
        outcome=outcome,
        more_rows=more,
    )
    return _Finding(result, True, doubt)


def _adjusted(looks: Sequence[BarResult], alpha: float) -> tuple[BarResult, ...]:
    """Replace p-values of slices by Holm's, and take back a `ready` that does not survive.

    Only parity is adjusted, so no slice is called `better`.
    """
    adjusted = []
    for look, p in zip(looks, holm([look.p_value for look in looks]), strict=True):
        outcome = look.outcome
        if outcome in ("ready", "better"):
            outcome = "ready" if p <= alpha else "not enough data"
        adjusted.append(look.model_copy(update={"p_value": float(p), "outcome": outcome}))
    return tuple(adjusted)


def _unscored(
    bars: Sequence[Bar], candidate: Outcomes, reference: Outcomes | None, order: NDArray[np.int64]
) -> int:
    """Count rows that some bar had to leave out because a score was missing on either side."""
    missing = np.zeros(len(candidate.ids), dtype=bool)
    for bar in bars:
        missing |= np.isnan(_scores(candidate, bar.metric))
        if reference is not None and bar.margin is not None:
            missing |= np.isnan(_scores(reference, bar.metric)[order])
    return int(missing.sum())


def _sentence(outcome: Outcome, found: Sequence[_Finding], failed: int, target: float) -> str:
    """Say the verdict in one line, by the bar that decided it: the one with the largest p-value."""
    deciding = [one for one in found if one.result.outcome == outcome]
    finding = max(deciding, key=lambda one: one.result.p_value)
    more = [one.result.more_rows for one in deciding if one.result.more_rows is not None]
    parts = [
        f"{outcome}: {_numbers(finding, len(found) > 1)}{_reason(finding, max(more, default=0), target)}"
    ]
    if failed:
        parts.append(f"{failed:,} failed answers count as wrong")
    return "; ".join(parts)


def _numbers(finding: _Finding, name_it: bool) -> str:
    result, scale = finding.result, 100 if finding.points else 1
    name = f"{result.bar.metric} " if name_it or result.difference is None else ""
    if result.bar.slice is not None:
        name = f"{result.bar.metric} in {result.bar.slice} "
    if result.difference is None or result.bar.margin is None:
        mean, low, high = (f"{100 * x:.1f}" for x in (result.candidate_mean, result.low, result.high))
        return f"{name}{mean} % [{low}, {high}] against a level of {100 * (result.bar.level or 0):g} %"
    digits, unit = (1, " pt") if finding.points else (2, "")
    middle, low, high = (f"{scale * x:+.{digits}f}" for x in (result.difference, result.low, result.high))
    power_text = "" if result.power is None else f", power {result.power:.2f} for an equal candidate"
    return f"{name}{middle}{unit} [{low}, {high}] against a margin of {scale * result.bar.margin:g}{unit}{power_text}"


def _reason(finding: _Finding, more: int, target: float) -> str:
    rows = f"; {more:,} more rows would give {100 * target:.0f} % power if "
    return {
        "": "",
        "as seen": rows + "what was seen stays so",
        "if equal": rows + "the two are truly equal",
        "midway": rows + "the truth is midway between the level and 100 %",
        "shown worse": "; shown worse than the bar",
        "eaten": "; what was seen leaves no room, more rows would not help",
        "too few": f"; at least {more:,} more independent rows are needed",
    }[finding.doubt]
