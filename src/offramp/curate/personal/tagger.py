"""Find names, places and addresses with a token classifier of our own on the embedded encoder.

The embedded encoder reads small letters only, so what a word looks like (Capital, CAPITALS, digits, first of its
sentence) goes in as an embedding of its own beside the word's. It is tuned once, in minutes of one core, on synthetic
texts (`synthetic.py`) and on nothing else, then kept in a folder that the caller names. Guarantee: nothing is
downloaded; the same settings on the same machine give the same weights; a folder whose files were changed is refused.
Trap: a word's chance is not calibrated; `threshold` was chosen on half of the templates of one public data set.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from offramp.curate.personal.spans import Span, pieces, words
from offramp.curate.personal.synthetic import ADDRESS, PERSON, PLACE, Maker, Marked, fingerprint
from offramp.embed.packed import EMBEDDED, Backbone, load_backbone
from offramp.errors import MismatchError, TrainingError, boundary
from offramp.types import Frozen, Progress, canonical_json, silent

if TYPE_CHECKING:
    import torch

TYPES = ("", PERSON, PLACE, ADDRESS)
"""Columns of the head; the first is none of them."""
WEIGHTS, CONFIG = "tagger.safetensors", "tagger.json"
"""The files of a kept tagger."""
_VERSION = 1
_WINDOW, _STEP = 254, 190
_SHAPES = 30
_BATCH_TOKENS = 2048
_TEXTS = 512
"""Texts read at once: their words are kept in memory."""
_BESIDE = 0.25
"""A word beside a sure one counts from this share of the threshold on."""


class TaggerSettings(Frozen):
    """How the tagger is trained."""

    texts: int = 5_000
    """Synthetic texts, each seen once."""
    learning_rate: float = 2e-4
    """Peak rate of the encoder; the head and the shape embeddings learn ten times as fast."""
    batch_texts: int = 48
    """Texts per step."""
    masked_ratio: float = 0.05
    """Share of words hidden while training, so that what surrounds a name counts too."""
    seed: int = 0
    """Seed of texts, order and start."""


@dataclass(frozen=True)
class Tagger:
    """A tuned encoder with its head."""

    backbone: Backbone = field(repr=False)
    """The encoder."""
    shapes: "torch.Tensor" = field(repr=False)
    """What a word's look adds to its embedding, (shapes, dim)."""
    head: "tuple[torch.Tensor, torch.Tensor]" = field(repr=False)
    """Weight (types, dim) and bias (types,)."""
    id: str
    """Names the tagger by the content of its weights."""

    def find(self, texts: Sequence[str], *, threshold: float = 0.5) -> list[list[Span]]:
        """Return the spans of each text; a word counts where all personal types together reach `threshold`."""
        parts = [(i, at, piece) for i, text in enumerate(texts) for at, piece in pieces(text)]
        found: list[list[Span]] = [[] for _ in texts]
        for start in range(0, len(parts), _TEXTS):
            some = parts[start : start + _TEXTS]
            read = self.chances([piece for _, _, piece in some])
            for (i, at, piece), (where, chances) in zip(some, read, strict=True):
                for span in _spans(piece, chances, where, threshold):
                    found[i].append(replace(span, start=span.start + at, end=span.end + at))
        return found

    def chances(self, texts: Sequence[str]) -> list[tuple[list[tuple[int, int]], np.ndarray]]:
        """Return for each text its words (start, end) and the chance of each type, (words, types)."""
        import torch

        coded = [_coded(self.backbone, text) for text in texts]
        windows = [(i, start) for i, one in enumerate(coded) for start in _starts(len(one.ids))]
        scores = [np.zeros((len(one.ids), len(TYPES)), np.float32) for one in coded]
        edge = [np.full(len(one.ids), -1) for one in coded]  # how far inside its window a token was read
        windows.sort(key=lambda w: min(_WINDOW, len(coded[w[0]].ids) - w[1]))
        with torch.inference_mode():
            for batch in _batches(windows, coded):
                pieces = [coded[i].cut(start) for i, start in batch]
                for (i, start), got in zip(batch, self._scores(pieces), strict=True):
                    inside = np.minimum(np.arange(len(got)), np.arange(len(got))[::-1])
                    better = inside > edge[i][start : start + len(got)]
                    scores[i][start : start + len(got)][better] = got[better]
                    edge[i][start : start + len(got)][better] = inside[better]
        return [_by_word(one, got) for one, got in zip(coded, scores, strict=True)]

    def _scores(self, pieces: "list[_Coded]") -> list[np.ndarray]:
        import torch

        hidden = _hidden(self.backbone, self.shapes, pieces)
        logits = torch.nn.functional.linear(hidden, *(t.to(hidden.dtype) for t in self.head)).float()
        chances = logits.softmax(-1).numpy()  # (texts, tokens, types)
        return [row[1 : 1 + len(piece.ids)] for row, piece in zip(chances, pieces, strict=True)]


