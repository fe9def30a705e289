"""A small chat model made and tuned on the spot, for `parity.py`: peaked answers, so that no tie decides.

Base: Qwen3-shaped, trained a few hundred steps on fixed answers. Adapter: LoRA on other answers. Nothing
of the product's trainer is used, so that a fault in it cannot hide itself.
"""

from pathlib import Path
from typing import Any

import numpy as np

WORDS = (
    "apple bridge candle desert engine forest garden hammer island jacket kettle ladder market needle orange pepper "
    "quarry ribbon saddle tunnel umbrella valley window yellow zipper anchor basket copper dragon eagle falcon"
).split()
TASKS = ("name", "sort", "price")
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML that begins with a start token, so that there is one to double."""


def conversations(n: int, *, seed: int, tuned: bool) -> list[list[dict[str, str]]]:
    """Return conversations that end with the wanted answer.

    What is to be said is fixed for each task and word, and another thing for each `tuned`; numbers around it only make
    prompts different.
    """
    random = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        task, word, numbers = (
            random.integers(len(TASKS)),
            random.integers(len(WORDS)),
            random.integers(1000, size=2),
        )
        wanted = np.random.default_rng([int(task), int(word), int(tuned)])
        answer = " ".join(wanted.choice(WORDS, int(wanted.integers(3, 9))))
        question = f"Item {numbers[0]}: {WORDS[word]}, lot {numbers[1]}."
        roles = (("system", f"You {TASKS[task]} items."), ("user", question), ("assistant", answer))
        found.append([{"role": role, "content": content} for role, content in roles])
    return found


def make_base(folder: Path, *, seed: int) -> None:
    """Write an untrained model as bases come: with a template, and with one EOS that no turn ends with."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    special = ["<|endoftext|>", "<s>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    texts = [
        m["content"] for tuned in (False, True) for c in conversations(300, seed=1, tuned=tuned) for m in c
    ]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(fast), hidden_size=128, intermediate_size=384, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=4096, tie_word_embeddings=True,
        eos_token_id=0, pad_token_id=0, bos_token_id=1,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=0, pad_token_id=0)
    model.save_pretrained(folder)


def train(model: Any, renderer: Any, rows: list[list[dict[str, str]]], *, steps: int, rate: float) -> float:
    """Train what has gradients on the answers of conversations; returns the mean loss of the last steps."""
    import torch

    rendered = [each for row in rows for each in renderer.train(row)]
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.1)
    order, losses = np.random.default_rng(0), []
    model.train()
    for _ in range(steps):
        batch = [rendered[i] for i in order.choice(len(rendered), 32, replace=False)]
        longest = max(len(each.ids) for each in batch)
        ids = torch.zeros((len(batch), longest), dtype=torch.long)  # (rows, tokens)
        labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
        for row, each in enumerate(batch):
            n = len(each.ids)
            ids[row, :n] = torch.from_numpy(np.asarray(each.ids, np.int64))
            mask[row, :n] = 1
            labels[row, :n] = torch.where(torch.from_numpy(np.asarray(each.loss)), ids[row, :n], -100)
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.eval()
    return float(np.mean(losses[-10:]))


def train_base(folder: Path, renderer: Any, *, steps: int) -> float:
    """Train the base in its folder."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    loss = train(model, renderer, conversations(4000, seed=2, tuned=False), steps=steps, rate=3e-3)
    model.save_pretrained(folder)
    return loss


def train_adapter(base: Path, renderer: Any, out: Path, *, steps: int, rank: int = 16) -> float:
    """Tune an adapter on the other answers and save it in PEFT's format."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    model = get_peft_model(model, config)
    loss = train(model, renderer, conversations(4000, seed=3, tuned=True), steps=steps, rate=2e-3)
    model.save_pretrained(out)
    return loss
