"""What the gateway costs: direct, through a proxy that only passes bytes on, Offramp and LiteLLM, all in one run.

Capture is on, and so is routing: half of the conversations of the task's alias go to a deployed candidate, which is
the same mock API as the incumbent, so every request is parsed, drawn for the share, sent on, understood, counted and
written to disk. The gateway has one core for itself; the mock and the load, two processes, share another. Processor
time is that of the whole process, the writing thread included, until everything is written. It is the steady figure;
requests per second and latency also tell how busy the machine was. Each round asks all three in turn; the figure is
the median of the rounds. Latency added at the median is taken per round, against the direct one of that round.

    make bench-gateway                                 without LiteLLM
    LITELLM_PYTHON=/path/python make bench-gateway     `litellm[proxy]==1.106.2` in an environment of its own
    make bench-gateway ARGS=--million                  memory over a million requests: minutes, 4 GB in TMPDIR
    python bench/gateway.py serve FOLDER PORT PORT     the gateway process
"""

import json
import os
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _common import SMALL, emit, table
from _load import Load
from _mock_api import CHUNKS

HERE = Path(__file__).resolve().parent
ROUNDS = 2 if SMALL else 7
ALIAS, PACED = "triage", "triage-paced"
"""Aliases: of all requests, and of the streams whose chunks come one by one."""
SECONDS = 0.5 if SMALL else 2.0
MEMORY_REQUESTS = 2_000 if SMALL else 1_000_000 if "--million" in sys.argv else 150_000
STREAMS_AT_ONCE = 32
# LiteLLM answers about a hundred requests a second: its goal is a ratio of processor times, so it gets fewer.
LITELLM_CLIENTS = 16
Figures = dict[str, list[float]]


@dataclass(frozen=True)
class Answerer:
    """Something that is asked."""

    name: str
    """What it is called in the table."""
    port: int
    """Where it listens."""
    process: subprocess.Popen[str] | None = None
    """Its process; `None` for the mock itself."""
    key: str = "sk-client-0123456789"
    """Bearer key that it takes."""


# ---- processes -----------------------------------------------------------------------------------------------------


def cores() -> tuple[int, int]:
    """Return the core of what is measured and the core of everything else."""
    found = sorted(os.sched_getaffinity(0))
    return found[0], found[-1]


def serve(folder: Path, ports: tuple[int, int]) -> None:
    """Be the gateway: two aliases, each with a candidate that gets half of the conversations."""
    from offramp.gateway.run import run
    from offramp.route.settings import GatewaySettings, UpstreamSettings
    from offramp.store import Store
    from offramp.types import Deployment, MadeBy

    upstreams = []
    with Store(folder) as store:
        for number, (alias, port) in enumerate(zip((ALIAS, PACED), ports, strict=True), start=1):
            url = f"http://127.0.0.1:{port}/v1"
            store.add(
                Deployment(
                    id=f"deployment-{number:04d}",
                    made_by=MadeBy(version="0"),
                    alias=alias,
                    version=1,
                    mode="canary",
                    candidate=f"candidate-{number}",
                    name="small",
                    url=url,
                    share=0.5,
                )
            )
            upstreams.append(UpstreamSettings(name=alias, base_url=url, models=(alias,), model="gpt-4o-mini"))
    settings = GatewaySettings(port=0, upstreams=tuple(upstreams))
    run(folder, settings, ready=lambda address: print(address.split(":")[2].split("/")[0], flush=True))


