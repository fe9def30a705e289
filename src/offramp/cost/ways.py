"""One way to run a task, as a comparison shows it, and the rules that all ways share.

Guarantee: a way has a price above zero with the lines it was made from (doing nothing may be the only one without
one-off costs), and says why it is not feasible instead of being left out. Trap: `feasible` is about privacy, latency,
data and shutdowns; whether the answers are good enough stands in `quality`, and `unknown` is not `ready`.
"""

from decimal import Decimal
from typing import Any, Literal

from pydantic import Field

from offramp import prices
from offramp.cost.case import Case, Quality
from offramp.cost.horizon import Running
from offramp.cost.options import Basis
from offramp.cost.settings import exact
from offramp.prices import PriceLine, Shutdown
from offramp.types import Frozen

Kind = Literal[
    "today", "prompt", "cache", "batch", "api", "few-shot", "hosted", "cpu", "gpu", "shared gpu", "cascade"
]
ENGINEERING: dict[Kind, Decimal] = {
    "today": Decimal(0),
    "cache": Decimal("0.1"),
    "prompt": Decimal("0.2"),
    "batch": Decimal("0.2"),
    "api": Decimal("0.2"),
    "few-shot": Decimal("0.6"),
    "hosted": Decimal("0.6"),
    "cpu": Decimal(1),
    "gpu": Decimal(1),
    "shared gpu": Decimal(1),
    "cascade": Decimal("1.2"),
}
"""Part of `engineering_hours` that each way takes, evaluation included. Source: our assumption."""
KEEPS_MODEL = ("today", "prompt", "cache", "batch", "cascade")
"""Ways that end when the vendor switches today's model off."""
TUNED = ("hosted", "cpu", "gpu", "shared gpu", "cascade")
"""Ways that need rows to learn from."""
OWN = ("few-shot", "cpu", "gpu", "shared gpu", "cascade")
"""Ways that people must keep running."""


class OneOff(Frozen):
    """Something paid once, at the switch."""

    name: Literal["engineering", "labelling", "judge", "training", "other"]
    """What for."""
    usd: Decimal = Field(ge=0)
    """US dollars."""
    how: str
    """What it was made from."""


class Option(Frozen):
    """One way to run the task."""

    key: str
    """Stable name, unique in the comparison, e.g. `api:openai:gpt-6-luna` or `gpu:L4:spot`."""
    name: str
    """Name for people."""
    kind: Kind
    """What sort of way it is."""
    usd_per_month: Decimal = Field(gt=0)
    """Running cost at today's volume and prices."""
    low: Decimal
    """Lower end of it: fewer requests, shorter texts, faster machines."""
    high: Decimal
    """Upper end of it."""
    one_off: tuple[OneOff, ...] = ()
    """What is paid once."""
    running: Running
    """How the running cost follows from the volume."""
    running_low: Running | None = None
    """The same at the lower end; `None` where there is no other."""
    running_high: Running | None = None
    """The same at the upper end; `None` where there is no other."""
    machines: int = 0
    """Machines at today's volume."""
    busy_ratio: float | None = None
    """Average load of those machines, 0-1."""
    basis: Basis
    """What the running cost rests on."""
    quality: Quality | Literal["as today"] = "unknown"
    """Whether its answers are good enough."""
    latency_p95_s: float | None = None
    """Within which 95 % of the answers come, where that was measured or predicted."""
    latency_note: str = "not measured here"
    """What is known about its latency."""
    privacy: Literal["inside", "vendor"]
    """Who sees the data."""
    lock_in: str
    """What you cannot take along."""
    risks: tuple[str, ...] = ()
    """What could go wrong."""
    notes: tuple[str, ...] = ()
    """What its figures rest on."""
    prices: tuple[PriceLine, ...]
    """Every price used."""
    why_not: tuple[str, ...] = ()
    """Why it is not feasible; empty when it is."""
    saved_usd_per_month: Decimal = Decimal(0)
    """Today's running cost minus its own; negative when it costs more."""
    saved_low_usd: Decimal = Decimal(0)
    """Lower end of what is saved a month: both ways at the same volume, today's cheap and this one dear."""
    saved_high_usd: Decimal = Decimal(0)
    """Upper end of it."""
    payback_month: int | None = None
    """Month from whose end on it has cost no more than today's way; 0 is at once, `None` not within the horizon."""
    break_even_requests: int | None = None
    """Requests per month from which its month costs no more than today's, one-off costs aside; `None` for never."""
    npv_usd: Decimal = Decimal(0)
    """Present value of what it saves over the horizon against doing nothing; negative when it loses."""
    cumulative_usd: tuple[Decimal, ...] = ()
    """What has been paid by the start, and by the end of each month."""

    @property
    def feasible(self) -> bool:
        """Whether nothing known forbids it."""
        return not self.why_not

    @property
    def one_off_usd(self) -> Decimal:
        """What is paid once, in all."""
        return sum((part.usd for part in self.one_off), Decimal(0))

    def usd_at(self, requests_per_month: Decimal | int) -> Decimal:
        """Return the running cost of another volume of the same requests."""
        return self.running.usd(Decimal(requests_per_month))


