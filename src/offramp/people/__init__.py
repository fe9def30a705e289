"""People as candidates: what they answered, who reviews what next, how far they agree, and what counts as gold.

A person is one more answerer: their labels become a column of recorded answers, so evaluation, cost and verdict treat
them like any model. Labels come from files (`read_labels`) and from reviews (`Journal`); nothing here opens the
workspace's database, the journal is one append-only file that this package owns.
"""

from offramp.people.agreement import (
    GOLD_SCHEMA,
    AgreementTable,
    LabelerAccuracy,
    PairAgreement,
    adjudicate,
    agreement,
    gold,
)
from offramp.people.files import REJECT_SCHEMA
from offramp.people.journal import Entry, Journal
from offramp.people.labels import (
    LABEL_SCHEMA,
    Columns,
    LabelFile,
    answers_by,
    hashes,
    labeler_name,
    read_labels,
)
from offramp.people.queue import KINDS, Item, Plan, Signals, build

__all__ = [
    "GOLD_SCHEMA",
    "KINDS",
    "LABEL_SCHEMA",
    "REJECT_SCHEMA",
    "AgreementTable",
    "Columns",
    "Entry",
    "Item",
    "Journal",
    "LabelFile",
    "LabelerAccuracy",
    "PairAgreement",
    "Plan",
    "Signals",
    "adjudicate",
    "agreement",
    "answers_by",
    "build",
    "gold",
    "hashes",
    "labeler_name",
    "read_labels",
]
