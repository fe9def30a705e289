"""A small task of three labels with a recorded incumbent, and a workspace of it, for tests of candidates."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from classical import WordEmbedder
from offramp.settings import resolve
from offramp.workspace import Workspace, init

WORDS = {"refund": "money back please", "delivery": "where is my parcel", "login": "cannot sign in"}


def workspace(folder: Path, **more: Any) -> Workspace:
    """Make a workspace of 240 rows, a third of them holdout; `more` are further settings."""
    lines = []
    for i in range(240):
        label = list(WORDS)[i % 3]
        lines.append({"text": f"{WORDS[label]} ticket {i * 7919}", "label": label, "incumbent": label})
    path = folder / "tickets.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    content = {
        "name": "tickets",
        "data": {
            "sources": [str(path)],
            "mapping": {"inputs": ["text"], "target": ["label"], "incumbent": "incumbent"},
        },
        "curate": {"holdout_ratio": 0.3},
        "ladder": {"rungs": ["majority"]},
        **more,
    }
    made = init(folder / "ws", resolve(content, overrides=None, where="a test"))
    made.roster.__dict__ |= {"embedder": WordEmbedder(), "static": None}
    return made


def typed(*given: str) -> Callable[[str], str]:
    """Return an `ask` that types these lines and then ends the input."""
    left: Iterator[str] = iter(given)

    def ask(prompt: str) -> str:
        try:
            return next(left)
        except StopIteration:
            raise EOFError from None

    return ask
