"""Cut the static prompt out of inputs, so that a classifier reads what varies: the same in training and in serving.

Logs often have the instructions and the customer's text in one user message. `learn` turns the templates of each input
field into rules, `cut` is a pure function of a text and these rules, which the gateway can run on a live request, and
`find` writes one ledger edit per row. A text that no rule fits, or of which nothing would be left, comes back as it is.
A template whose rows have one label more often than the data is a feature and stays.

The trap is a prompt that the application changes later: the rules no longer fit, and a model that was trained on bare
inputs reads a prompt it never saw. `fits` tells; count it, learn the rules again from live inputs (no label is needed)
and put them in place. And it is for classifiers only: a model that writes answers may need its instructions.
"""

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.ledger import Line
from offramp.curate.prompts.repeated import between, templates
from offramp.types import Frozen

RULE = "prompt"
MIN_ROWS = 25
"""Fewer rows of a template tell too little about whether it tells a label."""
MAX_LABEL_LIFT = 0.1
"""No label's share among the rows of a template may be larger than in the data by more than this."""


class CutRule(Frozen):
    """One template to cut; JSON, so that it can be stored with a dataset or a deployment."""

    column: str
    """Input field that it was learned from."""
    spans: tuple[str, ...]
    """Its static text, exact and in order."""
    ends: tuple[bool, bool]
    """Whether the first span begins the text, and the last one ends it."""


def learn(rows: pa.Table) -> tuple[CutRule, ...]:
    """Return the rules of the input fields, those with most static text first; labels only veto, see the module."""
    labels = rows.column("target").to_pylist() if "target" in rows.column_names else [None] * rows.num_rows
    found: list[CutRule] = []
    for name in row_tables.fields(rows):
        texts = row_tables.field(rows, name)
        for template in templates(texts):
            rule = CutRule(column=name, spans=template.spans, ends=(template.begins, template.ends))
            where = [at for at, text in enumerate(texts) if fits(text, rule)]
            if template.slots and (not any(labels) or _tells_no_label(labels, where)):
                found.append(rule)
    return tuple(sorted(found, key=lambda rule: -sum(map(len, rule.spans))))


def fits(text: str, rule: CutRule) -> bool:
    """Tell whether a text was made from the rule's template and has something else besides."""
    return _rest(text, rule) is not None


def cut(text: str, rules: Sequence[CutRule]) -> str:
    """Return what the first fitting rule leaves: the text of the slots, one on a line. Apply it once to a text."""
    return next((rest for rule in rules if (rest := _rest(text, rule)) is not None), text)


def find(rows: pa.Table, rules: Sequence[CutRule]) -> list[Line]:
    """Return one edit for each field that the rules shorten."""
    lines = []
    for name in row_tables.fields(rows):
        mine = [rule for rule in rules if rule.column == name]
        if not mine:
            continue
        for row, text in zip(row_tables.ids(rows), row_tables.field(rows, name), strict=True):
            after = cut(text, mine)
            if after != text:
                evidence = {"characters_removed": len(text) - len(after)}
                params, column = {"templates": len(mine)}, row_tables.FIELD + name
                lines.append(
                    Line(row, "edit", RULE, evidence, params, field=column, before=text, after=after)
                )
    return lines


def _rest(text: str, rule: CutRule) -> str | None:
    values = between(rule.spans, text)
    if values is None or (rule.ends[0] and values[0]) or (rule.ends[1] and values[-1]):
        return None
    return "\n".join(part for value in values if (part := value.strip())) or None


def _tells_no_label(labels: Sequence[str | None], where: Sequence[int]) -> bool:
    here, base = Counter(labels[at] for at in where), Counter(labels)
    return len(where) >= MIN_ROWS and all(
        count / len(where) <= base[label] / len(labels) + MAX_LABEL_LIFT for label, count in here.items()
    )
