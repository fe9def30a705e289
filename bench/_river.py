"""River's detectors on streams of right and wrong answers, run by the Python that `RIVER_PYTHON` names.

Reads rows of 0 and 1 from standard input, prints one list of first alarms (row, or null) per detector as JSON.
"""

import json
import sys

from river import __version__
from river.drift import ADWIN, PageHinkley


def main() -> None:
    """Feed every stream to a fresh detector with default settings."""
    streams = [line.strip() for line in sys.stdin if line.strip()]
    found = {}
    for name, make in (("ADWIN", ADWIN), ("Page-Hinkley", PageHinkley)):
        firsts: list[int | None] = []
        for stream in streams:
            detector, first = make(), None
            for row, digit in enumerate(stream, start=1):
                detector.update(int(digit))
                if detector.drift_detected:
                    first = row
                    break
            firsts.append(first)
        found[f"river {__version__} {name}, defaults"] = firsts
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
