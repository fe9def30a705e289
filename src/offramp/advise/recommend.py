"""From figures to words: what to do about a task, and which task to take first.

The order of the questions is that of the preconditions: is the incumbent right at all, is it one job, may or must it
move, does anything pay, are there rows enough. Money decides among what is left, and among ways that gain nearly the
same the one with the least work wins. Guarantee: "don't" is said whenever nothing gains over the horizon, people's
hours included. Trap: quality is not known before it is evaluated; the advice is which way to *try* first, and how.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from offramp.advise.advice import REPLACES, Action, TaskAdvice
from offramp.advise.discover import FoundTask
from offramp.advise.profile import Profile
from offramp.advise.readiness import Check, rows_needed, state_of
from offramp.advise.triggers import Trigger
from offramp.cost import Comparison, Option

NEARLY_RATIO = Decimal("0.1")
"""Gains that differ by less are the same: they differ by less than their ranges. Source: our judgement."""
STRONG = 0.5
"""From this strength on a trigger is a reason by itself."""
ACTIONS: Mapping[str, Action] = {
    "prompt": "shorten",
    "cache": "cache",
    "batch": "batch",
    "api": "cheaper API",
    "few-shot": "own",
    "hosted": "hosted",
    "cpu": "own",
    "gpu": "own",
    "shared gpu": "share",
    "cascade": "cascade",
}
"""What each kind of option means to do."""
_WORK = ("cache", "batch", "prompt", "api", "hosted", "cpu", "few-shot", "shared gpu", "gpu", "cascade")
"""Kinds by the work that they are."""
_TUNED = ("hosted", "cpu", "gpu", "shared gpu", "cascade")
_FORCING = ("privacy", "shutdown", "latency", "reliability")


@dataclass(frozen=True)
class Compared:
    """The options of a task in money, as things are and as they would be."""

    now: Comparison | None
    """With the rows that are on hand; `None` when the incumbent's price is unknown."""
    with_rows: Comparison | None = None
    """As if there were rows enough to tune; `None` when there are."""
    unpriced: str = ""
    """Why there is none."""
    must_be_fast: bool = False
    """Whether there is a latency target."""
    can_wait: bool = False
    """Whether somebody said that answers may come hours later."""


def recommend(
    task: FoundTask,
    profile: Profile,
    *,
    checks: tuple[Check, ...],
    triggers: tuple[Trigger, ...],
    compared: Compared,
) -> TaskAdvice:
    """Return what to do about a task, with its reasons."""
    case = _Facts(task, profile, checks, triggers, compared)
    if state_of(checks, "proven") == "no":
        return case.said("fix first", _fix_first(case), [case.evidence("proven")], ["a better incumbent"])
    if state_of(checks, "specific") == "no":
        return case.said("split", _split(case), [case.evidence("specific")], ["one job per call"])
    if compared.now is None:
        return case.said("leave", _unpriced(case), list(case.pulls), ["a price for the incumbent"])
    if state_of(checks, "in production") == "no":
        return case.said("wait", _wait(case), [case.evidence("in production")], ["more calls"])
    limits = {"must_be_fast": compared.must_be_fast, "can_wait": compared.can_wait}
    best = choose(compared.now, **limits)
    later = None if compared.with_rows is None else choose(compared.with_rows, **limits)
    if later is not None and later.kind in _TUNED and _beats(later, best):
        return case.chosen("collect rows", later, _collect(case, later, best))
    if best is None:
        return _nothing_pays(case)
    return case.chosen(ACTIONS[best.kind], best, _switch(case, best))


def choose(comparison: Comparison, *, must_be_fast: bool = False, can_wait: bool = False) -> Option | None:
    """Return the way to try first; `None` to stay with today's.

    When today's way can stay, only what gains counts; when it cannot (shutdown, privacy, latency) the least costly way
    does, even at a loss. Proven quality goes before unknown, less work before more, where gains are nearly the same.
    `must_be_fast`: there is a latency target, which feasible ways of known latency keep. `can_wait`: somebody said
    that answers may come hours later; without that batches are no advice.
    """
    today = comparison.today
    ways = [one for one in comparison.options if one.feasible and one.kind != "today"]
    ways = [one for one in ways if can_wait or one.kind != "batch"]
    if must_be_fast:
        # Of the others nobody knows how fast they are; they come into question when none is known to be fast enough.
        ways = [one for one in ways if one.latency_p95_s is not None] or ways
    if today.feasible:
        ways = [one for one in ways if one.npv_usd > 0]
    if not ways:
        return None
    most = max(one.npv_usd for one in ways)
    near = [one for one in ways if one.npv_usd >= most - abs(most) * NEARLY_RATIO]
    proven = [one for one in near if one.quality in ("ready", "as today")]
    return min(proven or near, key=lambda one: (_WORK.index(one.kind), -one.npv_usd, one.key))


