"""Does curation find what is planted, and does it leave clean rows alone?

Defects are planted by seed into public data; the detectors see the rows only, the manifest is read afterwards.
Intervals are Wilson's 95 % unless a part says otherwise. `--only PART` measures some parts again and keeps the last
figures of the others; `BENCH_SMALL=1` takes fewer rows and one seed, with which some goals cannot be reached.
"""

import argparse
import json
import tempfile
import time
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from _common import ROOT, SMALL, data_dir, emit
from offramp.embed.static import shared_folder

PARTS = {
    "duplicates": "_curate_duplicates",
    "semantic": "_curate_semantic",
    "products": "_curate_products",
    "labels": "_curate_labels",
    "label_noise": "_label_noise",
    "off_task": "_curate_offtask",
    "quality": "_curate_quality",
    "personal": "_curate_personal",
    "synthetic": "_curate_synthetic",
    "whole": "_curate_whole",
}
"""Parts and their modules."""


def main() -> None:
    """Measure every part, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    asked = parser.parse_args().only
    last = ROOT / "bench" / "results" / "curate.json"
    figures: dict[str, Any] = json.loads(last.read_text())["figures"] if last.exists() and not SMALL else {}
    folder, cache = data_dir(), shared_folder(Path(tempfile.gettempdir()))
    for part in asked:
        print(f"\n== {part}", flush=True)
        measure = import_module(PARTS[part]).measure
        more = {"cache": cache} if "cache" in signature(measure).parameters else {}
        began, cpu = time.perf_counter(), time.process_time()
        found, goals = measure(folder, **more)
        figures[part] = {
            "figures": found,
            "goals": {name: [value, wanted, bool(met)] for name, (value, wanted, met) in goals.items()},
            "measured": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
            "wall_s": round(time.perf_counter() - began, 1),
            "cpu_s": round(time.process_time() - cpu, 1),
        }
        # Kept after each part: an interrupted run loses one part.
        emit("curate", figures, _goals(figures))


def _goals(figures: dict[str, Any]) -> dict[str, tuple[Any, Any, bool]]:
    return {
        f"{part}: {name}": (value, wanted, met)
        for part, kept in figures.items()
        for name, (value, wanted, met) in kept["goals"].items()
    }


if __name__ == "__main__":
    main()
