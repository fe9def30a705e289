"""Deployments as gateways follow them: candidates started, ended, and missed when they crash."""

import asyncio
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai

from classical import WordEmbedder, offers
from fake_upstream import FakeUpstream, gateway_settings, says
from offramp.gateway.run import Listening, parts_of
from offramp.settings import resolve
from offramp.workspace import Workspace, init

ASK = {"model": "shelves", "messages": [{"role": "user", "content": "ripe apples"}]}


def workspace(folder: Path) -> Workspace:
    """A small task with a candidate that loads at once."""
    rows = [{"title": r["field.text"], "label": r["target"].split(" > ")[0]} for r in offers(200).to_pylist()]
    lines = [json.dumps({**row, "answer": row["label"]}) + "\n" for row in rows]
    (folder / "calls.jsonl").write_text("".join(lines))
    mapping = {"inputs": ["title"], "target": ["label"], "incumbent": "answer"}
    content = {"name": "shelves", "data": {"sources": [str(folder / "calls.jsonl")], "mapping": mapping}}
    made = init(folder / "ws", resolve(content, overrides=None, where="a test"))
    embedder = WordEmbedder()
    embedder.backbone = SimpleNamespace(path=folder)  # type: ignore[attr-defined]
    made.roster.__dict__ |= {"embedder": embedder, "static": None}
    return made


async def answered_by(listening: Listening, who: str, *, within_s: float = 60) -> Any:
    """Ask until somebody answers, and return that answer."""
    async with openai.AsyncOpenAI(base_url=listening.address, api_key="k", max_retries=0) as client:
        for _ in range(int(within_s / 0.1)):
            raw = await client.chat.completions.with_raw_response.create(**ASK)
            if raw.headers["x-offramp-answered-by"] == who:
                return raw.parse()
            await asyncio.sleep(0.1)
    raise AssertionError(f"{who} did not answer within {within_s} s")


def children() -> set[int]:
    task = f"/proc/{os.getpid()}/task"
    return {int(pid) for one in os.listdir(task) for pid in Path(task, one, "children").read_text().split()}


def test_a_deployed_candidate_is_started_missed_when_it_crashes_and_ended_by_a_rollback(tmp_path):
    others = children()  # a database that other tests use

    async def go() -> str:
        with workspace(tmp_path) as made:
            made.deploy(made.candidate("majority"), share=1.0, mode="full", unproven=True)
            async with FakeUpstream(says("big")) as big:
                async with Listening(parts_of(made.path, gateway_settings(big.settings()))) as listening:
                    first = await answered_by(listening, "incumbent", within_s=1)
                    small = await answered_by(listening, "candidate")
                    [pid] = children() - others
                    os.kill(pid, signal.SIGKILL)
                    await answered_by(listening, "incumbent", within_s=5)
                    await answered_by(listening, "candidate")
                    made.rollback()
                    await asyncio.sleep(1.0)
                    await answered_by(listening, "incumbent", within_s=0.1)
                    for _ in range(100):  # a busy machine takes its time to end a process
                        if children() == others:
                            break
                        await asyncio.sleep(0.1)
                    assert children() == others
                    assert first.choices[0].message.content == "big"
                    return small.choices[0].message.content or ""

    assert asyncio.run(go()) in ("Food", "Garden")


def test_what_was_deployed_last_goes_on_when_the_workspace_cannot_be_read(tmp_path):
    async def go() -> None:
        with workspace(tmp_path) as made:
            async with FakeUpstream(says("big")) as big, FakeUpstream(says("small")) as small:
                made.deploy(made.candidate("majority"), share=1.0, unproven=True, url=small.url, mode="full")
                async with Listening(parts_of(made.path, gateway_settings(big.settings()))) as listening:
                    await answered_by(listening, "candidate", within_s=1)
                    (made.path / "offramp.db").write_bytes(b"no database")
                    await asyncio.sleep(0.8)
                    await answered_by(listening, "candidate", within_s=0.1)

    asyncio.run(go())
