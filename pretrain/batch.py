"""Documents as padded batches, and their loss.

The idea: documents of like length go together, so nothing is packed, hardly anything is padded, and no document sees
another one. Guarantee: padding has no weight and nothing that has weight looks at it.
"""

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from transformers import Qwen3ForCausalLM

from corpus import Document
from tokenizer import encode

Batch = tuple[torch.Tensor, torch.Tensor]


def batches(
    docs: Sequence[Document], tokenizer: Tokenizer, most: int, *, rank: int = 0, workers: int = 1
) -> tuple[list[Batch], float, int]:
    """Cut documents into padded batches of like length; return them, their summed weight and their tokens.

    Of several workers each takes its share of every length.
    """
    rows = sorted((encode(tokenizer, doc) for doc in docs), key=lambda row: len(row[0]))[rank::workers]
    groups: list[list[tuple[list[int], list[float]]]] = [[]]
    for row in rows:
        if (len(groups[-1]) + 1) * len(row[0]) > most:
            groups.append([])
        groups[-1].append(row)
    made = []
    for group in filter(None, groups):
        width = len(group[-1][0])
        ids = torch.zeros(len(group), width, dtype=torch.long)
        weights = torch.zeros(len(group), width)
        for i, (tokens, weight) in enumerate(group):
            ids[i, : len(tokens)] = torch.tensor(tokens)
            weights[i, : len(tokens)] = torch.tensor(weight)
        weights[:, 0] = 0.0  # Nothing comes before the first token that could tell it.
        made.append((ids, weights))
    return made, sum(float(weights.sum()) for _, weights in made), sum(len(row[0]) for row in rows)


def scored(model: Qwen3ForCausalLM, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and targets where a weight is; the output head runs only there."""
    ids, weights = batch
    wanted = weights[:, 1:] > 0
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[
            :, :-1
        ]  # (rows, tokens - 1, width)
        logits = model.lm_head(hidden[wanted])  # (wanted, vocabulary)
    return logits.float(), ids[:, 1:][wanted]


def loss_of(model: Qwen3ForCausalLM, batch: Batch) -> torch.Tensor:
    """Return the summed weighted loss of a batch in nats."""
    logits, targets = scored(model, batch)
    weights = batch[1][:, 1:]
    return (cross_entropy(logits, targets, reduction="none") * weights[weights > 0]).sum()
