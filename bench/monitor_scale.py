"""Does the monitor stay flat at a million calls a day? CPU seconds and memory per simulated day, size of its state.

Calls of one alias with a daily rhythm go through `monitor.watch.watch` in the blocks that a look reads, with texts as
long as those of a small classification task; 200 audits a day beside them. On one day errors rise from 1 % to 6 %, and
later another deployment takes over, so that an alarm, its recovery and a fresh start are part of what is measured.
Then the same through the store of calls (SQLite) and `monitoring.look`, fewer of them, a look an hour. Seeds: 8 for
the calls, 9 for the audits.
"""

import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from _common import SMALL, emit, table
from offramp.capture import Call, Calls
from offramp.monitor.rollup import DAY_S
from offramp.monitor.settings import MonitorSettings
from offramp.monitor.state import State
from offramp.monitor.watch import Audit, Baseline, Seen, watch
from offramp.settings import resolve
from offramp.workspace import Workspace, init

CALLS_A_DAY = 20_000 if SMALL else 1_000_000
DAYS = 3 if SMALL else 6
BROKEN_DAY, DEPLOYED_DAY = (1, 2) if SMALL else (3, 5)
QUIET_DAYS = 1 if SMALL else 2
AUDITS_A_DAY = 200
BLOCK = 20_000
STORED_A_DAY = 2_000 if SMALL else 50_000
BEGAN = 1_790_000_000.0 // DAY_S * DAY_S
_REQUEST = json.dumps(
    {"model": "desk", "messages": [{"role": "user", "content": "where is my parcel " * 12}]}
).encode()
_ANSWER = json.dumps(
    {"choices": [{"message": {"role": "assistant", "content": "delivery"}, "finish_reason": "stop"}]}
).encode()


def day(number: int, count: int) -> Iterator[list[Call]]:
    """Yield the calls of a day in blocks, in order of time, more of them at noon."""
    rng = np.random.default_rng([8, number])
    at = BEGAN + DAY_S * (number + np.sort(rng.beta(2, 2, count)))
    latency = rng.lognormal(-1, 0.5, count)
    error = rng.random(count) < (0.06 if number == BROKEN_DAY else 0.01)
    confidence = rng.beta(20, 2, count)
    deployment = "deployment-b" if number >= DEPLOYED_DAY else "deployment-a"
    for first in range(0, count, BLOCK):
        yield [
            Call(
                id=f"call-{number:04d}{n:08d}",
                at=float(at[n]),
                alias="desk",
                flavor="chat",
                route="full",
                status=500 if error[n] else 200,
                request=_REQUEST,
                answer=None if error[n] else _ANSWER,
                latency_s=float(latency[n]),
                deployment=deployment,
                answered_by="small",
                output_tokens=4,
                cost_usd=1e-5,
                confidence=float(confidence[n]),
            )
            for n in range(first, min(first + BLOCK, count))
        ]


def audits(number: int) -> list[Audit]:
    """Return the audits of a day, right in 92 %."""
    rng = np.random.default_rng([9, number])
    deployment = "deployment-b" if number >= DEPLOYED_DAY else "deployment-a"
    at = BEGAN + DAY_S * (number + np.sort(rng.random(AUDITS_A_DAY)))
    return [
        Audit(
            f"c{number}-{n}",
            "desk",
            float(at[n]),
            "accuracy",
            float(rng.random() > 0.92),
            f"{number}-{n}",
            deployment,
        )
        for n in range(AUDITS_A_DAY)
    ]