@dataclass(frozen=True)
class _Coded:
    """A text as the encoder reads it, without special tokens."""

    ids: np.ndarray
    word: np.ndarray
    """Which word each token belongs to."""
    shape: np.ndarray
    words: list[tuple[int, int]]

    def cut(self, start: int) -> "_Coded":
        """Return one window."""
        part = slice(start, start + _WINDOW)
        return _Coded(self.ids[part], self.word[part], self.shape[part], self.words)


def _coded(backbone: Backbone, text: str) -> _Coded:
    """Cut a text into words and words into tokens, so that a token never crosses two words."""
    found = words(text)
    # Half of a surrogate pair is no character to the tokenizer.
    plain = [text[a:b].encode("utf-8", "replace").decode() for a, b in found]
    parts = backbone.tokenizer.encode_batch(plain, add_special_tokens=False)
    ids = [part.ids[:16] or [100] for part in parts]
    looks = [_shape(text, a, b) for a, b in found]
    counts = np.array([len(i) for i in ids], np.int64)
    return _Coded(
        np.array([token for part in ids for token in part], np.int64),
        np.repeat(np.arange(len(found)), counts),
        np.repeat(np.array(looks, np.int64), counts),
        found,
    )


def _shape(text: str, start: int, end: int) -> int:
    """Say what a word looks like and where it stands: in a sentence, at its start, at the start of a line."""
    word = text[start:end]
    if not word[0].isalnum():
        look = 0
    elif word.isdigit():
        look = 1 + min(len(word), 6) // 3
    elif any(c.isdigit() for c in word):
        look = 4
    elif word.islower():
        look = 5
    elif word.isupper():
        look = 6 if len(word) > 1 else 7
    elif word[0].isupper():
        look = 8
    else:
        look = 9
    before = text[max(0, start - 4) : start]
    place = 2 if "\n" in before or not start else 1 if before.rstrip(" \"'")[-1:] in tuple(".!?:>") else 0
    return look * 3 + place


def _starts(length: int) -> list[int]:
    return [0] if length <= _WINDOW else list(range(0, length - _WINDOW + _STEP, _STEP))


def _batches(windows: list[tuple[int, int]], coded: list[_Coded]) -> list[list[tuple[int, int]]]:
    """Cut windows, sorted by length, into batches of about as many tokens."""
    batches: list[list[tuple[int, int]]] = [[]]
    for window in windows:
        length = min(_WINDOW, len(coded[window[0]].ids) - window[1]) + 2
        if batches[-1] and (len(batches[-1]) + 1) * length > _BATCH_TOKENS:
            batches.append([])
        batches[-1].append(window)
    return [batch for batch in batches if batch]


