"""A regular expression of the user, found in the answer or not.

A pattern such as `(a+)+$` can run for years on a short text and Python's `re` cannot be told to stop, so matching
happens in a process of its own: a text that takes more than a second of processor time is not scored, and after
three such texts the rest is not scored either. A pattern that cannot be compiled is an error before anything is scored.
Guarantee: no pattern can hang the caller for longer than `DEADLINE_S`, and a slow row is NaN, never 0.
Trap: `search`, not `fullmatch`: anchor with `^` and `$` for the whole answer. Flags go inside: `(?i)yes`.
"""

import json
import re
import subprocess
import sys

import numpy as np

from offramp.errors import ConfigError, DataError
from offramp.metrics.base import Batch, Metric, Scored
from offramp.types import content_id

ROW_S = 1.0
"""Processor seconds that one text may take: what is scored does not depend on how busy the machine is."""
SLOW_ROWS = 3
"""After so many slow texts the pattern is given up."""
DEADLINE_S = 60.0
"""Seconds for all texts of a batch."""
PREFIX = "regex:"
"""`regex:^\\d+$` names a pattern metric."""

# Runs in the child. A signal stops `re` where the system has timers; elsewhere only the deadline does.
_CHILD = """
import json, re, signal, sys
class Slow(Exception): pass
def stop(*_): raise Slow
asked = json.load(sys.stdin)
found = re.compile(asked["pattern"])
timer = getattr(signal, "setitimer", None)
if timer: signal.signal(signal.SIGVTALRM, stop)
slow = 0
for text in asked["texts"]:
    try:
        if timer: timer(signal.ITIMER_VIRTUAL, asked["row_s"])
        code = "1" if found.search(text) else "0"
        if timer: timer(signal.ITIMER_VIRTUAL, 0)
    except Slow:
        code, slow = "s", slow + 1
    sys.stdout.write(code)
    sys.stdout.flush()
    if slow >= asked["slow_rows"]: break
"""


def _compile(pattern: str) -> None:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as failure:
        raise ConfigError(
            f"a regular expression was asked for; found {pattern!r}, which is none ({failure}); "
            "write it as Python's `re` reads it"
        ) from failure


def _search(pattern: str, texts: list[str]) -> str:
    """Return one character per text that was tried: `1` found, `0` not found, `s` too slow; may stop early."""
    asked = {"pattern": pattern, "texts": texts, "row_s": ROW_S, "slow_rows": SLOW_ROWS}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _CHILD],
            input=json.dumps(asked).encode(),
            capture_output=True,
            timeout=DEADLINE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return (late.stdout or b"").decode()
    if done.returncode:
        raise DataError(
            f"the pattern {pattern!r} was asked for in {len(texts)} answers; its process ended with "
            f"{done.returncode}: {done.stderr.decode(errors='replace')[-200:]!r}; use a simpler pattern"
        )
    return done.stdout.decode()


def _scored(batch: Batch, pattern: str) -> Scored:
    values = np.zeros(len(batch))
    said = {text: None for text in batch.answers if text is not None}
    codes = dict(zip(said, _search(pattern, list(said)), strict=False)) if said else {}
    reasons = {}
    for row, answer in enumerate(batch.answers):
        code = "0" if answer is None else codes.get(answer, "-")
        values[row] = {"1": 1.0, "0": 0.0}.get(code, np.nan)
        if code == "s":
            reasons[row] = f"the pattern {pattern!r} took longer than {ROW_S:g} s"
        elif code == "-":
            reasons[row] = f"not tried: the pattern {pattern!r} was too slow on others"
    return Scored(values, reasons)


def regex_metric(pattern: str, *, name: str | None = None) -> Metric:
    """Make a metric that is 1.0 where `pattern` is found in the answer; no answer is 0.0.

    Raises:
        ConfigError: the pattern cannot be compiled.
    """
    _compile(pattern)
    version = f"1-{content_id('regex', pattern).rpartition('-')[2][:8]}"
    return Metric.explained(
        name or PREFIX + pattern,
        f"pattern {pattern!r} found",
        version=version,
        detail=lambda batch: _scored(batch, pattern),
    )
