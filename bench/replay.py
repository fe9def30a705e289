"""A real day of traffic through every way to deploy: record only, shadow, canary, cascade, rollback; then the bill.

The Azure LLM inference trace 2023 (28,185 production requests, arrival times and token counts, no texts; CC BY 4.0) is
sent to a real gateway in a process of its own, in its order and with its pauses made shorter. The incumbent and the
candidate are mocks in a third process: their answers, confidences and correctness are made up by a fixed rule; what an
answer says it used is exactly what the trace says, so the bill is that of the trace. Texts are about as long as the
trace's tokens but cut at CUT characters, to keep this a matter of minutes. The trace names no conversations; requests
are put into ones of four turns. Phases are switched by records, as `offramp deploy` writes them, while it runs.

    make bench-replay                            the whole trace; BENCH_SMALL=1: 1,000 requests
    python bench/replay.py serve FOLDER PORT     the gateway process
    python bench/replay.py mock                  the mock process
"""

import asyncio
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from _common import SMALL, data_dir, emit, table

if TYPE_CHECKING:
    from offramp.capture import Call

ALIAS = "assistant"
MODEL, PROVIDER = "gpt-4o-mini", "openai"
"""Whose price the bill is at; the trace does not say which model it was."""
FACTOR = 30.0 if SMALL else 60.0
"""Fast motion that is aimed at; what was reached is printed."""
AT_ONCE = 48
"""Requests under way at most; when they are, later ones wait and the motion is slower than aimed at."""
CUT = 1_600
"""Longest text in characters, about 400 tokens."""
TURNS = 4
SHARE, THRESHOLD, LIMIT = 0.2, 0.7, 0.1
"""Canary's share; cascade's threshold, and the error it is said to promise (made up, as the confidences are)."""
LABELLED = 0.1
"""Share of the calls on which feedback is sent, in shadow and cascade."""
PHASES = ("record only", "shadow", "canary", "cascade", "rollback")
SETTLE_S = 1.1
"""A deployment counts within a second; other phases than the rollback wait for it."""
HERE = Path(__file__).resolve().parent


@dataclass
class Asked:
    """One request of the trace, and what came of it."""

    number: int
    at_s: float
    """Seconds since the first request of the trace."""
    read: int
    """Prompt tokens."""
    wrote: int
    """Answer tokens."""
    talk: str
    """Conversation, made up."""
    phase: str = ""
    status: int = 0
    call: str = ""
    route: str = ""
    answered_by: str = ""


@dataclass
class Seen:
    """What happened at the gateway besides the answers."""

    rolled_back_at: float = 0.0
    began: dict[str, float] = field(default_factory=dict)
    wall_s: float = 0.0


# ---- the trace -----------------------------------------------------------------------------------------------------


