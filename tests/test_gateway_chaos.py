"""Upstreams that fail in every way: the short form of `make bench-chaos`, an SSE fuzzer, hedging and the breaker."""

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chaos import SITUATIONS, Case, Complaints, Done, Lane, campaign, deploy, open_sockets
from fake_upstream import QUICK, FakeUpstream, Seen, gateway_settings, sends, whole
from faults import FAULTS, WORDS, Fault, Scene, acts, events_of, healthy
from offramp.capture import Calls
from offramp.gateway.run import Listening, parts_of
from offramp.gateway.upstream import Breaker
from offramp.route.settings import Patience

PATIENCE = Patience(connect_s=0.6, first_s=0.6, between_s=0.4, total_s=0.9)
SLACK_S = 3.0
"""A busy machine is slow; a wait without an end is caught all the same. The bench has 0.5 s."""
_APIS = ("chat", "responses", "messages")
BIG = "".join(WORDS["incumbent"])
SMALL = "".join(WORDS["candidate"])
LIGHT = [fault for fault in FAULTS if not fault.heavy]


def ended_well(cases: list[Case], folder: Path, patience: Patience = PATIENCE) -> list[Done]:
    """Run the cases of each situation against a gateway of its own, all at once."""

    async def go() -> tuple[list[Done], int]:
        by = {name: [case for case in cases if case.situation == name] for name in SITUATIONS}
        runs = [campaign(folder / name, some, patience, slack_s=SLACK_S) for name, some in by.items() if some]
        done = [one for some in await asyncio.gather(*runs) for one in some]
        await asyncio.sleep(0.05)
        return done, len(asyncio.all_tasks())

    before = open_sockets()
    with Complaints() as complaints:
        done, tasks = asyncio.run(go())
    assert {
        (one.case.fault.name, one.case.streams, one.case.situation): one.wrong for one in done if one.wrong
    } == {}
    assert (complaints.lines, tasks) == ([], 1)
    assert open_sockets() <= before
    return done


