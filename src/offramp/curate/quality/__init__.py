"""Find rows that are bad training data, with thresholds learned from the data itself.

Each detector is one file with `findings(rows)`, which scores and explains, and `find(rows)`, which turns what is sure
into ledger lines. Web-page filters are not used: they delete good short answers and JSON. Guarantee: on data without
defects next to nothing is touched, because "strange" means strange beside the rest of the same column. Held rows are
the caller's to leave out.
"""

import pyarrow as pa

from offramp.curate.finding import Finding, lines
from offramp.curate.ledger import Line
from offramp.curate.quality import broken, echo, encoding, gibberish, language, markup, refusals, truncated

__all__ = ["RULES", "Finding", "find", "findings", "lines"]

RULES = (
    encoding.RULE,
    markup.RULE,
    broken.EMPTY,
    broken.BROKEN,
    broken.SCHEMA,
    truncated.RULE,
    refusals.RULE,
    echo.RULE,
    language.RULE,
    gibberish.RULE,
)
"""Every rule, in the order they run."""


def findings(
    rows: pa.Table, *, column: str = "target", from_incumbent: bool = True, seed: int = 0
) -> list[Finding]:
    """Run every detector and return all findings, those that act and those that only note.

    `column` holds the answers; `from_incumbent` says that finish reasons and token counts belong to them.
    """
    strange = language.Strange(rows)
    return [
        *encoding.findings(rows),
        *markup.findings(rows),
        *broken.findings(rows, column=column),
        *truncated.findings(rows, column=column, from_incumbent=from_incumbent, seed=seed),
        *refusals.findings(rows, column=column),
        *echo.findings(rows, column=column),
        *language.findings(rows, strange=strange),
        *gibberish.findings(rows, strange=strange),
    ]


def find(rows: pa.Table, *, column: str = "target", from_incumbent: bool = True, seed: int = 0) -> list[Line]:
    """Return edits first and then quarantines; a row is quarantined once, by the first rule that is sure."""
    found: list[Line] = []
    gone: set[str] = set()
    for line in lines(findings(rows, column=column, from_incumbent=from_incumbent, seed=seed)):
        if line.action == "edit":
            found.append(line)
        elif line.row not in gone:
            gone.add(line.row)
            found.append(line)
    return found
