"""From figures to words: what to do about a task, and which task to take first.

The order of the questions is that of the preconditions: is the incumbent right at all, is it one job, may or must it
move, does anything pay, are there rows enough. Money decides among what is left, and among ways that gain nearly the
same the one with the least work wins. Guarantee: "don't" is said whenever nothing gains over the horizon, people's
hours included. Trap: quality is not known before it is evaluated; the advice is which way to *try* first, and how.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from offramp import prices
from offramp.advise.advice import REPLACES, Action, TaskAdvice
from offramp.advise.case import main_use
from offramp.advise.discover import FoundTask
from offramp.advise.profile import Profile
from offramp.advise.readiness import Check, rows_needed, state_of
from offramp.advise.triggers import Trigger
from offramp.cost import Comparison, Option
from offramp.cost.sensitivity import npv_usd
from offramp.errors import NotFoundError

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
_MOST_VOLUME = 10_000
"""Times today's volume; further away nothing is looked for."""


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
    can_stay = not _forced(triggers) if compared.now is None else compared.now.today.feasible
    if can_stay and state_of(checks, "in production") == "no":
        return case.said("wait", _wait(case), [case.evidence("in production")], ["more calls"])
    if compared.now is None:
        return case.said("price first", _unpriced(case), list(case.pulls), ["a price for the incumbent"])
    best = case.best(compared.now)
    later = None if compared.with_rows is None else case.best(compared.with_rows)
    if later is not None and later.kind in _TUNED and _beats(later, best):
        return case.chosen("collect rows", later, _collect(case, later, best))
    if best is None:
        return _nothing_pays(case)
    return case.chosen(ACTIONS[best.kind], best, _switch(case, best))


def choose(today: Option, ways: Sequence[Option], *, must_be_fast: bool = False) -> Option | None:
    """Return the way to try first of those that are open; `None` to stay with today's.

    When today's way can stay, only what gains counts; when it cannot (shutdown, privacy, latency) the least costly way
    does, even at a loss. Proven quality goes before unknown, less work before more, where gains are nearly the same.
    `must_be_fast`: today's answers miss the latency target, so ways that are known to keep it go first. Where today
    keeps it, a way of unknown latency is not taken to be slow.
    """
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


