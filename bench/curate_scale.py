"""How long curation takes for 10,000 to 1,000,000 rows of about 97 words, and how that compares with its peers.

Each size is one process with a network that does not exist; the rows are read from a Parquet file, curated with default
settings, and ledger, findings and splits are written. Peers find near-duplicates only, so beside them stands our own
search for near-duplicates alone, all in one process one after the other, with the planted rows as truth. A planted row
counts as found when it is linked with its source. `--sizes 1000000` adds the largest size (about half an hour).
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from _common import ROOT, SMALL, data_dir, emit, table
from _corpus import KINDS, Corpus, corpus

SIZES = (2_000,) if SMALL else (10_000, 100_000)
PEER_ROWS = 2_000 if SMALL else 100_000
SEED = 31
CHILD = """
import json, sys, time
import pyarrow.parquet as pq
from pathlib import Path
from offramp.curate import CurateSettings, Encoders, Late, curate
from offramp.embed import Embedder
from offramp.embed.static import StaticEmbedder, shared_folder
from offramp.types import Task
began = time.perf_counter()
rows = pq.read_table(sys.argv[1])
steps, last = {}, ["reading", began]
def progress(what, done, total):
    if what != last[0]:
        now = time.perf_counter()
        steps[last[0]] = steps.get(last[0], 0.0) + now - last[1]
        last[:] = [what, now]
task = Task(name="scale", inputs=("text",), target="label")
encoders = Encoders(Late(Embedder.load), StaticEmbedder.load(cache=shared_folder(Path(sys.argv[2])), progress=progress))
done = curate(rows, task=task, settings=CurateSettings(), encoders=encoders, seed=1, progress=progress)
for name in ("ledger", "findings", "splits"):
    pq.write_table(getattr(done, name), f"{sys.argv[2]}/{name}.parquet", compression="zstd")
progress("end", 0, 0)
print(json.dumps({"steps": steps, "counts": dict(done.counts), "straddling": done.certificate.straddling,
                  "near_pairs": done.certificate.near_pairs}))
"""


def main() -> None:
    """Measure sizes and peers; `--sizes` and `--no-peers` choose."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--no-peers", action="store_true")
    asked = parser.parse_args()
    last = ROOT / "bench" / "results" / "curate_scale.json"
    figures: dict[str, Any] = json.loads(last.read_text())["figures"] if last.exists() and not SMALL else {}
    figures.setdefault("curate", {})
    for size in asked.sizes:
        figures["curate"][str(size)] = curated(data_dir(), size)
    if not asked.no_peers:
        figures["peers"] = peers(corpus(data_dir(), PEER_ROWS, seed=SEED))
    show(figures)
    emit("curate_scale", figures, goals(figures))


def curated(folder: Path, size: int) -> dict[str, Any]:
    """Return wall and CPU seconds, peak memory and counts of one run in its own process."""
    with tempfile.TemporaryDirectory() as scratch:
        made = corpus(folder, size, seed=SEED)
        pq.write_table(made.rows, f"{scratch}/rows.parquet")
        del made
        out = Path(scratch) / "out.json"
        began = time.perf_counter()
        child = os.posix_spawn(
            sys.executable,
            [sys.executable, "-c", CHILD, f"{scratch}/rows.parquet", scratch],
            {
                **os.environ,
                "HF_HUB_OFFLINE": "1",
                "http_proxy": "http://127.0.0.1:9",
                "https_proxy": "http://127.0.0.1:9",
            },
            file_actions=[(os.POSIX_SPAWN_OPEN, 1, str(out), os.O_WRONLY | os.O_CREAT, 0o600)],
        )
        _, status, used = os.wait4(child, 0)
        if status:
            sys.exit(f"curating {size} rows ended with exit code {os.waitstatus_to_exitcode(status)}")
        seconds = time.perf_counter() - began
        said = json.loads(out.read_text().splitlines()[-1])
    return {
        "wall_s": seconds,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_bytes": used.ru_maxrss * 1024,
        **said,
    }


def peers(made: Corpus) -> dict[str, Any]:
    """Return seconds, recall and precision of each way of finding near-duplicates, on the same rows in memory."""
    texts = made.rows.column("field.text").to_pylist()
    found = {}
    for name, find in (("offramp", ours), ("datasketch", datasketch), ("semhash", semhash)):
        began, cpu = time.perf_counter(), time.process_time()
        pairs = find(texts, made.rows)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        found[name] = {"wall_s": seconds, "cpu_s": cpu, **quality(pairs, made)}
    return found


def ours(texts: list[str], rows: pa.Table) -> np.ndarray:
    """Pairs by `lexical.survey`, which counts shared pieces."""
    from offramp.curate.lexical import survey

    seen = survey([rows])
    return np.stack([seen.pairs.first, seen.pairs.second], axis=1)


