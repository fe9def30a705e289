"""Offers of the same product in two shops: F1 of the label-free margin against semhash and MinHash.

The task is classification of the given candidate pairs (DeepMatcher's and WDC's test pairs, chosen hard by blocking),
not a search. Every method reads the same text (all attributes but the price) and no labels; it is scored at its own
default threshold and, apart, at the threshold that is best on the validation pairs. Ours also reads the offers of all
splits as surroundings, without labels. semhash cannot fetch its default encoder here; it gets the same distilled table
that ours reads. MinHash: datasketch, 128 permutations, sets of words.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from _common import table
from offramp.curate.semantic import ParaphraseThresholds, margins
from offramp.embed.static import StaticEmbedder

SETS = ("Abt-Buy", "Amazon-Google", "wdc_computers")
DEFAULTS = {"offramp": ParaphraseThresholds().margin, "semhash": 0.9, "minhash": 0.9}
"""semhash `self_deduplicate(threshold=0.9)`, datasketch `MinHashLSH(threshold=0.9)`."""
Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]


def measure(
    folder: Path, *, cache: Path | None = None
) -> tuple[dict[str, Any], dict[str, tuple[Any, Any, bool]]]:
    """Return F1 on the test pairs per data set and method; the goal is F1 ahead of both peers, either way."""
    embedder = StaticEmbedder.load(cache=cache)
    shown, figures = [], {}
    goals: dict[str, tuple[Any, Any, bool]] = {}
    for name in SETS:
        texts, splits = _read(folder / "product_matching" / name)
        scores = {method: make(texts, splits, embedder) for method, make in METHODS.items()}
        found: dict[str, dict[str, float]] = {}
        for method, (valid, test) in scores.items():
            chosen = _best(splits["valid"][2], valid)
            found[method] = {
                "default": _f1(splits["test"][2], test >= DEFAULTS[method]),
                "best": _f1(splits["test"][2], test >= chosen),
            }
            shown.append(
                [name, method, DEFAULTS[method], found[method]["default"], chosen, found[method]["best"]]
            )
        figures[name] = {"pairs": len(splits["test"][2]), "same": int(splits["test"][2].sum()), **found}
        for kind in ("default", "best"):
            ours, *peers = (found[method][kind] for method in METHODS)
            goals[f"products {name}, {kind} threshold: F1"] = (
                round(ours, 3),
                f"> {max(peers):.3f} (semhash {peers[0]:.3f}, MinHash {peers[1]:.3f})",
                ours > max(peers),
            )
    table(shown, ["data", "method", "default", "F1", "best on validation", "F1 there"])
    return figures, goals


def _read(folder: Path) -> tuple[list[str], dict[str, Pairs]]:
    """Return the distinct offers, and first, second and same-or-not of each split's pairs."""
    texts: dict[str, int] = {}
    splits = {}
    for split in ("train", "valid", "test"):
        file = folder / f"{split}.txt"
        lines = (file if file.exists() else folder / f"{split}.txt.medium").read_text(encoding="utf-8")
        rows = [line.split("\t") for line in lines.splitlines()]
        first, second = (
            np.array([texts.setdefault(_text(row[side]), len(texts)) for row in rows]) for side in (0, 1)
        )
        splits[split] = (first, second, np.array([row[2] == "1" for row in rows]))
    return list(texts), splits


def _text(record: str) -> str:
    parts = re.split(r"COL (\w+) VAL ?", record)[1:]
    return " ".join(
        value.strip() for name, value in zip(parts[::2], parts[1::2], strict=True) if name != "price"
    )


def _ours(texts: list[str], splits: dict[str, Pairs], embedder: StaticEmbedder) -> list[np.ndarray]:
    return [margins(texts, *splits[split][:2], embedder=embedder) for split in ("valid", "test")]


def _semhash(texts: list[str], splits: dict[str, Pairs], embedder: StaticEmbedder) -> list[np.ndarray]:
    from semhash import SemHash

    class Encoder:
        """The protocol that semhash asks of an encoder."""

        def encode(self, inputs: list[str], **_: Any) -> np.ndarray:
            """Return vectors."""
            return embedder.encode(list(inputs))

    index = SemHash.from_records(records=texts, model=Encoder()).index
    place = {items[0]["text"]: at for at, items in enumerate(index.items)}
    vectors = index.vectors[[place[text] for text in texts]]
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return [(vectors[splits[s][0]] * vectors[splits[s][1]]).sum(axis=1) for s in ("valid", "test")]


def _minhash(texts: list[str], splits: dict[str, Pairs], embedder: StaticEmbedder) -> list[np.ndarray]:
    from datasketch import MinHash

    words = [[word.encode() for word in set(re.findall(r"\w+", text.lower()))] for text in texts]
    signed = np.stack([one.hashvalues for one in MinHash.bulk(words, num_perm=128)])
    return [(signed[splits[s][0]] == signed[splits[s][1]]).mean(axis=1) for s in ("valid", "test")]


METHODS = {"offramp": _ours, "semhash": _semhash, "minhash": _minhash}


def _f1(same: np.ndarray, said: np.ndarray) -> float:
    return float(2 * (same & said).sum() / max(1, same.sum() + said.sum()))


def _best(same: np.ndarray, scores: np.ndarray) -> float:
    tried = np.unique(scores)
    return float(tried[np.argmax([_f1(same, scores >= one) for one in tried])])
