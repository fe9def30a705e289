"""Rows per second of our text encoder against sentence-transformers' default, same weights, same processor.

Both encode the same texts in turn; the ratio of each pair is taken, and the median over pairs is the figure.
Short texts are bank customers' queries, long ones product offers with description.
"""

import argparse
import csv
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from _common import SMALL, data_dir, emit, table
from offramp.embed import Embedder
from offramp.embed.packed import locate


def texts(folder: Path, kind: str, count: int) -> list[str]:
    """Return `count` texts, the same ones on every machine."""
    if kind == "short":
        with (folder / "banking77" / "train.csv").open(encoding="utf-8", newline="") as file:
            found = [row["text"] for row in csv.DictReader(file)]
    else:
        lines = (folder / "mwpd2020_product_gpc" / "train.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        found = ["\n".join(row.get(k) or "" for k in ("Name", "Description", "CategoryText")) for row in rows]
    return [found[i] for i in np.random.default_rng(0).permutation(len(found))[:count]]


def seconds(encode: Callable[[list[str]], np.ndarray], batch: list[str]) -> tuple[float, np.ndarray]:
    """Return wall-clock seconds and the vectors."""
    began = time.perf_counter()
    vectors = encode(batch)
    return time.perf_counter() - began, vectors


def main() -> None:
    """Measure both kinds of text."""
    import torch
    from sentence_transformers import SentenceTransformer

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3 if SMALL else 7)
    runs = parser.parse_args().runs
    folder = data_dir()
    ours, theirs = Embedder.load("minilm"), SentenceTransformer(str(locate("minilm")), device="cpu")
    figures: dict[str, object] = {
        "threads": torch.get_num_threads(),
        "precision": str(ours.backbone.model.dtype),
        "runs": runs,
    }
    shown, lowest = [], 1.0
    for kind, count in (("short", 200 if SMALL else 2000), ("long", 20 if SMALL else 200)):
        batch = texts(folder, kind, count)
        ours.encode(batch[:16])
        theirs.encode(batch[:16])
        pairs = []
        for _ in range(runs):
            peer_s, wanted = seconds(lambda b: np.asarray(theirs.encode(b)), batch)
            our_s, found = seconds(ours.encode, batch)
            pairs.append((len(batch) / our_s, len(batch) / peer_s))
            lowest = min(lowest, float((wanted * found).sum(axis=1).min()))
        ratios = [ours_rate / peer_rate for ours_rate, peer_rate in pairs]
        rates = [statistics.median(pair[i] for pair in pairs) for i in (0, 1)]
        figures |= {
            f"{kind}_rows_per_s": rates[0],
            f"{kind}_peer_rows_per_s": rates[1],
            f"{kind}_ratio": statistics.median(ratios),
            f"{kind}_ratio_range": [min(ratios), max(ratios)],
        }
        shown.append(
            [kind, len(batch), rates[0], rates[1], statistics.median(ratios), min(ratios), max(ratios)]
        )
    figures["lowest_cosine"] = lowest
    table(
        shown,
        ["texts", "rows", "offramp rows/s", "sentence-transformers rows/s", "ratio", "lowest", "highest"],
    )
    short, long = (round(float(str(figures[f"{kind}_ratio"])), 2) for kind in ("short", "long"))
    emit(
        "embed",
        figures,
        {
            "short texts, times sentence-transformers": (short, ">= 2", short >= 2),
            "long texts, times sentence-transformers": (long, ">= 2", long >= 2),
            "lowest cosine to its vectors": (round(lowest, 5), ">= 0.999", lowest >= 0.999),
        },
    )


if __name__ == "__main__":
    main()
