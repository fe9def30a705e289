"""What the answers of a task look like: a closed set of labels, JSON, tool calls, text, or a conversation.

Answers are looked at once per different input, so that a question that everybody asks does not make free text look
like a label. Guarantee: `labels` needs at least 20 different inputs and Good-Turing's word that nine new answers in
ten would be known ones. Trap: a label set is what was said, not what may be said; rare labels are missing.
"""

import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from offramp.types import Frozen

OutputKind = Literal["labels", "json", "tools", "text", "chat"]
_MOST = 20_000
"""Answers looked at; more change no share by half a point."""
_LEAST = 20
_COVERED = 0.9
_DISTINCT = 0.25
"""A closed set has few values: at most one for four inputs."""
_LABEL_CHARS = 120
_USUAL = 0.8
_TURNS = 4
"""From two questions and an answer between them on, with a system prompt, it is a conversation."""
_CHAT = 0.3
_FENCE = re.compile(r"^```(?:json)?\s*|\s*```$")
_ENDS = " \t\r\n\"'`.*"


class OutputShape(Frozen):
    """The form of a task's answers."""

    kind: OutputKind
    """Coarse form."""
    answers: int
    """Answers to different inputs that were looked at."""
    labels: int | None = None
    """Values of the closed set, `None` for other kinds."""
    entropy_bits: float | None = None
    """How much an answer says, in bits: Shannon's entropy with Miller and Madow's correction; `None` for text."""
    covered_ratio: float = 0.0
    """Share of answers whose value was also given to another input: how closed the set is, after Good and Turing."""
    answer_key: str | None = None
    """Key that holds the label, where labels come inside JSON objects."""
    json_keys: tuple[str, ...] = ()
    """Keys that at least 80 % of the objects have."""
    schema_ratio: float | None = None
    """Share of answers that are valid JSON with all usual keys; `None` where answers are no JSON."""
    closed_ratio: float | None = None
    """Share of the usual keys whose values come from a closed set."""
    answer_tokens_p50: float | None = None
    """Median length of an answer in tokens."""
    answer_tokens_p95: float | None = None
    """95th percentile of it."""


class Repeats(Frozen):
    """What the same question gets for an answer."""

    repeated_inputs: int
    """Inputs that were answered more than once."""
    same_answer_ratio: float | None
    """Chance that two answers to the same input are equal, mean over such inputs; `None` without any."""


