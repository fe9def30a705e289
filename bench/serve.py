"""Requests per second and p99 of `offramp serve` at saturation, beside the same model behind a plain FastAPI loop.

A linear head and a tuned encoder, fitted on the sample task, are each served by two processes of their own: ours, and
FastAPI on uvicorn (uvloop, httptools) where one request is one `model.answer` call, both as `async def` and as `def`
(a pool of threads); the faster of the two is the peer. A third process asks with 64 connections, texts that are all
different. Rounds are interleaved; the median of their ratios counts, and answers are compared one by one. CPU per
request is the server process's own. Servers and load share the machine's cores, as nobody else is there to be asked.

FastAPI is no dependency: `SERVE_PEERS=folder` names where it is, e.g. after
`pip install --target folder fastapi 'uvicorn[standard]'`; or install it in the environment. Without it ours alone is
measured, and no ratio.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _common import SMALL, emit, table

CONNECTIONS = 16 if SMALL else 64
ROUNDS = 1 if SMALL else 3
SECONDS = 1.5 if SMALL else 10.0
ROWS = 700 if SMALL else 2000
HELD = 200 if SMALL else 300
KINDS = ("ours", "fastapi async", "fastapi def")
FIELDS = ("title", "description", "merchant_category", "brand")
ENGINES = ("linear", "encoder")


# ---- models ------------------------------------------------------------------------------------------------------


def make(folder: Path) -> None:
    """Fit both models on the sample task and write them with the task and the rows that are asked."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from offramp.embed import Embedder
    from offramp.sample import generate
    from offramp.train.encoder import EncoderJob, EncoderSettings, fit_encoder
    from offramp.train.linear import LinearJob, fit_linear
    from offramp.types import Task

    kept = [row for row in generate(seed=11, size=ROWS).rows if row.get("category") and row.get("title")]
    columns = {f"field.{name}": [row.get(name) or "" for row in kept] for name in FIELDS}
    rows = pa.table(
        {"id": [str(i) for i in range(len(kept))], **columns, "target": [r["category"] for r in kept]}
    )
    labels = tuple(sorted(set(rows.column("target").to_pylist())))
    task = Task(name="category", inputs=FIELDS, target="category", labels=labels, levels=3)
    train, held = rows.slice(0, len(kept) - HELD), rows.slice(len(kept) - HELD)
    embedder = Embedder.load(cache=folder / "cache")
    fit_linear(train.slice(150), train.slice(0, 150), LinearJob(task, folder / "linear", embedder))
    quick = EncoderSettings(epochs=1, rank=8)
    fit_encoder(train.slice(150), train.slice(0, 150), EncoderJob(task, folder / "encoder", embedder, quick))
    pq.write_table(held, folder / "held.parquet")
    (folder / "task.json").write_text(task.model_dump_json())


def loaded(folder: Path, engine: str) -> tuple[Any, Any]:
    """Return the task and the model."""
    from offramp.embed import Embedder
    from offramp.models.encoder import EncoderModel
    from offramp.models.linear import LinearModel
    from offramp.types import Task

    task = Task.model_validate_json((folder / "task.json").read_text())
    if engine == "linear":
        return task, LinearModel.load(folder / "linear", embedder=Embedder.load())
    return task, EncoderModel.load(folder / "encoder")


# ---- servers, each a process -------------------------------------------------------------------------------------


def serve_ours(folder: Path, engine: str) -> None:
    """Serve with `offramp.serve`."""
    from offramp.serve import Served, ServeSettings, Serving
    from offramp.serve.inputs import Reader
    from offramp.serve.loading import warm
    from offramp.serve.process import run_loop, until_told

    task, model = loaded(folder, engine)
    # The rows were not curated, so neither side cleans.
    served = Served(engine, engine, model, Reader(task, cleaned=False))
    warm(served)
    run_loop(until_told(Serving([served], ServeSettings(port=0)), lambda address: print(address, flush=True)))


