"""What the model has learned, on documents of steps that training never reaches.

The idea: an answer is exact when the likeliest token is the right one at each of its places, which is what greedy
decoding would write. Guarantee: the same seed is asked the same questions. Trap: these are the questions it was
trained for; what they say about other text is nothing.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from transformers import Qwen3ForCausalLM

from batch import batches, loss_of, scored
from corpus import HELD, Document, documents
from prose import Prose
from records import RECORDS
from skills import TASKS, chat


def held_loss(model: Qwen3ForCausalLM, tokenizer: Tokenizer, docs: Sequence[Document]) -> float:
    """Return the weighted loss per token, in nats."""
    made, weight, _ = batches(docs, tokenizer, 4096)
    with torch.no_grad():
        return round(sum(float(loss_of(model, batch)) for batch in made) / weight, 4)


def exact_ratio(
    model: Qwen3ForCausalLM, tokenizer: Tokenizer, docs: Sequence[Document]
) -> tuple[float, float]:
    """Return the share of conversations whose last answer is exact, and the share of its tokens that are right."""
    exact, right, count = 0, 0, 0
    for ids, weights in batches(docs, tokenizer, 4096)[0]:
        answer = torch.stack([_last_answer(row) for row in weights])
        with torch.no_grad():
            logits, targets = scored(model, (ids, answer))
        hits = (logits.argmax(-1) == targets).split((answer[:, 1:] > 0).sum(dim=1).tolist())
        exact += sum(bool(row.all()) for row in hits)
        right += sum(int(row.sum()) for row in hits)
        count += sum(len(row) for row in hits)
    return exact / len(docs), right / count


def _last_answer(weights: torch.Tensor) -> torch.Tensor:
    """Return a row of weights with only its last run of weights of 1."""
    flags = (weights == 1.0).tolist()
    end = max(i for i, flag in enumerate(flags) if flag)
    begin = next(i for i in range(end, -1, -1) if i == 0 or not flags[i - 1])
    kept = torch.zeros_like(weights)
    kept[begin : end + 1] = 1.0
    return kept


def copies(p: Prose) -> Document:
    """Return a copy of made-up words and codes that no training text holds."""
    text = " ".join(p.rng.choice((p.made_up, p.code))() for _ in range(12))
    return chat(p, "Repeat the text.", text, text)


def table(folder: Path, seed: int, count: int = 40) -> list[str]:
    """Return a line per task: exact answers and right tokens of the exported model."""
    model = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    p = Prose(Random(f"held tasks {seed}"))
    kinds: list[Callable[[Prose], Document]] = [*TASKS, *RECORDS, copies]
    lines = []
    for kind in kinds:
        exact, right = exact_ratio(model, tokenizer, [kind(p) for _ in range(count)])
        lines.append(f"{kind.__name__:<14} exact {exact:.2f}  tokens {right:.3f}")
    others = ("sentences", "story", "note", "personal", "repeated", "skill", "record")
    exact, right = exact_ratio(model, tokenizer, documents(seed, HELD + 1, count, leave_out=others))
    lines.append(f"{'intake note':<14} exact {exact:.2f}  tokens {right:.3f}")
    lines.append(f"held-out loss {held_loss(model, tokenizer, documents(seed, HELD, 400)):.3f}")
    return lines
