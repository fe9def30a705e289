"""The running state of answers in one batch: keys and values of every layer, in columns that may have gaps.

Each row has a position per column, -1 where the column is not its own (padding, another row's longer prompt). What a
token may look at follows from positions alone, so rows of any length can share a batch, join it and leave it.
Trap: attention must be `sdpa`, and layers must all keep keys and values (no recurrent or chunked layers).
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_SPARE = 64
_WORTH_DROPPING_RATIO = 0.9
_GAP = -1


class Columns(DynamicLayer):
    """One layer's keys and values in a buffer with room, so that a new token copies nothing."""

    def __init__(self, keys: "torch.Tensor | None" = None, values: "torch.Tensor | None" = None) -> None:
        """Start empty, or with a copy of these (rows, heads, columns, dim)."""
        super().__init__()
        self._room: tuple[torch.Tensor, torch.Tensor] | None = None
        self.used = 0
        if keys is not None and values is not None:
            self.update(keys, values)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append columns and return all, as transformers asks for."""
        end = self.used + key_states.shape[-2]
        if self._room is None or end > self._room[0].shape[-2]:
            self._room = self._grown(key_states, value_states, end + max(_SPARE, end // 4))
            self.is_initialized = True
        for room, new in zip(self._room, (key_states, value_states), strict=True):
            room[:, :, self.used : end] = new
        self.used = end
        self.keys, self.values = (room[:, :, :end] for room in self._room)
        return self.keys, self.values

    def _grown(
        self, keys: torch.Tensor, values: torch.Tensor, size: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        rooms = tuple(new.new_empty((*new.shape[:2], size, new.shape[3])) for new in (keys, values))
        if self._room is not None:
            for room, old in zip(rooms, self._room, strict=True):
                room[:, :, : self.used] = old[:, :, : self.used]
        return rooms[0], rooms[1]


class State:
    """Keys, values and positions of the rows of a batch."""

    def __init__(self, layers: Sequence[Columns], positions: torch.Tensor, *, window: int | None) -> None:
        """Hold `layers` with `positions` (rows, columns); `window` is that of sliding attention."""
        self.cache = DynamicCache()
        # An empty cache of transformers makes layers of its own kind on demand; ours are there before it can.
        self.cache.layers = list(layers)
        self.positions = positions
        self.window = window

    @classmethod
    def empty(cls, rows: int, layers: int, *, window: int | None, device: Any) -> "State":
        """Return a state without columns."""
        positions = torch.zeros((rows, 0), dtype=torch.long, device=device)
        return cls([Columns() for _ in range(layers)], positions, window=window)

    @property
    def layers(self) -> list[Columns]:
        """Every layer's columns."""
        return self.cache.layers

    def append(self, positions: torch.Tensor) -> dict[str, torch.Tensor | None]:
        """Add columns (rows, new), which the next forward pass fills; return its masks by kind of attention."""
        self.positions = torch.cat([self.positions, positions], dim=1)
        have = self.positions[:, None, :]  # (rows, 1, columns)
        ask = positions[:, :, None]  # (rows, new, 1)
        new, columns = positions.shape[1], self.positions.shape[1]
        if bool((self.positions >= 0).all()) and (new == 1 or new == columns):
            full = None
        else:
            full = ((have >= 0) & (have <= ask))[:, None]
        if self.window is None or columns <= self.window:
            return {"full_attention": full, "sliding_attention": full}
        sliding = ((have >= 0) & (have <= ask) & (ask - have < self.window))[:, None]
        return {"full_attention": full, "sliding_attention": sliding}

    def spread(self, rows: int) -> "State":
        """Return a state of `rows` rows that all begin as this one's only row does."""
        layers = [
            Columns(layer.keys.expand(rows, -1, -1, -1), layer.values.expand(rows, -1, -1, -1))
            for layer in self.layers
        ]
        return State(layers, self.positions.expand(rows, -1), window=self.window)

    def keep(self, rows: Sequence[int]) -> "State":
        """Return a state of these rows, without columns that none of them uses where those are many."""
        wanted = torch.tensor(rows, device=self.positions.device)
        positions = self.positions[wanted]
        used = (positions >= 0).any(dim=0)
        columns = used.nonzero()[:, 0] if float(used.float().mean()) < _WORTH_DROPPING_RATIO else slice(None)
        layers = [
            Columns(layer.keys[wanted][:, :, columns], layer.values[wanted][:, :, columns])
            for layer in self.layers
        ]
        return State(layers, positions[:, columns], window=self.window)

    def join(self, other: "State") -> "State":
        """Return a state of these rows followed by the other's, both ending in the last column."""
        columns = max(self.positions.shape[1], other.positions.shape[1])
        layers = [
            Columns(_stacked(mine.keys, its.keys, columns), _stacked(mine.values, its.values, columns))
            for mine, its in zip(self.layers, other.layers, strict=True)
        ]
        padded = [
            torch.nn.functional.pad(state.positions, (columns - state.positions.shape[1], 0), value=_GAP)
            for state in (self, other)
        ]
        return State(layers, torch.cat(padded), window=self.window)


def _stacked(first: torch.Tensor, second: torch.Tensor, columns: int) -> torch.Tensor:
    """Stack (rows, heads, columns, dim) tensors, zeros before the first column of the shorter one."""
    out = first.new_zeros((first.shape[0] + second.shape[0], first.shape[1], columns, first.shape[3]))
    out[: first.shape[0], :, columns - first.shape[2] :] = first
    out[first.shape[0] :, :, columns - second.shape[2] :] = second
    return out
