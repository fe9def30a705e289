"""Faults against a whole gateway: who must answer, who did, how long it took, and what was left behind.

Both upstreams are fakes that say words of their own, so a repeated, missing or mixed word is seen. The official
clients ask. After each fault a normal request must be answered by whom it should.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anthropic
import openai

from fake_upstream import FakeUpstream, gateway_settings
from faults import WORDS, Fault, healthy
from offramp.capture import CaptureSettings
from offramp.gateway.run import Listening, parts_of
from offramp.route.settings import Patience
from offramp.store import Store
from offramp.types import Deployment, MadeBy

SITUATIONS: dict[str, tuple[str, ...]] = {
    "candidate fails": ("candidate", "incumbent"),
    "incumbent fails": ("incumbent", "candidate"),
    "both fail": ("candidate", "incumbent"),
    "record only": ("incumbent",),
}
"""Who is asked, in order."""
FAILING = {
    "candidate fails": ("candidate",),
    "incumbent fails": ("incumbent",),
    "both fail": ("candidate", "incumbent"),
    "record only": ("incumbent",),
}
SLACK_S = 0.5
_LEAVES_S = 0.5


@dataclass
class Told:
    """What a client got."""

    text: str
    """The words."""
    error: Exception | None = None
    """What its official client raised."""
    call: str | None = None
    """The gateway's name for it."""
    seconds: float = 0.0

    @property
    def status(self) -> int | None:
        return getattr(self.error, "status_code", None)

    @property
    def is_clean(self) -> bool:
        """Whether the error is one that the official client reads as the API's own, in its shape."""
        error = self.error
        if isinstance(error, openai.APIError):
            if isinstance(error, (openai.APIConnectionError, openai.APIResponseValidationError)):
                return False
            body = error.body
        elif isinstance(error, anthropic.APIError):
            if isinstance(error, (anthropic.APIConnectionError, anthropic.APIResponseValidationError)):
                return False
            body = error.body.get("error") if isinstance(error.body, dict) else None
        else:
            return False
        return isinstance(body, dict) and bool(body.get("message")) and bool(body.get("type"))


@dataclass(frozen=True)
class Case:
    """One fault in one place."""

    fault: Fault
    situation: str
    flavor: str
    streams: bool

    @property
    def alias(self) -> str:
        return self.situation.replace(" ", "-")

    def kind(self, who: str) -> str:
        """Say what comes of asking `who`; a candidate is asked for a stream only in chat."""
        if who not in FAILING[self.situation]:
            return "right"
        kind = self.fault.kind(self.streams and (who == "incumbent" or self.flavor == "chat"))
        return kind or "right"

    @property
    def makes_sense(self) -> bool:
        kinds = [
            self.fault.kind(self.streams and (who == "incumbent" or self.flavor == "chat"))
            for who in FAILING[self.situation]
        ]
        return None not in kinds

    def wanted(self, patience: Patience) -> tuple[str, str | None, float]:
        """Return what must come of it (as in `Done.outcome`), by whom, and in how many seconds."""
        within, empty = 0.0, False
        for who in SITUATIONS[self.situation]:
            kind = self.kind(who)
            if who in FAILING[self.situation]:
                streams = self.streams and (who == "incumbent" or self.flavor == "chat")
                wait = self.fault.waits[streams]
                within += getattr(patience, wait) if wait else 0
            if kind in ("right", "broken"):
                return "answer" if kind == "right" else "prefix", who, within
            if kind == "refusal" and who == "incumbent":
                return "refusal", who, within
            empty = empty or (kind == "empty" and who == "incumbent")
        return ("empty", "incumbent", within) if empty else ("error", None, within)


@dataclass
class Done:
    """What came of a case."""

    case: Case
    told: Told
    wanted: str
    by: str | None
    within_s: float
    wrong: list[str] = field(default_factory=list)

    @property
    def outcome(self) -> str:
        if self.wrong:
            return "WRONG"
        return {"answer": f"answered by the {self.by}", "prefix": "part, then an error"}.get(
            self.wanted, self.wanted
        )


