"""A task whose traffic changes: a workspace with a tuned model, and reviewed calls of the time after it."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from classical import WordEmbedder
from offramp.capture import Call, Calls
from offramp.settings import resolve
from offramp.workspace import Workspace, init


class Words(WordEmbedder):
    """An encoder that costs nothing, made as the real one is made."""

    def __init__(self, backbone: Any = None) -> None:
        """Take what the real one takes."""
        self.backbone = SimpleNamespace(path=Path(__file__))

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Remember every text, for encoding is half of a test's time."""
        return np.array([_remembered(text) for text in texts], np.float32).reshape(len(texts), 64)


@cache
def _remembered(text: str) -> np.ndarray:
    return WordEmbedder().encode([text])[0]


LABELS = ("delivery", "login", "refund")
BEGAN = 1_790_000_000.0
"""When the new period began, unix seconds; the old rows have no times of their own."""
_FILLER = [f"word{n}" for n in range(200)]
_OWN = {
    label: [f"{label}{n}" for n in range(15)] for label in (*LABELS, "warranty", "visa", "leave", "travel")
}


def text(label: str, number: int) -> str:
    """Return a text of a label: three of its own words among nine of everybody's, no two texts alike."""
    rng = np.random.default_rng([number, len(label), ord(label[0])])
    words = [*rng.choice(_OWN[label], 3, replace=False), *rng.choice(_FILLER, 9, replace=False)]
    return " ".join(rng.permutation(words))


def workspace(folder: Path, **more: Any) -> Workspace:
    """Make a workspace of 240 tickets of three labels with an incumbent that is wrong on every tenth; tuned."""
    rows = []
    for n in range(240):
        label = LABELS[n % 3]
        said = "refund" if n % 10 == 4 else label
        rows.append({"text": text(label, n), "label": label, "incumbent": said, "customer": f"c{n // 2}"})
    (folder / "tickets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = {
        "name": "desk",
        "encoder": "words",
        "data": {
            "sources": [str(folder / "tickets.jsonl")],
            "mapping": {
                "inputs": ["text"],
                "target": ["label"],
                "incumbent": "incumbent",
                "group": "customer",
            },
        },
        "curate": {"holdout_ratio": 0.25},
        "ladder": {"rungs": ["majority", "linear"], "refit": []},
        "verdict": {"margin": 0.1},
        **more,
    }
    made = init(folder / "ws", resolve(content, overrides=None, where="a test"))
    fitted(made).tune()
    return made


def fitted(ws: Workspace) -> Workspace:
    """Give a workspace an encoder that costs nothing."""
    ws.roster.__dict__ |= {"embedder": Words(), "static": None}
    return ws


def call(name: str, asked: str, said: str, *, at: float = BEGAN, **more: Any) -> Call:
    """Return a call as the gateway keeps it."""
    body = {"model": "desk", "messages": [{"role": "user", "content": asked}]}
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "content": said}}]}
    given = {"route": "record", "answered_by": "incumbent", "status": 200, **more}
    return Call(
        id=name,
        at=at,
        alias="desk",
        flavor="chat",
        request=json.dumps(body).encode(),
        answer=json.dumps(answer).encode(),
        **given,
    )


def keep(ws: Workspace, calls: Sequence[Call], right: Sequence[str | None]) -> None:
    """Write calls and what people said was right; `None`: nobody said anything."""
    store = Calls.of(ws.path)
    store.insert(calls)
    for one, label in zip(calls, right, strict=True):
        if label is not None:
            store.feedback(one.id, "label", label, at=one.at + 60)
    store.close()


def period(ws: Workspace, count: int, *, first: int = 0, label: str = "warranty", **more: Any) -> list[Call]:
    """Write `count` reviewed calls: every second one of a label that the old rows lack, which the incumbent knows."""
    calls, right = [], []
    for n in range(first, first + count):
        wanted = label if n % 2 else LABELS[n % 3]
        name = f"call-{n:06d}"
        calls.append(
            call(name, text(wanted, 10_000 + n), wanted, at=BEGAN + n, conversation=f"talk{n}", **more)
        )
        right.append(wanted)
    keep(ws, calls, right)
    return calls
