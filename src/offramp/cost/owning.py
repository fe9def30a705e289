"""Ways that you run yourself: on CPU, on one GPU rented or bought, sharing a GPU, untuned with examples, as a cascade.

Guarantee: throughput is what was measured, or what somebody published (and then the option says so); a GPU whose price
or speed nobody published is left out by name. Trap: a machine is paid for while it idles.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from offramp import prices
from offramp.capacity.speed import Batching
from offramp.cost.case import Case, Measured
from offramp.cost.fleet import Fleet, Served, fleet, per_request_s
from offramp.cost.horizon import Running
from offramp.cost.options import FEWER_TOKENS, HOURS_PER_MONTH, MORE_TOKENS, machine_for
from offramp.cost.requests import RequestMix, Span
from offramp.cost.settings import exact
from offramp.cost.vendors import LeftOut, Way
from offramp.cost.ways import Kind, OneOff, Option, money, paid_once, upkeep
from offramp.errors import NotFoundError
from offramp.prices import Owned, PriceLine, Throughput

TYPICAL_CPU = Measured(
    name="small encoder, not yet tuned",
    rung="encoder",
    rows_per_s=120,
    machine="a 2-core x86 server",
    cores=2,
)
"""Stands for a classifier of your own before one was measured.

Source: bench/results/embed.json, texts of several hundred words, 121 rows/s on two cores of an AMD EPYC.
"""

_TYPICAL_TOKENS = Decimal(500)
"""Length of the texts that its speed was measured with; of longer ones it reads as many fewer."""
_ENCODER_READS = 8192
"""Longest text that an encoder not yet measured takes.

Source: https://huggingface.co/answerdotai/ModernBERT-base, native context length.
"""
_DECODER_READS = 32_768
"""Longest prompt and answer that a decoder of 7 to 8 billion parameters takes, as its speed was published.

Source: https://huggingface.co/Qwen/Qwen3-8B, native context length (more needs YaRN).
"""
_TOO_LONG_RATIO = Decimal("0.05")
"""From this share of requests on that are too long a way is closed; our assumption."""
_HALF = Decimal("0.5")
"""Share of a published speed that the upper end of the cost is planned with; our assumption."""


def on_cpu(case: Case) -> Iterator[Way]:
    """Yield every measured model on the cheapest machine with enough cores; a typical one for closed label sets."""
    if case.candidates:
        for candidate in case.candidates:
            yield _on_cpu(case, candidate, measured=True)
    elif case.output_kind == "labels":
        yield _typical(case)
    else:
        why = "no model of your own was measured yet: run `offramp tune`"
        yield LeftOut(name="own model on CPU", why=why, unpriced=True)


def _typical(case: Case) -> Option:
    """Return the typical classifier at the length of the task's texts; it needs no fixed start of the prompt."""
    texts = case.mix.longer(-case.static_tokens)
    tokens = max(_TYPICAL_TOKENS, texts.input_tokens)
    speed = TYPICAL_CPU.rows_per_s * float(_TYPICAL_TOKENS / tokens)
    option = _on_cpu(case, TYPICAL_CPU.model_copy(update={"rows_per_s": speed}), measured=False)
    size = f" of {tokens:,.0f} tokens" if tokens > _TYPICAL_TOKENS else ""
    said = f"assumed: {speed:,.3g} rows/s{size}, as others of its size"
    why_not = _too_long(texts, _ENCODER_READS, answers=False)
    return option.model_copy(update={"notes": (said, *option.notes), "why_not": why_not})


def _too_long(mix: RequestMix, most: int, *, answers: bool = True) -> tuple[str, ...]:
    """Say that too many requests are longer than what a model takes that was not measured here."""
    long = sum(span.requests for span in mix.spans if _size(span, answers) > most * span.requests)
    ratio = Decimal(long) / mix.requests
    if ratio < _TOO_LONG_RATIO:
        return ()
    return (f"{ratio:.0%} of the requests are longer than the {most:,} tokens that such a model takes",)


