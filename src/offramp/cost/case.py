"""All that a comparison of options needs to know about one task, and what changes when somebody asks "what if".

Guarantee: nothing in a `Case` is made up; what nobody knows is `None` and makes an option infeasible or unpriced, never
free. Trap: `what_if` changes the case that is compared, not what was measured; say so where its result is shown.
"""

from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field

from offramp.capacity.shape import Shape
from offramp.capacity.speed import Batching, Workers
from offramp.cost.requests import RequestMix
from offramp.cost.settings import MAX_REQUESTS_PER_MONTH, CostSettings, exact
from offramp.cost.usage import Incumbent, Tuned
from offramp.errors import ConfigError
from offramp.prices import MAX_TOKENS_PER_REQUEST
from offramp.types import Frozen

GPUS = ("L4", "A10G", "L40S", "H100", "MI300X")
"""GPUs that are compared."""
Quality = Literal["ready", "not ready", "unknown"]
OutputKind = Literal["labels", "json", "tools", "text", "chat"]


class Measured(Frozen):
    """A model of your own, as it was measured."""

    name: str
    """Name of the candidate."""
    rung: str
    """`linear`, `encoder`, `decoder` …"""
    rows_per_s: float = Field(gt=0, allow_inf_nan=False)
    """Measured throughput on `machine`, all its cores in use."""
    machine: str
    """Where it was measured."""
    cores: int = Field(gt=0)
    """Cores that were used."""
    latency_p95_s: float | None = Field(default=None, ge=0)
    """Measured 95th percentile of one answer."""
    quality: Quality = "unknown"
    """What the verdict against the incumbent says."""
    escalation_ratio: float | None = Field(default=None, ge=0, le=1)
    """Measured share of requests that a cascade hands on to the incumbent."""
    tuning_s: float = Field(default=0, ge=0)
    """Seconds of tuning."""
    speed: Workers | Batching | None = None
    """How one replica serves, where that was measured; plans replicas by queueing."""

    def tuned(self) -> Tuned:
        """Return it as the cost table knows it."""
        return Tuned(
            name=self.name,
            kind=self.rung,
            rows_per_s=self.rows_per_s,
            machine=self.machine,
            cores=self.cores,
            latency_p95_s=self.latency_p95_s,
            tuning_s=self.tuning_s,
        )


class OtherTask(Frozen):
    """Another task whose adapter could live on the same GPU."""

    name: str
    """Name for people."""
    mix: RequestMix
    """Its requests."""


class Case(Frozen):
    """One task, as far as money is concerned."""

    task: str = "this task"
    """Name for people."""
    mix: RequestMix
    """Requests per month and their sizes."""
    incumbent: Incumbent
    """Who answers today."""
    settings: CostSettings = CostSettings()
    """Section `[cost]`."""
    when: date
    """Day of the prices."""
    requests_low: Decimal | None = Field(default=None, gt=0)
    """Lower end of the requests per month, where the volume is uncertain."""
    requests_high: Decimal | None = Field(default=None, gt=0)
    """Upper end of them."""
    growth_per_month: float | None = Field(default=None, gt=-1, le=2, allow_inf_nan=False)
    """Measured trend of the volume: 0.1 is 10 % more every month; `None`: as in the settings."""
    output_kind: OutputKind = "text"
    """What the answers are."""
    shape: Shape | None = None
    """Arrivals over the week; `None`: machines are planned by `utilisation_ratio`."""
    latency_p95_s: float | None = Field(default=None, ge=0)
    """How fast today's answers come, 95th percentile."""
    latency_target_s: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """How fast 95 % of the answers must come."""
    can_wait: bool | None = None
    """Whether answers may come a day later; `None` when nobody said."""
    private: bool = False
    """The data must not leave the house."""
    may_train: Literal["allowed", "forbidden", "unknown"] = "unknown"
    """Whether the incumbent's terms let its answers train a model."""
    rows: int = Field(default=0, ge=0)
    """Distinct usable rows on hand."""
    rows_needed: int | None = Field(default=None, ge=0)
    """Rows that a tuned model is expected to need; `None` when unknown."""
    reviewed_rows: int = Field(default=0, ge=0)
    """Rows with a right answer that people reviewed."""
    static_tokens: int = Field(default=0, ge=0)
    """Prompt tokens that are the same at the start of every request."""
    prunable_tokens: int = Field(default=0, ge=0)
    """Part of them that a shorter prompt does without."""
    candidates: tuple[Measured, ...] = ()
    """Models of your own that were measured."""
    others: tuple[OtherTask, ...] = ()
    """Other tasks that could share a GPU."""
    gpus: tuple[str, ...] = GPUS
    """GPUs to compare."""

    @property
    def requests(self) -> Decimal:
        """Requests per month."""
        return self.mix.requests_per_month

    @property
    def growth(self) -> float:
        """Growth of the volume per month: measured, else as in the settings."""
        return self.settings.growth_per_month if self.growth_per_month is None else self.growth_per_month

    def what_if(self, assignments: Mapping[str, str]) -> "Case":
        """Return the case with changes as a person types them, e.g. `{"volume": "x2", "price_fall": "0.5"}`.

        Raises:
            ConfigError: a key or a value that is not understood.
        """
        case = self
        for key, text in assignments.items():
            if key not in WHAT_IF:
                raise ConfigError(
                    f"what-if {key!r} was asked for; known are {', '.join(sorted(WHAT_IF))}; write e.g. `volume=x2`"
                )
            about, change = WHAT_IF[key]
            try:
                update = change(case, text.strip())
                case = Case.model_validate({**dict(case), **update})
            except (ValueError, LookupError, ArithmeticError) as failure:
                raise ConfigError(
                    f"what-if `{key}={text}` was asked for; {key} is {about}; found {text!r}; correct it"
                ) from failure
        return case


