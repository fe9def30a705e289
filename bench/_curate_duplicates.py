"""Planted duplicates of every kind: what is linked and merged, how much of that is wrong, and what peers find.

Copies of rows are planted beside them; the detectors see neither which row is a copy nor of what. A linked pair that
holds a copy is right when both rows come from one source, or when their sources are near-duplicates in the public data:
the same text, or at least half of their words in common, counted here with plain Python and not with the detector's
pieces. The clean control is the public data as it is, where equal texts are true finds; both counts are shown.
"""

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import _corpus
from _common import SMALL, table
from _planted import Row, read
from offramp import rows as row_tables
from offramp.curate import duplicates, lexical
from offramp.curate.ledger import Line
from offramp.stats.proportion import wilson_interval

ROWS = 2_000 if SMALL else 10_000
SEEDS = (31,) if SMALL else (31, 32, 33)
DATA = ("banking77", "clinc150", "mts_dialog")
ALIKE = 0.5
"""Share of common words from which on two rows of the public data are near-duplicates of each other."""
OURS, SEMHASH, DATASKETCH = "offramp", "semhash", "datasketch"
_SAME_KINDS = ("exact", "normalised")

Count = list[int]
"""Found, planted, pairs that are right by construction, pairs that are right, pairs."""
Edit = Callable[[str, int, np.random.Generator, pa.Array], str]


@dataclass(frozen=True)
class Copies:
    """A table with copies planted in it."""

    rows: pa.Table
    """What detectors see."""
    source: dict[int, int]
    """Position of each copy to the position of its source."""
    kind: dict[int, str]
    """Position of each copy to how it was changed."""


def plant(rows: list[Row], share: float, edit: Edit, kinds: tuple[str, ...], *, seed: int) -> Copies:
    """Add changed copies of a share of the rows at the end, ids in random order."""
    draw = np.random.default_rng(seed)
    texts, targets = [row["text"] for row in rows], [row["target"] for row in rows]
    whole = pa.array(texts)
    source, kind = {}, {}
    for turn, at in enumerate(draw.permutation(len(rows))[: round(share * len(rows))].tolist()):
        source[len(texts)], kind[len(texts)] = at, kinds[turn % len(kinds)]
        texts.append(edit(texts[at], turn % len(kinds), draw, whole))
        targets.append(targets[at])
    ids = [f"r{i:06}" for i in draw.permutation(len(texts)).tolist()]
    return Copies(pa.table({"id": ids, "field.text": texts, "target": targets}), source, kind)


def same(text: str, kind: int, draw: np.random.Generator, texts: pa.Array) -> str:
    """Return the same words in the same order: as they are, or with other case, spaces and outer punctuation."""
    if kind == 0:
        return text
    bare = re.sub(r"(?<!\w)[^\w\s]+|[^\w\s]+(?!\w)", " ", text)
    changed = bare.upper() if draw.random() < 0.5 else bare.lower()
    return re.sub(r"\s+", "  ", changed)


def other_output(planted: Copies, *, seed: int) -> Copies:
    """Give each copy the output of a row that has another one."""
    draw = np.random.default_rng(seed)
    targets = planted.rows.column("target").to_pylist()
    for copy, source in planted.source.items():
        while _plain(targets[copy]) == _plain(targets[source]):
            targets[copy] = targets[draw.integers(len(targets))]
    return Copies(planted.rows.set_column(2, "target", [targets]), planted.source, planted.kind)