def _size(span: Span, answers: bool) -> Decimal:
    return span.input + span.output if answers else span.input


def cascades(case: Case, now: Option) -> Iterator[Way]:
    """Yield every measured model in front of today's, at its measured escalation rate."""
    known = [one for one in case.candidates if one.escalation_ratio is not None]
    if not known:
        why = "no escalation rate was measured: a threshold for the model's confidence must be chosen first"
        yield LeftOut(name="cascade", why=why, unpriced=True)
    for candidate in known:
        own = _on_cpu(case, candidate, measured=True)
        share = exact(candidate.escalation_ratio or 0.0)
        asked = now.running.usd_per_request * share
        # Whose tokens are estimated: the part that is handed on has their range.
        rough = case.mix.tokens_origin == "estimated"
        running, low, high = (
            own.running.model_copy(update={"usd_per_request": asked * (scale if rough else 1)})
            for scale in (Decimal(1), FEWER_TOKENS, MORE_TOKENS)
        )
        slow = [one for one in (own.latency_p95_s, now.latency_p95_s) if one is not None]
        update = {
            "key": f"cascade:{candidate.name}",
            "name": f"{candidate.name} first, {case.incumbent.name} for the rest",
            "kind": "cascade",
            "one_off": paid_once(case, "cascade", training=_tuning(case, candidate)),
            "quality": "unknown" if candidate.quality == "unknown" else "ready",
            "latency_p95_s": sum(slow) if len(slow) == 2 and share > Decimal("0.05") else own.latency_p95_s,
            "latency_note": f"{float(share):.0%} of the requests wait for both models",
            "privacy": now.privacy,
            "lock_in": "today's vendor, for the requests that are handed on",
            "risks": ("the share handed on grows when the traffic changes", *now.risks),
            "notes": (f"{float(share):.1%} of the requests are handed on, as measured", *own.notes),
            "prices": (*own.prices, *now.prices),
            **money(case, running, low=low, high=high),
        }
        yield Option.model_validate({**dict(own), **update})


def _on_cpu(case: Case, candidate: Measured, *, measured: bool) -> Option:
    machine = machine_for(candidate.tuned(), case.settings, case.when)
    speed, slower = candidate.speed, candidate.rows_per_s / float(machine.requests_per_s)
    if speed is not None and slower > 1:
        speed = speed.slowed(slower)
    planned = fleet(case, Served(requests_per_s=machine.requests_per_s, speed=speed), case.mix)
    slowest = candidate.latency_p95_s
    if planned.latency_p95_s is not None:
        slowest = planned.latency_p95_s
    note = "not measured here" if slowest is None else f"95 % within {slowest:,.2g} s, {planned.latency_from}"
    running = _running(case, "cpu", machine.usd_per_month, planned)
    slow = running if measured else running.planned_for(Decimal("0.25"))
    return Option(
        key=f"cpu:{candidate.name}",
        name=f"{candidate.name} on {machine.name}",
        kind="cpu",
        one_off=paid_once(case, "cpu", training=_tuning(case, candidate)),
        basis="measured" if measured else "estimated",
        quality=candidate.quality,
        latency_p95_s=slowest,
        latency_note=note,
        privacy="inside",
        lock_in="none: the weights are yours",
        risks=("it must be watched and tuned again when the traffic changes",),
        notes=(*(machine.notes if measured else ()), *planned.notes, *_in_it(case, "cpu")),
        prices=(machine.line,),
        **money(case, running, high=slow),
    )


def _tuning(case: Case, candidate: Measured) -> OneOff | None:
    usd = exact(candidate.tuning_s) / 3600 * exact(case.settings.tuning_usd_per_hour)
    if not usd:
        return None
    return OneOff(name="training", usd=round(usd, 2), how=f"{candidate.tuning_s / 3600:,.2f} h, as measured")