def summed_up(advised: Sequence[TaskAdvice]) -> tuple[tuple[TaskAdvice, ...], str | None, str]:
    """Return the tasks in the order to take them, the id of the first to replace, and that in words.

    Tasks whose incumbent cannot stay come first, then by what is gained.
    """
    ranked = tuple(sorted(advised, key=_rank))
    first = next((one for one in ranked if one.action in REPLACES), None)
    if first is not None:
        return ranked, first.task.id, f"Replace “{first.task.name}” first. {first.sentence}"
    useful = next((one for one in ranked if one.action not in ("leave", "wait")), None)
    if useful is not None:
        return ranked, None, f"Don't replace any call yet. “{useful.task.name}”: {useful.sentence}"
    whole = ranked[0].sentence if ranked else "No task was found in the log."
    return ranked, None, f"Don't replace any call: nothing here would gain from it. {whole}"


def _rank(one: TaskAdvice) -> tuple[bool, bool, Decimal, int, str]:
    acts = one.action not in ("leave", "wait")
    forced = acts and any(trigger.kind in _FORCING and trigger.strength >= STRONG for trigger in one.triggers)
    return (not forced, not acts, -(one.gained_usd or Decimal(0)), -one.task.calls, one.task.id)


def _beats(later: Option, best: Option | None) -> bool:
    return best is None or later.npv_usd > best.npv_usd + abs(best.npv_usd) * NEARLY_RATIO


class _Facts:
    """What is known about one task, and how it is said."""

    def __init__(
        self,
        task: FoundTask,
        profile: Profile,
        checks: tuple[Check, ...],
        triggers: tuple[Trigger, ...],
        compared: Compared,
    ) -> None:
        self.task, self.profile, self.checks = task, profile, checks
        self.triggers, self.compared = triggers, compared
        self.pulls = tuple(
            f"{one.sentence[:1].upper()}{one.sentence[1:]}." for one in triggers if one.kind != "none"
        )

    def evidence(self, name: str) -> str:
        check = next(check for check in self.checks if check.name == name)
        return f"{check.evidence[:1].upper()}{check.evidence[1:]}."

    def step(self, name: str) -> str:
        return next(check for check in self.checks if check.name == name).next_step

    def said(self, action: Action, sentence: str, reasons: list[str], change: list[str]) -> TaskAdvice:
        return TaskAdvice(
            task=self.task,
            profile=self.profile,
            triggers=self.triggers,
            checks=self.checks,
            comparison=self.compared.now,
            unpriced=self.compared.unpriced,
            action=action,
            sentence=sentence,
            reasons=tuple(dict.fromkeys(reasons)),
            would_change=tuple(change),
        )

    def chosen(self, action: Action, option: Option, sentence: str) -> TaskAdvice:
        comparison = self.compared.with_rows if action == "collect rows" else self.compared.now
        assert comparison is not None
        today = comparison.today
        advice = self.said(action, sentence, self._why(option, comparison), _would_change(option, comparison))
        return advice.model_copy(
            update={
                "option": option.key,
                "saved_usd_per_month": option.saved_usd_per_month,
                "saved_low_usd": today.low - option.high,
                "saved_high_usd": today.high - option.low,
                "gained_usd": option.npv_usd,
            }
        )

    def _why(self, option: Option, comparison: Comparison) -> list[str]:
        today = comparison.today
        found = [f"Today's way cannot stay: {why}." for why in today.why_not] + list(self.pulls)
        if option.npv_usd > 0:
            found.append(
                f"It gains {usd(option.npv_usd)} over {comparison.horizon.months} months, "
                f"{usd(option.one_off_usd)} once included; paid back in month {option.payback_month}."
                if option.payback_month
                else f"It gains {usd(option.npv_usd)} over {comparison.horizon.months} months."
            )
        runner_up = _next(option, comparison)
        if runner_up is not None:
            less = option.npv_usd - runner_up.npv_usd
            word = (
                f"gains {usd(less)} less"
                if less >= 0
                else f"gains {usd(-less)} more, with more work or unknown quality"
            )
            found.append(f"Next best: {runner_up.name} {word}.")
        closed = [
            one
            for one in comparison.options
            if one.why_not and one.npv_usd > option.npv_usd and one.kind != "today"
        ]
        found += [f"{one.name} would gain more, but {one.why_not[0]}." for one in closed[:2]]
        if not self.compared.can_wait and option.kind != "batch":
            found += [
                f"{one.name} gains {usd(one.npv_usd)} if answers may come hours later (`advise.can_wait`)."
                for one in comparison.options
                if one.kind == "batch" and one.feasible and one.npv_usd > 0
            ]
        open_checks = [check for check in self.checks if check.state != "yes" and check.next_step]
        return found + [
            f"Open: {check.name} ({check.evidence}): {check.next_step}." for check in open_checks[:3]
        ]


def _next(option: Option, comparison: Comparison) -> Option | None:
    """Return the best way of another kind."""
    ways = [
        one
        for one in comparison.options
        if one.feasible and one.kind not in ("today", "batch", option.kind) and one.npv_usd > 0
    ]
    return max(ways, key=lambda one: one.npv_usd, default=None)


