"""Find personal data and secrets in rows, and replace them so that the rows stay trainable.

What has a form is found by Presidio's recognizers and rules of our own (`patterns.py`), names, places and addresses by
a token classifier that is trained here on texts of our own (`tagger.py`). `Redactor` (`mask.py`) replaces both, also
at capture time. Guarantee: no network, and evidence holds types and counts, never a value. Trap: an edit line of the
ledger holds the text before the edit, as raw rows do; whoever shares a ledger shares what was taken out.
"""

from collections import Counter
from collections.abc import Iterable

import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.finding import EDIT, Finding, lines, text_columns
from offramp.curate.finding import values as column_values
from offramp.curate.ledger import Line
from offramp.curate.personal.mask import Redacted, Redactor, Vault
from offramp.curate.personal.spans import Span

__all__ = ["RULE", "Redacted", "Redactor", "Span", "Vault", "counts", "find", "findings"]

RULE = "personal_data"
"""Name of the rule in the ledger."""


def findings(rows: pa.Table, redactor: Redactor) -> list[Finding]:
    """Return one edit for each text that holds personal data; rows of one group are one conversation."""
    ids = rows.column("id").to_pylist()
    conversations = [group or row for group, row in zip(row_tables.groups(rows), ids, strict=True)]
    found: list[Finding] = []
    for column in text_columns(rows):
        texts = column_values(rows, column)
        spans = dict(zip(dict.fromkeys(texts), redactor.find_all(list(dict.fromkeys(texts))), strict=True))
        for row, text, conversation in zip(ids, texts, conversations, strict=True):
            if not spans[text]:
                continue
            redacted = redactor.replace(text, spans[text], conversation=conversation)
            evidence: dict[str, object] = {"column": column, "types": redacted.counts}
            score = min(1.0, max(span.score for span in spans[text]))
            found.append(Finding(row, RULE, score, 0.0, evidence, EDIT, column, text, redacted.text))
    return found


def find(rows: pa.Table, redactor: Redactor) -> list[Line]:
    """Return an edit line for each text that holds personal data."""
    return lines(findings(rows, redactor))


def counts(found: Iterable[Finding]) -> dict[str, int]:
    """Count what was found by type, for the report."""
    total: Counter[str] = Counter()
    for one in found:
        types = one.evidence["types"]
        total.update(types if isinstance(types, dict) else {})
    return dict(sorted(total.items()))