def money(
    case: Case, running: Running, *, low: Running | None = None, high: Running | None = None
) -> dict[str, Any]:
    """Return the fields of an option that say what a month costs; the range has the volume's own range in it."""
    usd = running.usd(case.requests)
    machines = running.machines(case.requests)
    busy = None
    if running.requests_per_machine:
        together = case.requests + running.shared_requests
        busy = float(together / (machines * running.requests_per_machine))
    return {
        "usd_per_month": usd,
        "low": min(usd, (low or running).usd(case.requests_low or case.requests)),
        "high": max(usd, (high or running).usd(case.requests_high or case.requests)),
        "running": running,
        "running_low": low,
        "running_high": high,
        "machines": machines,
        "busy_ratio": busy,
    }


def paid_once(case: Case, kind: Kind, *, training: OneOff | None = None) -> tuple[OneOff, ...]:
    """Return what a switch costs once: people's hours, labels for the verdict and for tuning, a judge, training."""
    settings, found = case.settings, []
    hours = exact(settings.engineering_hours) * ENGINEERING[kind]
    if hours:
        rate = exact(settings.engineering_usd_per_hour)
        how = f"{hours.normalize():f} h at ${rate:,.2f}"
        found.append(OneOff(name="engineering", usd=hours * rate, how=how))
    if kind in ("today", "cache", "batch"):
        return tuple(found)
    labels, why = _rows_to_label(case, kind)
    if labels:
        each = exact(settings.label_usd_per_row)
        found.append(
            OneOff(name="labelling", usd=labels * each, how=f"{labels:,} rows at ${each:,.2f} {why}")
        )
    if case.output_kind in ("text", "chat") and settings.judged_rows:
        each = exact(settings.judge_usd_per_row)
        how = f"{settings.judged_rows:,} rows at ${each:,.3f}"
        found.append(OneOff(name="judge", usd=settings.judged_rows * each, how=how))
    if training is not None:
        found.append(training)
    if settings.one_off_usd and kind in (*OWN, *TUNED):
        found.append(OneOff(name="other", usd=exact(settings.one_off_usd), how="`one_off_usd` under [cost]"))
    return tuple(found)


def _rows_to_label(case: Case, kind: Kind) -> tuple[int, str]:
    if case.settings.rows_to_label is not None:
        return case.settings.rows_to_label, "(given)"
    missing = max(0, case.settings.evaluation_rows - case.reviewed_rows)
    if kind in TUNED and case.may_train == "forbidden":
        people = max(missing, (case.rows_needed or case.rows) - case.reviewed_rows)
        return people, "(today's answers may not train a model)"
    return missing, "for the verdict"


def upkeep(case: Case, kind: Kind) -> Decimal:
    """Return what people's hours of running an own model cost a month."""
    if kind not in OWN:
        return Decimal(0)
    return exact(case.settings.upkeep_hours_per_month) * exact(case.settings.engineering_usd_per_hour)


def judged(case: Case, option: Option) -> Option:
    """Return the option with the reasons why it is not feasible."""
    found = list(option.why_not)
    if case.private and option.privacy == "vendor":
        found.append("the data must stay inside, and here a vendor sees it")
    target, known = case.latency_target_s, option.latency_p95_s
    if target is not None and known is not None and known > target:
        found.append(f"95 % of its answers take up to {known:,.2g} s, and {target:,.2g} s are allowed")
    if option.kind == "batch" and (
        case.can_wait is False or target is not None or case.output_kind == "chat"
    ):
        found.append("its answers come hours later")
    if option.kind in KEEPS_MODEL:
        found += _switched_off(case)
    if option.kind in TUNED and case.rows_needed is not None and case.rows < case.rows_needed:
        found.append(f"{case.rows:,} rows are on hand and about {case.rows_needed:,} are needed")
    if option.quality == "not ready":
        found.append("measured: its answers are not as good as today's")
    return option.model_copy(update={"why_not": tuple(found)})


def _switched_off(case: Case) -> list[str]:
    """Say which of today's models are switched off before the horizon ends."""
    who = case.incumbent
    names = [*([(who.model, who.provider)] if who.model else []), *who.others]
    return [said for model, provider in dict.fromkeys(names) if (said := sold(case, model, provider))]


def shutdown(model: str, provider: str | None) -> Shutdown | None:
    """Return when a model is switched off, by its name in a log: `openai/gpt-4o` is OpenAI's gpt-4o.

    A vendor's date does not hold for another vendor that serves the same model.
    """
    prefix, _, bare = model.rpartition("/")
    return prices.shutdown(model, provider) or prices.shutdown(bare, provider or prefix.casefold() or None)


def sold(case: Case, model: str, provider: str | None) -> str:
    """Say that a model is switched off before the horizon ends; empty when it is not."""
    found = shutdown(model, provider)
    if found is None or (found.gone_on - case.when).days > case.settings.horizon_months * 365.25 / 12:
        return ""
    verb = "stopped" if found.gone_on <= case.when else "stops"
    return f"{model} {verb} answering on {found.gone_on.isoformat()}"
