"""Two gateways, processes of their own, on one workspace and one PostgreSQL: what they share, what stops neither."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from classical import WordEmbedder
from deployed import candidate, data, roster
from fake_upstream import FakeUpstream, gateway_settings, says
from offramp.advising import Basis, Known, advise_on
from offramp.capture import Call, Calls
from offramp.deploying import Wish, deploy, rollback
from offramp.errors import ConfigError
from offramp.gateway.run import Listening, parts_of
from offramp.monitoring import look
from offramp.production import production
from offramp.settings import Settings, dump
from offramp.store import Store
from offramp.types import Deployment, MadeBy
from offramp.web.keys import Keys
from postgres import KEYED, PASSWORD, Server
from test_capture_postgres import frozen

ASK = b'{"model": "triage", "messages": [{"role": "user", "content": "where is my parcel"}]}'
DOLLARS = 0.25
"""What the fake incumbent's answer costs: 100,000 tokens of a model at 2.50 dollars a million."""
BIG = {"usage": {"prompt_tokens": 100_000, "completion_tokens": 0, "total_tokens": 100_000}}


GATEWAY = """
import sys
from pathlib import Path
from offramp.gateway.run import run
from offramp.settings import load
folder = Path(sys.argv[1])
settings = load(folder, overrides={"gateway": {"port": 0}}).gateway
run(folder, settings, ready=lambda address: print(address, flush=True))
"""


