"""Text to vectors, on a CPU, with what the package brings along.

Duplicates are encoded once and vectors are kept under the hash of their text, so a text is paid for once per
workspace. Batches are packed without padding and run in bfloat16 where the processor has it (`embed.packed`).

Guarantee: vectors are L2-normalised float32, within cosine 0.999 of what sentence-transformers gives for the same
model. A call's new vectors are kept all together or, when it is killed, not at all.
Trap: bfloat16 rounds; two machines with different instruction sets agree to about 1e-4 in cosine, not to the bit.

Why this engine (rows per second on one Zen 4 core, banking77 / MWPD offers, sentence-transformers' default = 193 / 23):
transformers in bfloat16, padded: 448; OpenVINO with the bfloat16 hint: 497, but 5 s to convert, and tuning would need
a second engine; packed bfloat16 in PyTorch: 480 / 69, of which 78 % are matrix products at the processor's peak.
Figures of the current machine: `make bench-embed`.
"""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np

from offramp.embed.packed import Backbone, fingerprint, load_backbone, pack, plan
from offramp.errors import StoreError, boundary
from offramp.types import Progress, silent

_QUESTION_MARKS = 500


class Embedder:
    """A text encoder with a memory."""

    def __init__(self, backbone: Backbone, *, cache: Path | None = None) -> None:
        """Encode with `backbone`; keep vectors in a file in the folder `cache`."""
        self.backbone = backbone
        self._cache = cache

    @classmethod
    def load(cls, model: str = "minilm", *, cache: Path | None = None) -> "Embedder":
        """Load `minilm` (embedded), a local folder or a hub id.

        Raises:
            NotFoundError: there is no such encoder.
            ModelError: its files cannot be read.
        """
        return cls(load_backbone(model), cache=cache)

    @property
    def dim(self) -> int:
        """Width of a vector."""
        return self.backbone.dim

    @cached_property
    def id(self) -> str:
        """Content tag of weights, tokenizer, pooling and precision: same tag, same vectors."""
        return fingerprint(self.backbone)

    def encode(self, texts: Sequence[str], *, progress: Progress = silent) -> np.ndarray:
        """Return one vector per text, float32 (texts, dim), each of length 1.

        Raises:
            StoreError: the cache cannot be read or written.
        """
        if not len(texts):
            return np.zeros((0, self.dim), np.float32)
        unique = list(dict.fromkeys(texts))
        place = {text: i for i, text in enumerate(unique)}
        vectors = np.empty((len(unique), self.dim), np.float32)
        keys = [_key(text) for text in unique]
        known = self._recall(keys, vectors)
        missing = np.flatnonzero(~known)
        if len(missing):
            vectors[missing] = self._encode([unique[i] for i in missing], progress)
            self._keep([keys[i] for i in missing], vectors[missing])
        return vectors[[place[text] for text in texts]]

    def _encode(self, texts: list[str], progress: Progress) -> np.ndarray:
        import torch
        from torch.nn.functional import normalize

        tokens = self.backbone.tokenize([_legal(text) for text in texts])
        vectors = np.empty((len(texts), self.dim), np.float32)
        done = 0
        with torch.inference_mode():
            for rows in plan(tokens.lengths):
                pooled = self.backbone.pooled(pack(tokens, rows))
                vectors[rows] = normalize(pooled.float()).numpy()
                done += len(rows)
                progress("embedding", done, len(texts))
        return vectors

    def _recall(self, keys: list[bytes], vectors: np.ndarray) -> np.ndarray:
        """Fill the rows of `vectors` that are kept; return which, bool (keys,)."""
        known = np.zeros(len(keys), bool)
        if self._cache is None or not self._file.exists():
            return known
        place = {key: i for i, key in enumerate(keys)}
        with self._database() as database:
            for start in range(0, len(keys), _QUESTION_MARKS):
                part = keys[start : start + _QUESTION_MARKS]
                marks = ",".join("?" * len(part))
                query = f"SELECT key, vector FROM vectors WHERE key IN ({marks})"
                for key, vector in database.execute(query, part):
                    vectors[place[key]] = np.frombuffer(vector, np.float32)
                    known[place[key]] = True
        return known

    def _keep(self, keys: list[bytes], vectors: np.ndarray) -> None:
        if self._cache is None:
            return
        rows = ((key, vector.tobytes()) for key, vector in zip(keys, vectors, strict=True))
        with self._database() as database, database:  # one transaction: all or nothing
            database.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?)", rows)

    @property
    def _file(self) -> Path:
        assert self._cache is not None
        return self._cache / f"{self.id}.sqlite"

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        file = self._file
        what = f"the cache of vectors {str(file)!r}; delete it to start afresh"
        with boundary(StoreError, what, OSError, sqlite3.Error):
            file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(file, timeout=60)) as database:
                database.execute(
                    "CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB) WITHOUT ROWID"
                )
                yield database


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _legal(text: str) -> str:
    """Replace lone surrogates, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")