class Gpu:
    """One GPU model: its cheapest machine on each term, and its published speed."""

    def __init__(self, name: str) -> None:
        self.name = name
        rented = [one for one in prices.instances() if _is(one.gpu, name) and one.gpus == 1]
        self.on_demand = min(rented, key=lambda one: one.usd_per_hour, default=None)
        spots = [one for one in rented if one.usd_per_hour_spot is not None]
        self.spot = min(spots, key=lambda one: one.usd_per_hour_spot or one.usd_per_hour, default=None)
        bought = [one for one in prices.owned() if _is(one.gpu, name)]
        self.owned = min(bought, key=lambda one: one.purchase_usd / max(one.gpus, 1), default=None)
        speeds = [
            one for one in prices.throughputs() if _is(one.gpu, name) and "shared prefix" not in one.model
        ]
        self.slow: Throughput | None = min(speeds, key=lambda one: one.tokens_per_s, default=None)
        self.fast: Throughput | None = max(speeds, key=lambda one: one.tokens_per_s, default=None)

    @property
    def spot_is_dearer(self) -> bool:
        """Whether the cheapest spot price is no lower than the cheapest one on demand, from another vendor."""
        if self.spot is None or self.spot.usd_per_hour_spot is None or self.on_demand is None:
            return False
        return self.spot.usd_per_hour_spot >= self.on_demand.usd_per_hour

    def served(self, mix: RequestMix) -> Served | None:
        """Return how a decoder of 7 to 8 billion parameters serves these requests; `None` where nobody published it."""
        from offramp.capacity.speed import published

        if self.slow is None:
            return None
        try:
            speed: Batching | None = published(self.slow.gpu)
        except NotFoundError:
            speed = None
        total = mix.input_tokens + mix.output_tokens
        seconds = total / self.slow.tokens_per_s if speed is None else per_request_s(speed, mix)
        return Served(requests_per_s=1 / seconds, speed=speed, tokens=total)


def _is(gpu: str | None, name: str) -> bool:
    """`H100-80GB` is an H100."""
    return gpu is not None and gpu.split("-")[0].upper() == name.upper()


def on_gpu(case: Case) -> Iterator[Way]:
    """Yield a tuned decoder on every GPU that is compared: on demand, spot and bought."""
    for name in case.gpus:
        yield from _on_gpu(case, Gpu(name))


class _Term(NamedTuple):
    """One way to pay for a machine with GPUs."""

    name: str
    usd_per_month: Decimal
    gpus: int
    lines: tuple[PriceLine, ...]
    risks: tuple[str, ...]


def _terms(case: Case, gpu: Gpu) -> Iterator[_Term | LeftOut]:
    """Yield how the GPU can be paid for, and what is known of the ways that cannot."""
    name = f"own model on {gpu.name}"
    unknown = "no price of it is known here"
    if gpu.on_demand is None:
        yield LeftOut(name=f"{name}, on demand", why=unknown, unpriced=True)
    else:
        line = gpu.on_demand.line()
        moves = "prices of GPUs move every quarter"
        yield _Term("on demand", line.usd * HOURS_PER_MONTH, 1, (line,), (moves,))
    if gpu.spot is None:
        yield LeftOut(name=f"{name}, spot", why=unknown, unpriced=True)
    elif gpu.spot_is_dearer:
        yield LeftOut(name=f"{name}, spot", why="no known spot price is below the one on demand elsewhere")
    else:
        line = gpu.spot.line(spot=True)
        taken = "the vendor may take the machine back at any minute: keep a fall-back"
        yield _Term("spot", line.usd * HOURS_PER_MONTH, 1, (line,), (taken,))
    if gpu.owned is None:
        yield LeftOut(name=f"{name}, owned", why=unknown, unpriced=True)
    else:
        usd, lines, power = bought(case, gpu.owned)
        at_once = (
            f"${gpu.owned.purchase_usd:,.0f} are due at once, written off over {gpu.owned.life_years} years"
        )
        many = (f"sold with {gpu.owned.gpus} GPUs only",) if gpu.owned.gpus > 1 else ()
        yield _Term("owned", usd, max(gpu.owned.gpus, 1), lines, (*many, at_once, power))


