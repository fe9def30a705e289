"""The page of an advice: which call to replace first, what it would save, and when not to.

Like the report it is one HTML file that loads nothing; names, prompts and samples out of a log are cleaned and escaped.
Trap: nothing is computed here, and a task without a price has no pictures of money.
"""

from datetime import date, datetime

from markupsafe import Markup

from offramp.cost import Comparison
from offramp.report import page
from offramp.report.options import Ways, facts_of, pictures_of
from offramp.types import Frozen

MOST_TASKS = 12
"""Tasks shown in full; the table has more."""
MOST_ROWS = 60
"""Tasks in the table."""


class CheckRow(Frozen):
    """A precondition."""

    name: str
    """What must hold."""
    state: str
    """`yes`, `no` or `unknown`."""
    evidence: str
    """What was seen."""
    next_step: str
    """What to do about it."""


class TaskBlock(Frozen):
    """One task on the page."""

    id: str
    """Its id."""
    name: str
    """Its name."""
    action: str
    """What to do, in a word or two."""
    sentence: str
    """The advice."""
    calls_per_month: str
    """Volume."""
    usd_per_month: str
    """Today's bill."""
    saves: str
    """What the change saves a month."""
    latency: str
    """95th percentile."""
    failed: str
    """Share of calls that failed."""
    reasons: tuple[str, ...]
    """Why."""
    would_change: tuple[str, ...]
    """What would change the answer."""
    checks: tuple[CheckRow, ...]
    """Preconditions."""
    facts: tuple[tuple[str, str], ...]
    """What its calls look like: name and value."""
    skeleton: str
    """Its prompt with slots."""
    samples: tuple[str, ...]
    """Ids of calls."""
    comparison: Comparison | None
    """Every way in money."""
    unpriced: str
    """Why there is none."""


class AdvicePage(Frozen):
    """Everything on the page."""

    sentence: str
    """Which to replace first, or why none."""
    replaces: bool
    """Whether anything is to be replaced."""
    as_of: date
    """Day of the prices."""
    made_at: datetime
    """When the page was made."""
    version: str
    """Offramp's version."""
    calls: int
    """Calls read."""
    days: float
    """Days they cover."""
    unplaced: int
    """Calls of no task."""
    tasks: tuple[TaskBlock, ...]
    """In the order in which to take them."""
    problems: tuple[str, ...]
    """What is wrong with the log."""
    notes: tuple[str, ...]
    """What a reader should know."""
    prices_hash: str
    """Hash of the prices that were used; empty for none."""


def render(data: AdvicePage) -> str:
    """Return the page as one HTML document."""
    shown = data.tasks[:MOST_TASKS]
    ways: list[Ways | None] = [facts_of(one.comparison) if one.comparison else None for one in shown]
    pictures: list[dict[str, Markup]] = [
        pictures_of(one.comparison, id_=f"c-t{number}") if one.comparison else {}
        for number, one in enumerate(shown)
    ]
    return page(
        "advice.html",
        d=data,
        shown=list(zip(shown, ways, pictures, strict=True)),
        rows=data.tasks[:MOST_ROWS],
        most_rows=MOST_ROWS,
    )
