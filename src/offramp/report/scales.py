"""Write the figures of a bar in its own unit: shares in percent and points, scores such as 1-5 as they are."""

from offramp.report.text import NOTHING, ends, percent, points
from offramp.types import BarResult

_MINUS = "−"


def mean(value: float | None, bar: BarResult) -> str:
    """Write a mean of the bar's metric: `93.4 %` or `4.21`."""
    if bar.scale == "share" or value is None:
        return percent(value)
    return f"{value:.2f}".replace("-", _MINUS)


def limits(bar: BarResult, *, signed: bool = True) -> str:
    """Write the bar's interval: of the difference, or without signs of the mean."""
    if bar.scale == "share":
        return ends(bar.low, bar.high, signed=signed)
    shown = "+.2f" if signed else ".2f"
    return f"[{bar.low:{shown}}, {bar.high:{shown}}]".replace("-", _MINUS)


def change(bar: BarResult) -> str:
    """Write the bar's difference without its interval: `−0.4 pt` or `−0.02`."""
    if bar.difference is None:
        return NOTHING
    return points(bar.difference) if bar.scale == "share" else amount(bar.difference, bar)


def amount(value: float, bar: BarResult) -> str:
    """Write a difference or a margin in the bar's unit, with its sign."""
    return points(value) if bar.scale == "share" else f"{value:+.2f}".replace("-", _MINUS)
