"""SIGKILL under load, twenty times: every call that was confirmed as written is there, none is half-written.

A child works under load and prints `ack ID` for each call that is confirmed. It is killed at a random moment; then the
file is checked while a second child would already be using it. Each body carries its own SHA-256, so a torn one is
seen. Two children: a recorder alone at 2,000 calls a second, and a whole gateway whose clients ask it for confirmation.

    python bench/capture_kill.py                        both campaigns
    python bench/capture_kill.py record|gateway FILE    a child
"""

import asyncio
import hashlib
import json
import os
import random
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp

from _common import SMALL, emit, table
from offramp.capture import Call, Calls, CaptureSettings, Recorder, new_id
from offramp.gateway.run import Listening, parts_of
from offramp.route.settings import GatewaySettings, UpstreamSettings

KILLS = 3 if SMALL else 20
CLIENTS = 16
CALLS_PER_S = 2_000
LOAD_S = (0.3, 2.0)
"""Shortest and longest time under load before the kill."""


def body(number: int, chance: random.Random) -> bytes:
    """Make a request whose text carries its own hash; sizes as in chat traffic, one in 500 of 200 kB."""
    size = 200_000 if number % 500 == 499 else int(min(40_000, chance.lognormvariate(6.5, 1.2)))
    text = f"{number} " + "wörd " * (size // 6)
    proof = hashlib.sha256(text.encode()).hexdigest()
    message = {"role": "user", "content": text}
    return json.dumps(
        {"model": "t", "messages": [message], "metadata": {"n": number, "proof": proof}}, ensure_ascii=False
    ).encode()


def is_whole(request: bytes | None) -> bool:
    """Return whether a body that `body` made is all there."""
    try:
        read = json.loads(request or b"")
        text = read["messages"][0]["content"]
        return hashlib.sha256(text.encode()).hexdigest() == read["metadata"]["proof"]
    except (ValueError, KeyError, IndexError, TypeError):
        return False


def record(path: Path) -> None:
    """Record calls until killed; print what is confirmed."""
    recording = Recorder(Calls.open(path), CaptureSettings(flush_s=0.05))
    recording.start()
    waiting: deque[str] = deque()
    threading.Thread(target=_confirm, args=(recording, waiting), daemon=True).start()
    chance = random.Random(os.getpid())
    number, began = 0, time.monotonic()
    while True:
        while number < (time.monotonic() - began) * CALLS_PER_S:
            made = new_id()
            request = body(number, chance)
            call = Call(made, time.time(), "t", "chat", "record", 200, request, answer=request)
            if recording.put(call):
                waiting.append(made)
            number += 1
        time.sleep(0.001)


def _confirm(recording: Recorder, waiting: deque[str]) -> None:
    while True:
        lines = []
        while waiting and recording.is_written(waiting[0]):
            lines.append(f"ack {waiting.popleft()}\n")
        if lines:
            # One system call: a line is whole in the pipe or not there.
            os.write(1, "".join(lines[:100]).encode())
            for line in range(100, len(lines), 100):
                os.write(1, "".join(lines[line : line + 100]).encode())
        time.sleep(0.002)


def serve(path: Path) -> None:
    """Run a gateway, an upstream that echoes, and clients, until killed; print what the gateway confirms."""
    asyncio.run(_served(path.parent))


async def _served(folder: Path) -> None:
    upstream = await asyncio.start_server(_echo, "127.0.0.1", 0, limit=2**22)
    port = upstream.sockets[0].getsockname()[1]
    named = UpstreamSettings(name="incumbent", base_url=f"http://127.0.0.1:{port}/v1")
    settings = GatewaySettings(port=0, upstreams=(named,), capture=CaptureSettings(flush_s=0.05))
    async with Listening(parts_of(folder, settings)) as listening, aiohttp.ClientSession() as http:
        chance = random.Random(os.getpid())
        waiting: asyncio.Queue[str] = asyncio.Queue()
        clients = [_client(http, listening.address, number, chance, waiting) for number in range(CLIENTS)]
        await asyncio.gather(*clients, _asks(http, listening.address, waiting))


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request with its own message, which carries its proof, as a chat answer."""
    while head := await reader.readuntil(b"\r\n\r\n"):
        length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1])  # type: ignore[index]
        asked = json.loads(await reader.readexactly(length))
        said = {"message": {"role": "assistant", "content": "seen"}, "index": 0, "finish_reason": "stop"}
        answer = json.dumps({**asked, "choices": [said]}, ensure_ascii=False).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % len(answer) + answer)
        await writer.drain()


async def _client(
    http: aiohttp.ClientSession, base: str, number: int, chance: random.Random, waiting: "asyncio.Queue[str]"
) -> None:
    while True:
        request = body(number, chance)
        async with http.post(f"{base}/chat/completions", data=request) as response:
            await response.read()
            waiting.put_nowait(response.headers["x-offramp-call"])
        number += CLIENTS


async def _asks(http: aiohttp.ClientSession, base: str, waiting: "asyncio.Queue[str]") -> None:
    while True:
        call = await waiting.get()
        while True:
            async with http.get(f"{base}/offramp/calls/{call}") as response:
                if response.status == 200:
                    break
            await asyncio.sleep(0.01)
        os.write(1, f"ack {call}\n".encode())


@dataclass(frozen=True)
class Kill:
    """What one kill left."""

    confirmed: int
    """Calls confirmed before it."""
    lost: int
    """Confirmed calls that are not in the file."""
    torn: int
    """Calls in the file that are not whole."""
    beyond: int
    """Calls in the file that were not confirmed yet: written, or the line was lost."""
    sound: bool
    """SQLite's own check of the file."""
    recovery_s: float
    """From opening the file after the kill to the first call written and confirmed."""


def one_kill(command: Sequence[str], database: Path, chance: random.Random) -> Kill:
    """Let the child work, kill it, look at what is there."""
    rows_before = _last_row(database)
    child = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert child.stdout is not None
    first = child.stdout.readline()
    acknowledged = [first]
    reader = threading.Thread(target=lambda: acknowledged.extend(child.stdout))
    reader.start()
    time.sleep(chance.uniform(*LOAD_S))
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    reader.join()
    child.stdout.close()
    # A last line may be cut by the kill: it confirms nothing.
    confirmed = {line.split()[1].decode() for line in acknowledged if line.endswith(b"\n")}

    began = time.perf_counter()
    calls = Calls.open(database)
    probe = Call(new_id(), time.time(), "probe", "chat", "record", 200, body(0, chance))
    calls.insert([probe])
    assert calls.has(probe.id)
    recovery_s = time.perf_counter() - began
    calls.close()
    return _looked(database, confirmed, rows_before, recovery_s)


def _last_row(database: Path) -> int:
    if not database.exists():
        return 0
    connection = sqlite3.connect(database)
    last = connection.execute("SELECT coalesce(max(rowid), 0) FROM calls").fetchone()[0]
    connection.close()
    return int(last)


def _looked(database: Path, confirmed: set[str], rows_before: int, recovery_s: float) -> Kill:
    connection = sqlite3.connect(database)
    sound = connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    query = "SELECT id, request, answer FROM calls WHERE rowid > ? AND alias = 't'"
    ids, torn = set(), 0
    for call_id, request, answer in connection.execute(query, (rows_before,)):
        ids.add(call_id)
        torn += not is_whole(request) or (answer is not None and not is_whole(answer))
    connection.close()
    return Kill(len(confirmed), len(confirmed - ids), torn, len(ids - confirmed), sound, recovery_s)


def campaign(command: Sequence[str], database: Path, *, kills: int, seed: int = 0) -> list[Kill]:
    """Kill `command` that many times over one growing file, so that each start recovers from the kill before."""
    chance = random.Random(seed)
    return [one_kill(command, database, chance) for _ in range(kills)]


def main() -> None:
    """Run both campaigns and report."""
    figures: dict[str, Any] = {}
    goals: dict[str, tuple[Any, Any, bool]] = {}
    for who in ("record", "gateway"):
        with tempfile.TemporaryDirectory() as folder:
            database = Path(folder) / "calls.db"
            command = [sys.executable, str(Path(__file__).resolve()), who, str(database)]
            done = campaign(command, database, kills=KILLS)
            size_mib = database.stat().st_size / 2**20
        print(f"\n{who}")
        heads = ["confirmed", "lost", "torn", "beyond", "sound", "recovery_s"]
        table([list(asdict(kill).values()) for kill in done], heads)
        lost, torn = sum(kill.lost for kill in done), sum(kill.torn for kill in done)
        sound, hit = sum(k.sound for k in done), sum(k.confirmed > 0 for k in done)
        figures[who] = {
            "kills": [asdict(kill) for kill in done],
            "confirmed": sum(kill.confirmed for kill in done),
            "recovery_median_s": statistics.median(kill.recovery_s for kill in done),
            "recovery_longest_s": max(kill.recovery_s for kill in done),
            "file_mib": size_mib,
        }
        goals |= {
            f"{who}: confirmed calls lost": (lost, 0, lost == 0),
            f"{who}: calls half-written": (torn, 0, torn == 0),
            f"{who}: kills after which the file is sound": (sound, KILLS, sound == KILLS),
            f"{who}: kills that hit calls under way": (hit, KILLS, hit == KILLS),
        }
    emit("capture_kill", figures, goals)


if __name__ == "__main__":
    if sys.argv[1:2] == ["record"]:
        record(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["gateway"]:
        serve(Path(sys.argv[2]))
    else:
        main()
