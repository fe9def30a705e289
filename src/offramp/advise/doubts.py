"""What a reader must know about a profile: short logs, estimated tokens, unknown prices, tasks that began or ended.

Guarantee: each doubt says how many calls it is about and what was done. Trap: doubts about the log as a whole (clocks,
currencies, impossible counts) come from `advise.calls.checked`, before a task is looked at.
"""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from offramp.advise.calls import SHORT_DAYS, Problem, span_words
from offramp.advise.spending import Sizes, Spending
from offramp.advise.trend import Volume, Window

FEW = 30
"""Below this many calls every figure is a hint. Source: a choice; a share is then known to 18 points either way."""
_DIFFERENT = 0.2
"""A logged cost this far from list prices is worth a word."""
_GONE = 0.25
"""A task that was silent for this last part of the log, or came only after this first part, has changed."""


def doubts_of(
    at: NDArray[np.float64], *, volume: Volume, window: Window, sizes: Sizes, spending: Spending
) -> tuple[Problem, ...]:
    """Return what speaks against trusting a task's figures, the most calls first; `at` are the known times."""
    found = (*_of_time(at, len(sizes.input), volume, window), *_of_tokens(sizes), *_of_money(spending))
    return tuple(sorted(found, key=lambda problem: (-problem.count, problem.kind, problem.what)))


def _of_time(at: NDArray[np.float64], rows: int, volume: Volume, window: Window) -> Iterator[Problem]:
    if rows < FEW:
        what = f"the task was seen {rows} times: too few for any figure here to be more than a hint"
        yield Problem(kind="few", count=rows, what=what)
    if not volume.calls_per_month:
        what = "the log has no usable times, so nothing can be said per month"
        yield Problem(kind="no_volume", count=rows, what=what)
    elif volume.days < SHORT_DAYS:
        what = f"the log covers {span_words(volume.days)}: the rest of a week may be empty or busier"
        yield Problem(kind="short", count=rows, what=what)
    span = window.last_at - window.first_at
    if len(at) < FEW or not span:
        return
    if float(at.max()) < window.last_at - _GONE * span:
        what = "the task was not seen in the last quarter of the log: it may have ended"
        yield Problem(kind="ended", count=rows, what=what)
    if float(at.min()) > window.first_at + _GONE * span:
        what = "the task was not seen in the first quarter of the log: its volume now is above the mean"
        yield Problem(kind="began", count=rows, what=what)


def _of_tokens(sizes: Sizes) -> Iterator[Problem]:
    guessed = int(sizes.guessed.sum())
    if guessed:
        what = (
            f"tokens of {guessed} calls are estimated from characters, to about {float(sizes.off_ratio):.0%}"
        )
        yield Problem(kind="estimated_tokens", count=guessed, what=what)
    unsized = int(((sizes.input < 0) | (sizes.output < 0)).sum())
    if unsized:
        what = f"{unsized} calls have neither token counts nor texts; the others stand for them"
        yield Problem(kind="no_size", count=unsized, what=what)


def _of_money(spending: Spending) -> Iterator[Problem]:
    for model, count in spending.unpriced:
        bare = (use for use in spending.models if use.usd_per_month is None and use.notes)
        reason = next(("; ".join(use.notes) for use in bare if (use.model or "(not named)") == model), "")
        # The price book ends its messages with settings to change; here the first part is enough.
        reason = re.split(r"; (?:correct|give|set) ", reason)[0][:300]
        others = (
            f"; the others cost ${spending.usd_known_part:,.2f} a month" if spending.usd_known_part else ""
        )
        what = f"no price is known for {count} calls of {model!r}{others}; {reason}"
        yield Problem(kind="unpriced", count=count, what=what)
    for use in spending.models:
        for kind, what in use.warnings:
            yield Problem(kind=kind, count=use.billed, what=what)
        if use.basis == "logged" and use.usd_per_month and use.list_usd_per_month:
            off = float(use.usd_per_month / use.list_usd_per_month) - 1
            side = "above" if off > 0 else "below"
            if abs(off) > _DIFFERENT:
                what = f"the logged cost of {use.model!r} is {abs(off):.0%} {side} list prices"
                yield Problem(kind="unlike_list_price", count=use.billed, what=what)