Change = Callable[[Case, str], dict[str, Any]]


def _amount(text: str, today: Decimal, most: int) -> Decimal:
    """Read `x2` as twice today's value, else a number."""
    found = today * Decimal(text[1:]) if text[:1] in ("x", "×") else Decimal(text.replace("_", ""))
    if not found.is_finite() or not 0 < found <= most:
        raise ValueError(text)
    return found


def _volume(case: Case, text: str) -> dict[str, Any]:
    month = _amount(text, case.requests, MAX_REQUESTS_PER_MONTH)
    factor = month / case.requests
    ends = {
        name: None if value is None else value * factor
        for name, value in (("requests_low", case.requests_low), ("requests_high", case.requests_high))
    }
    shape = None if case.shape is None else case.shape.scaled(float(factor))
    return {"mix": case.mix.at(month), "shape": shape, **ends}


def _tokens(name: Literal["input", "output"]) -> Change:
    def change(case: Case, text: str) -> dict[str, Any]:
        today = case.mix.input_tokens if name == "input" else case.mix.output_tokens
        if not today:
            raise ValueError(f"{name} tokens are 0 today")
        factor = _amount(text, today, MAX_TOKENS_PER_REQUEST) / today
        mix = case.mix.scaled(input=factor) if name == "input" else case.mix.scaled(output=factor)
        return {"mix": mix}

    return change


def _setting(name: str, kind: type[int] | type[float] = float) -> Change:
    def change(case: Case, text: str) -> dict[str, Any]:
        settings = case.settings.model_dump() | {name: kind(text)}
        return {"settings": CostSettings.model_validate(settings)}

    return change


def _growth(case: Case, text: str) -> dict[str, Any]:
    return {"growth_per_month": float(text)}


def _escalation(case: Case, text: str) -> dict[str, Any]:
    if not case.candidates:
        raise ValueError("no candidate was measured")
    changed = tuple(
        Measured.model_validate({**dict(one), "escalation_ratio": float(text)}) for one in case.candidates
    )
    return {"candidates": changed}


def _gpu(case: Case, text: str) -> dict[str, Any]:
    wanted = {name.upper(): name for name in GPUS}
    return {"gpus": tuple(wanted[part.strip().upper()] for part in text.split(","))}


def _latency(case: Case, text: str) -> dict[str, Any]:
    return {"latency_target_s": float(text)}


def _private(case: Case, text: str) -> dict[str, Any]:
    return {"private": {"yes": True, "no": False, "true": True, "false": False}[text.lower()]}


def _model(case: Case, text: str) -> dict[str, Any]:
    if not text:
        raise ValueError("no name")
    provider, _, model = text.rpartition(":")
    return {"incumbent": Incumbent(name=model, model=model, provider=provider or None)}


def _usd_per_1k(case: Case, text: str) -> dict[str, Any]:
    changed = {**dict(case.incumbent), "usd_per_1k_requests": exact(float(text))}
    return {"incumbent": Incumbent.model_validate(changed)}


WHAT_IF: dict[str, tuple[str, Change]] = {
    "volume": (
        f"requests per month, or `x2` for twice as many, above 0 and up to {MAX_REQUESTS_PER_MONTH:,}",
        _volume,
    ),
    "input_tokens": (
        f"the mean prompt tokens of a request, or `x0.5`, up to {MAX_TOKENS_PER_REQUEST:,}",
        _tokens("input"),
    ),
    "output_tokens": (
        f"the mean answer tokens of a request, or `x0.5`, up to {MAX_TOKENS_PER_REQUEST:,}",
        _tokens("output"),
    ),
    "price_fall": ("the yearly fall of API prices, 0-1", _setting("api_price_fall_per_year")),
    "growth": ("the growth of the volume per month, e.g. 0.05; above -1 and up to 2", _growth),
    "utilisation": ("the average load machines are planned for, 0-1", _setting("utilisation_ratio")),
    "discount": ("the yearly discount ratio, 0-1", _setting("discount_ratio_per_year")),
    "horizon": ("the horizon in months", _setting("horizon_months", int)),
    "engineering_hours": ("hours of engineering, 0 or more", _setting("engineering_hours")),
    "engineering_usd_per_hour": ("what such an hour costs, 0 or more", _setting("engineering_usd_per_hour")),
    "upkeep_hours": ("hours a month that an own model takes, 0 or more", _setting("upkeep_hours_per_month")),
    "labels": ("rows that people must label", _setting("rows_to_label", int)),
    "escalation": ("the share a cascade hands on, 0-1, of a measured candidate", _escalation),
    "gpu": (f"one or more of {', '.join(GPUS)}, separated by commas", _gpu),
    "latency": ("seconds within which 95 % of the answers must come", _latency),
    "private": ("yes or no: must the data stay inside", _private),
    "model": ("today's model, or `vendor:model`", _model),
    "usd_per_1k_requests": ("what 1,000 requests cost today, above 0", _usd_per_1k),
}
"""What can be asked: what the value is, and what it changes."""