def _on_gpu(case: Case, gpu: Gpu) -> Iterator[Way]:
    mix = _without_instructions(case)
    served = gpu.served(mix)
    if served is None:
        why = "nobody's published speed of it is known here"
        yield LeftOut(name=f"own model on {gpu.name}", why=why, unpriced=True)
        return
    planned = fleet(case, served, mix)
    for term in _terms(case, gpu):
        if isinstance(term, LeftOut):
            yield term
            continue
        yield Option(
            key=f"gpu:{gpu.name}:{term.name}",
            name=f"tuned 7-8B model on {gpu.name}, {term.name}",
            kind="gpu",
            lock_in="none: the weights are yours",
            risks=(*term.risks, "quality unknown until evaluated", "it must be watched and tuned again"),
            prices=term.lines,
            why_not=_too_long(mix, _DECODER_READS),
            one_off=paid_once(case, "gpu", training=_gpu_training(case, gpu)),
            **_gpu_fields(case, gpu, "gpu", planned=planned.times(term.gpus), usd=term.usd_per_month),
        )


def bought(case: Case, machine: Owned) -> tuple[Decimal, tuple[PriceLine, ...], str]:
    """Return what a machine of your own costs a month, its price lines, and a sentence on power."""
    power = prices.electricity()
    own = case.settings.power_usd_per_kwh
    if own is not None:
        line = PriceLine(item="power", unit="kWh", usd=exact(own), source="given by you", checked=case.when)
    elif power:
        line = power[0].line()
    else:
        raise NotFoundError(
            "the price of power was asked for; found none; set `power_usd_per_kwh` under [cost]"
        )
    usd = machine.usd_per_month(line.usd)
    return usd, (*machine.priced(), line), f"power is priced at full load, ${line.usd.normalize():f} a kWh"


def shared(case: Case) -> Iterator[Way]:
    """Yield the tuned decoder as one adapter of several on the GPU that is cheapest for them together."""
    name = "adapter on a shared GPU"
    if not case.others:
        yield LeftOut(name=name, why="no other task is known that could share the machine")
        return
    mix = _without_instructions(case)

    def share(served: Served, planned: Fleet) -> Decimal:
        each = [(other, served.seconds_of(other.mix)) for other in case.others]
        mine = served.seconds_of(mix)
        return sum((other.mix.requests_per_month * seconds / mine for other, seconds in each), Decimal(0))

    found = _cheapest(case, "shared gpu", mix=mix, share=share)
    if found is None:
        yield LeftOut(name=name, why="no GPU with a known price and speed", unpriced=True)
        return
    gpu, fields, line = found
    others = ", ".join(other.name for other in case.others)
    yield Option(
        key="shared gpu",
        name=f"{name} ({gpu.name}, {len(case.others) + 1} tasks)",
        kind="shared gpu",
        lock_in="none: the weights are yours",
        risks=("a peak of one task slows the others", "quality unknown until evaluated"),
        prices=(line,),
        why_not=_too_long(mix, _DECODER_READS),
        one_off=paid_once(case, "shared gpu", training=_gpu_training(case, gpu)),
        **{**fields, "notes": (f"shares the machine with {others}; each pays by its work", *fields["notes"])},
    )


def few_shot(case: Case) -> Iterator[Way]:
    """Yield a small decoder that is not tuned, with examples in every prompt, on the GPU that is cheapest for it."""
    name, many = "small model with examples, not tuned", case.settings.few_shot_examples
    example = max(Decimal(1), case.mix.input_tokens - case.static_tokens) + case.mix.output_tokens
    mix = case.mix.longer(int(example * many))
    found = _cheapest(case, "few-shot", mix=mix, share=lambda served, planned: Decimal(0))
    if found is None:
        yield LeftOut(name=name, why="no GPU with a known price and speed", unpriced=True)
        return
    gpu, fields, line = found
    longer = f"{many} examples make every prompt {int(example * many):,} tokens longer"
    yield Option(
        key="few-shot",
        name=f"{name} ({gpu.name})",
        kind="few-shot",
        lock_in="none: the weights are open",
        risks=("quality unknown until evaluated, and mostly below a tuned model's",),
        prices=(line,),
        why_not=_too_long(mix, _DECODER_READS),
        one_off=paid_once(case, "few-shot"),
        **{**fields, "notes": (longer, *fields["notes"])},
    )


