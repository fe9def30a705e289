"""What every benchmark needs: where the data is, what machine this is, and one way to report.

The last line a benchmark prints is one JSON object, which also goes to `bench/results/NAME.json`. A missed goal
is printed as missed and the exit code stays 0.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SMALL = os.environ.get("BENCH_SMALL") == "1"


def data_dir() -> Path:
    """Return the folder of public data; exit with a message when it is not there."""
    folder = Path(os.environ.get("OFFRAMP_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        sys.exit(
            f"skipped: public data was expected in {folder}; set OFFRAMP_DATA to the folder that holds banking77/"
        )
    return folder


def machine() -> str:
    """Describe processor, cores and memory in one line."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {cores} cores, {memory_gib:.0f} GiB, Python {platform.python_version()}"


def table(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> None:
    """Print rows under headers, columns aligned."""
    cells = [[f"{c:.4g}" if isinstance(c, float) else str(c) for c in row] for row in rows]
    widths = [
        max(len(str(h)), *(len(row[i]) for row in cells)) if cells else len(str(h))
        for i, h in enumerate(headers)
    ]
    for row in [list(headers), ["-" * w for w in widths], *cells]:
        print("  ".join(str(c).ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())


def emit(name: str, figures: dict[str, Any], goals: dict[str, tuple[Any, Any, bool]]) -> None:
    """Print goals for people, then the JSON line; the full-size run is kept under `bench/results/`."""
    for goal, (value, wanted, met) in goals.items():
        print(f"{'met   ' if met else 'MISSED'}  {goal}: {value} (goal {wanted})")
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    result = {
        "bench": name,
        "machine": machine(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": commit,
        "small": SMALL,
        "figures": figures,
        "goals": {g: {"value": v, "goal": w, "met": bool(m)} for g, (v, w, m) in goals.items()},
    }
    line = json.dumps(result)
    if not SMALL:
        (ROOT / "bench" / "results").mkdir(parents=True, exist_ok=True)
        (ROOT / "bench" / "results" / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(line)