def numbered(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Name equal values by equal numbers, null by -1."""
    whole = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    joined = whole.unify_dictionaries().combine_chunks()
    arrays = joined.chunks if isinstance(joined, pa.ChunkedArray) else [joined]
    parts = [part.indices.fill_null(-1).to_numpy(zero_copy_only=False) for part in arrays]
    return np.concatenate(parts).astype(np.int64) if parts else np.zeros(0, np.int64)


def inputs_of(calls: pa.Table) -> NDArray[np.int64]:
    """Name requests with the same texts by the same number; of long conversations the lengths must be equal too."""
    key = np.zeros(calls.num_rows, np.int64)
    for name in ("user", "system", "tools", "turns", "prompt_chars"):
        more = numbered(calls.column(name)) + 1
        key = np.unique(key * (int(more.max(initial=0)) + 1) + more, return_inverse=True)[1].astype(np.int64)
    return key


def sampled(calls: pa.Table, most: int) -> NDArray[np.int64]:
    """Return the rows of a sample of at most `most` calls that does not depend on their order."""
    if calls.num_rows <= most:
        return np.arange(calls.num_rows)
    ids = calls.column("id").to_pylist()
    marks = np.array([zlib.crc32(name.encode("utf-8", "replace")) for name in ids], np.int64)
    return np.sort(np.lexsort((np.array(ids), marks))[:most])


def repeats_of(answered: pa.Table, inputs: NDArray[np.int64]) -> Repeats:
    """Compare the answers to equal inputs; both of the same length."""
    answers = numbered(answered.column("answer"))
    pairs = np.unique(np.stack([inputs, answers]), axis=1, return_counts=True)
    names, total = np.unique(inputs, return_counts=True)
    place = np.searchsorted(names, pairs[0][0])
    alike = np.bincount(place, pairs[1] * (pairs[1] - 1), len(names))
    again = total > 1
    if not again.any():
        return Repeats(repeated_inputs=0, same_answer_ratio=None)
    chances = np.sort(alike[again] / (total[again] * (total[again] - 1)))
    return Repeats(repeated_inputs=int(again.sum()), same_answer_ratio=float(chances.mean()))


def shape_of(answered: pa.Table, inputs: NDArray[np.int64], tokens: NDArray[np.float64]) -> OutputShape:
    """Describe the answers of answered calls; `tokens` are the lengths of their answers."""
    _, first = np.unique(inputs, return_index=True)
    part = answered.take(pa.array(np.sort(first)))
    rows = sampled(part, _MOST)
    part = part.take(pa.array(rows))
    sizes: dict[str, Any] = {
        "answer_tokens_p50": float(np.quantile(tokens, 0.5)) if len(tokens) else None,
        "answer_tokens_p95": float(np.quantile(tokens, 0.95)) if len(tokens) else None,
    }
    n = part.num_rows
    if not n:
        return OutputShape(kind="text", answers=0, **sizes)
    called = float(pc.sum(pc.greater(pc.fill_null(part.column("tool_calls"), 0), 0)).as_py()) / n
    if called >= 0.5:
        return OutputShape(kind="tools", answers=n, **sizes)
    texts = [text or "" for text in part.column("answer").to_pylist()]
    objects = [object_in(text) for text in texts]
    found = [value for value in objects if value is not None]
    if len(found) >= _USUAL * n:
        return _json_shape(found, n, sizes)
    values = [plain_label(text) for text in texts]
    if closed(values):
        return OutputShape(kind="labels", answers=n, **_label_facts(values), **sizes)
    turns = part.column("turns").fill_null(0).to_numpy()
    long = float((turns >= _TURNS).mean())
    return OutputShape(
        kind="chat" if long >= _CHAT else "text", answers=n, covered_ratio=_covered(Counter(values)), **sizes
    )


def object_in(text: str) -> dict[str, Any] | None:
    """Return the JSON object that an answer is, with or without a fence; `None` when it is none."""
    bare = text.strip()
    if not bare.startswith(("{", "```")):
        return None
    try:
        value = json.loads(_FENCE.sub("", bare))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def plain_label(text: str) -> str:
    """Return an answer as labels are compared: without case, quotes and a final stop."""
    return text.strip(_ENDS).casefold()


def closed(values: Sequence[str]) -> bool:
    """Tell whether values come from a closed set, as far as so many can tell."""
    if len(values) < _LEAST or sum(len(value) > _LABEL_CHARS for value in values) > 0.05 * len(values):
        return False
    counts = Counter(values)
    return len(counts) <= max(2, _DISTINCT * len(values)) and _covered(counts) >= _COVERED


def _covered(counts: Mapping[str, int]) -> float:
    """Return the chance that the next answer is a known one. Source: Good (1953), Biometrika 40:237-264."""
    n = sum(counts.values())
    return 1 - sum(count == 1 for count in counts.values()) / n if n else 0.0


def _label_facts(values: Sequence[str]) -> dict[str, Any]:
    counts = Counter(values)
    n = len(values)
    shares = [counts[value] / n for value in sorted(counts)]
    # Source: Miller (1955), "Note on the bias of information estimates".
    entropy = -math.fsum(p * math.log2(p) for p in shares) + (len(counts) - 1) / (2 * n * math.log(2))
    return {
        "labels": len(counts),
        "covered_ratio": _covered(counts),
        "entropy_bits": min(entropy, math.log2(len(counts))) if len(counts) > 1 else 0.0,
    }


def _json_shape(found: Sequence[Mapping[str, Any]], n: int, sizes: Mapping[str, Any]) -> OutputShape:
    keys = Counter(key for value in found for key in value)
    usual = tuple(sorted(key for key, count in keys.items() if count >= _USUAL * len(found)))
    whole = sum(all(key in value for key in usual) for value in found) / n
    columns = {key: [_cell(value[key]) for value in found if key in value] for key in usual}
    shut = [key for key in usual if closed(columns[key])]
    facts: dict[str, Any] = {
        "answers": n,
        "json_keys": usual,
        "schema_ratio": whole,
        "closed_ratio": len(shut) / len(usual) if usual else 0.0,
        **sizes,
    }
    if len(usual) == 1 and shut:
        return OutputShape(kind="labels", answer_key=shut[0], **_label_facts(columns[shut[0]]), **facts)
    return OutputShape(kind="json", **facts)


def _cell(value: Any) -> str:
    return plain_label(value) if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