def datasketch(texts: list[str], rows: pa.Table) -> np.ndarray:
    """MinHash and LSH of word 3-grams at 0.5, 128 permutations: the setting that reaches our recall."""
    from datasketch import MinHash, MinHashLSH

    sets = []
    for text in texts:
        words = text.lower().split()
        sets.append({" ".join(words[i : i + 3]).encode() for i in range(max(1, len(words) - 2))})
    hashes = MinHash.bulk(sets, num_perm=128)
    index = MinHashLSH(threshold=0.5, num_perm=128)
    pairs = []
    for at, one in enumerate(hashes):
        pairs += [(other, at) for other in index.query(one)]
        index.insert(at, one)
    return np.array(pairs, np.int64).reshape(-1, 2)


def semhash(texts: list[str], rows: pa.Table) -> np.ndarray:
    """Its own defaults (cosine 0.9) over the same offline static embedding, because its own model is a download."""
    from semhash import SemHash

    from offramp.embed.static import StaticEmbedder, shared_folder

    static = StaticEmbedder.load(cache=shared_folder(Path(tempfile.gettempdir())))

    class Encoder:
        def encode(self, inputs: list[str], **_: Any) -> np.ndarray:
            return static.encode(list(inputs))

    index = SemHash.from_records([{"id": str(i), "text": text} for i, text in enumerate(texts)],
                                 columns=["text"], model=Encoder())  # fmt: skip
    done = index.self_deduplicate()
    return np.array(
        [(int(one.record["id"]), int(other["id"])) for one in done.filtered for other, _ in one.duplicates],
        np.int64,
    ).reshape(-1, 2)


def quality(pairs: np.ndarray, made: Corpus) -> dict[str, Any]:
    """Return the share of planted rows linked with their source, and the share of linked rows that were planted."""
    linked = {(min(pair), max(pair)) for pair in pairs.tolist()}
    planted = np.concatenate([made.exact, made.near])
    hit = np.array([(min(pair), max(pair)) in linked for pair in planted.tolist()])
    kinds = made.kinds
    near = hit[len(made.exact) :]
    sources = {row for pair in planted.tolist() for row in pair}
    rows = {row for pair in linked for row in pair}
    return {
        "recall_exact": float(hit[: len(made.exact)].mean()),
        "recall_near": float(near.mean()),
        "precision_rows": len(rows & sources) / max(1, len(rows)),
        "recall_by_kind": {KINDS[kind]: float(near[kinds == kind].mean()) for kind in range(len(KINDS))},
        "pairs": len(linked),
    }


def show(figures: dict[str, Any]) -> None:
    """Print both tables."""
    table(
        [
            (size, f"{run['wall_s']:.0f}", f"{run['cpu_s']:.0f}", f"{1000 * run['wall_s'] / int(size):.2f}",
             f"{run['peak_bytes'] / 1e9:.2f}", ", ".join(f"{k} {v:.0f}" for k, v in run["steps"].items() if v >= 1))
            for size, run in sorted(figures["curate"].items(), key=lambda item: int(item[0]))
        ],
        ("rows", "wall s", "CPU s", "ms/row", "peak GB", "steps, s"),
    )  # fmt: skip
    print()
    table(
        [
            (name, f"{run['wall_s']:.1f}", f"{run['cpu_s']:.1f}", run["recall_exact"], run["recall_near"],
             run["precision_rows"], run["pairs"])
            for name, run in figures.get("peers", {}).items()
        ],
        ("near-duplicates of 100k rows", "wall s", "CPU s", "recall exact", "recall near", "rows planted", "pairs"),
    )  # fmt: skip


def goals(figures: dict[str, Any]) -> dict[str, tuple[Any, Any, bool]]:
    """Return the goals for the sizes that were run."""
    found: dict[str, tuple[Any, Any, bool]] = {}
    runs = figures["curate"]
    for size, seconds, peak in (("100000", 300, 2e9), ("1000000", 2_700, 4e9)):
        if size in runs:
            wall, used = runs[size]["wall_s"], runs[size]["peak_bytes"]
            found[f"{int(size):,} rows, seconds"] = (round(wall, 1), f"<= {seconds}", wall <= seconds)
            found[f"{int(size):,} rows, GB"] = (round(used / 1e9, 2), f"<= {peak / 1e9:g}", used <= peak)
    sizes = sorted(map(int, runs))
    if len(sizes) > 1 and sizes[-1] > 10_000:
        costs = [runs[str(size)]["wall_s"] / size for size in sizes if size >= 10_000]
        ratio = costs[-1] / costs[0]
        found[f"cost per row, {sizes[-1]:,} over 10,000 rows"] = (round(ratio, 2), "<= 1.2", ratio <= 1.2)
    if "peers" in figures:
        run = figures["peers"]
        reached = {n: r for n, r in run.items() if n != "offramp"}
        fastest = min(r["wall_s"] for r in reached.values())
        ratio = fastest / run["offramp"]["wall_s"]
        equal = run["offramp"]["recall_near"] >= max(r["recall_near"] for r in reached.values()) - 0.005
        found["times the faster of datasketch and semhash, at their recall or more"] = (
            round(ratio, 2), ">= 2", ratio >= 2 and equal)  # fmt: skip
    return found


if __name__ == "__main__":
    main()