def turning_volume(option: Option, comparison: Comparison) -> int | None:
    """Return the requests a month from which an option gains over the horizon, one-off costs included.

    It is the turn that is nearest to today's volume; `None` when there is none within a factor of 10,000.
    """

    def gains(requests: int) -> bool:
        worth = npv_usd(option, comparison.today, horizon=comparison.horizon, requests=Decimal(requests))
        return worth > 0

    here = max(1, int(comparison.requests_per_month))
    now = gains(here)
    inside, beyond = here, here
    while gains(beyond) == now:
        inside, beyond = beyond, max(1, beyond * 4 // 5) if now else beyond * 5 // 4 + 1
        if beyond == inside or beyond > here * _MOST_VOLUME:
            return None
    while abs(beyond - inside) > 1:
        middle = (beyond + inside) // 2
        inside, beyond = (middle, beyond) if gains(middle) == now else (inside, middle)
    return max(inside, beyond)


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
    return (
        not (acts and _forced(one.triggers)),
        not acts,
        -(one.gained_usd or Decimal(0)),
        -one.task.calls,
        one.task.id,
    )


def _forced(triggers: Sequence[Trigger]) -> bool:
    return any(trigger.kind in _FORCING and trigger.strength >= STRONG for trigger in triggers)


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
        self.misses_target = compared.must_be_fast and any(one.kind == "latency" for one in triggers)
        self.caches = "" if compared.now is None else _caches_unasked(profile, compared.now)

    def open_ways(self, comparison: Comparison) -> list[Option]:
        """Return what may be chosen: batches only where answers may wait, no cache that the vendor runs unasked."""
        closed = {"today"} | (set() if self.compared.can_wait else {"batch"})
        closed |= {"cache"} if self.caches else set()
        return [one for one in comparison.options if one.feasible and one.kind not in closed]

    def best(self, comparison: Comparison) -> Option | None:
        ways = self.open_ways(comparison)
        return choose(comparison.today, ways, must_be_fast=self.misses_target)

    def asides(self, comparison: Comparison) -> list[str]:
        """Return what is no advice, because it hangs on something that the log does not tell."""
        found = []
        for one in comparison.options:
            if one.kind == "cache" and one.feasible and self.caches:
                found.append(
                    f"Look at your invoice: {self.caches} caches prompts by itself, and the log has no cached tokens; "
                    f"with them the bill is up to {usd(one.saved_usd_per_month)} a month smaller than it seems."
                )
            if one.kind == "batch" and one.feasible and one.npv_usd > 0 and not self.compared.can_wait:
                found.append(
                    f"{one.name} gains {usd(one.npv_usd)} if answers may come hours later (`advise.can_wait`)."
                )
        return found

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
        advice = self.said(
            action, sentence, self._why(option, comparison), _would_change(self, option, comparison)
        )
        return advice.model_copy(
            update={
                "option": option.key,
                "saved_usd_per_month": option.saved_usd_per_month,
                "saved_low_usd": option.saved_low_usd,
                "saved_high_usd": option.saved_high_usd,
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
        runner_up = self._next(option, comparison)
        if runner_up is not None:
            less = option.npv_usd - runner_up.npv_usd
            unknown = self.misses_target and runner_up.latency_p95_s is None
            but = "how fast it answers is not known" if unknown else "it is more work or of unknown quality"
            word = f"gains {usd(less)} less" if less >= 0 else f"gains {usd(-less)} more, but {but}"
            found.append(f"Next best: {runner_up.name} {word}.")
        closed = [
            one
            for one in comparison.options
            if one.why_not
            and one.npv_usd > option.npv_usd
            and one.kind != "today"
            and one.why_not[0] not in today.why_not
        ]
        found += [f"{one.name} would gain more, but {one.why_not[0]}." for one in closed[:2]]
        found += self.asides(comparison)
        open_checks = [check for check in self.checks if check.state != "yes" and check.next_step]
        return found + [
            f"Open: {check.name} ({check.evidence}): {check.next_step}." for check in open_checks[:3]
        ]

    def _next(self, option: Option, comparison: Comparison) -> Option | None:
        """Return the best way of another kind."""
        ways = [one for one in self.open_ways(comparison) if one.kind != option.kind and one.npv_usd > 0]
        return max(ways, key=lambda one: one.npv_usd, default=None)


def _caches_unasked(profile: Profile, comparison: Comparison) -> str:
    """Return the vendor that caches prompts unasked where the log shows none of it; empty for none."""
    use = main_use(profile)
    if use is None or profile.cached_tokens or all(one.kind != "cache" for one in comparison.options):
        return ""
    name, vendor = use.priced_as or use.model, use.provider
    if vendor is None:
        try:
            vendor = prices.known(name, None, comparison.as_of).provider
        except NotFoundError:
            return ""
    rule = prices.rules(vendor, name.rpartition("/")[2])
    return vendor if rule is not None and rule.cache_automatic else ""


def _would_change(case: _Facts, option: Option, comparison: Comparison) -> list[str]:
    found = []
    turn = turning_volume(option, comparison) if option.npv_usd > 0 else None
    if turn is not None and turn > 1:
        found.append(f"fewer than {turn:,} requests a month (one-off costs included)")
    if option.quality == "unknown":
        found.append("answers that are not as good as today's: no evaluation has been run")
    if case.compared.must_be_fast and option.latency_p95_s is None:
        found.append("answers that come too late: nobody has timed it here")
    turning = [swing for swing in comparison.swings(option.key) if swing.turns]
    return found + [
        f"{swing.factor} between {swing.low} and {swing.high} turns gain into loss" for swing in turning[:3]
    ]


def _switch(case: _Facts, option: Option) -> str:
    comparison = case.compared.now
    assert comparison is not None
    today, saved = comparison.today, option.saved_usd_per_month
    money = (
        f"expect to save {usd(saved)} a month ({_range(option.saved_low_usd, option.saved_high_usd)}) of "
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
    tests = [] if option.quality in ("ready", "as today") else ["evaluate it"]
    if case.compared.must_be_fast and option.latency_p95_s is None:
        tests.append("time its answers")
    proof = f"; {' and '.join(tests)} before you switch" if tests else ""
    return f"{doing}{because}: {money}{proof}.{_passed_over(case, option, comparison)}"


def _passed_over(case: _Facts, option: Option, comparison: Comparison) -> str:
    """Name the way that would gain most if it were known to answer in time."""
    if not case.misses_target or option.latency_p95_s is None:
        return ""
    slow = [one for one in case.open_ways(comparison) if one.latency_p95_s is None]
    most = max(slow, key=lambda one: one.npv_usd, default=option)
    if most.npv_usd <= option.npv_usd:
        return ""
    more = usd(most.npv_usd - option.npv_usd)
    return f" {most.name} would gain {more} more, but nobody knows whether it answers in time: time it first."


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
    ways = case.open_ways(comparison)
    nearest = min(ways, key=lambda one: (-one.npv_usd, one.key), default=None)
    horizon = comparison.horizon.months
    if nearest is None:
        text = f"Leave it: it costs {usd(today.usd_per_month)} a month, and no other way is open."
        return case.said(
            "leave", text, [f"{one.name}: {one.why_not[0]}." for one in comparison.options[1:4]], []
        )
    saves = [one for one in ways if one.saved_usd_per_month > 0]
    reasons = [
        f"Nearest: {nearest.name}, {usd(-nearest.npv_usd)} short over {horizon} months.",
        *case.asides(comparison),
        *case.pulls,
    ]
    turn = turning_volume(nearest, comparison)
    here = f"{comparison.requests_per_month:,.0f}"
    change = (
        []
        if turn is None
        else [f"from {turn:,} requests a month on instead of about {here}, {nearest.name} pays"]
    )
    if saves:
        most = max(saves, key=lambda one: one.saved_usd_per_month)
        text = (
            f"Wait: it costs {usd(today.usd_per_month)} a month, too little to earn back a switch within {horizon} "
            f"months ({most.name} would save {usd(most.saved_usd_per_month)} a month for {usd(most.one_off_usd)} once)."
        )
        return case.said("wait", text, reasons, [*change, "a trigger besides money"])
    text = f"Don't replace it: at {usd(today.usd_per_month)} a month today's way is the cheapest of all compared."
    return case.said("leave", text, reasons, [*change, "privacy, latency or the vendor's shutdown"])


def _fix_first(case: _Facts) -> str:
    seen = case.evidence("proven")[:-1].lower()
    return f"Mend today's answers first: {seen}; a small model would learn the same faults."


def _split(case: _Facts) -> str:
    parts = f" It looks like {len(case.task.parts)} jobs." if len(case.task.parts) > 1 else ""
    return f"Too broad to be replaced as it is: split it first.{parts} {case.evidence('specific')}"


def _unpriced(case: _Facts) -> str:
    models = ", ".join(
        model or "the model that the log does not name" for model, _ in case.profile.unpriced[:3]
    )
    if not models:
        return f"Price it first: {case.compared.unpriced}."
    return (
        f"Price it first: nobody knows what {models} costs, so nothing can be compared; set "
        "`incumbent_usd_per_1k_requests`, or `incumbent_model` and `provider`, under [cost], and run this again."
    )


def _wait(case: _Facts) -> str:
    return f"Wait: {case.evidence('in production')[:-1].lower()}; {case.step('in production')}."


def usd(value: Decimal) -> str:
    """Write an amount for people: cents below 100 dollars."""
    sign = "-" if value < 0 else ""
    return f"{sign}${abs(value):,.2f}" if abs(value) < 100 else f"{sign}${abs(value):,.0f}"


def _range(low: Decimal, high: Decimal) -> str:
    return f"{usd(low)} to {usd(high)}"
