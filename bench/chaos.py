"""Chaos: upstreams fail in every way that the list in `tests/faults.py` knows, whole answers and streams.

Each fault is put into four places: at the candidate with a sound incumbent, at the incumbent with a sound candidate, at
both, and at the incumbent with nobody else to ask. The official clients ask through the gateway. A case is right if
the other model answers or the client raises a clean error of the API, no word comes twice or from two models, nothing
waits longer than its time-out, a normal request works right after it, and the record tells what happened.
"""

import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from _common import ROOT, SMALL, emit, table

sys.path.insert(0, str(ROOT / "tests"))

from chaos import SITUATIONS, SLACK_S, Case, Complaints, Done, campaign, open_sockets
from faults import FAULTS
from offramp.route.settings import Patience

PATIENCE = Patience(connect_s=0.5, first_s=0.5, between_s=0.3, total_s=1.0)
PLACES = {
    "chat": list(SITUATIONS),
    "responses": ["candidate fails", "record only"],
    "messages": ["candidate fails", "record only"],
}
"""The candidate speaks chat only, so the other APIs differ in the incumbent and in what the client reads."""


def cases_of(flavor: str, situation: str) -> list[Case]:
    """Return the cases of one gateway."""
    faults = FAULTS[::6] if SMALL else FAULTS
    cases = [Case(fault, situation, flavor, streams) for fault in faults for streams in (False, True)]
    return [case for case in cases if case.makes_sense]


async def run(folder: Path) -> tuple[list[Done], int]:
    """Run everything; return what came of it and how many tasks were left."""
    done: list[Done] = []
    for flavor, situations in PLACES.items():
        for number, situation in enumerate(situations):
            done += await campaign(folder / f"{flavor}-{number}", cases_of(flavor, situation), PATIENCE)
    await asyncio.sleep(0.3)
    return done, len(asyncio.all_tasks()) - 1


def shown(dones: list[Done]) -> list[list[Any]]:
    """Return the table: a row per fault and kind of request, the outcome and the longest seconds per situation."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for done in dones:
        case = done.case
        key = (case.fault.name, f"{case.flavor} {'stream' if case.streams else 'whole'}")
        rows.setdefault(key, {})[case.situation] = f"{done.outcome} {done.told.seconds:.2f} s"
    return [[*key, *(found.get(name, "-") for name in SITUATIONS)] for key, found in rows.items()]


def main() -> None:
    """Run the campaign and report."""
    sockets, began = open_sockets(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, Complaints() as complaints:
        done, tasks = asyncio.run(run(Path(folder)))
    took_s = time.perf_counter() - began
    table(
        [row for row in shown(done) if SMALL or row[1].startswith("chat")], ["fault", "request", *SITUATIONS]
    )
    for one in done:
        if one.wrong:
            kind = "stream" if one.case.streams else "whole"
            print(
                f"WRONG  {one.case.fault.name}, {one.case.flavor} {kind}, {one.case.situation}: {one.wrong}"
            )
    outcomes = Counter((one.wanted, one.by or "nobody") for one in done if not one.wrong)
    table(
        [[wanted, by, count] for (wanted, by), count in sorted(outcomes.items())],
        ["ended in", "answered by", "cases"],
    )
    late = [one.told.seconds - one.within_s for one in done]
    wrong = [one for one in done if one.wrong]
    leaked = tasks + max(0, open_sockets() - sockets)
    figures = {
        "faults": len({one.case.fault.name for one in done}),
        "cases": len(done),
        "requests": 2 * len(done) + sum(one.case.situation == "both fail" for one in done),
        "ended": {f"{wanted} by {by}": count for (wanted, by), count in sorted(outcomes.items())},
        "latest_after_its_time_out_s": max(late),
        "wrong": [
            [one.case.fault.name, one.case.flavor, one.case.streams, one.case.situation, one.wrong]
            for one in wrong
        ],
        "took_s": took_s,
    }
    least = 10 if SMALL else 30
    goals = {
        "faults": (figures["faults"], f">= {least}", figures["faults"] >= least),
        "cases that end in an answer or a clean error, once, in time, and recorded": (
            len(done) - len(wrong), len(done), not wrong),
        "longest wait past its time-out, s": (round(max(late), 3), f"<= {SLACK_S}", max(late) <= SLACK_S),
        "exceptions in the gateway's log": (len(complaints.lines), 0, not complaints.lines),
        "tasks and sockets left": (leaked, 0, leaked == 0),
    }  # fmt: skip
    emit("chaos", figures, goals)


if __name__ == "__main__":
    main()
