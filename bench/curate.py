"""Do the detectors find what is planted, and do they leave clean rows alone?

Defects are planted by seed into public data; the detectors see the rows only. The three data sets are pooled for the
goals, intervals are Wilson's 95 %. `BENCH_SMALL=1` takes fewer rows and one seed.
"""

from _common import data_dir, emit
from _curate_quality import measure


def main() -> None:
    """Measure the quality detectors."""
    figures, goals = measure(data_dir())
    emit("curate", figures, goals)


if __name__ == "__main__":
    main()