def measure(folder: Path) -> tuple[dict[str, Any], dict[str, tuple[Any, Any, bool]]]:
    """Return figures and goals of the three data sets together."""
    began = time.process_time()
    figures: dict[str, Any] = {}
    exact, near = [0] * 5, {who: [0] * 5 for who in (OURS, SEMHASH, DATASKETCH)}
    kinds: dict[str, dict[str, list[int]]] = {who: {} for who in near}
    conflict, clean = [0, 0, 0], [0, 0, 0]
    for name in DATA:
        rows = read(folder, name, ROWS)
        clean = _add(clean, _clean(rows))
        for seed in SEEDS:
            planted = plant(rows, 0.05, same, _SAME_KINDS, seed=seed)
            exact = _add(
                exact, _judge(planted, _merged(planted.rows, duplicates.find_exact(planted.rows)), {})
            )
            conflict = _add(conflict, _conflicts(other_output(planted_one(rows, seed), seed=seed)))
            planted = plant(rows, 0.05, _corpus._edit, _corpus.KINDS, seed=seed)
            for who, pairs in _near(planted, peers=seed == SEEDS[0]).items():
                counted = _judge(planted, pairs, kinds[who])
                near[who] = _add(near[who], counted)
                figures[f"{name}.{seed}.{who}"] = counted
    table(
        [[kind, *(_ratio(*kinds[who].get(kind, [0, 0])) for who in near)] for kind in _corpus.KINDS],
        ["recall", *near],
    )
    table(
        [
            [who, c[0] / max(1, c[1]), c[2] / max(1, c[4]), c[3] / max(1, c[4]), c[4]]
            for who, c in near.items()
        ],
        ["", "recall", "precision by construction", "with true finds", "pairs with a copy"],
    )
    figures |= {"exact": exact, "near": near, "kinds": kinds, "conflict": conflict, "clean": clean}
    figures["cpu_s"] = time.process_time() - began
    return figures, _goals(exact, near[OURS], conflict, clean)


def planted_one(rows: list[Row], seed: int) -> Copies:
    """Return 1 % of the rows copied, in the same words."""
    return plant(rows, 0.01, same, _SAME_KINDS, seed=seed)


def _goals(
    exact: Count, near: Count, conflict: list[int], clean: list[int]
) -> dict[str, tuple[Any, Any, bool]]:
    found: dict[str, tuple[Any, Any, bool]] = {}
    for name, counted, precise, complete in (("same text", exact, 1.0, 1.0), ("near", near, 0.99, 0.995)):
        for what, k, n, goal in (
            ("precision", counted[3], counted[4], precise),
            ("recall", counted[0], counted[1], complete),
        ):
            low, high = (float(bound) for bound in wilson_interval(k, n, 0.025))
            found[f"{name}: {what}"] = (f"{k / n:.4f} [{low:.4f}, {high:.4f}]", f">= {goal}", k >= goal * n)
    deleted, flagged, n = conflict
    found["same input, other output: deleted"] = (deleted, "0", deleted == 0)
    found["same input, other output: flagged"] = (round(flagged / n, 4), ">= 0.99", flagged >= 0.99 * n)
    touched, equal, n = clean
    found["clean rows touched, all"] = (round(touched / n, 5), "shown", True)
    found["clean rows touched, not equal texts"] = (
        round((touched - equal) / n, 5),
        "<= 0.005",
        touched - equal <= 0.005 * n,
    )
    return found


def _near(planted: Copies, *, peers: bool) -> dict[str, list[tuple[int, int]]]:
    """Return the pairs each tool links; peers run on one seed, because they take longer."""
    seen = lexical.survey([planted.rows])
    found = {OURS: [(a, b) for a, b, _ in seen.pairs.rows()]}
    if peers:
        texts = row_tables.texts(planted.rows)
        found |= {SEMHASH: _semhash(texts), DATASKETCH: _datasketch(texts)}
    return found


def _semhash(texts: list[str]) -> list[tuple[int, int]]:
    """Return what semhash removes at its own threshold; its encoder, which it downloads, is ours distilled."""
    from semhash import SemHash

    from offramp.embed.static import StaticEmbedder

    records = [{"text": text, "at": str(at)} for at, text in enumerate(texts)]
    hashed = SemHash.from_records(records, columns=["text"], model=StaticEmbedder.load(cache=_CACHE))
    pairs = []
    for removed in hashed.self_deduplicate().filtered:
        one = int(removed.record["at"])
        first = [int(other["at"]) for other, _ in removed.duplicates]
        pairs += [(min(one, other), max(one, other)) for other in first if other != one]
    return sorted(set(pairs))


