"""Does `repeated` find planted prompts with exact spans and shares, and nothing in data without a prompt?

Prompts are planted by seed around real texts; the detector sees the messages only. Characters are counted row by row.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from _common import SMALL, table
from _planted import read
from offramp.curate import prompts
from offramp.curate.prompts import cut
from offramp.curate.prompts.repeated import between, find, templates

ROWS = 500 if SMALL else 1_000
MANY = 2_000 if SMALL else 20_000
SYSTEM = (
    "You route the mail of a service desk. Read what the customer wrote and name the one queue that should get it. "
    "Never answer the customer yourself. If nothing fits, say 'other'."
)
SLOTS = (
    "Hello, this is about ",
    ", with us since ",
    ". Their open order is number ",
    ".\nSay in one word what they want.\n\nCustomer: ",
)
VERSIONS = (
    (
        "Sort the request below. Use exactly one label of our list.\nRequest: ",
        "\nAnswer with the label and nothing else.",
    ),
    (
        "Sort the request below. Use exactly one label of our list. Write `unclear` when two of them fit equally.\n"
        "Request: ",
        "\nAnswer with the label and nothing else.",
    ),
    ("What does this person need from us? Pick the closest topic, then stop writing.\n---\n",),
)
VERSION_RATIOS = (0.4, 0.35, 0.25)
SHARED_RATIO = 0.6
NAMES = (
    "Anna Ada Ben Carla Chen Dora Emil Farid Gita Hugo Ines Jan Kofi Lea Mona Nils Olga Pia Quin Rosa".split()
)
MONTHS = "January March April June July September October December".split()

Spans = tuple[str, ...]


def measure(folder: Path) -> tuple[dict[str, Any], dict[str, tuple[Any, Any, bool]]]:
    """Return figures and goals of detection."""
    figures: dict[str, Any] = {}
    shown, exact = [], []
    for name in ("banking77", "mts_dialog"):
        texts = [row["text"] for row in read(folder, name, ROWS)]
        for kind, (rows, truth) in _planted(texts).items():
            recall, precision, same = _score(rows, truth)
            exact.append(same)
            figures[f"{name}.{kind}"] = {"recall": recall, "precision": precision, "exact": same}
            shown.append([name, kind, len(rows), recall, precision, same])
    table(shown, ["data", "planted", "rows", "characters found", "of what is found", "exact spans and share"])
    false = {name: _false(folder, name) for name in ("banking77", "clinc150", "mts_dialog")}
    few, many = (_cpu_s(folder, rows) for rows in (MANY // 4, MANY))
    figures |= {"false_finds": false, "cpu_s": {str(MANY // 4): few, str(MANY): many}}
    print(f"findings, notes and cuts of {MANY} rows: {many:.2f} s of CPU, of a quarter of them {few:.2f} s")
    goals: dict[str, tuple[Any, Any, bool]] = {
        "planted prompts with exact spans and share": (
            f"{sum(exact)} of {len(exact)}",
            "all",
            all(exact),
        ),
        "finds in data without a prompt": (sum(false.values()), "0", not any(false.values())),
        "CPU of 4 times the rows": (f"{many / few:.1f} times", "<= 5", many <= 5 * few),
    }
    return figures, goals


def _planted(texts: Sequence[str]) -> dict[str, tuple[list[list[tuple[str, str]]], list[Spans]]]:
    """Return per kind the messages (role, text) of each row, and the static spans that each row has."""
    draw = np.random.default_rng(41)
    n = len(texts)
    found: dict[str, tuple[list[list[tuple[str, str]]], list[Spans]]] = {
        "system prompt": ([[("system", SYSTEM), ("user", text)] for text in texts], [(SYSTEM,)] * n)
    }
    filled = [
        SLOTS[0]
        + NAMES[int(draw.integers(len(NAMES)))]
        + SLOTS[1]
        + f"{draw.integers(1, 29)} {MONTHS[int(draw.integers(len(MONTHS)))]} {draw.integers(2015, 2026)}"
        + SLOTS[2]
        + str(draw.integers(10_000, 99_999))
        + SLOTS[3]
        + text
        for text in texts
    ]
    found["slots"] = ([[("user", text)] for text in filled], [SLOTS] * n)
    bounds = np.cumsum([0, *(round(ratio * n) for ratio in VERSION_RATIOS)])
    which = [VERSIONS[int(np.searchsorted(bounds, i, side="right")) - 1] for i in range(n)]
    turned = [spans[0] + text + "".join(spans[1:]) for spans, text in zip(which, texts, strict=True)]
    found["three over time"] = ([[("user", text)] for text in turned], list(which))
    some = [(VERSIONS[0][0],) if i < SHARED_RATIO * n else () for i in draw.permutation(n)]
    part = ["".join(spans) + text for spans, text in zip(some, texts, strict=True)]
    found["60 % of rows"] = ([[("user", text)] for text in part], some)
    return found


def _score(rows: list[list[tuple[str, str]]], truth: list[Spans]) -> tuple[float, float, bool]:
    """Return recall and precision of static characters, and whether spans and shares are exact."""
    found = find(_table(rows))
    static = [[(item.text,) for item in found.systems if item.rows > 1], []]
    static[0] += [item.spans for item in found.system_templates]
    static[1] += [item.spans for item in found.user_templates]
    right = given = wanted = 0
    for messages, spans in zip(rows, truth, strict=True):
        for role, text in messages:
            true = _mask(text, [spans] if (role == "system") == (len(messages) > 1) else [])
            seen = _mask(text, static[role == "user"])
            right += int((true & seen).sum())
            given, wanted = given + int(seen.sum()), wanted + int(true.sum())
    shares = {spans: truth.count(spans) / len(truth) for spans in set(truth) if spans}
    said = {(item.text,): item.ratio for item in found.systems if item.rows > 1}
    said |= {item.spans: item.ratio for item in (*found.system_templates, *found.user_templates)}
    exact = set(shares) == set(said) and all(abs(said[spans] - shares[spans]) < 1e-9 for spans in shares)
    return right / max(1, wanted), right / max(1, given), exact


def _mask(text: str, options: Sequence[Spans]) -> np.ndarray:
    """Return which characters are static, bool (characters,), by the first option that fits."""
    mask = np.zeros(len(text), bool)
    for spans in options:
        if spans and between(spans, text) is not None:
            at = 0
            for span in spans:
                at = text.index(span, at)
                mask[at : at + len(span)] = True
                at += len(span)
            break
    return mask


def _false(folder: Path, name: str) -> int:
    return len(templates([row["text"] for row in read(folder, name, 100_000)]))


def _cpu_s(folder: Path, rows: int) -> float:
    texts = [row["text"] for row in read(folder, "clinc150", 100_000)]
    messages = [
        [("system", SYSTEM), ("user", SLOTS[2] + str(i) + SLOTS[3] + texts[i % len(texts)])]
        for i in range(rows)
    ]
    made = _table(messages)
    began = time.process_time()
    found = find(made)
    prompts.findings(made, found=found)
    prompts.notes(made, found=found)
    cut.find(made, cut.learn(made))
    return time.process_time() - began


def _table(rows: list[list[tuple[str, str]]]) -> pa.Table:
    return pa.table(
        {
            "id": [f"r{i}" for i in range(len(rows))],
            "field.prompt": [messages[-1][1] for messages in rows],
            "messages": [
                json.dumps([{"role": role, "content": text} for role, text in messages]) for messages in rows
            ],
        }
    )
