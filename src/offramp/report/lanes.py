"""Lay out charts that are lists of lanes (label, plot, value), in a wide and in a narrow form.

Wide: label, plot and value share one line. Narrow (a phone): label and value on one line, the plot below them,
so that text keeps its size instead of shrinking with the picture.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from offramp.report import svg
from offramp.report.text import clean, fit

WIDE = 820
"""Width of the form for screens and paper, pixels."""
NARROW = 340
"""Width of the form for phones, pixels."""
_SIMULATED = " (simulated)"
_IN_BRACKETS = re.compile(r"\s*[(\[][^()\[\]]*\bsimulated\b[^()\[\]]*[)\]]", re.IGNORECASE)
_WORD = re.compile(r"[\s,]*\bsimulated\b", re.IGNORECASE)


def both(draw: Callable[..., Markup], *parts: Any, id_: str) -> Markup:
    """Draw a chart for screens and for phones; the style shows the one that fits."""
    wide, narrow = draw(*parts, width=WIDE, id_=id_), draw(*parts, width=NARROW, id_=f"{id_}-n")
    return Markup('<div class="wide">{}</div><div class="narrow">{}</div>').format(wide, narrow)


def named(title: str, simulated: bool, *, limit: int = 90) -> str:
    """Return `title` cleaned, with the word simulated where it belongs and is not already said."""
    shown = clean(title, limit)
    return shown + _SIMULATED if simulated and "simulated" not in shown.lower() else shown


def bare(title: str) -> str:
    """Return `title` without the word simulated, for places that add it in a fixed form."""
    shown = clean(title, 90)
    return _WORD.sub("", _IN_BRACKETS.sub("", shown)).strip() or shown


def fit_named(title: str, simulated: bool, pixels: float) -> str:
    """Like `named`, cut to about `pixels`; the word simulated is never what is cut away."""
    whole = named(title, simulated)
    shown = fit(whole, pixels)
    if shown == whole or "simulated" not in whole.lower():
        return shown
    return fit(bare(title), pixels - 75) + _SIMULATED


@dataclass(frozen=True)
class Lanes:
    """Where things go in one chart."""

    width: int
    """Width of the whole picture."""
    label_px: int = 350
    """Room for labels in the wide form."""
    value_px: int = 150
    """Room for values in the wide form."""

    @property
    def stacked(self) -> bool:
        """True in the narrow form."""
        return self.width < 500

    @property
    def left(self) -> float:
        """Where the plot starts."""
        return 18.0 if self.stacked else float(self.label_px + 10)

    @property
    def right(self) -> float:
        """Where the plot ends."""
        return float(self.width - 18) if self.stacked else float(self.width - self.value_px - 14)

    @property
    def step(self) -> int:
        """Height of a lane."""
        return 44 if self.stacked else 28

    def middle(self, top: float) -> float:
        """Return the height at which the lane that starts at `top` is plotted."""
        return top + (31 if self.stacked else 14)

    def words(self, top: float, text: str, value: str, *, class_: str = "t", small: str = "") -> Markup:
        """Write a lane's label, already fitted, and its value; `small` is a muted word before the label."""
        y = top + (15 if self.stacked else 18.5)
        before = svg.label(0, y, small, "t mute") if small else Markup("")
        at = 76 if small else 0
        return (
            before
            + svg.label(at, y, text, f"{class_} halo")
            + svg.label(self.width, y, value, f"{class_} num halo", text_anchor="end")
        )

    def room(self, *, small: bool = False) -> float:
        """Return the pixels for a label."""
        whole = self.width - 118 if self.stacked else self.label_px - 4
        return whole - (76 if small else 0)