def _hidden(backbone: Backbone, shapes: "torch.Tensor", pieces: list[_Coded]) -> "torch.Tensor":
    """Return the last hidden states, (texts, tokens, dim), padded; the first token is [CLS]."""
    import torch

    # Few different sizes: oneDNN keeps a compiled kernel and buffers for each one.
    longest = -(-(max(len(piece.ids) for piece in pieces) + 2) // 16) * 16
    ids, looks, mask = (torch.zeros((len(pieces), longest), dtype=torch.long) for _ in range(3))
    for row, piece in enumerate(pieces):
        end = len(piece.ids) + 1
        ids[row, 0], ids[row, end] = 101, 102
        ids[row, 1:end] = torch.from_numpy(piece.ids)
        looks[row, 1:end] = torch.from_numpy(piece.shape)
        mask[row, : end + 1] = 1
    model = backbone.model
    embedded = model.embeddings.word_embeddings(ids)
    embedded = embedded + shapes[looks].to(embedded.dtype)
    attention = None if bool(mask.all()) else mask
    states: torch.Tensor = model(inputs_embeds=embedded, attention_mask=attention).last_hidden_state
    return states


def _by_word(one: _Coded, scores: np.ndarray) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Average the chances of a word's tokens."""
    if not one.words:
        return [], np.zeros((0, len(TYPES)), np.float32)
    count = np.bincount(one.word, minlength=len(one.words))[:, None]
    total = np.zeros((len(one.words), len(TYPES)), np.float32)
    np.add.at(total, one.word, scores)
    return one.words, total / count


def _spans(text: str, chances: np.ndarray, found: list[tuple[int, int]], threshold: float) -> list[Span]:
    """Join neighbouring words of one type; signs and blanks between two parts of one address belong to it."""
    spans: list[Span] = []
    personal = 1 - chances[:, 0]
    for i in np.flatnonzero(_grown(personal, threshold)):
        (start, end), score = found[i], float(personal[i])
        kind = TYPES[1 + int(chances[i, 1:].argmax())]
        last = spans[-1] if spans else None
        if last and _joins(text[last.end : start], last.type, kind):
            both = ADDRESS if last.type != kind else kind
            spans[-1] = Span(last.start, end, both, max(last.score, score), "tagger")
        else:
            spans.append(Span(start, end, kind, score, "tagger"))
    return [_trimmed(text, span) for span in spans if any(c.isalnum() for c in text[span.start : span.end])]


def _grown(personal: np.ndarray, threshold: float) -> np.ndarray:
    """Return which words count: those at `threshold`, and less sure ones in a row beside them."""
    sure, near = personal >= threshold, personal >= threshold * _BESIDE
    for _ in range(3):
        beside = np.zeros_like(sure)
        beside[1:] |= sure[:-1]
        beside[:-1] |= sure[1:]
        sure = sure | (near & beside)
    return sure


def _trimmed(text: str, span: Span) -> Span:
    """Leave the 's of a possessive in the text."""
    short = span.type != ADDRESS and text[span.start : span.end][-2:] in ("'s", "’s")
    return replace(span, end=span.end - 2) if short else span


def _joins(between: str, last: str, kind: str) -> bool:
    if PERSON in (last, kind):
        return last == kind and (not between.strip(" ") or between in (". ", ".", "'", "-"))
    return (
        len(between) <= 6 and not between.strip(" ,;\n\t.-/>#()") and (last == kind or "\n\n" not in between)
    )


# ---- training ---------------------------------------------------------------------------------------------------


def load_tagger(
    folder: Path,
    *,
    settings: TaggerSettings | None = None,
    clean: Sequence[str] = (),
    progress: Progress = silent,
) -> Tagger:
    """Return the tagger kept in `folder`; train it first where there is none for these settings.

    `clean` are texts of the customer in which nothing is personal; they become negatives.

    Raises:
        MismatchError: the kept files are not what was written.
        TrainingError: the loss is not a number.
    """
    settings = settings or TaggerSettings()
    said = [
        _VERSION,
        fingerprint(),
        settings.model_dump(mode="json"),
        hashlib.sha256(canonical_json(list(clean)).encode()).hexdigest(),
    ]
    key = hashlib.sha256(canonical_json(said).encode()).hexdigest()[:16]
    kept = folder / f"tagger-{key}"
    if not (kept / CONFIG).exists():
        _save(kept, _train(settings, clean, progress), key)
    return _load(kept)


def _load(folder: Path) -> Tagger:
    from safetensors.torch import load

    with boundary(MismatchError, f"reading the tagger in {str(folder)!r}", OSError, ValueError, KeyError):
        wanted = str(json.loads((folder / CONFIG).read_text(encoding="utf-8"))["sha256"])
        raw = (folder / WEIGHTS).read_bytes()
    digest = hashlib.sha256(raw).hexdigest()
    if digest != wanted:
        raise MismatchError(
            f"{str(folder / WEIGHTS)!r} was expected to have sha256 {wanted!r}; found {digest!r}. "
            "Delete the folder: the tagger is trained again"
        )
    tensors = load(raw)
    backbone = load_backbone(EMBEDDED)
    own = {name: t.to(backbone.model.dtype) for name, t in tensors.items() if name.startswith("encoder.")}
    backbone.model.load_state_dict(own, strict=False)
    return Tagger(
        backbone, tensors["shapes"], (tensors["head.weight"], tensors["head.bias"]), f"tagger-{digest[:16]}"
    )


def _save(folder: Path, tensors: "dict[str, torch.Tensor]", key: str) -> None:
    """Write the weights and what they are; the description comes last, so that a killed write is no tagger."""
    import os

    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    raw = save(tensors)
    said = {"version": _VERSION, "key": key, "sha256": hashlib.sha256(raw).hexdigest(), "types": list(TYPES)}
    for name, content in ((WEIGHTS, raw), (CONFIG, json.dumps(said, indent=1).encode())):
        part = folder / f"{name}.{os.getpid()}.part"
        part.write_bytes(content)
        part.replace(folder / name)


def _train(settings: TaggerSettings, clean: Sequence[str], progress: Progress) -> "dict[str, torch.Tensor]":
    """Tune all layers on synthetic texts, each seen once; returns what must be kept, in bfloat16."""
    import torch

    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(settings.seed)
        backbone = load_backbone(EMBEDDED, dtype=torch.float32)
        made: list[Marked] = list(Maker(settings.seed).texts(settings.texts))
        made += [(text, []) for text in clean]
        rows = [_labelled(backbone, text, spans) for text, spans in made]
        rows = [row for row in rows if len(row[0].ids)]
        learner = _Learner(backbone, settings, rows)
        for step, batch in enumerate(learner.order):
            learner.step(step, batch)
            progress("personal data: training the tagger", step + 1, len(learner.order))
        learner.backbone.model.eval()
    kept = {f"encoder.{k}": v for k, v in backbone.model.encoder.state_dict().items()}
    kept |= {"shapes": learner.shapes, "head.weight": learner.head.weight, "head.bias": learner.head.bias}
    return {
        name: t.detach().to(torch.bfloat16 if name.startswith("encoder.") else torch.float32).contiguous()
        for name, t in kept.items()
    }


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: several add the gradients of a shared table in the order they come."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _labelled(backbone: Backbone, text: str, spans: list[tuple[int, int, str]]) -> tuple[_Coded, np.ndarray]:
    one = _coded(backbone, text).cut(0)
    label = np.zeros(len(one.words), np.int64)
    starts = np.array([a for a, _ in one.words])
    for start, end, kind in spans:
        label[np.searchsorted(starts, start) : np.searchsorted(starts, end)] = TYPES.index(kind)
    return one, label[one.word]


class _Learner:
    """The state of one training."""

    def __init__(
        self, backbone: Backbone, settings: TaggerSettings, rows: list[tuple[_Coded, np.ndarray]]
    ) -> None:
        import torch

        self.backbone, self.settings, self.rows = backbone, settings, rows
        model, rate = backbone.model, settings.learning_rate
        model.encoder.requires_grad_(True)
        model.train()
        self.shapes = torch.zeros((_SHAPES, backbone.dim), requires_grad=True)
        self.head = torch.nn.Linear(backbone.dim, len(TYPES))
        own = [self.shapes, *self.head.parameters()]
        groups = [
            {"params": list(model.encoder.parameters()), "lr": rate, "peak": rate},
            {"params": own, "lr": 10 * rate, "peak": 10 * rate},
        ]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.01, fused=True)
        self.rng = np.random.default_rng(settings.seed)
        self.order = self._ordered()

    def _ordered(self) -> list[list[int]]:
        """Cut the rows into batches of like length and bounded tokens, in random order."""
        size = self.settings.batch_texts
        order = self.rng.permutation(len(self.rows))
        batches: list[list[int]] = []
        for start in range(0, len(order), size * 16):
            part = sorted(order[start : start + size * 16].tolist(), key=lambda i: len(self.rows[i][0].ids))
            cut: list[list[int]] = [[]]
            for i in part:
                if len(cut[-1]) == size or (len(cut[-1]) + 1) * len(self.rows[i][0].ids) > _BATCH_TOKENS:
                    cut.append([])
                cut[-1].append(i)
            batches += [cut[i] for i in self.rng.permutation(len(cut)) if cut[i]]
        return batches

    def step(self, number: int, batch: list[int]) -> None:
        """Take one step."""
        import torch

        share = min((number + 1) / (0.1 * len(self.order) + 1), 1 - number / len(self.order))
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share
        pieces = [self._hidden_words(self.rows[i][0]) for i in batch]
        with torch.autocast("cpu", torch.bfloat16):
            hidden = _hidden(self.backbone, self.shapes, pieces)
            logits = self.head(hidden).float()
        gold = torch.full(logits.shape[:2], -100)
        for row, i in enumerate(batch):
            gold[row, 1 : 1 + len(self.rows[i][1])] = torch.from_numpy(self.rows[i][1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), gold.flatten(), ignore_index=-100)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"step {number}: loss is {loss.item()}; lower `learning_rate` and train again"
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for g in self.optimizer.param_groups for p in g["params"]], 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _hidden_words(self, one: _Coded) -> _Coded:
        """Put [MASK] for some words."""
        hide = self.rng.random(len(one.words)) < self.settings.masked_ratio
        return _Coded(np.where(hide[one.word], 103, one.ids), one.word, one.shape, one.words)