def _would_change(option: Option, comparison: Comparison) -> list[str]:
    found = []
    if option.break_even_requests and option.break_even_requests > 1:
        found.append(f"fewer than {option.break_even_requests:,} requests a month")
    if option.quality == "unknown":
        found.append("answers that are not as good as today's: no evaluation has been run")
    turning = [swing for swing in comparison.swings(option.key) if swing.turns]
    return found + [
        f"{swing.factor} between {swing.low} and {swing.high} turns gain into loss" for swing in turning[:3]
    ]


def _switch(case: _Facts, option: Option) -> str:
    comparison = case.compared.now
    assert comparison is not None
    today, saved = comparison.today, option.saved_usd_per_month
    money = (
        f"expect to save {usd(saved)} a month ({_range(today.low - option.high, today.high - option.low)}) of "
        f"{usd(today.usd_per_month)}"
        if saved > 0
        else f"it costs {usd(-saved)} a month more than today"
    )
    because = "" if today.feasible else f" because {today.why_not[0]}"
    doing = {
        "prompt": "Don't replace it: shorten its prompt",
        "cache": "Don't replace it: cache its prompt",
        "batch": "Don't replace it: send it in batches",
        "api": f"Don't own a model for it: try {option.name}",
        "hosted": f"Tune it at a vendor: {option.name}",
        "cascade": f"Use a cascade ({option.name}): the small model answers where it is sure",
    }.get(option.kind, f"Replace it by {option.name}")
    proof = "" if option.quality in ("ready", "as today") else "; evaluate it before you switch"
    return f"{doing}{because}: {money}{proof}."


def _collect(case: _Facts, option: Option, best: Option | None) -> str:
    needed = rows_needed(case.profile)
    meanwhile = (
        "" if best is None else f" Meanwhile {best.name} saves {usd(best.saved_usd_per_month)} a month."
    )
    return (
        f"Collect rows first: {case.profile.rows:,} are on hand and about {needed:,} are needed; then {option.name} "
        f"would save {usd(option.saved_usd_per_month)} a month.{meanwhile}"
    )


def _nothing_pays(case: _Facts) -> TaskAdvice:
    comparison = case.compared.now
    assert comparison is not None
    today = comparison.today
    if not today.feasible:
        closed = "; ".join(f"{one.name}: {one.why_not[0]}" for one in comparison.options[:4] if one.why_not)
        text = f"Nothing that was compared can take over, and today's way cannot stay: {today.why_not[0]}."
        return case.said("leave", text, [closed], ["another vendor, more rows, or a looser limit"])
    ways = [one for one in comparison.options if one.feasible and one.kind != "today"]
    nearest = min(ways, key=lambda one: (-one.npv_usd, one.key), default=None)
    horizon = comparison.horizon.months
    if nearest is None:
        text = f"Leave it: it costs {usd(today.usd_per_month)} a month, and no other way is open."
        return case.said(
            "leave", text, [f"{one.name}: {one.why_not[0]}." for one in comparison.options[1:4]], []
        )
    saves = [one for one in ways if one.saved_usd_per_month > 0]
    reasons = [f"Nearest: {nearest.name}, {usd(-nearest.npv_usd)} short over {horizon} months.", *case.pulls]
    if saves:
        most = max(saves, key=lambda one: one.saved_usd_per_month)
        text = (
            f"Wait: it costs {usd(today.usd_per_month)} a month, too little to earn back a switch within {horizon} "
            f"months ({most.name} would save {usd(most.saved_usd_per_month)} a month for {usd(most.one_off_usd)} once)."
        )
        even = most.break_even_requests
        change = (
            [f"a volume of several times today's; running costs are even at {even:,} requests a month"]
            if even
            else []
        )
        return case.said("wait", text, reasons, [*change, "a trigger besides money"])
    text = f"Don't replace it: at {usd(today.usd_per_month)} a month today's way is the cheapest of all compared."
    even = nearest.break_even_requests
    change = [f"{even:,} requests a month instead of {case.profile.calls_per_month:,.0f}"] if even else []
    return case.said("leave", text, reasons, [*change, "privacy, latency or the vendor's shutdown"])


def _fix_first(case: _Facts) -> str:
    seen = case.evidence("proven")[:-1].lower()
    return f"Mend today's answers first: {seen}; a small model would learn the same faults."


def _split(case: _Facts) -> str:
    parts = f" It looks like {len(case.task.parts)} jobs." if len(case.task.parts) > 1 else ""
    return f"Too broad to be replaced as it is: split it first.{parts} {case.evidence('specific')}"


def _unpriced(case: _Facts) -> str:
    return f"No advice about money: {case.compared.unpriced}"


def _wait(case: _Facts) -> str:
    return f"Wait: {case.evidence('in production')[:-1].lower()}; {case.step('in production')}."


def usd(value: Decimal) -> str:
    """Write an amount for people: cents below 100 dollars."""
    sign = "-" if value < 0 else ""
    return f"{sign}${abs(value):,.2f}" if abs(value) < 100 else f"{sign}${abs(value):,.0f}"


def _range(low: Decimal, high: Decimal) -> str:
    return f"{usd(low)} to {usd(high)}"
