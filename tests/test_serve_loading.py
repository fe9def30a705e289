"""From a workspace to a serving candidate: raw requests get the answers that the curated rows got."""

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from classical import WORDS, WordEmbedder, offers
from offramp.errors import ConfigError, NotFoundError
from offramp.serve import ServeSettings, run
from offramp.serve.loading import load
from offramp.settings import resolve
from offramp.types import Candidate
from offramp.workspace import Workspace, init
from serving_fixture import up


class Backed(WordEmbedder):
    """Says where its weights are, as the embedder of a workspace does."""

    def __init__(self, backbone: Any = None) -> None:
        self.backbone = backbone


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Offers with markup, whose labels were logged as JSON with a key."""
    folder = tmp_path_factory.mktemp("serve")
    lines = []
    for i, row in enumerate(offers(260).to_pylist()):
        label = row["target"].split(" > ")[0]
        lines.append(
            {"title": f"<b>{row['field.text']}</b> &amp; no {i}", "shop": f"s{i % 7}", "label": label}
            | {"answer": json.dumps({"shelf": label})}
        )
    (folder / "calls.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    mapping = {"inputs": ["title", "shop"], "target": ["label"], "incumbent": "answer", "answer_key": "shelf"}
    content = {
        "name": "shelves",
        "data": {"sources": [str(folder / "calls.jsonl")], "mapping": mapping},
        "curate": {"holdout_ratio": 0.2},
    }
    made = init(folder / "ws", resolve(content, overrides=None, where="a test"))
    made.roster.__dict__ |= {"embedder": Backed(SimpleNamespace(path=folder)), "static": None}
    return made


def answers(
    workspace: Workspace, candidate: Candidate, bodies: list[dict[str, Any]], **more: Any
) -> list[Any]:
    async def main() -> list[Any]:
        served = load(workspace, [candidate], ServeSettings(**more))
        async with up(*served) as (address, _):
            async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
                asked = (client.chat.completions.create(model=candidate.name, **body) for body in bodies)
                return list(await asyncio.gather(*asked))

    return asyncio.run(main())


@pytest.mark.parametrize("rung", ["linear", "knn", "zero-shot", "majority"])
def test_raw_requests_get_the_answers_of_the_holdout(workspace: Workspace, rung: str) -> None:
    data = workspace.curate()
    candidate = workspace.roster.fitted(rung, data)
    holdout = workspace.rows(data, "holdout")
    wanted = workspace.model(candidate).answer(holdout)
    raw = {row["id"]: row for row in workspace.rows(workspace.ingest()).to_pylist()}
    asked = []
    for row in holdout.column("id").to_pylist():
        fields = {name: raw[row][f"field.{name}"] for name in ("title", "shop")}
        asked.append({"messages": [{"role": "user", "content": json.dumps(fields)}]})

    found = answers(workspace, candidate, asked, ood=True)

    labels = [json.loads(one.choices[0].message.content) for one in found]
    assert labels == [{"shelf": text} for text in wanted.column("text").to_pylist()]
    assert [one.offramp["confidence"] for one in found] == pytest.approx(
        wanted.column("confidence").to_pylist(), rel=1e-3
    )
    assert all(0 < one.offramp["ood"] <= 1 for one in found)
    assert raw[holdout.column("id")[0].as_py()]["field.title"].startswith("<b>")
    assert not holdout.column("field.title")[0].as_py().startswith("<b>")


def test_an_input_as_prompted_models_are_shown_it_is_read_too(workspace: Workspace) -> None:
    data = workspace.curate()
    candidate = workspace.roster.fitted("linear", data)
    texts = [f"title: {words}\nshop: s1" for words in WORDS.values()]

    found = answers(
        workspace, candidate, [{"messages": [{"role": "user", "content": text}]} for text in texts]
    )

    said = [json.loads(one.choices[0].message.content)["shelf"] for one in found]
    assert said == ["Food", "Food", "Garden", "Garden"]


def test_recorded_answers_and_twins_cannot_be_served(workspace: Workspace) -> None:
    linear = workspace.roster.fitted("linear", workspace.curate())

    with pytest.raises(ConfigError, match="recorded"):
        load(workspace, [workspace.candidate("incumbent")], ServeSettings())
    with pytest.raises(ConfigError, match="told apart"):
        load(workspace, [linear, linear], ServeSettings())


def test_what_is_not_there_is_told_before_anything_listens(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="nobody"):
        run(workspace.path, "nobody")
    with pytest.raises(NotFoundError):
        run(tmp_path, "linear")
