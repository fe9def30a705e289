"""Starting weights in which looking back is already there: two heads that see the last tokens, four that match them.

The idea: a small model needs tens of millions of tokens until it finds by chance how to continue `A B ... A` with `B`;
set by hand, it can do so before its first step, and training goes on from there. Layer 0 writes what came one and two
tokens ago into directions of its own; layer 1 looks for places whose past is like the present, and repeats what stood
there. Everything else starts at random, with output projections at zero.
Guarantee: seeded like any other start; nothing is added to the shape, so every Qwen3 engine loads it.
Trap: a start, not a constraint: training may unlearn it.

Sources: induction heads, Olsson et al. 2022 (arXiv 2209.11895); starting weights that imitate trained ones, Trockman
and Kolter 2023 (arXiv 2305.09828); zero output projections, arXiv 1901.09321.
"""

import torch
from transformers import Qwen3ForCausalLM

SHARP = 4
"""Rotary pairs, the fastest, by which a head tells one distance from its neighbours."""
SLOW = 16
"""Rotary pairs, the slowest, that hold content: they hardly turn within a document."""
FIRM = 3.0
"""Size of query and key weights; their norm cancels it, so it only says how slowly training turns them."""


@torch.no_grad()
def prepare(model: Qwen3ForCausalLM) -> None:
    """Set the circuit in layers 0 and 1."""
    shape = model.config
    width, dim = shape.hidden_size, shape.head_dim
    basis = torch.linalg.qr(torch.randn(width, width))[
        0
    ].T  # rows are orthonormal directions of the residual stream
    constant, now, last, earlier, rest = basis.split([1, dim, dim, dim, width - 1 - 3 * dim])
    tokens = model.model.embed_tokens.weight
    scale = float(tokens.std()) * width**0.5
    # Every token shares one direction; the softmax over tokens does not see it, but a head can rely on it.
    tokens.add_(scale * constant)
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()

    look = model.model.layers[0].self_attn
    speeds = 10_000.0 ** (-torch.arange(dim // 2) * 2.0 / dim)[:SHARP]
    look.k_proj.weight[:dim] = FIRM * _turned(dim, speeds) @ constant
    for head, (back, into) in enumerate(((1, last), (2, earlier))):
        look.q_proj.weight[_rows(head, dim)] = FIRM * _turned(dim, speeds * (1 - back)) @ constant
        look.o_proj.weight[:, _rows(head, dim)] = 0.06 * into.T
    look.v_proj.weight[:dim] = now

    match = model.model.layers[1].self_attn
    slow = torch.zeros(dim, dim)
    mix = torch.linalg.qr(torch.randn(dim, dim))[0]
    places = [*range(dim // 2 - SLOW, dim // 2), *range(dim - SLOW, dim)]
    slow[places] = mix[: len(places)]
    for group, (present, past, said) in enumerate(((now, last, now), (last, earlier, rest))):
        match.k_proj.weight[_rows(group, dim)] = FIRM * slow @ past
        match.v_proj.weight[_rows(group, dim)] = torch.zeros(dim, width)
        match.v_proj.weight[group * dim : group * dim + len(said)] = said
        for head in (2 * group, 2 * group + 1):
            match.q_proj.weight[_rows(head, dim)] = FIRM * slow @ present
            match.o_proj.weight[:, head * dim : head * dim + len(said)] = 0.15 * said.T


def _rows(head: int, dim: int) -> slice:
    return slice(head * dim, (head + 1) * dim)


def _turned(dim: int, angles: torch.Tensor) -> torch.Tensor:
    """Return a column with a unit vector at the given angle in each of the fastest rotary pairs."""
    column = torch.zeros(dim, 1)
    column[: len(angles), 0] = torch.cos(angles)
    column[dim // 2 : dim // 2 + len(angles), 0] = torch.sin(angles)
    return column
