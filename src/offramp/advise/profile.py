"""One task of the traffic in figures: volume, money, speed, failures, form of the answers, rows at hand, rights.

`profile_of` is a pure function of a table of calls, so a task's profile is made again from the same calls. Guarantee:
the order of the rows changes nothing, no figure is NaN, and what cannot be known is `None` with a `Problem` that says
why. Trap: give the window of the whole log, or a task that was seen three times in a minute looks like a busy one.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from offramp.advise.calls import Problem
from offramp.advise.doubts import FEW, doubts_of
from offramp.advise.latency import Delays, Failures, delays_of, failures_of
from offramp.advise.prompt import Prompt, prompt_of
from offramp.advise.settings import AdviseSettings
from offramp.advise.shape import (
    OutputShape,
    Repeats,
    inputs_of,
    object_in,
    plain_label,
    repeats_of,
    sampled,
    shape_of,
)
from offramp.advise.spending import Sizes, Spending, TokensOrigin, sizes_of, spending_of
from offramp.advise.trend import Volume, Window, scaled, volume_of, window_of
from offramp.errors import DataError

RightsState = Literal["allowed", "forbidden", "unknown"]
_PERSONAL = 2_000
"""Calls that are looked at for personal data: a share of 1 % is then known to half a point."""
_LIKE_TEXTS = 400
_OWN_PROMPT_TOKENS = 30
_ALIKE, _UNLIKE, _UNLIKE_COSTS = 0.45, 0.3, 0.25


@dataclass(frozen=True)
class Eyes:
    """What other stages can see in texts, lent to the profile; what is `None` nobody looks at."""

    refuses: Callable[[str], bool] | None = None
    """Tells a refusal from an answer."""
    personal: Callable[[Sequence[str]], Sequence[Sequence[str]]] | None = None
    """Returns the kinds of personal data in each text."""
    terms: Callable[[str, str | None], tuple[RightsState, str]] | None = None
    """Says of a model and its vendor whether answers may train a model, and why."""
    likeness: Callable[[Sequence[str]], float] | None = None
    """Returns how alike texts are, the mean cosine of their embeddings."""


NO_EYES = Eyes()
"""Nobody looks: refusals, personal data and rights are unknown."""


class Profile(Volume, Delays, Failures, Spending, Repeats, Prompt):
    """One task in figures, those of its parts and its own; months have 730 hours."""

    calls: int
    """Calls of the task in the log."""
    log_ratio: float = 1.0
    """Share of the log's calls that are of this task."""
    input_tokens: float | None
    """Mean prompt, cached part included; `None` when neither counts nor texts are there."""
    input_tokens_p95: float | None
    """95th percentile of it."""
    output_tokens: float | None
    """Mean answer."""
    output_tokens_p95: float | None
    """95th percentile of it."""
    cached_tokens: float
    """Mean part of the prompt that came from a vendor's cache, as logged."""
    tokens_origin: TokensOrigin
    """Whether the counts were logged or estimated from characters."""
    refusal_ratio: float | None
    """Share of answers that refuse or were stopped by a content filter; `None` when nobody looked."""
    output: OutputShape
    """Form of the answers."""
    narrow_ratio: float
    """How specific the task is, 0-1: 1 is one label of a few, 0 a chat about anything."""
    narrow_why: tuple[str, ...]
    """What the narrowness was made from."""
    topics: int | None
    """Clusters of inputs that were found, as the caller told; `None` when nobody looked."""
    rows: int
    """Different inputs with a whole answer: rows to learn from."""
    reviewed_rows: int
    """Those with a reviewed right answer."""
    incumbent_quality: tuple[int, int] | None
    """Right answers and how many were reviewed; `None` without reviews, and for text, which equality cannot judge."""
    personal_data_ratio: float | None
    """Share of sampled calls with personal data; `None` when nobody looked."""
    personal_kinds: tuple[tuple[str, int], ...]
    """Kinds of it and in how many sampled calls, most first."""
    personal_sample: int
    """Calls that were looked at."""
    rights: RightsState
    """Whether the answers may train a model; no legal advice."""
    rights_why: str
    """By whom and why, in a sentence."""
    problems: tuple[Problem, ...]
    """What a reader must know about these figures."""


