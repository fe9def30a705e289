"""Make the sample task: a log of categorisation calls with reference labels, and the truth about its defects.

The idea: shops write offers, a simulated incumbent and simulated labelers answer them, defects are planted last.
Guarantee: the same seed and size give the same bytes, with no clock, network or hash order involved.
Trap: incumbent and humans are simulated; every row says so (`simulated`), and so must every place that shows them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from offramp.errors import DataError, StoreError, boundary
from offramp.sample.catalog import Catalog, catalog
from offramp.sample.defects import RATES, Planted, Row, new_id, plant
from offramp.sample.defects import counts as defect_counts
from offramp.sample.merchants import Merchant, merchants
from offramp.sample.offers import Difficulty, Offer, Writer
from offramp.sample.people import HUMANS, INCUMBENT, Puzzle, answer, confusions, decoy, hardness

MIN_SIZE = 500
MAX_SIZE = 1_000_000
AUDITED_RATIO = 0.15
"""Share of rows whose reference label is never wrong: whole merchants, reviewed apart."""
ROWS_PER_MERCHANT = 20
DAYS = 60
START = datetime(2026, 3, 2, tzinfo=UTC)
"""First day of the log, a Monday; a fixed date, so that the sample never changes by itself."""
PROMPT_TOKENS = 2_030
"""Tokens of the instructions, which list all categories: their characters / 4, and 150 of words around them."""
LATENCY_MEDIAN_S = 0.9
"""Median latency given to the simulated incumbent; a plausible value, measured on nobody."""
NOTES = (
    "Written by the Offramp project; merchants, brands and offers are invented, category names are Google's.",
    "The incumbent is simulated: its answers are drawn by a program, not by any LLM.",
    "The human labelers are simulated: their answers are drawn by a program, not by people.",
    "Defects were planted and are listed in manifest.json, which no stage reads.",
)


@dataclass(frozen=True)
class SampleData:
    """The sample task in memory."""

    rows: tuple[Row, ...]
    """The log in order of time; one dict per line of `calls.jsonl`."""
    manifest: Mapping[str, Any]
    """The planted defects by row id."""
    labels: tuple[str, ...]
    """Every category, sorted."""
    notes: tuple[str, ...] = NOTES
    """What a person should know, in sentences."""


def generate(seed: int = 7, size: int = 6000, *, difficulty: Difficulty | None = None) -> SampleData:
    """Make the sample task.

    Raises:
        DataError: `seed` is no integer, or `size` is outside 500 to 1,000,000.
    """
    _check(seed, size)
    words = catalog()
    rng = Random(seed)
    shops = merchants(rng, max(12, size // ROWS_PER_MERCHANT), catalog=words)
    copies = sum(defect_counts(size)[name] for name in RATES if name in _ADDED)
    audited = _audited(rng, shops)
    table = confusions(words)
    writer = Writer(words, difficulty or Difficulty())
    base: list[Row] = []
    decoys: dict[str, str] = {}
    traits: dict[str, tuple[str, ...]] = {}
    picked = rng.choices(shops, [shop.weight for shop in shops], k=size - copies)
    shares = {shop.id: _shares(shop, words) for shop in shops}
    for shop in picked:
        leaf = rng.choices(list(words.leaves.values()), cum_weights=shares[shop.id])[0]
        offer = writer.write(rng, shop, leaf)
        row_id = new_id(rng)
        tempting = decoy(rng, offer, table)
        tried = Puzzle(offer, tempting, hardness(rng))
        answers = {who.name: answer(rng, who, tried, table=table) for who in (INCUMBENT, *HUMANS)}
        base.append(_row(row_id, offer, answers, audited=shop.id in audited))
        decoys[row_id], traits[row_id] = tempting, offer.traits
    rows, planted = plant(rng, base, catalog=words, decoys=decoys, size=size)
    _fill_calls(rng, rows)
    rows.sort(key=lambda row: (row["time"], row["id"]))
    return SampleData(tuple(rows), _manifest(rows, planted, traits, seed=seed), tuple(sorted(words.leaves)))


_ADDED = ("exact_duplicate", "near_duplicate", "conflicting_label", "out_of_domain")


def _check(seed: int, size: int) -> None:
    for name, value in (("seed", seed), ("size", size)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise DataError(
                f"`{name}` of the sample was expected to be an integer; found {value!r}; pass e.g. 7"
            )
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise DataError(f"`size` of the sample was expected in {MIN_SIZE} to {MAX_SIZE:,}; found {size!r}")


def _audited(rng: Random, shops: list[Merchant]) -> set[str]:
    """Choose merchants with `AUDITED_RATIO` of the traffic."""
    order = shops[:]
    rng.shuffle(order)
    goal, reached, chosen = AUDITED_RATIO * sum(shop.weight for shop in shops), 0.0, set()
    for shop in order:
        if reached >= goal:
            break
        chosen.add(shop.id)
        reached += shop.weight
    return chosen


def _shares(shop: Merchant, words: Catalog) -> list[float]:
    """Return cumulative weights of the leaves for one shop; it sells little outside its own field."""
    running, total = [], 0.0
    for leaf in words.leaves.values():
        total += leaf.weight * (1.0 if not shop.tops or leaf.top in shop.tops else 0.03)
        running.append(total)
    return running


def _row(row_id: str, offer: Offer, answers: dict[str, str], *, audited: bool) -> Row:
    return {
        "id": row_id,
        "time": "",
        "merchant": offer.merchant,
        "title": offer.title,
        "description": offer.description,
        "merchant_category": offer.merchant_category,
        "brand": offer.brand,
        "category": offer.category,
        **answers,
        "finish_reason": "stop",
        "latency_s": 0.0,
        "input_tokens": 0,
        "output_tokens": 0,
        "audited": audited,
        "simulated": True,
        "source": "offramp sample (simulated)",
    }


_HOURS = (1, 1, 1, 1, 1, 2, 4, 7, 10, 11, 11, 10, 8, 10, 11, 10, 9, 7, 5, 4, 4, 3, 2, 1)
"""How busy each hour is: office hours are busier than nights."""


def called_at(rng: Random, hours: Sequence[int]) -> str:
    """Draw when a call was made, in UTC; `hours` says how busy each of the 24 is."""
    at = START + timedelta(days=rng.randrange(DAYS), hours=rng.choices(range(24), hours)[0])
    at += timedelta(seconds=rng.randrange(3600))
    return at.isoformat().replace("+00:00", "Z")


def latency_s(rng: Random, median_s: float, output_tokens: int) -> float:
    """Draw how long an answer took, in seconds: log-normal around the median, longer for longer answers."""
    return round(median_s * math.exp(rng.gauss(0, 0.35)) + 0.012 * output_tokens, 3)


def _fill_calls(rng: Random, rows: list[Row]) -> None:
    """Give every call its own time and usage."""
    for row in rows:
        row["time"] = called_at(rng, _HOURS)
        text = sum(len(row[name]) for name in ("title", "description", "merchant_category", "brand"))
        row["input_tokens"] = PROMPT_TOKENS + math.ceil(text / 4)
        row["output_tokens"] = max(1, round(len(row["incumbent"]) / 4.4))
        row["latency_s"] = latency_s(rng, LATENCY_MEDIAN_S, row["output_tokens"])


def _manifest(
    rows: list[Row], planted: Planted, traits: dict[str, tuple[str, ...]], *, seed: int
) -> dict[str, Any]:
    line = {row["id"]: number for number, row in enumerate(rows, start=1)}
    entries: dict[str, Any] = {}
    totals = dict.fromkeys([*RATES, "html", "boilerplate"], 0)
    for row in rows:
        row_id: str = row["id"]
        origin = planted.partners.get(row_id, row_id)
        found = [*planted.defects.get(row_id, []), *(traits.get(origin, ()) if row["description"] else ())]
        if not found:
            continue
        entry: dict[str, Any] = {"line": line[row_id], "defects": found}
        if row_id in planted.partners:
            entry |= {"partner": origin, "partner_line": line[origin]}
        if row_id in planted.truth:
            entry["true_category"] = planted.truth[row_id]
        entries[row_id] = entry
        for name in found:
            totals[name] = totals.get(name, 0) + 1
    return {
        "simulated": True,
        "seed": seed,
        "size": len(rows),
        "notes": list(NOTES),
        "counts": totals,
        "rows": entries,
    }


def write(folder: Path, data: SampleData | None = None, *, audited_apart: bool = False) -> dict[str, Path]:
    """Write `calls.jsonl` and `manifest.json` into `folder` and return the paths by name (`calls`, `manifest`).

    With `audited_apart` the audited rows go to `audited.jsonl` (`holdout`) instead of `calls.jsonl`; line numbers
    in the manifest then stay those of the whole log.

    Raises:
        StoreError: the folder cannot be written.
    """
    content = data or generate()
    parts = {"calls": [row for row in content.rows if not (audited_apart and row["audited"])]}
    paths = {"calls": folder / "calls.jsonl", "manifest": folder / "manifest.json"}
    if audited_apart:
        parts["holdout"] = [row for row in content.rows if row["audited"]]
        paths["holdout"] = folder / "audited.jsonl"
    with boundary(StoreError, f"writing the sample task to {str(folder)!r}"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, part in parts.items():
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in part)
            paths[name].write_text(lines, encoding="utf-8")
        text = json.dumps(content.manifest, ensure_ascii=False, indent=1) + "\n"
        paths["manifest"].write_text(text, encoding="utf-8")
    return paths


def sample_config() -> dict[str, Any]:
    """Return what `offramp.toml` of the sample task should say, as nested dicts.

    `titles` names the recorded answerers for people; they are simulated and are called so.
    """
    humans = [who.name for who in HUMANS]
    return {
        "name": "product-category",
        "data": {
            "sources": ["calls.jsonl"],
            "simulated": ["incumbent", *humans],
            "labels": sorted(catalog().leaves),
            "mapping": {
                "inputs": ["title", "description", "merchant_category", "brand"],
                "target": ["category"],
                "separator": " > ",
                "incumbent": "incumbent",
                "humans": humans,
                "group": "merchant",
                "time": "time",
                "latency": "latency_s",
                "input_tokens": "input_tokens",
                "output_tokens": "output_tokens",
                "finish_reason": "finish_reason",
            },
        },
        "verdict": {"margin": 0.03},
        "cost": {
            "requests_per_month": 1_000_000,
            "cached_input_tokens": PROMPT_TOKENS,
            "incumbent_model": "gpt-4o",
            "provider": "openai",
        },
    }


TITLES = {
    "incumbent": "incumbent (simulated)",
    "human_1": "human labeler 1 (simulated)",
    "human_2": "human labeler 2 (simulated)",
    "human_3": "human labeler 3 (simulated)",
}
"""Names of the recorded answerers for people."""
