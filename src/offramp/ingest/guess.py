"""Guess which column plays which part, from names first and from the values second.

Every guess comes with its reason. A wrong guess costs a person one flag; a hidden one costs trust, so nothing is
guessed silently.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from offramp.ingest.hf import SPLITS
from offramp.ingest.mapping import Mapping, json_object, text_of

_TARGETS = (
    "target label labels category intent class topic gold reference expected category_path taxonomy "
    "google_product_category product_category label_text tag y"
).split()
_INPUTS = (
    "prompt text title name description body message query question utterance sentence subject content input "
    "product_name product_title categorytext breadcrumb summary document dialogue email ticket"
).split()
_PARTS: dict[str, tuple[str, ...]] = {
    "incumbent": (
        "incumbent",
        "incumbent_answer",
        "answer",
        "prediction",
        "predicted",
        "model_answer",
        "completion",
    ),
    "group": (
        *("group", "group_id", "customer", "customer_id", "user", "user_id", "conversation_id", "session_id"),
        *("thread_id", "merchant", "merchant_id", "shop", "tenant", "account_id", "patient_id"),
    ),
    "time": ("time", "timestamp", "created_at", "created", "datetime", "date"),
    "split": ("split", "fold", "subset", "partition"),
    "latency": ("latency_s", "latency_ms", "latency", "duration_s", "duration_ms", "response_time_s"),
    "cost": ("cost_usd", "cost", "price_usd"),
    "input_tokens": ("input_tokens", "prompt_tokens"),
    "output_tokens": ("output_tokens", "completion_tokens"),
    "finish_reason": ("finish_reason", "stop_reason"),
}
_NUMBERS = frozenset({"latency", "cost", "input_tokens", "output_tokens"})
_LEVEL = re.compile(r"^(.*?(?:lvl|level|cat|category|label|tier|l))[ _.-]?([1-9])$", re.IGNORECASE)
_PEOPLE = "human|annotator|labell?er|rater|reviewer|expert"
_HUMAN = re.compile(rf"^(?:answer[._])?(?:{_PEOPLE})(?:[ _.-]?\w+)?$", re.IGNORECASE)
_KEY = re.compile(r"(^|[_ .-])(id|uuid|guid|sku|ean|gtin|isbn|url|uri|link|href|image|hash)$", re.IGNORECASE)
_SEPARATORS = (" > ", " >> ", " » ", " | ", " :: ", " / ", ">", "»", "|", "::", "/", "\\")
_LABEL_CHARS = 120
_LABEL_RATIO = 0.3
_TEXT_CHARS = 15


@dataclass(frozen=True)
class _Column:
    """What the sample says about one column."""

    name: str
    values: list[str]
    distinct: int
    mean_chars: float
    number_ratio: float

    @property
    def key(self) -> str:
        return self.name.strip().lower().replace(" ", "_").replace("-", "_")

    @property
    def is_label_like(self) -> bool:
        few = self.distinct <= max(2, _LABEL_RATIO * len(self.values))
        return self.distinct >= 2 and few and self.mean_chars <= _LABEL_CHARS

    @property
    def is_named_input(self) -> bool:
        return self.key in _INPUTS and self.distinct > 0 and self.number_ratio < 0.9

    @property
    def is_text_like(self) -> bool:
        links = sum(v.startswith(("http://", "https://", "www.")) for v in self.values)
        varied = self.distinct > 0.1 * len(self.values)
        return (
            self.mean_chars >= _TEXT_CHARS
            and varied
            and self.number_ratio < 0.5
            and links < 0.5 * len(self.values)
        )


def guess(given: Mapping | None, columns: dict[str, list[Any]], *, chat: bool) -> tuple[Mapping, list[str]]:
    """Complete `given` from a sample of the data; returns the mapping and one reason per guess.

    Parts set in `given` are kept, also when set to nothing.
    """
    parts: dict[str, Any] = (
        {} if given is None else {name: getattr(given, name) for name in given.model_fields_set}
    )
    seen = {name: _column(name, values) for name, values in columns.items()}
    free = {name: column for name, column in seen.items() if name not in _named(parts)}
    reasons: list[str] = []

    def settle(part: str, value: Any, reason: str) -> None:
        if part in parts or not value:
            return
        parts[part] = value
        for name in [value] if isinstance(value, str) else value:
            free.pop(name, None)
        reasons.append(f"{part}: {value if isinstance(value, str) else ', '.join(value)} ({reason})")

    if chat:
        whole = bool(parts.get("free_text")) and "transcript" in free
        if whole:
            settle("inputs", ("transcript",), "the conversation of each call")
        settle("inputs", ("prompt",) if "prompt" in free else (), "the last user message of each call")
        free.pop("transcript", None)
        settle("incumbent", "answer" if "answer" in free else None, "the assistant's answer in each call")
    for part, names in _PARTS.items():
        settle(part, _by_name(part, names, free), "by its name")
    settle("humans", tuple(name for name in free if _HUMAN.match(name)), "by name")
    settle("target", *_target(free, "incumbent" in parts and bool(parts["incumbent"])))
    settle("inputs", *_inputs(free))
    if parts.get("free_text"):
        return Mapping(**parts), reasons
    answers = [text_of(v) for v in columns.get(parts.get("incumbent") or "", [])]
    settle("answer_key", find_answer_key(answers), "the incumbent answers with JSON objects")
    if "separator" not in parts:
        parts["separator"] = find_separator(_labels(parts, columns, answers))
        if parts["separator"]:
            reasons.append(f"separator: {parts['separator']!r} (most labels are paths)")
    return Mapping(**parts), reasons


def _labels(parts: dict[str, Any], columns: dict[str, list[Any]], answers: list[str]) -> list[str]:
    """Return the labels of the sample where they are one column; levels in columns need no separator."""
    target = parts.get("target") or ()
    if target:
        return [text_of(v) for v in columns.get(target[0], [])] if len(target) == 1 else []
    key = parts.get("answer_key")
    objects = [json_object(answer) for answer in answers] if key else []
    return [text_of(found[key]) for found in objects if found and key in found] if key else answers


def find_answer_key(answers: Sequence[str]) -> str | None:
    """Return the key that holds the label where most answers are JSON objects, else `None`."""
    objects = [found for found in map(json_object, answers[:500]) if found]
    if len(objects) < 0.5 * len(answers[:500]):
        return None
    keys = Counter(key for found in objects for key, value in found.items() if isinstance(value, (str, list)))
    named = [key for key in keys if key.lower() in _TARGETS and keys[key] >= 0.8 * len(objects)]
    only = [key for key in keys if len(keys) == 1 and keys[key] >= 0.8 * len(objects)]
    return next(iter(named or only), None)


def find_separator(labels: Sequence[str]) -> str | None:
    """Return what separates the levels of most labels, or `None` when they are flat."""
    distinct = {label.strip() for label in labels if label.strip()}
    for separator in _SEPARATORS:
        paths = [label.split(separator) for label in distinct if separator in label]
        whole = [path for path in paths if all(part.strip() for part in path)]
        # "/" and "\" also occur in plain names ("TV/Audio"), so they must be everywhere and share first levels.
        rate = 0.6 if ">" in separator or "»" in separator else 0.9
        shared = len({path[0] for path in whole}) <= 0.7 * len(whole)
        if len(distinct) >= 3 and len(whole) >= rate * len(distinct) and shared:
            return separator
    return None


def _column(name: str, values: list[Any]) -> _Column:
    # Binary columns are never guessed, and decoding them could fail.
    texts = ["" if isinstance(v, bytes) else text_of(v) for v in values]
    filled = [t for t in texts if t.strip()]
    numbers = sum(_is_number(t) for t in filled)
    chars = sum(map(len, filled)) / max(1, len(filled))
    return _Column(name, filled, len(set(filled)), chars, numbers / max(1, len(filled)))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _named(parts: dict[str, Any]) -> set[str]:
    names: set[str] = set()
    for part, value in parts.items():
        if part not in ("separator", "answer_key", "free_text"):
            names |= {value} if isinstance(value, str) else set(value or ())
    return names


def _by_name(part: str, names: Sequence[str], free: dict[str, _Column]) -> str | None:
    for name in names:
        for column in free.values():
            if column.key in (name, f"answer.{name}") and _fits(part, column):
                return column.name
    return None


def _fits(part: str, column: _Column) -> bool:
    if part in _NUMBERS:
        return column.number_ratio > 0.9
    if part == "split":
        return bool(column.values) and all(v.strip().lower() in SPLITS for v in column.values)
    if part == "incumbent":
        # A bare "answer" can as well be the label itself: only an answer that repeats is a classifier's.
        return column.key.endswith(("incumbent", "incumbent_answer")) or column.is_label_like
    return bool(column.values)


def _target(free: dict[str, _Column], has_incumbent: bool) -> tuple[tuple[str, ...], str]:
    levels: dict[str, list[tuple[int, str]]] = {}
    for name in free:
        found = _LEVEL.match(name)
        if found:
            levels.setdefault(found[1].lower(), []).append((int(found[2]), name))
    for numbered in levels.values():
        numbered.sort()
        if len(numbered) >= 2 and [n for n, _ in numbered] == list(range(1, len(numbered) + 1)):
            return tuple(name for _, name in numbered), "numbered levels of one path"
    for wanted in _TARGETS:
        for column in free.values():
            if column.key == wanted and column.distinct and column.mean_chars <= _LABEL_CHARS:
                return (column.name,), "by its name"
    if has_incumbent:
        return (), ""
    labels = [
        c for c in free.values() if c.is_label_like and c.number_ratio < 0.5 and not _KEY.search(c.name)
    ]
    plain = [c for c in labels if c.key not in _INPUTS]
    if not plain:
        return (), ""
    best = max(plain, key=lambda c: c.distinct)
    return (best.name,), f"few different values: {best.distinct} in {len(best.values)} rows"


def _inputs(free: dict[str, _Column]) -> tuple[tuple[str, ...], str]:
    usable = [c for c in free.values() if not _KEY.search(c.name) and c.key != "messages"]
    chosen = [c.name for c in usable if c.is_named_input or (c.is_text_like and not _LEVEL.match(c.name))]
    return tuple(chosen), "columns of text"
