"""How time and memory of the whole loop grow with the number of rows, on the embedded sample task (simulated answers).

Each size is `offramp demo --size N` in its own process, smallest first.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import offramp
from _common import ROOT, SMALL, emit, table
from _loop import OFFRAMP
from offramp.types import Candidate

SIZES = (1_000, 3_000) if SMALL else (1_000, 3_000, 10_000, 30_000)
BYTES_GOAL = 3e9


def main() -> None:
    """Run and report; `--sizes` measures some again and keeps the other figures of the last result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    sizes = parser.parse_args().sizes
    last = ROOT / "bench" / "results" / "scale.json"
    partly = set(sizes) != set(SIZES) and not SMALL and last.exists()
    rows, figures = [], json.loads(last.read_text())["figures"] if partly else {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "demo"
            began = time.perf_counter()
            command = [*OFFRAMP, "demo", str(folder), "--size", str(size), "--json"]
            started = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, env={**os.environ, "HF_HUB_OFFLINE": "1"}
            )
            # Of this child alone: what all children used together would hide a smaller one's peak.
            _, status, used = os.wait4(started.pid, 0)
            if status:
                sys.exit(
                    f"offramp demo --size {size} ended with exit code {os.waitstatus_to_exitcode(status)}"
                )
            seconds = time.perf_counter() - began
            with offramp.open(folder) as ws:
                data = ws.curate()
                chosen = ws.store.get(ws.store.named("chosen") or "", Candidate)
                accuracy = ws.roster.summary(ws.evaluate(chosen, data))["accuracy"]
        cpu = used.ru_utime + used.ru_stime
        peak = used.ru_maxrss * 1024
        figures[str(size)] = {
            "wall_s": seconds, "cpu_s": cpu, "peak_bytes": peak, "taken": chosen.name, "holdout_accuracy": accuracy,
            "measured": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        }  # fmt: skip
        rows.append(
            (
                size,
                f"{seconds:.0f}",
                f"{cpu:.0f}",
                f"{1000 * seconds / size:.1f}",
                f"{peak / 1e9:.2f}",
                chosen.name,
            )
        )
    table(rows, ("rows", "wall s", "CPU s", "wall ms per row", "peak GB", "taken"))
    largest = figures[str(max(int(size) for size in figures))]["peak_bytes"]
    emit(
        "scale",
        figures,
        {"peak memory at the largest size, bytes": (largest, BYTES_GOAL, largest < BYTES_GOAL)},
    )


if __name__ == "__main__":
    main()