def trace() -> list[Asked]:
    """Return both files of the trace as one stream by arrival, in five equal phases."""
    rows: list[tuple[float, int, int]] = []
    for name in ("conv", "code"):
        path = data_dir() / "traffic_azure_llm" / f"AzureLLMInferenceTrace_{name}.csv"
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                at = datetime.fromisoformat(row["TIMESTAMP"][:26]).replace(tzinfo=UTC)
                rows.append((at.timestamp(), int(row["ContextTokens"]), int(row["GeneratedTokens"])))
    rows.sort()
    rows = rows[:1000] if SMALL else rows
    chance = random.Random(6)
    found = []
    for start in range(0, len(rows), 10 * TURNS):
        part = rows[start : start + 10 * TURNS]
        talks = [f"talk-{start // TURNS + n // TURNS}" for n in range(len(part))]
        chance.shuffle(talks)
        for number, ((at, read, wrote), talk) in enumerate(zip(part, talks, strict=True), start=start):
            found.append(Asked(number, at - rows[0][0], read, wrote, talk))
    for one in found:
        one.phase = PHASES[min(one.number * len(PHASES) // len(found), len(PHASES) - 1)]
    return found


def body_of(one: Asked) -> bytes:
    """Return a chat request of about the trace's size; the mock reads the counts from its metadata."""
    words = "order parcel refund invoice address change cancel account card login size colour "
    text = (words * (one.read * 4 // len(words) + 1))[: min(one.read * 4, CUT)]
    asked = {
        "model": ALIAS,
        "messages": [{"role": "user", "content": f"request {one.number}: {text}"}],
        "metadata": {"trace": f"{one.number}/{one.read}/{one.wrote}", "conversation_id": one.talk},
    }
    return json.dumps(asked, separators=(",", ":")).encode()


# ---- the mocks: what they say is made up ---------------------------------------------------------------------------


def right(number: int) -> str:
    """Return the right answer to a request."""
    return f"queue-{number % 7}"


def told(number: int, who: str) -> tuple[str, float]:
    """Return what a mock answers and how sure it is: both are right nine times in ten, less where they are unsure."""
    chance = random.Random(f"{who} {number}")
    sure = chance.random() ** 0.4
    is_right = chance.random() < (0.9 if who == "incumbent" else 0.7 + 0.3 * sure)
    return (right(number) if is_right else "queue-x"), sure


class Mock(asyncio.Protocol):
    """One kept connection to a mock."""

    def __init__(self, who: str) -> None:
        """Answer as the incumbent or the candidate."""
        self._who, self._rest = who, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole by now."""
        data = self._rest + data
        while (head := data.find(b"\r\n\r\n")) >= 0:
            length = data[:head].lower().partition(b"content-length:")[2].partition(b"\r")[0]
            size = head + 4 + int(length or 0)
            if len(data) < size:
                break
            self._transport.write(self._answer(data[head:size]))  # type: ignore[attr-defined]
            data = data[size:]
        self._rest = data

    def _answer(self, body: bytes) -> bytes:
        at = body.rindex(b'"trace":"') + 9
        number, read, wrote = map(int, body[at : body.index(b'"', at)].split(b"/"))
        text, sure = told(number, self._who)
        said = {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 1_790_000_000,
            "model": MODEL if self._who == "incumbent" else "small",
            "choices": [
                {
                    "index": 0,
                    "message": {
                        "role": "assistant",
                        "content": text + "\n" + "so it is " * min(wrote // 2, 90),
                    },
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote},
        }
        if self._who == "candidate":
            said["offramp"] = {"candidate": "candidate-mock", "confidence": round(sure, 6)}
        found = json.dumps(said, separators=(",", ":")).encode()
        return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
            len(found),
            found,
        )


async def mock() -> None:
    """Listen as incumbent and as candidate until standard input ends."""
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(lambda who=who: Mock(who), "127.0.0.1", 0, backlog=1024)
        for who in ("incumbent", "candidate")
    ]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    gone = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), gone.set)
    await gone.wait()


def serve(folder: Path, port: int) -> None:
    """Be the gateway."""
    from offramp.gateway.run import run
    from offramp.route.settings import GatewaySettings, Patience, ShadowSettings, UpstreamSettings

    # The three processes share a machine that may be busy with others': nobody is given up for its sake.
    calm = Patience(connect_s=60, first_s=120)
    incumbent = UpstreamSettings(
        name="incumbent",
        base_url=f"http://127.0.0.1:{port}/v1",
        model=MODEL,
        provider=PROVIDER,
        patience=calm,
    )
    shadow = ShadowSettings(at_once=256)
    settings = GatewaySettings(port=0, alias=ALIAS, upstreams=(incumbent,), candidate=calm, shadow=shadow)
    run(folder, settings, ready=lambda address: print(address.split(":")[2].split("/")[0], flush=True))


@contextmanager
def started(*words: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """Run this file as another process; gives it and the ports that it says."""
    command = [sys.executable, str(HERE / "replay.py"), *words]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            sys.exit("a process of the benchmark ended before it listened; its error is above")
        yield process, [int(word) for word in line.split()]
    finally:
        process.terminate()
        process.wait(60)


# ---- the replay ----------------------------------------------------------------------------------------------------


def deploy(folder: Path, phase: str, url: str) -> float:
    """Write what counts from now on; returns when that was done, unix seconds."""
    from offramp.deploying import rollback
    from offramp.store import Store
    from offramp.types import Deployment, MadeBy

    own: dict[str, dict[str, Any]] = {
        "shadow": {"mode": "shadow"},
        "canary": {"mode": "canary", "share": SHARE},
        "cascade": {
            "mode": "cascade",
            "threshold": THRESHOLD,
            "promise": {"limit": LIMIT, "against": "truth"},
        },
    }
    with Store(folder) as store:
        if phase == "rollback":
            rollback(store, ALIAS, to=0, why="end of the replay")
        elif phase in own:
            version = PHASES.index(phase)
            fields = {
                "alias": ALIAS,
                "version": version,
                "candidate": "candidate-mock",
                "name": "small",
                "url": url,
            }
            made = {
                "id": f"deployment-{version:04d}",
                "made_by": MadeBy(version="0"),
                "why": "the candidate is a mock",
            }
            store.add(Deployment.model_validate({**fields, **made, **own[phase]}))
    return time.time()


async def replay(asked: list[Asked], folder: Path, port: int, url: str) -> Seen:
    """Send every request at its time, switch phases on the way, and send feedback on some."""
    import aiohttp

    seen = Seen()
    base = f"http://127.0.0.1:{port}/v1"
    gate = asyncio.Semaphore(AT_ONCE)
    under_way: set[asyncio.Task[None]] = set()
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-replay"}

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as http:

        async def one_call(one: Asked) -> None:
            try:
                async with http.post(f"{base}/chat/completions", data=body_of(one)) as response:
                    await response.read()
                    one.status = response.status
                    one.call = response.headers.get("x-offramp-call", "")
                    one.route = response.headers.get("x-offramp-route", "")
                    one.answered_by = response.headers.get("x-offramp-answered-by", "")
                if one.phase in ("shadow", "cascade") and random.Random(one.number).random() < LABELLED:
                    said = {"call": one.call, "kind": "label", "value": right(one.number)}
                    async with http.post(f"{base}/offramp/feedback", json=said) as response:
                        assert response.status == 200, await response.text()
            finally:
                gate.release()

        began = time.perf_counter()
        phase = PHASES[0]
        seen.began[phase] = time.time()
        for one in asked:
            if one.phase != phase:
                phase = one.phase
                if phase != "rollback":  # a rollback is in the middle of the traffic
                    await asyncio.gather(*under_way)
                    deploy(folder, phase, url)
                    await asyncio.sleep(SETTLE_S)
                    began += SETTLE_S
                    seen.began[phase] = time.time()
                else:
                    seen.began[phase] = seen.rolled_back_at = deploy(folder, phase, url)
            await gate.acquire()
            wait_s = began + one.at_s / FACTOR - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            task = asyncio.create_task(one_call(one))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
        seen.wall_s = time.perf_counter() - began
    return seen


# ---- what came of it -----------------------------------------------------------------------------------------------


def price(read: int, wrote: int) -> float:
    """Return the price of tokens at the incumbent, in requests of the trace's size."""
    from offramp import prices

    tokens = prices.Tokens(input=Decimal(1000), output=Decimal(1000))
    quote = prices.quote(MODEL, PROVIDER, tokens=tokens, when=datetime.now(UTC).date())
    unit = {line.unit: float(line.usd / prices.MILLION) for line in quote.lines}
    return read * unit["1M input tokens"] + wrote * unit["1M output tokens"]


def first_line(answers: Sequence[str | None], wanted: Sequence[str]) -> "np.ndarray":
    """Score by the first line of an answer; the rest is filling."""
    pairs = zip(answers, wanted, strict=True)
    return np.array([float(a is not None and a.partition("\n")[0].strip() == w) for a, w in pairs])


def checked(asked: list[Asked], seen: Seen, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Hold what the store says against what was sent; returns figures and goals."""
    from offramp.capture import Calls
    from offramp.capture.export import rights
    from offramp.production import TRAFFIC, traffic_rows

    store = Calls.open(folder / "calls.db")
    calls, known = list(store.each()), rights(store)
    table(traffic_rows(store.summary()), TRAFFIC)
    store.close()
    of = {phase: [one for one in asked if one.phase == phase] for phase in PHASES}
    bill, figures = billed(asked, calls)
    goals = counted(asked, calls, len(of["shadow"])) | bill | routed(of, calls, seen)
    figures |= proven(calls, known, folder) | {
        "requests": len(asked),
        "wall_s": round(seen.wall_s, 1),
        "factor": round(asked[-1].at_s / seen.wall_s, 1),
        "answered_by": {phase: dict(Counter(one.answered_by for one in of[phase])) for phase in PHASES},
    }
    return figures, goals


def counted(asked: list[Asked], calls: "list[Call]", shadowed: int) -> dict[str, Any]:
    """Return the goals of counting: everyone answered, each call kept once."""
    answered = sum(one.status == 200 for one in asked)
    sent = Counter(one.call for one in asked)
    kept = Counter(call.id for call in calls if call.route != "shadow")
    shadows = sum(call.route == "shadow" for call in calls)
    return {
        "requests answered": (answered, len(asked), answered == len(asked)),
        "calls recorded once": (len(kept), len(asked), kept == sent and max(kept.values()) == 1),
        "shadow calls recorded": (shadows, shadowed, shadows == shadowed),
        "rows in the store": (len(calls), len(asked) + shadows, len(calls) == len(asked) + shadows),
    }


def billed(asked: list[Asked], calls: "list[Call]") -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the goals and figures of tokens and money."""
    theirs = {one.call: one for one in asked if one.answered_by == "incumbent"}
    wanted = sum(one.read for one in theirs.values()), sum(one.wrote for one in theirs.values())
    incumbent = [call for call in calls if call.answered_by == "incumbent"]
    tokens = (
        sum(call.input_tokens or 0 for call in incumbent),
        sum(call.output_tokens or 0 for call in incumbent),
    )
    bill = sum(call.cost_usd or 0.0 for call in calls)
    gap = abs(bill - price(*wanted))
    alone = price(sum(one.read for one in asked), sum(one.wrote for one in asked))
    print(
        f"bill at {MODEL}'s price of today: ${bill:,.2f}; the incumbent alone would have cost ${alone:,.2f} (the "
        "candidate's machine is not in it)"
    )
    goals = {
        "incumbent's tokens": (sum(tokens), sum(wanted), tokens == wanted),
        "bill, largest gap to the trace's tokens, USD": (round(gap, 9), "< 1e-6", gap < 1e-6),
    }
    return goals, {"bill_usd": round(bill, 4), "incumbent_alone_usd": round(alone, 4)}


def routed(of: dict[str, list[Asked]], calls: "list[Call]", seen: Seen) -> dict[str, Any]:
    """Return the goals of routing: the canary's share, sticky talks, the threshold, the rollback."""
    talks: dict[str, set[str]] = defaultdict(set)
    for one in of["canary"]:
        talks[one.talk].add(one.answered_by)
    ratio = sum("candidate" in who for who in talks.values()) / len(talks)
    spread = 2.576 * (SHARE * (1 - SHARE) / len(talks)) ** 0.5
    torn = sum(len(who) > 1 for who in talks.values())
    by_id = {call.id: call for call in calls}
    own = [by_id[one.call] for one in of["cascade"] if one.call in by_id]
    wrong_side = sum(
        (call.route == "cascade") != (told(one.number, "candidate")[1] >= THRESHOLD)
        for one, call in zip(of["cascade"], own, strict=False)
    )
    after = [call.at - seen.rolled_back_at for call in calls if call.answered_by == "candidate"]
    late = max([0.0, *after])
    return {
        "canary's share of conversations": (
            round(ratio, 4),
            f"{SHARE} +- {spread:.3f}",
            abs(ratio - SHARE) <= spread,
        ),
        "conversations with two answerers in the canary": (torn, 0, torn == 0),
        "cascade answers on the wrong side of the threshold": (wrong_side, 0, wrong_side == 0),
        "candidate's last answer after the rollback, s": (round(late, 3), "<= 1", late <= 1),
    }


def proven(calls: "list[Call]", known: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return what pairs and audits say; the answers are made up, so nothing is claimed of it."""
    from offramp.shadowing import audit, pairs, report
    from offramp.store import Store
    from offramp.types import Deployment

    with Store(folder) as records:
        deployments = {one.mode: one for one in records.all(Deployment)}
    paired = report(list(pairs(calls, known, deployments["shadow"].id)), first_line, margin=0.02)
    watched = audit(calls, known, first_line, deployments["cascade"])
    assert watched is not None
    print(
        f"shadow: {paired.pairs} pairs, {paired.scored} conversations with a right answer, difference "
        f"{100 * (paired.difference or 0):+.1f} pt, certified: {paired.certified}; cascade: {watched.n} audited, loss "
        f"{watched.loss:.3f}, promised {LIMIT}, p {watched.p_value:.2g} (answers are made up)"
    )
    return {"pairs": paired.pairs, "scored": paired.scored}


def cpu_s(process: subprocess.Popen[str]) -> float:
    """Return the processor time of a process so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Replay the trace and hold what came of it against what was sent."""
    asked = trace()
    print(
        f"{len(asked):,} requests over {asked[-1].at_s / 60:.1f} minutes, {sum(one.read for one in asked):,} prompt "
        f"and {sum(one.wrote for one in asked):,} answer tokens; aimed at {FACTOR:g} times as fast; texts cut at {CUT} "
        "characters; incumbent and candidate are mocks"
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _, ports = stack.enter_context(started("mock"))
        with started("serve", str(folder), str(ports[0])) as (process, [port]):
            before_s = cpu_s(process)
            seen = asyncio.run(replay(asked, folder, port, f"http://127.0.0.1:{ports[1]}/v1"))
            time.sleep(1.0)
            spent_s = cpu_s(process) - before_s
        # The gateway has ended: whatever it took is written.
        figures, goals = checked(asked, seen, folder)
    figures["gateway_cpu_us_per_request"] = round(1e6 * spent_s / len(asked))
    print(
        f"replayed in {figures['wall_s']} s, {figures['factor']} times as fast as it was; {figures['answered_by']}"
    )
    emit("replay", figures, goals)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1:2] == ["mock"]:
        asyncio.run(mock())
    else:
        main()
