"""Text to vectors by looking tokens up: a table distilled from the embedded encoder, tens of times faster than it.

Each token of the encoder's vocabulary is encoded once by itself, reduced to 256 numbers by principal components and
weighted by how rare it is; a text is the sum of its tokens. The table is made on first use, without the network, and
kept in a folder that all workspaces may share: same tag, same vectors.
Guarantee: vectors are L2-normalised float32, and a text's vector does not depend on the other texts.
Trap: word order and context are lost, "A owes B" equals "B owes A", and cosines are on another scale than the
encoder's: thresholds do not carry over. Good for finding candidates, too coarse for outliers and for labels.

Source: model2vec (https://github.com/MinishLab/model2vec, MIT, read 2026-11-21) for the recipe; weights: Arora, Liang
& Ma, "A simple but tough-to-beat baseline for sentence embeddings" (2017), with ranks in place of frequencies.
"""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from offramp.embed.packed import Tokens, encoded, load_backbone, locate, pack, plan
from offramp.errors import StoreError, boundary
from offramp.types import Progress, silent

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DIM = 256
"""Width of a vector."""
LONGEST_CHARACTERS = 4_000
"""Of a text; what is beyond is not read."""
_RARITY = 1e-4
_BATCH_TEXTS = 1024
_RECIPE = "1"