@contextmanager
def started(command: list[str], core: int, **how: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a process on one core; it is ended with SIGTERM."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        **{"stdout": subprocess.PIPE, **how},
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def said_ports(process: subprocess.Popen[str]) -> list[int]:
    """Return the ports that a process says it listens on."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        sys.exit("a process of the benchmark ended before it listened; its error is above")
    return [int(word) for word in line.split()]


@contextmanager
def litellm(upstream: int, folder: Path) -> Iterator[Answerer | None]:
    """Run LiteLLM's proxy, one worker, no database; `None` when there is none."""
    python = os.environ.get("LITELLM_PYTHON")
    if not python or not Path(python).exists():
        print("LiteLLM is left out: set LITELLM_PYTHON to a python that has litellm[proxy]==1.106.2")
        yield None
        return
    key = "sk-" + secrets.token_urlsafe(32)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    entry = {
        "model_name": ALIAS,
        "litellm_params": {
            "model": "openai/gpt-4o-mini",
            "api_base": f"http://127.0.0.1:{upstream}/v1",
            "api_key": "sk-upstream",
        },
    }
    config = folder / "litellm.yaml"  # JSON is YAML
    config.write_text(json.dumps({"model_list": [entry], "general_settings": {"master_key": key}}))
    command = [str(Path(python).with_name("litellm")), "--config", str(config), "--host", "127.0.0.1"]
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR"}
    log = (folder / "litellm.log").open("w")
    with (
        log,
        started(
            [*command, "--port", str(port), "--num_workers", "1", "--telemetry", "False"],
            cores()[0],
            env={**os.environ, **quiet},
            stdout=log,
            stderr=log,
        ) as process,
    ):
        if not listens(process, f"http://127.0.0.1:{port}/health/liveliness"):
            print("LiteLLM is left out: it did not start\n" + (folder / "litellm.log").read_text()[-2000:])
            yield None
        else:
            yield Answerer("LiteLLM", port, process, key)


def listens(process: subprocess.Popen[str], url: str) -> bool:
    """Wait until an address answers."""
    until = time.monotonic() + 90
    while process.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return True
        except OSError:
            time.sleep(0.2)
    return False


# ---- measuring -----------------------------------------------------------------------------------------------------


def cpu_s(process: subprocess.Popen[str] | None) -> float:
    """Return the processor time of a process so far, all threads."""
    if process is None:
        return 0.0
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(process: subprocess.Popen[str]) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def metrics(gateway: Answerer) -> dict[str, float]:
    """Return the gateway's own figures that have no labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    plain = (line.partition(" ") for line in lines if line[:1] != "#" and "{" not in line)
    return {name: float(value) for name, _, value in plain}


def asked(load: Load) -> subprocess.Popen[str]:
    """Start a load on the other core."""
    return subprocess.Popen(
        [sys.executable, str(HERE / "_load.py"), json.dumps(asdict(load))],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {cores()[1]}),
    )


def measured(answerer: Answerer, **how: Any) -> dict[str, Any]:
    """Ask for a while; return latencies, requests per second and processor time per request."""
    before = cpu_s(answerer.process)
    child = asked(Load(port=answerer.port, key=answerer.key, **how))
    said, _ = child.communicate()
    if child.returncode:
        sys.exit(f"the load on {answerer.name} failed; its error is above")
    time.sleep(0.25)  # what was answered last is written by now
    found: dict[str, Any] = json.loads(said)
    found["cpu_us"] = 1e6 * (cpu_s(answerer.process) - before) / found["requests"]
    return found


def note(figures: Figures, name: str, found: Mapping[str, Any], scale: float = 1.0) -> None:
    """Keep what one load measured."""
    figures.setdefault(f"{name} cpu_us", []).append(found["cpu_us"] / scale)
    figures.setdefault(f"{name} per_s", []).append(found["per_s"] * scale)
    for share in ("p50", "p90", "p99"):
        figures.setdefault(f"{name} {share}_ms", []).append(1e3 * found[f"{share}_s"])
    figures.setdefault(f"{name} bad", []).append(found["bad"])


def one_round(figures: Figures, direct: Answerer, floor: list[Answerer], gateway: Answerer) -> None:
    """Ask all of them in turn, but for LiteLLM; `floor` is the bare proxy at each of the mock's ports."""
    alone = {"model": ALIAS, "clients": 1, "seconds": SECONDS}
    many = {"model": ALIAS, "clients": 64, "seconds": SECONDS}
    streams = {"clients": STREAMS_AT_ONCE, "stream": True, "seconds": SECONDS}
    first = measured(direct, **alone)
    note(figures, "direct, 1 client", first)
    ours = measured(gateway, **alone)
    note(figures, "Offramp, 1 client", ours)
    figures.setdefault("added p50_ms", []).append(1e3 * (ours["p50_s"] - first["p50_s"]))
    note(figures, "direct, 64 clients", measured(direct, **many))
    note(figures, "bytes only, 64 clients", measured(floor[0], **many))
    note(figures, "Offramp, 64 clients", measured(gateway, **many))
    note(figures, "bytes only, chunks", measured(floor[0], model=ALIAS, **streams), CHUNKS)
    note(figures, "Offramp, chunks", measured(gateway, model=ALIAS, **streams), CHUNKS)
    note(figures, "bytes only, chunks one by one", measured(floor[1], model=PACED, **streams), CHUNKS)
    note(figures, "Offramp, chunks one by one", measured(gateway, model=PACED, **streams), CHUNKS)


def peer_round(figures: Figures, peer: Answerer) -> None:
    """Ask LiteLLM."""
    ask = {"model": ALIAS, "seconds": SECONDS}
    note(figures, "LiteLLM, 1 client", measured(peer, clients=1, **ask))
    note(figures, f"LiteLLM, {LITELLM_CLIENTS} clients", measured(peer, clients=LITELLM_CLIENTS, **ask))


def memory(gateway: Answerer) -> dict[str, Any]:
    """Ask many requests and watch the memory; the first tenth is the warm-up."""
    assert gateway.process is not None
    written = metrics(gateway)["offramp_capture_written_total"]
    child = asked(Load(port=gateway.port, model=ALIAS, clients=64, requests=MEMORY_REQUESTS))
    seen = [resident_mb(gateway.process)]
    while child.poll() is None:
        time.sleep(0.02 if SMALL else 0.25)
        seen.append(resident_mb(gateway.process))
    found = json.loads(child.communicate()[0])
    time.sleep(0.5)
    kept = metrics(gateway)
    steady = seen[len(seen) // 10 :]
    quarter = max(1, len(steady) // 4)
    first, last = statistics.mean(steady[:quarter]), statistics.mean(steady[-quarter:])
    slope = (
        statistics.linear_regression(range(len(steady)), steady).slope * len(steady)
        if len(steady) > 1
        else 0.0
    )
    return {
        "requests": found["requests"],
        "bad": found["bad"],
        "per_s": found["per_s"],
        "largest_mb": max(seen),
        "first_quarter_mb": first,
        "last_quarter_mb": last,
        "growth_ratio": last / first - 1,
        "slope_mb_per_million": slope / (0.9 * found["requests"]) * 1e6,
        "written": kept["offramp_capture_written_total"] - written,
        "dropped": kept["offramp_capture_dropped_total"],
        "failed": kept["offramp_capture_failed_total"],
    }


def goals_of(middle: Mapping[str, float], kept: Mapping[str, Any]) -> dict[str, tuple[Any, Any, bool]]:
    """Hold the figures against issue 6."""
    cpu_us, per_s = middle["Offramp, 64 clients cpu_us"], middle["Offramp, 64 clients per_s"]
    added = middle["added p50_ms"]
    chunk, paced = middle["Offramp, chunks cpu_us"], middle["Offramp, chunks one by one cpu_us"]
    largest, growth = kept["largest_mb"], kept["growth_ratio"]
    bad = sum(value for name, value in middle.items() if name.endswith(" bad")) + kept["bad"]
    lost = kept["requests"] - kept["written"]
    goals: dict[str, tuple[Any, Any, bool]] = {
        "CPU per request, us": (round(cpu_us), "<= 250", cpu_us <= 250),
        "requests per second on one core": (round(per_s), ">= 4000", per_s >= 4000),
        "added at p50 with one client, ms": (round(added, 3), "<= 0.5", added <= 0.5),
        "CPU per streamed chunk, as fast as they come, us": (round(chunk, 1), "<= 12", chunk <= 12),
        "CPU per streamed chunk, one each 10 ms, us": (round(paced, 1), "<= 12", paced <= 12),
        "memory, MB": (round(largest, 1), "< 100", largest < 100),
        f"memory growth over {kept['requests']:,} requests": (
            f"{growth:+.1%}",
            "within 5 %",
            abs(growth) <= 0.05,
        ),
        "requests answered wrongly": (int(bad), 0, bad == 0),
        "answered calls that are not on disk": (int(lost), 0, lost == 0),
    }
    peer = middle.get(f"LiteLLM, {LITELLM_CLIENTS} clients cpu_us")
    if peer is not None:
        share = cpu_us / peer
        goals["CPU per request of LiteLLM's"] = (f"1/{1 / share:.1f}", "<= 1/30", share <= 1 / 30)
    return goals


def main() -> None:
    """Run everything and report."""
    ours, other = cores()
    if ours == other:
        sys.exit("skipped: two cores were expected, one for the gateway and one for the load")
    figures: Figures = {}
    with ExitStack() as open_:
        folder = Path(open_.enter_context(tempfile.TemporaryDirectory()))
        mock = open_.enter_context(started([sys.executable, str(HERE / "_mock_api.py")], other))
        ports = said_ports(mock)
        command = [sys.executable, str(Path(__file__).resolve()), "serve", str(folder), *map(str, ports)]
        process = open_.enter_context(started(command, ours))
        passing = [sys.executable, str(HERE / "_pass.py"), *map(str, ports)]
        bare = open_.enter_context(started(passing, ours))
        floor = [Answerer("bytes only", port, bare) for port in said_ports(bare)]
        direct, gateway = Answerer("direct", ports[0]), Answerer("Offramp", said_ports(process)[0], process)
        peer = open_.enter_context(litellm(ports[0], folder))
        for answerer in (floor[0], gateway, peer):
            if answerer is not None:  # connections, caches and the code's first run are no part of it
                measured(answerer, model=ALIAS, clients=16, seconds=SECONDS)
        for _ in range(ROUNDS):
            one_round(figures, direct, floor, gateway)
            if peer is not None:
                peer_round(figures, peer)
        peer_mb = resident_mb(peer.process) if peer is not None and peer.process is not None else None
        kept = memory(gateway)
    middle = {name: statistics.median(values) for name, values in figures.items()}
    rows: dict[str, dict[str, float]] = {}
    for name, value in middle.items():
        who, _, what = name.rpartition(" ")
        rows.setdefault(who, {})[what] = value
    heads = ["cpu_us", "per_s", "p50_ms", "p90_ms", "p99_ms", "bad"]
    table(
        [[who, *(round(found[h], 3) for h in heads)] for who, found in rows.items() if "cpu_us" in found],
        ["median of rounds", *heads],
    )
    print(f"memory: {kept}; LiteLLM {peer_mb} MB")
    emit(
        "gateway",
        {
            "rounds": {name: [round(value, 3) for value in values] for name, values in figures.items()},
            "medians": middle,
            "per_s_of_a_core_by_cpu": 1e6 / middle["Offramp, 64 clients cpu_us"],
            "memory": kept,
            "litellm_mb": peer_mb,
        },
        goals_of(middle, kept),
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]), (int(sys.argv[3]), int(sys.argv[4])))
    else:
        main()