class Upstreams(threading.Thread):
    """The incumbent and a candidate, on an event loop of their own."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.big, self.small = FakeUpstream(says("big", **BIG)), FakeUpstream(says("small"))
        self._open = threading.Event()
        self.start()
        self._open.wait(10)

    def run(self) -> None:
        async def go() -> None:
            async with self.big, self.small:
                self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
                self._open.set()
                await self._over.wait()

        asyncio.run(go())

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self.join(10)


class Pair:
    """Two gateways."""

    def __init__(self, folder: Path, url: str, upstreams: Upstreams) -> None:
        self.folder, self.url, self.upstreams = folder, url, upstreams
        incumbent = {"name": "incumbent", "base_url": upstreams.big.url, "model": "gpt-4o"}
        given = {"alias": "triage", "store": url, "upstreams": [incumbent], "drain_s": 1}
        Store(folder).close()
        (folder / "offramp.toml").write_text(
            dump(Settings.model_validate({"name": "triage", "gateway": given}))
        )
        known = Keys.load(folder / "keys.json")
        self.keys = {"app": known.add("app"), "shop": known.add("shop", usd_per_day=4 * DOLLARS)}
        self.processes: list[subprocess.Popen[bytes]] = []
        self.addresses: list[str] = []

    def start(self) -> None:
        for n in range(2):
            self.processes.append(self._start(n))
        self.addresses += [self._address(n) for n in range(2)]

    def _start(self, n: int) -> "subprocess.Popen[bytes]":
        with (self.folder / f"said-{n}").open("wb") as said, (self.folder / f"log-{n}").open("wb") as log:
            given = {**os.environ, "PGPASSWORD": PASSWORD}
            command = [sys.executable, "-c", GATEWAY, str(self.folder)]
            return subprocess.Popen(command, stdout=said, stderr=log, env=given)

    def _address(self, n: int) -> str:
        until = time.monotonic() + 60
        while not (said := (self.folder / f"said-{n}").read_text()).endswith("\n"):
            assert self.processes[n].poll() is None and time.monotonic() < until, self.log(n)
            time.sleep(0.02)
        return said.strip()

    def log(self, n: int) -> str:
        return (self.folder / f"log-{n}").read_text()

    def close(self) -> list[int]:
        """End both, and return with what codes they ended."""
        for one in self.processes:
            one.send_signal(signal.SIGTERM)
        return [one.wait(20) for one in self.processes]

    def calls(self) -> Calls:
        return Calls.open(self.url.replace(f"{KEYED}@", "offramp@"))

    def kept(self) -> list[Call]:
        calls = self.calls()
        try:
            return list(calls.each())
        finally:
            calls.close()


@pytest.fixture(scope="module")
def pair(postgres: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    upstreams = Upstreams()
    made = Pair(tmp_path_factory.mktemp("shop"), postgres.place(user=KEYED), upstreams)
    try:
        made.start()
        yield made
    finally:
        codes = made.close()
        upstreams.close()
    assert codes[1] == 0
    assert PASSWORD not in made.log(0) + made.log(1)


class Client:
    """Asks both gateways over connections that are kept."""

    def __init__(self, pair: Pair, http: aiohttp.ClientSession) -> None:
        self._pair, self._http = pair, http
        self.waits_s: list[float] = []

    async def ask(self, n: int, *, who: str = "app", body: bytes = ASK) -> tuple[int, str | None, str | None]:
        """Return the status of one request to gateway `n`, the id of its call, and who answered."""
        began = time.perf_counter()
        path, headers = f"{self._pair.addresses[n]}/chat/completions", self._key(who)
        async with self._http.post(path, data=body, headers=headers) as response:
            await response.read()
            self.waits_s.append(time.perf_counter() - began)
            found = response.headers.get("x-offramp-call"), response.headers.get("x-offramp-answered-by")
            return response.status, *found

    async def written(self, n: int, call: str | None) -> bool:
        path = f"{self._pair.addresses[n]}/offramp/calls/{call}"
        async with self._http.get(path, headers=self._key("app")) as response:
            return response.status == 200

    async def feedback(self, n: int, call: str | None) -> int:
        said = {"call": call, "kind": "label", "value": "parcel"}
        path = f"{self._pair.addresses[n]}/offramp/feedback"
        async with self._http.post(path, json=said, headers=self._key("app")) as response:
            return response.status

    def _key(self, who: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self._pair.keys[who]}"}


def asking(pair: Pair, go: Callable[[Client], Awaitable[Any]]) -> Any:
    async def opened() -> Any:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as http:
            return await go(Client(pair, http))

    return asyncio.run(opened())


async def until(ask: Callable[[], Awaitable[bool]], *, within_s: float) -> float:
    """Ask until it is so; return how long that took."""
    began = time.monotonic()
    while not await ask():
        assert time.monotonic() - began < within_s, f"it was not so within {within_s} s"
        await asyncio.sleep(0.02)
    return time.monotonic() - began


def deployed(folder: Path, url: str) -> None:
    with Store(folder) as store:
        version = len(store.all(Deployment)) + 1
        fields = {"alias": "triage", "mode": "full", "candidate": "c-1", "name": "small", "url": url}
        given = {"id": f"deployment-{version:04d}", "version": version, "made_by": MadeBy(version="0")}
        store.add(Deployment.model_validate({**fields, **given}))


def rolled_back(folder: Path) -> None:
    with Store(folder) as store:
        rollback(store, "triage", to=0)


def test_the_calls_of_both_are_there_once_and_either_tells_of_them(pair):
    async def go(client: Client) -> list[str | None]:
        answers = await asyncio.gather(*(client.ask(n % 2) for n in range(60)))
        calls = [call for _, call, _ in answers]
        for n, call in enumerate(calls):
            # Each is asked about the other's.
            await until(lambda call=call, n=n: client.written((n + 1) % 2, call), within_s=10)
        assert [status for status, _, _ in answers] == [200] * 60
        return calls

    calls = asking(pair, go)

    kept = pair.kept()
    assert sorted(one.id for one in kept) == sorted(str(one) for one in calls)
    assert {(one.alias, one.answered_by, one.cost_usd, one.client) for one in kept} == {
        ("triage", "incumbent", DOLLARS, "app")
    }


def test_feedback_sent_to_one_is_about_a_call_of_the_other(pair):
    async def go(client: Client) -> tuple[int, str | None]:
        _, call, _ = await client.ask(0)
        return await client.feedback(1, call), call

    status, call = asking(pair, go)

    calls = pair.calls()
    found = calls.feedback_table().to_pylist()
    calls.close()
    assert status == 200
    assert [(one["call_id"], one["value"]) for one in found] == [(call, "parcel")]


def test_what_a_client_spends_at_one_counts_at_the_other(pair):
    async def go(client: Client) -> list[int]:
        for n in (0, 0, 1, 1):
            assert (await client.ask(n, who="shop"))[0] == 200
        # Each of them let half of the limit through; after a look at the store both know of all.
        for n in (0, 1):
            await until(lambda n=n: refused(client, n), within_s=10)
        return [(await client.ask(n))[0] for n in (0, 1)]

    async def refused(client: Client, n: int) -> bool:
        # A request that makes no sense costs nothing, and is not read when there is nothing left to spend.
        return (await client.ask(n, who="shop", body=b"{"))[0] == 429

    assert asking(pair, go) == [200, 200]


def test_a_deployment_and_its_rollback_reach_both_within_a_second_or_little_more(pair):
    async def go(client: Client) -> list[float]:
        async def both(who: str) -> bool:
            return [(await client.ask(n))[2] for n in (0, 1)] == [who, who]

        deployed(pair.folder, pair.upstreams.small.url)
        first = await until(lambda: both("candidate"), within_s=3)
        rolled_back(pair.folder)
        return [first, await until(lambda: both("incumbent"), within_s=3)]

    assert max(asking(pair, go)) < 3


def test_a_stopped_database_slows_no_request_and_nothing_is_lost(pair, postgres):
    async def go(client: Client) -> tuple[list[Any], int, float, float]:
        for n in (0, 1):
            await client.ask(n)
        before_s = max(client.waits_s)
        postgres.stop()
        client.waits_s.clear()
        answers = []
        for _ in range(40):
            answers += await asyncio.gather(*(client.ask(n % 2) for n in range(10)))
        slowest_s = sorted(client.waits_s)[-4]
        refused = await client.feedback(0, answers[0][1])
        # Both have noticed before it is back.
        await until(lambda: said("not recorded for now"), within_s=15)
        postgres.start()
        for n, one in enumerate(answers):
            await until(lambda one=one, n=n: client.written(n % 2, one[1]), within_s=20)
        return answers, refused, before_s, slowest_s

    async def said(text: str) -> bool:
        return all(text in pair.log(n) for n in (0, 1))

    answers, refused, before_s, slowest_s = asking(pair, go)

    assert {status for status, _, _ in answers} == {200}
    assert slowest_s < before_s + 0.5
    assert refused == 503
    assert {str(call) for _, call, _ in answers} <= {one.id for one in pair.kept()}
    for n in (0, 1):
        assert pair.log(n).count("calls are not recorded for now") == 1
        assert pair.log(n).count("calls are recorded again; 0 were dropped") == 1
        assert pair.log(n).count("what clients spent today cannot be read") <= 1
        assert "Traceback" not in pair.log(n)


def test_a_database_that_hangs_holds_up_neither_requests_nor_a_rollback(pair, postgres):
    async def go(client: Client) -> tuple[float, set[int], float]:
        deployed(pair.folder, pair.upstreams.small.url)
        await until(lambda: answers_by(client, "candidate"), within_s=3)
        with frozen(postgres):
            asked = [asyncio.create_task(client.feedback(0, "call-1")) for _ in range(40)]
            await asyncio.sleep(0.2)
            rolled_back(pair.folder)
            took_s = await until(lambda: answers_by(client, "incumbent"), within_s=3)
            client.waits_s.clear()
            for _ in range(20):
                await client.ask(0)
            return took_s, set(await asyncio.gather(*asked)), max(client.waits_s)

    async def answers_by(client: Client, who: str) -> bool:
        return (await client.ask(0))[2] == who

    took_s, statuses, slowest_s = asking(pair, go)

    assert statuses == {503}
    assert (took_s < 3, slowest_s < 1) == (True, True)


def test_what_one_confirmed_is_there_after_it_was_killed_and_the_other_goes_on(pair):
    confirmed: list[str] = []

    async def go(client: Client) -> int:
        async def load() -> None:
            while True:
                _, call, _ = await client.ask(0)
                while not await client.written(0, call):
                    await asyncio.sleep(0.005)
                confirmed.append(str(call))

        under_load = [asyncio.create_task(load()) for _ in range(4)]
        await until(lambda: enough(), within_s=30)
        pair.processes[0].kill()
        await asyncio.gather(*under_load, return_exceptions=True)
        return (await client.ask(1))[0]

    async def enough() -> bool:
        return len(confirmed) >= 60

    assert asking(pair, go) == 200
    kept = {one.id: one for one in pair.kept()}
    assert set(confirmed) <= kept.keys()
    assert all(one.request and one.answer for one in kept.values())


def test_a_database_that_cannot_be_reached_is_said_once_for_the_calls_and_once_for_the_spending(
    tmp_path, monkeypatch, caplog
):
    pytest.importorskip("psycopg")
    monkeypatch.setattr("offramp.gateway.run._LEARNS_EVERY_S", 0.01)
    Keys.load(tmp_path / "keys.json").add("shop", usd_per_day=1.0)
    settings = gateway_settings(privacy="local", store="postgresql://127.0.0.1:1/nobody")
    parts = parts_of(tmp_path, settings)

    async def go() -> None:
        async with Listening(parts):
            parts.recorder.put(Call("call-1", 1.0, "triage", "chat", "record", 200, b"{}"))
            await until(said_twice, within_s=10)
            await asyncio.sleep(0.2)

    async def said_twice() -> bool:
        return len(caplog.messages) >= 2

    asyncio.run(go())
    parts.calls.close()

    assert sorted(text.split(",")[0] for text in caplog.messages) == [
        "calls are not recorded for now",
        "what clients spent today cannot be read",
    ]


def test_a_limit_in_dollars_needs_every_call_recorded(tmp_path):
    Keys.load(tmp_path / "keys.json").add("shop", usd_per_day=1.0)

    for capture in ({"enabled": False}, {"sample_ratio": 0.5}):
        with pytest.raises(ConfigError, match="sample_ratio"):
            parts_of(tmp_path, gateway_settings(privacy="local", capture=capture))


# ---- who reads them --------------------------------------------------------------------------------------------


def paired(name: str, text: str, at: float, deployment: str, **more: Any) -> Call:
    given = {"route": "record", "answered_by": "incumbent", "input_tokens": 10, "output_tokens": 2, **more}
    request = b'{"model":"triage","messages":[{"role":"user","content":"where is my parcel %d"}]}'
    answer = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"%s"}}]}'
    fields = {
        "flavor": "chat",
        "status": 200,
        "request": request % hash(name),
        "answer": answer % text.encode(),
    }
    return Call(id=name, at=at, alias="triage", deployment=deployment, **fields, **given)


def test_traffic_the_shadows_verdict_and_the_monitor_read_what_the_gateways_wrote(postgres, tmp_path):
    url = postgres.place()
    ours = roster(
        tmp_path,
        gateway={"store": url},
        verdict={"bars": [{"metric": "accuracy", "margin": 0.1}]},
    )
    who = candidate(ours)
    one = deploy(ours, who, data(ours), Wish())
    at, step_s = one.created_at.timestamp(), 1e-4
    calls = Calls.open(url)
    shadow = {"route": "shadow", "answered_by": "candidate"}
    for n in range(60):
        asked = paired(f"call-{n}", "login" if n % 10 else "refund", at + n * step_s, one.id)
        again = paired(f"s-{n}", "refund", at + (n + 0.5) * step_s, one.id, shadow_of=asked.id, **shadow)
        calls.insert([again, asked])
    for n in range(20):
        calls.feedback(f"call-{n}", "label", "refund", at=at + 1)
    time.sleep(0.05)

    ours.__dict__["embedder"] = WordEmbedder()
    found = production(ours, since=0.0)
    seen = look(ours, ours.settings.monitor, now=time.time() + 7 * 86_400)
    calls.close()
    ours.records.store.close()

    assert [(t.route, t.answered_by, t.calls) for t in found.traffic] == [
        ("record", "incumbent", 60),
        ("shadow", "candidate", 60),
    ]
    assert (found.shadows["triage"].pairs, found.shadows["triage"].same) == (60, 6)
    assert seen.calls == 60


def test_advice_reads_what_the_gateways_wrote(postgres, tmp_path):
    settings = Settings.model_validate({"gateway": {"store": postgres.place()}})
    calls = Calls.of(tmp_path, settings.gateway.store)
    calls.insert([paired(f"call-{n}", "login", 1.7e9 + n, "deployment-1", model="gpt-4o") for n in range(60)])
    calls.close()

    found, _ = advise_on((), tmp_path, basis=Basis(store=settings.gateway.store), known=Known())

    assert found.calls == 60