def streamed() -> tuple[list[dict[str, Any]], list[Seen]]:
    """Watch day after day; return what each cost, without the making of its calls, and the alarms."""
    settings = MonitorSettings(quiet_days=QUIET_DAYS)
    rng = np.random.default_rng(9)
    baseline = {"desk": Baseline({"accuracy": (rng.random(1_000) > 0.92).astype(float).tolist()})}
    state, rows, seen = State(), [], []
    for number in range(DAYS):
        cpu = 0.0
        for block in day(number, CALLS_A_DAY):
            begun = time.process_time()
            state, found = watch(state, block, (), settings=settings, baselines=baseline)
            cpu += time.process_time() - begun
            seen += found
        begun = time.process_time()
        state, found = watch(state, (), audits(number), settings=settings, baselines=baseline)
        seen += found
        kept = json.dumps(state.to_json())
        state = State.from_json(json.loads(kept))
        cpu += time.process_time() - begun
        rows.append(
            {"day": number, "cpu_s": round(cpu, 2), "rss_mib": rss_mib(), "state_kib": len(kept) // 1024}
        )
    return rows, seen


def stored() -> list[dict[str, Any]]:
    """Look once an hour at calls in SQLite; return what each day's 24 looks cost.

    No texts are read for drift: what their embedding costs is measured by `bench/embed.py`.
    """
    from offramp.monitoring import look

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        ws = workspace(Path(folder))
        settings = MonitorSettings(texts_per_day=0, quiet_days=1)
        calls = Calls.of(ws.path)
        for number in range(2 if SMALL else 4):
            for block in day(number, STORED_A_DAY):
                calls.insert(block)
            begun = time.process_time()
            for hour in range(24):
                look(ws.roster, settings, now=BEGAN + DAY_S * number + 3600 * (hour + 1))
            cpu = time.process_time() - begun
            size = (ws.path / "monitor" / "state.json").stat().st_size // 1024
            rows.append({"day": number, "cpu_s": round(cpu, 2), "rss_mib": rss_mib(), "state_kib": size})
        calls.close()
    return rows


def workspace(folder: Path) -> Workspace:
    """Make an empty workspace."""
    (folder / "rows.jsonl").write_text('{"text": "a", "label": "b"}\n')
    mapping = {"inputs": ["text"], "target": ["label"]}
    content = {
        "name": "desk",
        "data": {"sources": [str(folder / "rows.jsonl")], "mapping": mapping},
    }
    return init(folder / "ws", resolve(content, overrides=None, where="the bench"))


def rss_mib() -> int:
    """Return the memory in use now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    """Measure, and print."""
    rows, seen = streamed()
    print(f"{CALLS_A_DAY:,} calls a day through `watch`")
    table([list(row.values()) for row in rows], list(rows[0]))
    print("alarms:", [(one.signal, one.deployment, round((one.found_at - BEGAN) / DAY_S, 2)) for one in seen])
    kept = stored()
    print(f"\n{STORED_A_DAY:,} calls a day through SQLite, a look an hour")
    table([list(row.values()) for row in kept], list(kept[0]))
    # The first day is left out: there detectors see every call, and modules are loaded.
    later = rows[1:]
    middle = len(later) // 2 or 1
    cpu = [row["cpu_s"] for row in later]
    growth = float(np.mean(cpu[middle:]) / max(np.mean(cpu[:middle]), 0.01))
    memory = later[-1]["rss_mib"] - later[0]["rss_mib"]
    per_million = float(np.mean(cpu)) * 1e6 / CALLS_A_DAY
    ringing = {(one.signal, int((one.found_at - BEGAN) // DAY_S)) for one in seen}
    goals = {
        "CPU of the later days over that of the earlier": (round(growth, 2), "<= 1.25", growth <= 1.25),
        "memory that is added from the second day to the last, MiB": (memory, "<= 30", memory <= 30),
        "state, KiB": (rows[-1]["state_kib"], "<= 1024", rows[-1]["state_kib"] <= 1024),
        "CPU seconds for a million calls": (round(per_million, 1), "<= 120", per_million <= 120),
        "alarms are the day of errors alone": (
            sorted(ringing),
            f"errors on day {BROKEN_DAY}",
            ringing == {("errors", BROKEN_DAY)},
        ),
    }
    emit("monitor_scale", {"watch": rows, "store": kept, "seeds": [8, 9]}, goals)


if __name__ == "__main__":
    main()