class StaticEmbedder:
    """A table of token vectors with its tokenizer."""

    def __init__(self, table: np.ndarray, tokenizer: "Tokenizer", *, tag: str) -> None:
        """Embed with `table`, (tokens, dim), one row per token id."""
        self.table = np.ascontiguousarray(table, np.float32)
        self._tokenizer = tokenizer
        self.id = tag
        """Content tag of the encoder and the recipe: same tag, same vectors."""

    @classmethod
    def load(
        cls, model: str = "minilm", *, cache: Path | None = None, progress: Progress = silent
    ) -> "StaticEmbedder":
        """Load the table of an encoder from the folder `cache`, distilling it first where it is not there.

        Without `cache` it is made anew, which takes half a minute of one core.

        Raises:
            NotFoundError: there is no such encoder.
            ModelError: its files cannot be read.
            StoreError: the cache cannot be read or written.
        """
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        tag = _tag(locate(model))
        folder = cache / tag if cache else None
        if folder is not None and (folder / "tokenizer.json").exists():
            what = f"the distilled encoder in {str(folder)!r}; delete the folder to make it anew"
            with boundary(StoreError, what, Exception):
                table = load_file(folder / "table.safetensors")["table"]
                return cls(table, Tokenizer.from_file(str(folder / "tokenizer.json")), tag=tag)
        table, tokenizer = distill(model, progress=progress)
        if folder is not None:
            _keep(folder, table, tokenizer)
        return cls(table, tokenizer, tag=tag)

    @cached_property
    def dim(self) -> int:
        """Width of a vector."""
        return int(self.table.shape[1])

    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return token ids per text, int32, without special tokens; the start of a very long text."""
        return encoded(self._tokenizer, [_legal(text) for text in texts], special=False)

    def encode(self, texts: Sequence[str], *, progress: Progress = silent) -> np.ndarray:
        """Return one vector per text, float32 (texts, dim), each of length 1.

        A text without any known token gets the same arbitrary direction as every other such text.
        """
        found = np.empty((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), _BATCH_TEXTS):
            part = self.tokens(texts[start : start + _BATCH_TEXTS])
            found[start : start + len(part)] = self.vectors(part)
            progress("embedding", start + len(part), len(texts))
        return found

    def vectors(self, tokens: Sequence[np.ndarray]) -> np.ndarray:
        """Return the vectors of texts given as token ids, float32 (texts, dim), each of length 1."""
        from scipy.sparse import csr_matrix

        ends = np.cumsum([0, *(len(ids) for ids in tokens)])
        flat = np.concatenate([np.zeros(0, np.int32), *tokens])
        counts = csr_matrix(
            (np.ones(len(flat), np.float32), flat, ends), shape=(len(tokens), len(self.table))
        )
        found: np.ndarray = counts @ self.table
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        found[lengths[:, 0] == 0, 0] = 1.0
        return found / np.where(lengths > 0, lengths, 1.0)


def shared_folder(otherwise: Path) -> Path:
    """Return a folder for tables that all workspaces of this user share; `otherwise` where there can be none."""
    caches = os.environ.get("XDG_CACHE_HOME") or (Path.home() / ".cache")
    folder = Path(caches) / "offramp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return otherwise
    return folder if os.access(folder, os.W_OK) else otherwise


def distill(model: str = "minilm", *, progress: Progress = silent) -> tuple[np.ndarray, "Tokenizer"]:
    """Return a vector per token of an encoder, float16 (tokens, 256), and its tokenizer.

    Raises:
        NotFoundError: there is no such encoder.
        ModelError: its files cannot be read.
    """
    import torch

    # Full precision: the table is shared between machines and must not depend on the instruction set.
    backbone = load_backbone(model, dtype=torch.float32)
    size = backbone.tokenizer.get_vocab_size()
    frame = backbone.tokenizer.encode("").ids
    special = {*frame, *_special(backbone.tokenizer)}
    before, after = frame[: (len(frame) + 1) // 2], frame[(len(frame) + 1) // 2 :]
    own = np.array([token for token in range(size) if token not in special], np.int32)
    sides = [np.tile(np.array(side, np.int32), (len(own), 1)) for side in (before, after)]
    flat = np.concatenate([sides[0], own[:, None], sides[1]], axis=1)  # (tokens, frame + 1)
    tokens = Tokens(flat.ravel(), np.full(len(own), flat.shape[1], np.int64))
    vectors = np.zeros((len(own), backbone.dim), np.float32)
    done = 0
    with torch.inference_mode():
        for rows in plan(tokens.lengths):
            vectors[rows] = backbone.pooled(pack(tokens, rows)).float().numpy()
            done += len(rows)
            progress("distilling the encoder", done, len(own))
    table = np.zeros((size, min(DIM, backbone.dim)), np.float16)
    table[own] = _reduce(vectors) * _weights(len(own))[:, None]
    return table, backbone.tokenizer


def _reduce(vectors: np.ndarray) -> np.ndarray:
    """Return the first principal components, signs fixed so that every machine gets the same."""
    centred = (vectors - vectors.mean(axis=0)).astype(np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)  # rising
    axes = axes[:, ::-1][:, :DIM]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    reduced: np.ndarray = centred @ axes
    return reduced


def _weights(count: int) -> np.ndarray:
    """Return a weight per token: vocabularies are sorted by falling frequency, and frequencies follow Zipf."""
    chance = 1.0 / np.arange(2, count + 2)
    weights: np.ndarray = _RARITY / (_RARITY + chance / chance.sum())
    return weights


def _special(tokenizer: "Tokenizer") -> set[int]:
    added = {token for token, one in tokenizer.get_added_tokens_decoder().items() if one.special}
    return added | {token for text, token in tokenizer.get_vocab().items() if text.startswith("[unused")}


def _tag(path: Path) -> str:
    digest = hashlib.sha256(f"static {_RECIPE} {DIM}".encode())
    for file in [*sorted(path.glob("*.safetensors")), path / "tokenizer.json"]:
        if file.exists():
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return f"static-sha256-{digest.hexdigest()[:20]}"


def _keep(folder: Path, table: np.ndarray, tokenizer: "Tokenizer") -> None:
    """Write both files; the tokenizer comes last, its name says that all is there."""
    from safetensors.numpy import save_file

    what = f"keeping the distilled encoder in {str(folder)!r}; free some space or name another cache"
    with boundary(StoreError, what, OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            save_file({"table": table}, Path(work) / "table")
            tokenizer.save(str(Path(work) / "tokenizer"))
            os.replace(Path(work) / "table", folder / "table.safetensors")
            os.replace(Path(work) / "tokenizer", folder / "tokenizer.json")


def _legal(text: str) -> str:
    """Cut a text and replace lone surrogates, which no tokenizer takes."""
    return text[:LONGEST_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