def rotated(flavor: str, faults: list[Fault]) -> list[Case]:
    """Put each fault into one situation for a whole answer and another for a stream; the bench has all of them."""
    names = list(SITUATIONS)
    cases = []
    for number, fault in enumerate(faults):
        cases.append(Case(fault, names[number % 4], flavor, False))
        cases.append(Case(fault, names[(number + 1 + number // 4) % 4], flavor, True))
    return [case for case in cases if case.makes_sense]


def test_every_fault_ends_in_the_other_models_answer_or_in_a_clean_error(tmp_path):
    assert len(FAULTS) >= 30

    done = ended_well(rotated("chat", LIGHT), tmp_path)

    assert {one.wanted for one in done} == {"answer", "prefix", "error", "refusal", "empty"}


@pytest.mark.parametrize("flavor", ["responses", "messages"])
def test_the_other_apis_end_as_well(tmp_path, flavor):
    quick = [fault for fault in LIGHT if fault.waits == (None, None)]

    ended_well(rotated(flavor, quick[:: 4 if flavor == "responses" else 5]), tmp_path, Patience())


def test_streams_that_are_cut_stalled_or_malformed_before_a_token_give_the_other_model_one_request(tmp_path):
    """The shapes in which LiteLLM's fall-back gets no request: BerriAI/litellm#40404 and #36768."""
    names = (
        "cut after the role",
        "stall after the role",
        "malformed event before the first token",
        "200 with an empty stop",
    )
    faults = [fault for fault in FAULTS if fault.name in names]

    async def go() -> list[tuple[str, int]]:
        found = []
        async with Lane(tmp_path, PATIENCE) as lane:
            for fault in faults:
                lane.fakes["candidate"].behave = fault.behave("candidate")
                before = len(lane.fakes["incumbent"].seen)
                told = await lane.ask("candidate-fails", "chat", True)
                found.append((told.text, len(lane.fakes["incumbent"].seen) - before))
        return found

    assert asyncio.run(go()) == [(BIG, 1)] * 4


def test_a_right_stream_cut_anywhere_says_the_same(tmp_path):
    chance = random.Random(1)

    async def act(scene: Scene) -> None:
        body = b"".join(scene.events)
        cuts = sorted(chance.sample(range(1, len(body)), chance.randint(1, 12)))
        parts = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        await scene.head()
        for part in parts:
            await scene.chunks(part, end=False)
            await asyncio.sleep(chance.choice((0, 0, 0.001)))
        await scene.chunks()

    async def go() -> set[tuple[str, str]]:
        async with Lane(tmp_path, PATIENCE) as lane:
            lane.fakes["incumbent"].behave = acts(act, "incumbent")
            told = [(flavor, await lane.ask("other", flavor, True)) for flavor in _APIS * 12]
        assert [one.error for _, one in told] == [None] * 36
        return {(flavor, one.text) for flavor, one in told}

    assert asyncio.run(go()) == {("chat", BIG), ("responses", BIG), ("messages", BIG)}


def test_random_bytes_as_a_stream_are_a_clean_error_or_the_other_models_answer(tmp_path):
    chance = random.Random(2)

    async def act(scene: Scene) -> None:
        await scene.head()
        alphabet = chance.choice((bytes(range(256)), b'data: {}[]":,\n\r0e', b"data: \n"))
        await scene.chunks(bytes(chance.choices(alphabet, k=chance.randint(1, 400))), b"\n\n")

    async def go() -> tuple[set[str], set[bool]]:
        async with Lane(tmp_path, PATIENCE) as lane:
            for fake in lane.fakes.values():
                fake.behave = acts(act, "candidate")
            alone = [await lane.ask("both-fail", "chat", True) for _ in range(30)]
            lane.fakes["incumbent"].behave = healthy("incumbent")
            helped = [await lane.ask("candidate-fails", "chat", True) for _ in range(30)]
        assert {one.text for one in alone} == {""}
        return {one.text for one in helped}, {one.is_clean for one in alone}

    with Complaints() as complaints:
        assert asyncio.run(go()) == ({BIG}, {True})
    assert complaints.lines == []


def test_a_right_stream_with_wrong_bytes_in_it_ends_and_is_never_a_fault_of_the_gateway(tmp_path):
    chance = random.Random(3)

    async def act(scene: Scene) -> None:
        body = bytearray(b"".join(scene.events))
        for _ in range(chance.randint(1, 6)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        await scene.head()
        await scene.chunks(bytes(body))

    async def go() -> set[int]:
        statuses = set()
        async with Lane(tmp_path, PATIENCE) as lane, aiohttp.ClientSession() as http:
            lane.fakes["incumbent"].behave = acts(act, "incumbent")
            for number in range(90):
                path, more = (("/chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
                              ("/responses", {"input": "x"}),
                              ("/messages", {"messages": [{"role": "user", "content": "x"}]}))[number % 3]  # fmt: skip
                ask = {"model": "other", "stream": True, **more}
                async with http.post(lane.listening.address + path, json=ask) as response:
                    await response.read()
                    statuses.add(response.status)
        return statuses

    with Complaints() as complaints:
        assert asyncio.run(go()) == {200, 502}
    assert complaints.lines == []


# ---- hedging


def after(seconds: float, act: Callable[[Scene], Any], who: str) -> Any:
    async def late(scene: Scene) -> None:
        await asyncio.sleep(seconds)
        await act(scene)

    return acts(late, who)


def hedged(folder: Path, small: Any, big: Any) -> tuple[str, float, int, int]:
    """Return text, seconds, requests to the incumbent, and requests still under way a moment later."""

    async def go() -> tuple[str, float, int, int]:
        async with Lane(folder, PATIENCE) as lane:
            deploy(folder, "hedged", lane.fakes["candidate"].url, hedge_s=0.05)
            await lane.listening.gateway.parts.live.look()
            lane.fakes["candidate"].behave, lane.fakes["incumbent"].behave = small, big
            told = await lane.ask("hedged", "chat", False)
            await asyncio.sleep(0.05)
            assert told.text or told.is_clean
            return told.text, told.seconds, len(lane.fakes["incumbent"].seen), lane.held()

    return asyncio.run(go())


def test_a_slow_candidate_is_hedged_and_let_go(tmp_path):
    text, seconds, asked, held = hedged(tmp_path, after(0.5, Scene.answer, "candidate"), healthy("incumbent"))

    assert (text, asked, held) == (BIG, 1, 0) and seconds < 0.45


def test_a_quick_candidate_is_not_hedged(tmp_path):
    # The deployment's 0.05 s are long beside a local answer, and short beside a busy machine: no upper bound on time.
    text, seconds, asked, held = hedged(tmp_path, healthy("candidate"), after(0.3, Scene.answer, "incumbent"))

    assert (text, held) == (SMALL, 0) and (asked == 0 or seconds > 0.05)


def test_hedging_goes_on_at_once_when_the_first_fails_and_ends_cleanly_when_both_do(tmp_path):
    broken = sends(whole(500, {"error": {"message": "no", "type": "server_error"}}))

    assert hedged(tmp_path / "a", broken, healthy("incumbent"))[0] == BIG
    assert hedged(tmp_path / "b", broken, broken)[::2] == ("", 1)


# ---- the breaker and what counts as a failure


def test_a_breaker_opens_after_five_failures_and_lets_one_request_try_after_its_rest():
    breaker = Breaker()
    for _ in range(4):
        breaker.note(False, 10.0)
    assert not breaker.open(10.0)

    breaker.note(False, 10.0)

    assert [breaker.open(now) for now in (10.0, 11.9, 12.1, 12.1, 13.0, 14.2)] == [
        True,
        True,
        False,
        True,
        True,
        False,
    ]
    breaker.note(True, 14.2)
    assert not breaker.open(14.2)


def asked_in_turn(folder: Path, count: int, small: Any, big: Any) -> tuple[list[str], int, int]:
    """Return the texts of that many requests to a full deployment, and how many requests each upstream got."""

    async def go() -> tuple[list[str], int, int]:
        async with Lane(folder, PATIENCE) as lane:
            lane.fakes["candidate"].behave, lane.fakes["incumbent"].behave = small, big
            told = [await lane.ask("candidate-fails", "chat", number % 2 == 1) for number in range(count)]
            return [one.text for one in told], *(
                len(lane.fakes[who].seen) for who in ("candidate", "incumbent")
            )  # type: ignore[return-value]

    return asyncio.run(go())


def test_a_candidate_that_keeps_failing_is_left_alone(tmp_path):
    busy = sends(whole(503, {"error": {"message": "busy", "type": "server_error"}}))

    assert asked_in_turn(tmp_path, 8, busy, healthy("incumbent")) == ([BIG] * 8, 5, 8)


def test_a_candidate_that_cannot_do_what_is_asked_is_not_taken_for_broken(tmp_path):
    cannot = sends(whole(400, {"error": {"message": "no tools", "type": "invalid_request_error"}}))

    assert asked_in_turn(tmp_path, 8, cannot, healthy("incumbent")) == ([BIG] * 8, 8, 8)


def test_an_upstream_left_alone_is_asked_all_the_same_before_a_request_fails(tmp_path):
    """Both failed often; then the candidate is well again before its rest is over."""
    busy = sends(whole(503, {"error": {"message": "busy", "type": "server_error"}}))

    async def go() -> list[str]:
        async with Lane(tmp_path, PATIENCE) as lane:
            for fake in lane.fakes.values():
                fake.behave = busy
            told = [await lane.ask("both-fail", "chat", False) for _ in range(6)]
            lane.fakes["candidate"].behave = healthy("candidate")
            return [one.text for one in [*told, await lane.ask("both-fail", "chat", True)]]

    assert asyncio.run(go()) == [""] * 6 + [SMALL]


@pytest.mark.parametrize(("works_s", "requests"), [(0.0, 2), (0.55, 1)])
def test_a_request_that_its_upstream_may_have_died_of_is_not_sent_again(tmp_path, works_s, requests):
    async def act(scene: Scene) -> None:
        await asyncio.sleep(works_s)
        scene.close()

    async def go() -> int:
        async with Lane(tmp_path, Patience(first_s=3)) as lane:
            lane.fakes["incumbent"].behave = acts(act, "incumbent")
            assert (await lane.ask("other", "chat", False)).is_clean
            return len(lane.fakes["incumbent"].seen)

    assert asyncio.run(go()) == requests


def test_a_client_that_does_not_read_is_given_up_and_not_held_against_the_upstream(tmp_path):
    async def floods(seen: Seen, writer: asyncio.StreamWriter) -> None:
        scene = Scene(seen, writer, ["x" * 60_000] * 300)
        await scene.answer()

    async def go() -> int:
        async with FakeUpstream(floods) as big:
            patience = QUICK.model_copy(update={"between_s": 0.3})
            settings = gateway_settings(big.settings(patience=patience))
            async with Listening(parts_of(tmp_path, settings)) as listening:
                _, writer = await asyncio.open_connection("127.0.0.1", listening.port, limit=1024)
                body = b'{"model": "m", "stream": true, "messages": [{"role": "user", "content": "x"}]}'
                head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(
                    body
                )
                writer.write(head + body)
                began = time.monotonic()
                while not listening.gateway.under_way:
                    await asyncio.sleep(0.005)
                while listening.gateway.under_way and time.monotonic() < began + 5:
                    await asyncio.sleep(0.01)
                failures = listening.gateway.parts.upstreams["incumbent"].breaker.failures
                assert listening.gateway.under_way == 0
                writer.transport.abort()
                return failures

    assert asyncio.run(go()) == 0
    calls = Calls.open(tmp_path / "calls.db")
    [call] = list(calls.each())
    calls.close()
    assert call.error is not None and call.status == 499


def test_the_events_of_the_fakes_are_what_official_clients_read():
    for flavor in ("chat", "responses", "messages"):
        assert all(event.endswith(b"\n\n") for event in events_of(flavor, ["a "]))