def _cheapest(
    case: Case, kind: Kind, *, mix: RequestMix, share: Callable[[Served, Fleet], Decimal]
) -> tuple[Gpu, dict[str, Any], PriceLine] | None:
    """Return the GPU on demand that costs least for these requests, the option's fields, and its price."""
    found = []
    for name in case.gpus:
        gpu = Gpu(name)
        served = gpu.served(mix)
        if served is None or gpu.on_demand is None:
            continue
        planned = fleet(case, served, mix, search=False)
        line = gpu.on_demand.line()
        fields = _gpu_fields(
            case, gpu, kind, planned=planned, usd=line.usd * HOURS_PER_MONTH, shared=share(served, planned)
        )
        found.append((gpu, fields, line))

    def late(fields: dict[str, Any]) -> bool:
        known, target = fields["latency_p95_s"], case.latency_target_s
        return known is not None and target is not None and known > target

    return min(found, key=lambda one: (late(one[1]), one[1]["usd_per_month"]), default=None)


def _gpu_fields(
    case: Case, gpu: Gpu, kind: Kind, *, planned: Fleet, usd: Decimal, shared: Decimal = Decimal(0)
) -> dict[str, Any]:
    """Return the fields that the GPU's published speed decides; its range is from half of it to the fastest one."""
    assert gpu.slow is not None and gpu.fast is not None, "only GPUs with a published speed come here"
    running = _running(case, kind, usd, planned).model_copy(update={"shared_requests": shared})
    slow = gpu.slow
    said = (
        f"published, not measured: {slow.tokens_per_s:,.0f} tokens/s, {slow.model} with {slow.engine}, {slow.request} "
        f"({slow.source}, {slow.checked.isoformat()})"
    )
    note = f"published: {slow.latency}"
    if planned.latency_p95_s is not None:
        note = f"95 % within {planned.latency_p95_s:,.2g} s, {planned.latency_from}"
    return {
        "basis": "published",
        "privacy": "inside",
        "latency_p95_s": planned.latency_p95_s,
        "latency_note": note,
        "notes": (said, *planned.notes, *_in_it(case, kind)),
        **money(
            case,
            running,
            low=running.planned_for(gpu.fast.tokens_per_s / slow.tokens_per_s),
            high=running.planned_for(_HALF),
        ),
    }


def _running(case: Case, kind: Kind, usd_per_machine: Decimal, planned: Fleet) -> Running:
    return Running(
        usd_per_machine=usd_per_machine,
        requests_per_machine=planned.requests_per_machine,
        usd_fixed=upkeep(case, kind),
    )


def _in_it(case: Case, kind: Kind) -> tuple[str, ...]:
    hours = upkeep(case, kind)
    return (f"${hours:,.0f} a month for people's hours are in it",) if hours else ()


def _gpu_training(case: Case, gpu: Gpu) -> OneOff | None:
    hours = exact(case.settings.training_hours)
    if not hours:
        return None
    if gpu.on_demand is None:
        return OneOff(name="training", usd=Decimal(0), how="on the machine that was bought")
    usd = hours * gpu.on_demand.usd_per_hour
    return OneOff(name="training", usd=usd, how=f"{hours.normalize():f} h of one {gpu.name} on demand")


def _without_instructions(case: Case) -> RequestMix:
    """A tuned model needs no long instructions."""
    return case.mix.longer(-case.prunable_tokens) if case.prunable_tokens else case.mix