def profile_of(
    calls: pa.Table,
    *,
    settings: AdviseSettings,
    when: date,
    window: Window | None = None,
    eyes: Eyes = NO_EYES,
    topics: int | None = None,
) -> Profile:
    """Describe the calls of one task, at list prices of the day `when`.

    `calls` are checked calls (`advise.calls.checked`); `window` is `window_of` the whole log (of these calls when not
    given); `topics` is how many clusters of inputs discovery found.

    Raises:
        DataError: there are no calls.
    """
    if not calls.num_rows:
        raise DataError("the calls of a task were asked for; found none; give a task that has some")
    # One order of the rows, so that sums of floats do not depend on the one that came.
    calls = calls.take(pc.sort_indices(calls.column("id")))
    window = window or window_of(calls)
    at = calls.column("at").drop_null().to_numpy()
    volume = scaled(volume_of(at, calls.num_rows, window), 1 / settings.sample_ratio)
    sizes = sizes_of(calls)
    mean = volume.calls_per_month
    ends = (volume.calls_per_month_low / mean, volume.calls_per_month_high / mean) if mean else (1.0, 1.0)
    spending = spending_of(calls, sizes, per_call=mean / calls.num_rows, volume_range=ends, when=when)
    inputs = inputs_of(calls)
    ok = pc.equal(calls.column("status").cast(pa.string()), "ok")
    answered = pc.and_(ok, pc.greater(pc.fill_null(pc.utf8_length(calls.column("answer")), 0), 0)).to_numpy()
    said = calls.filter(pa.array(answered))
    lengths = sizes.output[ok.to_numpy() & (sizes.output >= 0)].astype(np.float64)
    output = shape_of(said, inputs[answered], lengths)
    prompt = prompt_of(calls, _mean(sizes.input) or 0.0)
    narrow, why = _narrow(output, prompt, topics=topics, likeness=_likeness(calls, output, eyes))
    repeats = repeats_of(said, inputs[answered])
    refusals, refused = _refusals(calls, eyes)
    return Profile(
        **dict(volume),
        **dict(delays_of(calls, settings.latency_target_s)),
        **dict(failures_of(calls, inputs)),
        **dict(spending),
        **dict(repeats),
        **dict(prompt),
        **_tokens(sizes),
        **_rows(calls, inputs, usable=answered & ~refused),
        **_personal(calls, eyes),
        **_rights(spending, settings, eyes),
        calls=calls.num_rows,
        log_ratio=calls.num_rows / max(calls.num_rows, window.calls),
        refusal_ratio=refusals,
        output=output,
        narrow_ratio=narrow,
        narrow_why=why,
        topics=topics,
        incumbent_quality=_quality(said, output),
        problems=doubts_of(at, volume=volume, window=window, sizes=sizes, spending=spending),
    )


def _mean(counts: NDArray[np.int64]) -> float | None:
    known = counts[counts >= 0]
    return float(known.mean()) if len(known) else None


def _tokens(sizes: Sizes) -> dict[str, Any]:
    found: dict[str, Any] = {"cached_tokens": float(sizes.cached.mean()), "tokens_origin": sizes.origin}
    for name, counts in (("input_tokens", sizes.input), ("output_tokens", sizes.output)):
        known = counts[counts >= 0]
        found[name] = _mean(counts)
        found[f"{name}_p95"] = float(np.quantile(known, 0.95)) if len(known) else None
    return found


def _likeness(calls: pa.Table, output: OutputShape, eyes: Eyes) -> float | None:
    """Return how alike the inputs are, where it matters: labels and JSON are narrow whatever comes in."""
    if eyes.likeness is None or output.kind not in ("text", "chat"):
        return None
    part = calls.column("user").take(pa.array(sampled(calls, _LIKE_TEXTS)))
    texts = [text for text in part.to_pylist() if text]
    return eyes.likeness(texts) if len(texts) >= FEW else None


def _narrow(
    output: OutputShape, prompt: Prompt, *, topics: int | None, likeness: float | None
) -> tuple[float, tuple[str, ...]]:
    """Score how specific a task is, from the form of its answers first and from its prompt and inputs second.

    Labels 0.8-1, tools 0.75, JSON 0.5-0.9, text 0.35-0.6 by length, chat 0.4; a prompt of its own (half or more
    of it static, 30 tokens at least) adds 0.1, each topic beyond the first takes 0.05, 0.3 at most, and inputs
    that are little alike take up to 0.25. Source: a choice, in the order in which published tunings of small
    models succeed (LoRA Land, arXiv 2405.00732: labels, extraction, then free text). Likeness: mean cosine of
    400 inputs by the static encoder is .41-.53 on three single domains of CLINC150 and .49 on Banking77, .76 on
    MTS-Dialog; .35 on OASST prompts, .36 on LLMBar instructions, .26 on CLINC150's out-of-scope queries.
    """
    why: list[str] = []
    if not output.answers:
        return 0.0, ("the log has no answers to judge by",)
    if output.kind == "labels":
        score = 0.8 + 0.2 * output.covered_ratio
        why.append(f"one of {output.labels} labels; {output.covered_ratio:.0%} of the answers are known ones")
    elif output.kind == "tools":
        score = 0.75
        why.append("most answers call tools")
    elif output.kind == "json":
        whole, shut = output.schema_ratio or 0.0, output.closed_ratio or 0.0
        score = 0.3 + 0.3 * whole + 0.3 * shut
        why.append(
            f"JSON; {whole:.0%} have its {len(output.json_keys)} keys, {shut:.0%} of which have few values"
        )
    elif output.kind == "chat":
        score = 0.4
        why.append("a conversation of several turns")
    else:
        longest = output.answer_tokens_p95
        score = 0.45 if longest is None else 0.6 if longest <= 60 else 0.5 if longest <= 300 else 0.35
        known = "" if longest is None else f" of up to {longest:.0f} tokens"
        why.append(f"free text{known}")
    if prompt.static_ratio >= 0.5 and prompt.static_tokens >= _OWN_PROMPT_TOKENS:
        score += 0.1
        why.append(f"{prompt.static_ratio:.0%} of the prompt is a fixed instruction")
    if topics is not None and topics > 1:
        score -= min(0.3, 0.05 * (topics - 1))
        why.append(f"{topics} topics in the inputs")
    if likeness is not None and likeness < _ALIKE:
        score -= _UNLIKE_COSTS * min(1.0, (_ALIKE - likeness) / (_ALIKE - _UNLIKE))
        why.append(f"inputs about many things (likeness {likeness:.2f}; one domain has {_ALIKE} and more)")
    if output.answers < FEW:
        why.append(f"only {output.answers} different answered inputs were seen")
    return float(min(1.0, max(0.0, score))), tuple(why)