class Lane:
    """A gateway between two fakes, and clients in front of it; an async context."""

    def __init__(self, folder: Path, patience: Patience) -> None:
        self.patience = patience
        self.folder = folder
        self.fakes = {who: FakeUpstream(healthy(who)) for who in WORDS}

    async def __aenter__(self) -> "Lane":
        async with AsyncExitStack() as stack:
            for fake in self.fakes.values():
                await stack.enter_async_context(fake)
            small = self.fakes["candidate"].url
            deploy(self.folder, "candidate-fails", small)
            deploy(self.folder, "both-fail", small)
            deploy(self.folder, "incumbent-fails", small, mode="canary", share=0.0)
            big = self.fakes["incumbent"].settings(patience=self.patience)
            capture = CaptureSettings(flush_s=0.02)
            settings = gateway_settings(big, candidate=self.patience, capture=capture)
            self.listening = await stack.enter_async_context(Listening(parts_of(self.folder, settings)))
            how: dict[str, Any] = {"api_key": "sk-1", "max_retries": 0, "timeout": 5}
            address = self.listening.address
            self.openai = await stack.enter_async_context(openai.AsyncOpenAI(base_url=address, **how))
            self.anthropic = await stack.enter_async_context(
                anthropic.AsyncAnthropic(base_url=address.removesuffix("/v1"), **how)
            )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._stack.aclose()

    async def ask(self, alias: str, flavor: str, streams: bool) -> Told:
        """Ask as an app does."""
        told, began = Told(""), time.perf_counter()
        turn: Any = [{"role": "user", "content": "where is my parcel"}]
        try:
            if flavor == "messages":
                raw = await self.anthropic.messages.with_raw_response.create(
                    model=alias, max_tokens=50, messages=turn, stream=streams
                )
            elif flavor == "responses":
                raw = await self.openai.responses.with_raw_response.create(
                    model=alias, input="where", stream=streams
                )
            else:
                raw = await self.openai.chat.completions.with_raw_response.create(
                    model=alias, messages=turn, stream=streams
                )
            told.call = raw.headers.get("x-offramp-call")
            found = raw.parse()
            if hasattr(found, "__await__"):
                found = await found
            if not streams:
                told.text = whole_text(flavor, found)
            else:
                async for event in found:
                    told.text += delta(flavor, event)
        except Exception as error:
            told.error = error
            response = getattr(error, "response", None)
            told.call = told.call or (
                response.headers.get("x-offramp-call") if response is not None else None
            )
        told.seconds = time.perf_counter() - began
        return told

    async def run(self, case: Case, *, slack_s: float) -> Done:
        """Let one case happen."""
        for who in FAILING[case.situation]:
            self.fakes[who].behave = case.fault.behave(who)
            if case.fault.refused:
                await self.fakes[who].close()
        told = await self.ask(case.alias, case.flavor, case.streams)
        wanted, by, within_s = case.wanted(self.patience)
        done = Done(case, told, wanted, by, within_s)
        check(done, slack_s)
        await self._left_behind(done)
        for who in FAILING[case.situation]:
            self.fakes[who].behave = healthy(who)
            if case.fault.refused:
                await self.fakes[who].open()
        await self._normal_again(done)
        return done

    async def _left_behind(self, done: Done) -> None:
        """No request may be under way any more, here or at an upstream."""
        until = time.monotonic() + _LEAVES_S
        while self.held() and time.monotonic() < until:
            await asyncio.sleep(0.005)
        if self.held():
            done.wrong.append(f"{self.held()} requests are still under way")

    def held(self) -> int:
        return self.listening.gateway.under_way + sum(fake.held() for fake in self.fakes.values())

    async def _normal_again(self, done: Done) -> None:
        case = done.case
        asked = [(case.alias, SITUATIONS[case.situation][0])]
        if case.situation == "both fail":
            asked.append(("record-only", "incumbent"))
        for alias, who in asked:
            told = await self.ask(alias, case.flavor, case.streams)
            if told.text.strip() != "".join(WORDS[who]).strip() or told.error is not None:
                done.wrong.append(f"a normal request afterwards: {told.text!r} {told.error!r}"[:300])

    async def check_records(self, dones: Sequence[Done]) -> None:
        """Each call's record tells what happened."""
        parts = self.listening.gateway.parts
        assert await asyncio.to_thread(parts.recorder.flush, 5.0)
        for done in dones:
            call = await asyncio.to_thread(parts.calls.get, done.told.call) if done.told.call else None
            if call is None:
                done.wrong.append("no record")
                continue
            first = SITUATIONS[done.case.situation][0]
            plain = done.wanted == "answer" and done.by == first
            if (call.error is None and "reason" not in call.tags) != plain:
                done.wrong.append(f"the record says error {call.error!r}, {call.tags!r}")
            if call.answered_by != done.by:
                done.wrong.append(f"the record says answered by {call.answered_by!r}")
            status = (done.told.status or 200) if done.wanted != "prefix" else 200
            if call.status != status:
                done.wrong.append(f"the record says status {call.status}")
            words = b"" if call.answer is None else call.answer
            if done.wanted in ("answer", "prefix") and done.told.text.strip() not in readable(words):
                done.wrong.append(f"the record says {words[:200]!r}")


