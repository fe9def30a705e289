"""Answers that were paid for once, kept under the hash of what was asked.

Guarantee: the same endpoint, model, messages, schema and parameters are never paid for twice, also after a kill:
each answer is written when it arrives. Only answers are kept, neither questions nor keys; failures are asked again.
Trap: a model that changes behind the same name keeps its old answers here; delete the file to ask again.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from offramp.errors import StoreError, boundary
from offramp.models.endpoint import Completion, Endpoint, Request
from offramp.types import canonical_json

FILE = "completions.sqlite"
_QUESTION_MARKS = 500

Keep = Callable[[str, Completion], None]
"""Called with key and completion; failures are not kept."""


def request_key(endpoint: Endpoint, request: Request) -> str:
    """Name a request by everything that decides its answer, SHA-256 in hexadecimal."""
    content = {
        "base_url": endpoint.base_url,
        "model": endpoint.model,
        "messages": [dict(message) for message in request.messages],
        "schema": request.schema,
        "params": {**request.params, **endpoint.params},
        "sample": request.sample,
    }
    return hashlib.sha256(canonical_json(content).encode("utf-8", "surrogatepass")).hexdigest()


def unasked(endpoint: Endpoint, requests: Sequence[Request], cache: Path | None) -> list[Request]:
    """Return the requests that would be sent: not kept in the folder `cache`, and no copies of each other.

    Raises:
        StoreError: the cache cannot be read.
    """
    keyed = {request_key(endpoint, request): request for request in requests}
    kept = AnswerCache(cache).recall(list(keyed)) if cache else {}
    return [request for key, request in keyed.items() if key not in kept]


class AnswerCache:
    """Completions in one SQLite file."""

    def __init__(self, folder: Path) -> None:
        """Keep completions in a file in `folder`, made when first needed."""
        self.file = folder / FILE

    def recall(self, keys: Sequence[str]) -> dict[str, Completion]:
        """Return the completions that are kept, by key."""
        found: dict[str, Completion] = {}
        if not self.file.exists():
            return found
        with self._guarded(), closing(self._open()) as database:
            for start in range(0, len(keys), _QUESTION_MARKS):
                part = keys[start : start + _QUESTION_MARKS]
                marks = ",".join("?" * len(part))
                query = f"SELECT key, answer FROM completions WHERE key IN ({marks})"
                found |= {key: _read(answer) for key, answer in database.execute(query, part)}
        return found

    @contextmanager
    def writer(self) -> Iterator[Keep]:
        """Open the file; what is kept is on disk when the call returns."""
        with self._guarded():
            database = self._open()

        def keep(key: str, completion: Completion) -> None:
            if completion.error is None:
                with self._guarded(), database:
                    row = (key, json.dumps(asdict(completion)))
                    database.execute("INSERT OR REPLACE INTO completions VALUES (?, ?)", row)

        with closing(database):
            yield keep

    def _open(self) -> sqlite3.Connection:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self.file, timeout=60)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        database.execute(
            "CREATE TABLE IF NOT EXISTS completions (key TEXT PRIMARY KEY, answer TEXT NOT NULL) WITHOUT ROWID"
        )
        return database

    def _guarded(self) -> AbstractContextManager[None]:
        what = f"the cache of answers {str(self.file)!r}; delete it to start afresh"
        return boundary(StoreError, what, OSError, sqlite3.Error, ValueError, TypeError)


def _read(answer: str) -> Completion:
    completion = Completion(**json.loads(answer))
    pairs = completion.logprobs
    logprobs = None if pairs is None else tuple((str(token), float(value)) for token, value in pairs)
    return replace(completion, logprobs=logprobs, from_cache=True)
