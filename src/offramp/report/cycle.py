"""The page of one cycle: what changed, what was done about it, and whether it helped, on one picture.

Like the report it is one HTML file that loads nothing; sentences of records are cleaned and escaped. Trap: nothing is
computed here; what only a simulation can know is drawn apart and called so.
"""

from datetime import datetime

from offramp.report import page
from offramp.report.charts_monitor import DayPoint, Mark, cycle
from offramp.report.lanes import both
from offramp.types import Frozen


class Told(Frozen):
    """One step in words."""

    mark: Mark
    """Where it stands on the picture."""
    what: str
    """What happened."""
    record: str
    """Id of its record; empty where there is none."""


class CyclePage(Frozen):
    """Everything on the page."""

    word: str
    """How it ended, in a word or two."""
    good: bool
    """Whether it ended well."""
    sentence: str
    """How it ended."""
    simulated: str
    """What is simulated; empty for nothing."""
    days: tuple[DayPoint, ...]
    """Days of the picture."""
    steps: tuple[Told, ...]
    """What happened, oldest first."""
    facts: tuple[tuple[str, str], ...]
    """Name and value of what else was measured."""
    lineage: tuple[tuple[str, str], ...]
    """Kind and id of every record that the cycle is made of, oldest first."""
    made_at: datetime
    """When the page was made."""
    version: str
    """Offramp's version."""


def render(data: CyclePage) -> str:
    """Return the page as one HTML document."""
    marks = [step.mark for step in data.steps]
    return page("cycle.html", d=data, picture=both(cycle, data.days, marks, id_="cycle"))