def _refusals(calls: pa.Table, eyes: Eyes) -> tuple[float | None, NDArray[np.bool_]]:
    """Return the share of refusals, and which calls are."""
    stopped = pc.equal(calls.column("finish_reason").cast(pa.string()), "content_filter")
    refused: NDArray[np.bool_] = pc.fill_null(stopped, False).to_numpy().copy()
    ok = pc.equal(calls.column("status").cast(pa.string()), "ok").to_numpy()
    if eyes.refuses is None:
        return None, refused
    answers = calls.column("answer").dictionary_encode().unify_dictionaries()
    known = answers.chunk(0).dictionary.to_pylist() if answers.num_chunks else []
    says = np.array([bool(text) and eyes.refuses(text) for text in known] or [False])
    codes = np.concatenate([chunk.indices.fill_null(-1).to_numpy() for chunk in answers.chunks])
    refused |= (codes >= 0) & says[np.maximum(codes, 0)]
    return (float((refused & ok).sum() / ok.sum()) if ok.any() else None), refused


def _rows(calls: pa.Table, inputs: NDArray[np.int64], *, usable: NDArray[np.bool_]) -> dict[str, Any]:
    cut = pc.is_in(
        calls.column("finish_reason").cast(pa.string()), pa.array(["length", "max_tokens"])
    ).to_numpy()
    labelled = calls.column("label").is_valid().to_numpy()
    has_text = pc.greater(pc.fill_null(pc.utf8_length(calls.column("user")), 0), 0).to_numpy()
    good = has_text & ((usable & ~cut) | labelled)
    return {
        "rows": len(np.unique(inputs[good])),
        "reviewed_rows": len(np.unique(inputs[has_text & labelled])),
    }


def _quality(said: pa.Table, output: OutputShape) -> tuple[int, int] | None:
    """Hold answers against reviewed ones: labels as labels, JSON as values."""
    reviewed = said.filter(said.column("label").is_valid())
    if not reviewed.num_rows or output.kind in ("text", "chat"):
        return None
    pairs = zip(reviewed.column("answer").to_pylist(), reviewed.column("label").to_pylist(), strict=True)
    return sum(_same(answer, label, output.answer_key) for answer, label in pairs), reviewed.num_rows


def _same(answer: str, label: str, key: str | None) -> bool:
    if plain_label(answer) == plain_label(label):
        return True
    said, right = object_in(answer), object_in(label)
    if said is None:
        return False
    if key is not None and right is None:
        return plain_label(str(said.get(key, ""))) == plain_label(label)
    return said == right


def _personal(calls: pa.Table, eyes: Eyes) -> dict[str, Any]:
    if eyes.personal is None:
        return {"personal_data_ratio": None, "personal_kinds": (), "personal_sample": 0}
    part = calls.take(pa.array(sampled(calls, _PERSONAL)))
    texts = [
        f"{user or ''}\n{answer or ''}"
        for user, answer in zip(
            part.column("user").to_pylist(), part.column("answer").to_pylist(), strict=True
        )
    ]
    found = [set(kinds) for kinds in eyes.personal(texts)]
    counts = Counter(kind for kinds in found for kind in kinds)
    return {
        "personal_data_ratio": sum(map(bool, found)) / len(texts),
        "personal_kinds": tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        "personal_sample": len(texts),
    }


def _rights(spending: Spending, settings: AdviseSettings, eyes: Eyes) -> dict[str, Any]:
    """Return what the strictest vendor's terms say of the answers."""
    if settings.may_train is not None:
        why = f"`may_train` under [advise] says {settings.may_train}"
        return {"rights": settings.may_train, "rights_why": why}
    if eyes.terms is None:
        return {"rights": "unknown", "rights_why": "nobody looked at the terms of the answers"}
    said = {use.model: eyes.terms(use.model, use.provider) for use in spending.models}
    order: Mapping[RightsState, int] = {"forbidden": 0, "unknown": 1, "allowed": 2}
    worst = min(said, key=lambda model: (order[said[model][0]], model))
    return {
        "rights": said[worst][0],
        "rights_why": f"{worst or 'a model that is not named'}: {said[worst][1]}",
    }
