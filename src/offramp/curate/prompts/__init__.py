"""Prompts that calls repeat: find them, vary them, prune them, cut them.

`repeated` finds the static text that every request carries and what it costs; `variation` makes other wordings that
keep every constraint (`constraints`); `split` keeps some wordings for the holdout; `prune` finds what can go and
applies the same rule to training rows and to live requests; `cut` takes a whole template out of a classifier's inputs.
Nothing here calls a model: the caller passes what measures. `findings` and `notes` say what a set of rows repeats; a
finding is about a template, so its row is only the first that has it: never act on it as if it were about that row.
"""

import pyarrow as pa

from offramp import rows as row_tables
from offramp.curate.finding import REVIEW, Finding
from offramp.curate.prompts.repeated import (
    TEMPLATE_RATIO,
    RepeatedPrompts,
    SystemPrompt,
    Template,
    find,
    templates,
)

RULE = "repeated_prompt"
NEVER = 2.0
"""Threshold of these findings: no score reaches it, because the row did nothing wrong."""
NOTED_TOKENS = 10
"""Fewer repeated tokens are not worth a word."""
HIDING_CHARS = 150
"""A preamble longer than this may fill what a tuned encoder reads (48 tokens by default).

Source: `make bench-variation`: with 241 characters of prompt its accuracy fell from 0.97 to 0.10.
"""
_SHOWN_CHARS = 80


def findings(rows: pa.Table, *, found: RepeatedPrompts | None = None) -> list[Finding]:
    """Return one finding per repeated system prompt and per template, for people; its row is the first that has it."""
    ids = row_tables.ids(rows)
    return [
        Finding(
            ids[item.first],
            RULE,
            min(1.0, item.ratio),
            NEVER,
            {
                "role": role,
                "text": item.text,
                "rows": item.rows,
                "tokens": item.tokens,
                "slots": [slot.name for slot in item.slots] if isinstance(item, Template) else [],
            },
            action=REVIEW,
        )
        for role, item in _worth(found or find(rows))
    ]


def notes(rows: pa.Table, *, found: RepeatedPrompts | None = None) -> tuple[str, ...]:
    """Return what a person should know about repeated prompts, in sentences; empty when there is nothing.

    Shares are those of `found`; what hides the inputs is looked for in the input fields, so give the cleaned rows.
    """
    found = found or find(rows)
    said = [
        f"{item.ratio:.0%} of the {role} messages repeat {item.tokens} tokens of static text (estimated), which begins "
        f"{item.text[:_SHOWN_CHARS]!r}"
        for role, item in _worth(found)
    ]
    if said:
        said.append(f"{found.static_ratio:.0%} of all prompt tokens are such repeated text")
    hidden = max((len(item.preamble) for item in templates(row_tables.texts(rows))), default=0)
    if hidden > HIDING_CHARS:
        said.append(
            f"up to {hidden} characters at the beginning of the inputs are the same in every row; models that read "
            f"only the beginning (embeddings {row_tables.EXCERPT_CHARACTERS} characters, a tuned encoder less) may "
            "not get to what differs: take the prompt out of the inputs"
        )
    return tuple(said)


def _worth(found: RepeatedPrompts) -> list[tuple[str, SystemPrompt | Template]]:
    systems: list[SystemPrompt | Template] = [
        item for item in found.systems if item.ratio >= TEMPLATE_RATIO and item.rows > 1
    ]
    pairs = [("system", item) for item in (*systems, *found.system_templates)]
    pairs += [("user", item) for item in found.user_templates]
    return [(role, item) for role, item in pairs if item.tokens >= NOTED_TOKENS]