def serve_fastapi(folder: Path, engine: str, *, pooled: bool) -> None:
    """Serve with FastAPI: the loop that one writes first."""
    import socket

    import pyarrow as pa
    import uvicorn
    from fastapi import FastAPI

    task, model = loaded(folder, engine)
    api = FastAPI()

    def answered(body: dict[str, Any]) -> dict[str, Any]:
        fields = json.loads(body["messages"][-1]["content"])
        columns = {f"field.{name}": [fields[name]] for name in task.inputs}
        answer = model.answer(pa.table({"id": ["0"], **columns})).to_pylist()[0]
        message = {"role": "assistant", "content": answer["text"]}
        return {"choices": [{"index": 0, "message": message}], "confidence": answer["confidence"]}

    if pooled:
        api.post("/v1/chat/completions")(answered)
    else:

        @api.post("/v1/chat/completions")
        async def answer(body: dict[str, Any]) -> dict[str, Any]:
            return answered(body)

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    warm = {name: "warm up" for name in task.inputs}
    answered({"messages": [{"content": json.dumps(warm)}]})
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(api, log_level="warning", access_log=False)).run([listening])


@contextlib.contextmanager
def server(folder: Path, engine: str, kind: str) -> Iterator[tuple[str, int]]:
    """Start one in a process of its own; gives address and process id."""
    words = [sys.executable, __file__, "--serve", kind, "--engine", engine, "--folder", str(folder)]
    more = [os.environ.get("SERVE_PEERS", ""), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(part for part in more if part)}
    child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert child.stdout is not None
        address = child.stdout.readline().strip()
        if not address:
            raise RuntimeError(f"{kind} did not start")
        yield address, child.pid
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(60)


# ---- load --------------------------------------------------------------------------------------------------------


async def load(address: str, engine: str, texts: list[str], seconds: float) -> dict[str, Any]:
    """Ask as fast as answers come; returns requests per second, latencies and answers."""
    import aiohttp

    said: dict[int, str] = {}
    times: list[float] = []
    failed = 0
    bodies = [
        json.dumps({"model": engine, "messages": [{"role": "user", "content": text}]}).encode()
        for text in texts
    ]
    until = time.perf_counter() + seconds
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def client(start: int) -> None:
            nonlocal failed
            place = start
            while (began := time.perf_counter()) < until:
                headers = {"Content-Type": "application/json"}
                async with session.post(
                    f"{address}/v1/chat/completions", data=bodies[place % len(bodies)], headers=headers
                ) as reply:
                    body = await reply.json()
                if reply.status == 200:
                    said[place % len(bodies)] = body["choices"][0]["message"]["content"]
                    times.append(time.perf_counter() - began)
                else:
                    failed += 1
                place += CONNECTIONS

        began = time.perf_counter()
        await asyncio.gather(*(client(i) for i in range(CONNECTIONS)))
        took = time.perf_counter() - began
    times.sort()
    return {
        "rps": len(times) / took,
        "p50_ms": 1e3 * times[len(times) // 2],
        "p99_ms": 1e3 * times[int(len(times) * 0.99)],
        "requests": len(times),
        "failed": failed,
        "said": said,
    }


def cpu_s(pid: int) -> float:
    """Return the processor seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def asked(address: str, pid: int, folder: Path, engine: str) -> dict[str, Any]:
    """Load a server from another process and measure."""
    words = [sys.executable, __file__, "--load", address, "--engine", engine, "--folder", str(folder)]
    before = cpu_s(pid)
    found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    return {**found, "cpu_us": 1e6 * (cpu_s(pid) - before) / max(found["requests"], 1)}


def texts_of(folder: Path) -> list[str]:
    """Return what is asked: each row's fields as JSON."""
    import pyarrow.parquet as pq

    rows = pq.read_table(folder / "held.parquet").to_pylist()
    return [json.dumps({name: row[f"field.{name}"] for name in FIELDS}) for row in rows]


# ---- comparison --------------------------------------------------------------------------------------------------


def compare(folder: Path, engine: str, kinds: list[str]) -> dict[str, Any]:
    """Ask all servers in turn; they run all the time and are idle while another is asked."""
    found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in kinds}
    with contextlib.ExitStack() as stack:
        running = {kind: stack.enter_context(server(folder, engine, kind)) for kind in kinds}
        for kind in kinds:  # what is made once
            asked(*running[kind], folder, engine)
        for _ in range(ROUNDS):
            for kind in kinds:
                found[kind].append(asked(*running[kind], folder, engine))
    summary: dict[str, Any] = {}
    for kind, runs in found.items():
        keys = ("rps", "p50_ms", "p99_ms", "cpu_us", "requests", "failed")
        summary[kind] = {key: round(statistics.median(run[key] for run in runs), 1) for key in keys}
    peers = [kind for kind in kinds if kind != "ours"]
    if peers:
        best = max(peers, key=lambda kind: summary[kind]["rps"])
        pairs = list(zip(found["ours"], found[best], strict=True))
        summary["peer"] = best
        summary["ratios"] = [round(mine["rps"] / other["rps"], 2) for mine, other in pairs]
        summary["cpu_ratios"] = [round(other["cpu_us"] / mine["cpu_us"], 2) for mine, other in pairs]
        shared = [
            (mine["said"][at], other["said"][at])
            for mine, other in pairs
            for at in mine["said"]
            if at in other["said"]
        ]
        summary["compared"] = len(shared)
        summary["equal"] = sum(a == b for a, b in shared)
    return summary


