"""One named line of an answer, such as `Specialty: cardiology`, against the same line of the target.

For answers in a fixed form one line of which is a decision, such as where to send a patient. The line is found by its
heading, with or without Markdown around it; values are compared without case, without a remark in brackets behind
them, and without the marks and spaces around them.
Guarantee: a target without the line is not scored, and says so; an answer without the line scores 0.
Trap: where a text has the line twice, the last one counts.
"""

import re
from functools import lru_cache

import numpy as np

from offramp.errors import ConfigError
from offramp.metrics.base import Batch, Metric, Scored
from offramp.metrics.match import fold

PREFIX = "section:"
"""`section:Specialty` names the metric of the line `Specialty: …`."""
_KINDS = ("generate", "chat")
_MARKS = " \t.;,:!*_#`\"'"


@lru_cache(maxsize=100)
def _line(heading: str) -> re.Pattern[str]:
    return re.compile(
        rf"^[ \t#*_\-•]*{re.escape(heading)}[*_ \t]*:[*_ \t]*(.*)$", re.IGNORECASE | re.MULTILINE
    )


def value_of(text: str, heading: str) -> str | None:
    """Return what stands behind a heading, folded, up to a bracket; `None` where the line is missing or empty."""
    found = _line(heading).findall(text)
    return (fold(found[-1]).partition("(")[0].strip(_MARKS) or None) if found else None


def section_metric(heading: str) -> Metric:
    """Make the metric of one line: 1.0 where it says the same as the target's.

    Raises:
        ConfigError: the heading is empty.
    """
    heading = heading.strip().rstrip(":").strip()
    if not heading:
        raise ConfigError(
            f"a line was asked for by its heading; found {PREFIX!r} alone; write e.g. `section:Specialty`"
        )

    def detail(batch: Batch) -> Scored:
        values, reasons = np.zeros(len(batch)), {}
        for row, (answer, target) in enumerate(zip(batch.answers, batch.targets, strict=True)):
            wanted = value_of(target, heading)
            if wanted is None:
                values[row], reasons[row] = np.nan, f"the target has no line {heading + ':'!r}"
            elif answer is not None:
                values[row] = float(value_of(answer, heading) == wanted)
        return Scored(values, reasons)

    return Metric.explained(
        PREFIX + heading, f"{heading.lower()} right", version="1", detail=detail, kinds=_KINDS
    )
