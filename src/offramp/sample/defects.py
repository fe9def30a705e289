"""Plant the defects that real logs have, and write down where, so that curation can be checked against the truth.

Guarantee: a row carries at most one planted defect (HTML and boilerplate are traits, and may come on top), every
copy names its partner, and audited rows keep a right reference label. The pipeline never reads the manifest.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from offramp.sample.catalog import SEPARATOR, Catalog

Row = dict[str, Any]

RATES = {
    "exact_duplicate": 0.03,
    "near_duplicate": 0.03,
    "wrong_label": 0.03,
    "truncated_answer": 0.01,
    "refused_answer": 0.01,
    "out_of_domain": 0.01,
    "conflicting_label": 0.005,
    "label_outside_set": 0.005,
    "empty_input": 0.003,
}
"""Share of all rows that carry each defect."""
COPIES = ("exact_duplicate", "near_duplicate", "conflicting_label", "out_of_domain")
"""Defects that add a row; the others change one."""
_TEXT = ("title", "description", "merchant_category", "brand")


@dataclass
class Planted:
    """What was planted: defects by row id, and the partner of each copy."""

    defects: dict[str, list[str]] = field(default_factory=dict)
    """Row id to names of defects and traits."""
    partners: dict[str, str] = field(default_factory=dict)
    """Copy to the row it was made from."""
    truth: dict[str, str] = field(default_factory=dict)
    """Row id to the right category, where the row's own label is wrong, odd or in conflict."""

    def add(self, row: Row, defect: str) -> None:
        """Write down one defect."""
        self.defects.setdefault(row["id"], []).append(defect)


def counts(size: int) -> dict[str, int]:
    """Return how many rows of `size` carry each defect."""
    return {name: round(rate * size) for name, rate in RATES.items()}


def plant(
    rng: Random, base: list[Row], *, catalog: Catalog, decoys: dict[str, str], size: int
) -> tuple[list[Row], Planted]:
    """Add and change rows until `size` rows carry the defects of `counts(size)`.

    `decoys` gives each row id the wrong category it tempts people to. The rows of `base` are changed in place.
    """
    planted = Planted()
    wanted = counts(size)
    spare = base[:]
    rng.shuffle(spare)
    rows = base[:]
    change: dict[str, Callable[[Row], None]] = {
        # Those that may hit any row come first, while `spare` still is a fair draw of audited and other rows.
        "truncated_answer": lambda row: _truncate(rng, row),
        "refused_answer": lambda row: _refuse(rng, row, catalog),
        "wrong_label": lambda row: _wrong_label(row, planted, decoys),
        "label_outside_set": lambda row: _outside(rng, row, planted),
        "empty_input": lambda row: row.update(dict.fromkeys(_TEXT, "")),
    }
    harmless = ("truncated_answer", "refused_answer")
    for name, act in change.items():
        fits = _anything if name in harmless else _unaudited
        for _ in range(wanted[name]):
            row = _next(spare, fits)
            act(row)
            planted.add(row, name)
    for name in ("exact_duplicate", "near_duplicate", "conflicting_label"):
        for _ in range(wanted[name]):
            source = _next(spare, _unaudited)
            copy = {**source, "id": _request_id(rng)}
            if name == "near_duplicate":
                _edit(rng, copy, catalog)
            if name == "conflicting_label":
                copy["category"] = decoys[source["id"]]
                planted.truth[copy["id"]] = source["category"]
                planted.add(source, name + "_source")
            rows.append(copy)
            planted.add(copy, name)
            planted.partners[copy["id"]] = source["id"]
    senders = [row for row in base if _unaudited(row)]
    for number in range(wanted["out_of_domain"]):
        row = _foreign_matter(rng, rng.choice(senders), catalog, number)
        rows.append(row)
        planted.add(row, "out_of_domain")
    return rows, planted


def new_id(rng: Random) -> str:
    """Draw a request id."""
    return _request_id(rng)


def _request_id(rng: Random) -> str:
    return f"req_{rng.getrandbits(48):012x}"


def _anything(row: Row) -> bool:
    return True


def _unaudited(row: Row) -> bool:
    return not row["audited"]


def _next(spare: list[Row], fits: Callable[[Row], bool]) -> Row:
    """Take the last row that fits out of `spare`."""
    for at in range(len(spare) - 1, -1, -1):
        if fits(spare[at]):
            return spare.pop(at)
    raise AssertionError("more defects than rows; `counts` and the size limit keep this from happening")


def _wrong_label(row: Row, planted: Planted, decoys: dict[str, str]) -> None:
    planted.truth[row["id"]] = row["category"]
    row["category"] = decoys[row["id"]]


def _truncate(rng: Random, row: Row) -> None:
    text = row["incumbent"]
    row["incumbent"] = text[: rng.randint(6, max(7, len(text) - 3))].rstrip()
    row["finish_reason"] = "length"


def _refuse(rng: Random, row: Row, catalog: Catalog) -> None:
    row["incumbent"] = rng.choice(catalog.frames["refusals"])


def _outside(rng: Random, row: Row, planted: Planted) -> None:
    """Write the label the way a tired person or another system would."""
    label: str = row["category"]
    levels = label.split(SEPARATOR)
    planted.truth[row["id"]] = label
    variants = (
        " / ".join(levels),
        ">".join(levels),
        label + "  ",
        label.lower(),
        levels[-1],
        f"{levels[0]} > Misc > Other {levels[-1]}",
        f"{levels[0]} > {levels[-1]}",
        "tbd",
        label.replace("&", "and"),
    )
    row["category"] = rng.choice([variant for variant in variants if variant != label])


def _edit(rng: Random, row: Row, catalog: Catalog) -> None:
    """Change a copy the way a reseller changes a listing: order of words, a colour, a code, a closing line."""
    words = row["title"].split()
    change = rng.randrange(4)
    if change == 0 and len(words) > 2:
        at = rng.randrange(len(words) - 1)
        words[at], words[at + 1] = words[at + 1], words[at]
    elif change == 1:
        words.append(rng.choice(catalog.frames["colours"]["en"]))
    elif change == 2:
        words.insert(0, rng.choice(catalog.frames["titles_extra"]))
    else:
        words.append(f"({rng.randrange(1000, 9999)})")
    row["title"] = " ".join(words)
    if row["description"] and rng.random() < 0.5:
        row["description"] += " " + rng.choice(catalog.frames["closers"]["en"])


def _foreign_matter(rng: Random, like: Row, catalog: Catalog, number: int) -> Row:
    """Make a row that is no product; logs hold whatever was sent, and someone labelled it anyway."""
    texts = catalog.frames["out_of_domain"]
    text = texts[number % len(texts)].replace("{k}", f"{rng.randrange(10**5, 10**6)}")
    labels = list(catalog.leaves)
    row = {**like, "id": _request_id(rng), "audited": False, "merchant_category": "", "brand": ""}
    row["title"], row["description"] = (
        (text, "") if rng.random() < 0.5 else (" ".join(text.split()[:5]), text)
    )
    for who in ("category", "incumbent", "human_1", "human_2", "human_3"):
        row[who] = rng.choice(labels)
    row["finish_reason"] = "stop"
    return row