def has_fastapi() -> bool:
    """Say whether the peer can be started."""
    words = [sys.executable, "-c", "import fastapi, uvicorn"]
    environment = {**os.environ, "PYTHONPATH": os.environ.get("SERVE_PEERS", "")}
    return subprocess.run(words, env=environment, check=False, capture_output=True).returncode == 0


def main() -> None:
    """Measure, or be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", choices=KINDS)
    parser.add_argument("--load")
    parser.add_argument("--engine", choices=ENGINES)
    parser.add_argument("--folder", type=Path, help="models made before; default: made now")
    wanted = parser.parse_args()
    if wanted.serve == "ours":
        return serve_ours(wanted.folder, wanted.engine)
    if wanted.serve:
        return serve_fastapi(wanted.folder, wanted.engine, pooled=wanted.serve.endswith("def"))
    if wanted.load:
        print(json.dumps(asyncio.run(load(wanted.load, wanted.engine, texts_of(wanted.folder), SECONDS))))
        return None
    kinds = list(KINDS) if has_fastapi() else ["ours"]
    if len(kinds) == 1:
        print("skipped: FastAPI; set SERVE_PEERS to a folder that has fastapi and uvicorn")
    with tempfile.TemporaryDirectory() as made:
        folder = wanted.folder or Path(made)
        if not (folder / "task.json").exists():
            make(folder)
        figures = {engine: compare(folder, engine, kinds) for engine in ENGINES}
    goals: dict[str, tuple[Any, Any, bool]] = {}
    for engine in ENGINES if len(kinds) > 1 else ():
        ratio = statistics.median(figures[engine]["ratios"])
        goals[f"{engine}: times the requests per second of FastAPI"] = (ratio, ">= 5", ratio >= 5)
        same = figures[engine]["equal"], figures[engine]["compared"]
        goals[f"{engine}: equal answers"] = (same[0], f"== {same[1]}", same[0] == same[1])
    shown = ("rps", "p50_ms", "p99_ms", "cpu_us", "failed")
    table(
        [
            [engine, kind, *(figures[engine][kind][key] for key in shown)]
            for engine in ENGINES
            for kind in kinds
        ],
        ["model", "server", *shown],
    )
    settings = {"connections": CONNECTIONS, "seconds": SECONDS, "rounds": ROUNDS}
    emit("serve", {**figures, **settings}, goals)
    return None


if __name__ == "__main__":
    main()