def readable(body: bytes) -> str:
    try:
        return json.dumps(json.loads(body), ensure_ascii=False)
    except ValueError:
        return repr(body)


def deploy(folder: Path, alias: str, url: str, **more: Any) -> None:
    with Store(folder) as store:
        fields = {
            "alias": alias,
            "version": 1,
            "mode": "full",
            "candidate": "c-1",
            "name": "small",
            "url": url,
        }
        made = {**fields, "id": f"deployment-{alias}", "made_by": MadeBy(version="0")}
        store.add(Deployment.model_validate(made | more))


def whole_text(flavor: str, found: Any) -> str:
    if flavor == "messages":
        return "".join(block.text for block in found.content)
    return str(found.output_text if flavor == "responses" else found.choices[0].message.content or "")


def delta(flavor: str, event: Any) -> str:
    if flavor == "messages":
        return event.delta.text if event.type == "content_block_delta" else ""
    if flavor == "responses":
        return event.delta if event.type == "response.output_text.delta" else ""
    return "".join(choice.delta.content or "" for choice in event.choices)


def check(done: Done, slack_s: float) -> None:
    """Compare what the client got with what it must get."""
    told, wrong = done.told, done.wrong
    full = "".join(WORDS[done.by]) if done.by else ""
    if done.wanted == "answer":
        if told.text.strip() != full.strip() or told.error is not None:
            wrong.append(f"the {done.by}'s answer was due; {told.text!r} {told.error!r}"[:300])
    elif done.wanted == "prefix":
        if not told.text or told.text == full or not full.startswith(told.text) or not told.is_clean:
            wrong.append(f"a part and an error were due; {told.text!r} {told.error!r}"[:300])
    elif done.wanted == "empty":
        if told.text or told.error is not None:
            wrong.append(f"the empty answer was due; {told.text!r} {told.error!r}"[:300])
    elif told.text or not told.is_clean:
        wrong.append(f"a clean error was due; {told.text!r} {told.error!r}"[:300])
    elif (done.wanted == "refusal") != (told.status in (400, 401)) or (told.status or 0) < 400:
        wrong.append(f"an error of another status was due; {told.status}")
    if told.seconds > done.within_s + slack_s:
        wrong.append(f"{told.seconds:.2f} s instead of {done.within_s:.2f}")


class Complaints(logging.Handler):
    """Collects what is logged as an error while it is open."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record)[:2000])

    def __enter__(self) -> "Complaints":
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *exception: object) -> None:
        logging.getLogger().removeHandler(self)


def open_sockets() -> int:
    """Count this process's sockets."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except OSError:
            continue
    return found


async def campaign(
    folder: Path, cases: Sequence[Case], patience: Patience, *, slack_s: float = SLACK_S
) -> list[Done]:
    """Run cases one after the other against one gateway."""
    folder.mkdir(parents=True, exist_ok=True)
    async with Lane(folder, patience) as lane:
        # The official clients import much at their first request of a kind; that is no time of the gateway's.
        for flavor, streams in sorted({(case.flavor, case.streams) for case in cases}):
            await lane.ask("record-only", flavor, streams)
        done = [await lane.run(case, slack_s=slack_s) for case in cases]
        await lane.check_records(done)
    return done
