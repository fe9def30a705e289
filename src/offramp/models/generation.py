"""The in-process engine: many prompts answered together by one decoder, greedily.

Prompts that begin alike (a task's instruction, its examples) have that beginning computed once. Rows of different
length and different adapters share a batch; a row leaves it when it is done and a waiting one takes its place.
Guarantee: in float32 an answer does not depend on what else is in the batch: where rounding could decide between two
tokens, that row is computed again alone and whole, which is the same arithmetic in every batch.
Trap: in bfloat16 rounding decides more often, so answers may differ from batch to batch; nothing is computed again.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from offramp.errors import ConfigError, DataError, ModelError, NotFoundError, boundary
from offramp.models.constrain import Vocabulary
from offramp.models.saying import Ask, Row, Said, Segment, segments, share
from offramp.models.weights import attention, load_base, mixable, with_adapter
from offramp.render import Renderer
from offramp.types import Progress, silent

if TYPE_CHECKING:
    import torch

    from offramp.models.kv import State

__all__ = ["Ask", "Generator", "Said"]

NEAR = 1e-4
"""Two logits nearer than this times their size are a tie that rounding may decide; float32 noise is about 1e-6."""
_MOST_ROWS = 64
_LEAVE_RATIO = 0.8
_PREFILL_TOKENS = 4096
_CACHE_BYTES = {"cpu": 2**30, "cuda": 8 * 2**30}
_MOST_HEADS = 8


class Generator:
    """One base with any number of adapters, ready to answer."""

    renderer: Renderer
    """Writes prompts and reads answers."""

    def __init__(
        self, model: Any, renderer: Renderer, *, tokenizer_json: str, names: Sequence[str] = ()
    ) -> None:
        """Answer with a loaded `model`; `names` are its adapters."""
        config = model.config.get_text_config(decoder=True)
        self.renderer = renderer
        self._model = model
        self._names = tuple(names)
        self._device = next(model.parameters()).device
        self._exact = next(model.parameters()).itemsize >= 4
        self._layers = int(config.num_hidden_layers)
        self._context = int(getattr(config, "max_position_embeddings", 0) or 2**30)
        self._kinds, self._window = attention(config)
        self._tokenizer_json = tokenizer_json
        self._vocabulary: Vocabulary | None = None
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._token_bytes = 2 * self._layers * heads * dim * next(model.parameters()).itemsize
        self._heads: OrderedDict[tuple[str | None, tuple[int, ...]], State] = OrderedDict()
        self._before: dict[str | None, Sequence[int]] = {}
        self._mixable = mixable(model, self._names)
        self._active: str | None = ""

    @classmethod
    def load(
        cls,
        base: Path,
        *,
        adapters: Mapping[str, Path] | None = None,
        dtype: str = "float32",
        threads: int | None = None,
        merged: bool = False,
        renderer: Renderer | None = None,
    ) -> "Generator":
        """Load a base folder and adapters in PEFT's format; `merged` adds the only adapter into the weights.

        A merged adapter answers asks whose `adapter` is `None`, without its cost per token.

        Raises:
            NotFoundError: there is no such folder.
            ConfigError: the model needs its own code, or layers that this engine has not.
            ModelError: files are damaged or incomplete.
            MismatchError: an adapter was made for another base.
        """
        import torch

        given = dict(adapters or {})
        if merged and len(given) != 1:
            raise ConfigError(f"one adapter can be merged; found {sorted(given)!r}")
        if threads is not None:
            torch.set_num_threads(threads)
        model = load_base(base, dtype)
        for name, path in given.items():
            model = with_adapter(model, name, path)
        if merged:
            model = model.merge_and_unload(safe_merge=True)
        model.to("cuda" if torch.cuda.is_available() else "cpu").eval().requires_grad_(False)
        shown = renderer or Renderer.load(base)
        with boundary(ModelError, f"reading the tokenizer in {str(shown.folder)!r}"):
            tokenizer_json = (shown.folder / "tokenizer.json").read_text(encoding="utf-8")
        return cls(model, shown, tokenizer_json=tokenizer_json, names=() if merged else tuple(given))

    def generate(self, asks: Sequence[Ask], *, progress: Progress = silent) -> list[Said]:
        """Answer every ask, same order.

        Raises:
            DataError: a prompt is empty or leaves no room in the model's context.
            NotFoundError: an ask names an adapter that is not loaded.
        """
        rows = [self._row(place, ask) for place, ask in enumerate(asks)]
        done = 0
        for stepped in self._answer(rows):
            finished = sum(row.finish is not None for row in stepped)
            done += finished
            if finished:
                progress("answering", done, len(rows))
        return [row.said for row in rows]

    def stream(self, ask: Ask) -> Iterator[tuple[int, str]]:
        """Answer one ask token by token: the token, and the text that may be shown now, never half a character."""
        from tokenizers import Tokenizer
        from tokenizers.decoders import DecodeStream

        tokenizer, shown = Tokenizer.from_str(self._tokenizer_json), DecodeStream(skip_special_tokens=True)
        row, seen = self._row(0, ask), 0
        for _ in self._answer([row]):
            for token in row.ids[seen:]:
                yield token, shown.step(tokenizer, token) or ""
            seen = len(row.ids)

    def logits(self, ids: Sequence[int], *, adapter: str | None = None) -> np.ndarray:
        """Return the logits of the next token, float32 (vocabulary,), computed alone and without a cache."""
        self._known(adapter)
        return np.asarray(self._whole(ids, adapter).cpu().numpy(), dtype=np.float32)

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the loaded adapters that asks may name."""
        return self._names

    @property
    def context_tokens(self) -> int:
        """Most tokens of prompt and answer together."""
        return self._context

    def _known(self, adapter: str | None) -> None:
        if adapter is not None and adapter not in self._names:
            raise NotFoundError(f"adapter {adapter!r} was asked for; loaded are {sorted(self._names)!r}")

    def _row(self, place: int, ask: Ask) -> Row:
        self._known(ask.adapter)
        room = self._context - len(ask.ids)
        if not len(ask.ids) or room < 1 or ask.max_tokens < 1:
            raise DataError(
                f"ask {place}: a prompt of 1 to {self._context - 1} tokens and an answer of at least 1 were expected; "
                f"found {len(ask.ids)} and {ask.max_tokens}; shorten the prompt"
            )
        wanted = max(ask.max_tokens, ask.grammar.longest or 0) if ask.grammar else ask.max_tokens
        stop_ids = tuple(self.renderer.stop_ids)
        row = Row(place, ask, min(wanted, room), stop_ids)
        if ask.grammar is not None:
            if self._vocabulary is None:
                size = int(self._model.get_output_embeddings().weight.shape[0])
                self._vocabulary = Vocabulary(self._tokenizer_json, size=size, stop_ids=stop_ids)
            row.cursor = self._vocabulary.cursor(ask.grammar)
        return row

    def _answer(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Yield after each step the rows that went on."""
        import torch

        adapters = sorted({row.ask.adapter or "" for row in rows})
        by_adapter = {
            name or None: [row for row in rows if (row.ask.adapter or "") == name] for name in adapters
        }
        waiting: list[Segment] = []
        for name, members in by_adapter.items():
            before = [self._before[name]] if name in self._before else []
            waiting += segments(members, before)
            self._before[name] = members[-1].ask.ids
        running: list[Row] = []
        state: State | None = None
        while waiting or running:
            with torch.inference_mode():
                if waiting and len(running) <= _MOST_ROWS // 2 and self._fits(waiting[0], running):
                    fresh, joining = self._prefill(waiting, running)
                    yielded = list(fresh)
                    state = joining if state is None else state.join(joining)
                    running += fresh
                else:
                    assert state is not None
                    yielded = self._step(running, state)
            yield yielded
            live = [i for i, row in enumerate(running) if row.finish is None]
            # Leaving copies what stays, so rows leave together; until then a finished one is computed in vain.
            if len(live) <= _LEAVE_RATIO * len(running):
                with torch.inference_mode():
                    state = state.keep(live) if live and state is not None else None
                running = [running[i] for i in live]

    def _fits(self, segment: Segment, running: Sequence[Row]) -> bool:
        return not running or (
            (self._mixable or running[0].ask.adapter == segment.rows[0].ask.adapter)
            and self._room(segment.rows[0], running) > 0
        )

    def _room(self, row: Row, running: Sequence[Row]) -> int:
        """Return how many rows like `row` may join those that are running."""
        columns = max(len(each.ask.ids) + each.limit for each in (*running, row))
        most = _CACHE_BYTES[self._device.type] // (columns * self._token_bytes)
        return min(_MOST_ROWS, most) - len(running)

    def _prefill(self, waiting: list[Segment], running: Sequence[Row]) -> tuple[list[Row], "State"]:
        """Take rows of the first segment, compute their prompts and choose their first tokens."""
        segment = waiting[0]
        head = self._head(segment)
        known = 0 if head is None else head.positions.shape[1]
        rows: list[Row] = []
        longest = 0
        for row in segment.rows:
            longest = max(longest, len(row.ask.ids) - known)
            if rows and (
                len(rows) >= self._room(row, running) or longest * (len(rows) + 1) > _PREFILL_TOKENS
            ):
                break
            rows.append(row)
        del segment.rows[: len(rows)]
        if not segment.rows:
            waiting.pop(0)
        state = self._fresh(len(rows)) if head is None else head.spread(len(rows))
        ids = np.zeros((len(rows), longest := max(len(row.ask.ids) for row in rows) - known), np.int64)
        positions = np.full(ids.shape, -1, np.int64)
        for i, row in enumerate(rows):
            rest = list(row.ask.ids[known:])
            ids[i, longest - len(rest) :] = rest
            positions[i, longest - len(rest) :] = np.arange(known, known + len(rest))
        self._choose(rows, self._forward(ids, positions, state, rows))
        return rows, state

    def _head(self, segment: Segment) -> "State | None":
        """Return the computed beginning of a segment's prompts, from an earlier call where there is one."""
        adapter, head = segment.rows[0].ask.adapter, segment.head
        if not head:
            return None
        best = max(
            (ids for name, ids in self._heads if name == adapter and share(ids, head) == len(ids)),
            key=len,
            default=(),
        )
        if len(best) * 2 >= len(head):
            self._heads.move_to_end((adapter, best))
            return self._heads[adapter, best]
        state = self._fresh(1)
        positions = np.arange(len(head))[None]
        self._forward(np.array(head, np.int64)[None], positions, state, segment.rows[:1])
        self._heads[adapter, head] = state
        while len(self._heads) > _MOST_HEADS:
            self._heads.popitem(last=False)
        return state

    def _fresh(self, rows: int) -> "State":
        from offramp.models.kv import State

        return State.empty(rows, self._layers, window=self._window, device=self._device)

    def _step(self, rows: Sequence[Row], state: "State") -> list[Row]:
        """Feed every row's last token, choose the next of those that go on, and return these."""
        ids = np.array([[row.ids[-1] if row.ids else 0] for row in rows], np.int64)
        positions = np.array([[len(row.ask.ids) + len(row.ids) - 1] for row in rows], np.int64)
        logits = self._forward(ids, positions, state, rows)
        live = [i for i, row in enumerate(rows) if row.finish is None]
        going = [rows[i] for i in live]
        self._choose(going, logits if len(live) == len(rows) else logits[live])
        return going

    def _forward(
        self, ids: np.ndarray, positions: np.ndarray, state: "State", rows: Sequence[Row]
    ) -> "torch.Tensor":
        """Compute columns (rows, new) and return the logits of the last, (rows, vocabulary)."""
        import torch

        places = torch.from_numpy(positions).to(self._device)
        masks = state.append(places)
        mask: Any = {kind: masks[kind] for kind in self._kinds}
        out = self._model(
            input_ids=torch.from_numpy(ids).to(self._device),
            attention_mask=mask if len(mask) > 1 else mask[self._kinds[0]],
            position_ids=places.clamp(min=0),
            past_key_values=state.cache,
            use_cache=True,
            logits_to_keep=1,
            **self._use([row.ask.adapter for row in rows]),
        )
        return out.logits[:, -1].float()

    def _whole(self, ids: Sequence[int], adapter: str | None) -> "torch.Tensor":
        import torch

        with torch.inference_mode():
            batch = torch.tensor([list(ids)], device=self._device)
            out = self._model(input_ids=batch, use_cache=False, logits_to_keep=1, **self._use([adapter]))
            return out.logits[0, -1].float()

    def _use(self, adapters: Sequence[str | None]) -> dict[str, Any]:
        """Switch adapters; return what the forward pass must be told when rows have different ones."""
        if not self._names:
            return {}
        mixed = len(set(adapters)) > 1
        wanted = self._names[0] if mixed else adapters[0]
        if self._active != wanted:
            if wanted is None:
                self._model.base_model.disable_adapter_layers()
            else:
                self._model.base_model.enable_adapter_layers()
                self._model.set_adapter(wanted)
            self._active = wanted
        return {"adapter_names": [name or "__base__" for name in adapters]} if mixed else {}

    def _choose(self, rows: Sequence[Row], logits: "torch.Tensor") -> None:
        """Give every row its next token, the most likely legal one."""
        import torch

        held = [i for i, row in enumerate(rows) if row.cursor is not None]
        legal, free = logits, logits.logsumexp(-1)
        among = free
        if held:
            allowed = np.ones(tuple(logits.shape), bool)
            for i in held:
                allowed[i] = rows[i].cursor.allowed()  # type: ignore[union-attr]
            barred = ~torch.from_numpy(allowed).to(logits.device)
            legal = logits.masked_fill(barred, -torch.inf)
            among = legal.logsumexp(-1)
        top = legal.topk(2)
        best: list[int] = top.indices[:, 0].tolist()
        if self._exact:
            tied = top.values[:, 0] - top.values[:, 1] < NEAR * (1 + top.values[:, 0].abs())
            for i in tied.nonzero()[:, 0].tolist():
                alone = self._whole([*rows[i].ask.ids, *rows[i].ids], rows[i].ask.adapter)
                best[i] = int((alone.masked_fill(barred[i], -torch.inf) if held else alone).argmax())
        tokens = [row.settle(token) for row, token in zip(rows, best, strict=True)]
        picked = logits.gather(1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0]
        said, sure = (picked - free).tolist(), (picked - among).tolist()
        for i, row in enumerate(rows):
            row.take(tokens[i], logprob=said[i], sure=sure[i])