_CACHE = Path.home() / ".cache" / "offramp-bench"


def _datasketch(texts: list[str]) -> list[tuple[int, int]]:
    """Return the pairs of runs of five words that share bands and at least 0.7 by estimate."""
    from datasketch import MinHash, MinHashLSH

    sets = []
    for text in texts:
        words = text.lower().split()
        sets.append({" ".join(words[i : i + 5]).encode() for i in range(max(1, len(words) - 4))})
    sketches = list(MinHash.bulk(sets, num_perm=128))
    index = MinHashLSH(threshold=0.7, num_perm=128)
    pairs = set()
    for at, sketch in enumerate(sketches):
        pairs |= {(other, at) for other in index.query(sketch) if sketches[other].jaccard(sketch) >= 0.7}
        index.insert(at, sketch)
    return sorted(pairs)


def _judge(planted: Copies, pairs: Iterable[tuple[int, int]], kinds: dict[str, list[int]]) -> Count:
    """Count pairs that hold a copy, and copies that are linked with their source, directly or through one other row."""
    texts = row_tables.texts(planted.rows)
    linked: dict[int, set[int]] = {}
    made = right = held = 0
    for a, b in pairs:
        linked.setdefault(a, set()).add(b)
        linked.setdefault(b, set()).add(a)
        if a in planted.source or b in planted.source:
            first, second = planted.source.get(a, a), planted.source.get(b, b)
            held += 1
            made += first == second
            right += first == second or _alike(texts[first], texts[second]) or _alike(texts[a], texts[b])
    found = 0
    for copy, source in planted.source.items():
        direct = linked.get(copy, set())
        hit = source in direct or bool(direct & linked.get(source, set()))
        found += hit
        before = kinds.setdefault(planted.kind[copy], [0, 0])
        before[0] += hit
        before[1] += 1
    return [found, len(planted.source), made, right, held]


def _merged(rows: pa.Table, lines: list[Line]) -> list[tuple[int, int]]:
    at = {row: position for position, row in enumerate(row_tables.ids(rows))}
    return [(at[line.row], at[str(line.evidence["into"])]) for line in lines]


def _conflicts(planted: Copies) -> list[int]:
    """Return how many copies or sources were merged over another output, how many copies are flagged, and all."""
    rows = planted.rows
    ids, targets = row_tables.ids(rows), rows.column("target").to_pylist()
    seen = lexical.survey([rows])
    merged = _merged(rows, [*duplicates.find_exact(rows), *lexical.find(rows, seen)])
    deleted = sum(_plain(targets[a]) != _plain(targets[b]) for a, b in merged)
    flagged = {line.row for line in duplicates.find_conflicts(rows, {})}
    flagged |= {finding.row for finding in lexical.findings(rows, seen)}
    hit = sum(ids[copy] in flagged or ids[source] in flagged for copy, source in planted.source.items())
    return [deleted, hit, len(planted.source)]


def _clean(rows: list[Row]) -> list[int]:
    """Return how many clean rows merging touches, how many of them only repeat another row's words, and all."""
    planted = plant(rows, 0.0, same, _SAME_KINDS, seed=0)
    seen = lexical.survey([planted.rows])
    merged = [*duplicates.find_exact(planted.rows), *lexical.find(planted.rows, seen)]
    texts = row_tables.texts(planted.rows)
    into = dict(_merged(planted.rows, merged))
    return [len(into), sum(_plain(texts[a]) == _plain(texts[b]) for a, b in into.items()), len(rows)]


def _plain(text: str) -> str:
    return "".join(re.findall(r"[^\W_]+", text.lower()))


def _alike(first: str, second: str) -> bool:
    if _plain(first) == _plain(second):
        return True
    a, b = (set(re.findall(r"\w+", text.lower())) for text in (first, second))
    return len(a & b) >= ALIKE * len(a | b)


def _add(first: list[int], second: list[int]) -> list[int]:
    return [a + b for a, b in zip(first, second, strict=True)]


def _ratio(found: int, n: int) -> float:
    return found / max(1, n)
