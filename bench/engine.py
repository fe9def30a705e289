"""Answers per second of the in-process engine against a plain `generate` loop, and against vLLM where there is one.

Same weights (float32), same prompts as token ids, same greedy answers: the loop is `transformers`' own `generate` with
its cache, one prompt after the other. Prompts are those of a narrow task: one instruction, short texts that differ, 4
to 48 tokens of answer each; nothing stops an answer early, so that speed does not hang on what an untuned base
happens to say. Runs are interleaved; speed is answered tokens over processor time (over wall time on a
GPU), the median of the ratios of the rounds counts. Answers must be equal, token by token.

`VLLM_PYTHON=/path/python` names an environment with vLLM: the same prompts go to it as token ids, 64 at a time, and
wall time is compared on the same machine, both with all cores. The ratio is printed whatever it is.
"""

import json
import os
import random
import statistics
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from _common import SMALL, emit, table
from offramp.bases import base_of, located
from offramp.errors import NotFoundError
from offramp.models.constrain import Grammar
from offramp.models.generation import Ask, Generator

ROUNDS = 1 if SMALL else 3
ASKS = 24 if SMALL else 256
NEVER = 10**6
SHAPE = dict(
    vocab_size=4_096 if SMALL else 32_768, hidden_size=64 if SMALL else 384, intermediate_size=128 if SMALL else 1152,
    num_hidden_layers=2 if SMALL else 10, num_attention_heads=6, num_key_value_heads=2, head_dim=64,
    tie_word_embeddings=True, max_position_embeddings=2048, initializer_range=0.1, bos_token_id=None, eos_token_id=2,
)  # fmt: skip
WORDS = "card late payment refund transfer abroad fee limit lost shop twice pending balance please why when not".split()
LABELS = [f"{verb} {noun}" for verb in ("block", "find", "pay", "explain") for noun in WORDS[:8]]
TOLD = (
    "You read messages of a bank's customers and say what they want. Answer with one of: "
    + ", ".join(LABELS)
    + "."
)


def random_base(folder: Path) -> Path:
    """Write a base of about 30 million random weights with a tokenizer trained on the prompts' words."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    from offramp.render import CHATML

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator([TOLD, " ".join(WORDS)], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    Qwen3ForCausalLM(Qwen3Config(**SHAPE)).save_pretrained(folder)
    return folder


def asks_for(engine: Generator, count: int, *, seed: int) -> list[Ask]:
    """Return prompts of a narrow task."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        text = " ".join(rng.choices(WORDS, k=rng.randrange(4, 30)))
        turns = [{"role": "system", "content": TOLD}, {"role": "user", "content": text}]
        found.append(Ask(engine.renderer.prompt(turns), max_tokens=rng.randrange(4, 49)))
    return found


def loop(engine: Generator, asks: list[Ask]) -> list[tuple[int, ...]]:
    """Answer one prompt after the other with `generate`."""
    import torch

    stops, said = list(engine.renderer.stop_ids), []
    for ask in asks:
        ids = torch.tensor([list(ask.ids)], device=engine._device)
        out = engine._model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=ask.max_tokens, do_sample=False,
            eos_token_id=stops, pad_token_id=engine.renderer.pad_id,
        )  # fmt: skip
        said.append(tuple(token for token in out[0, len(ask.ids) :].tolist() if token not in stops))
    return said


def clock() -> float:
    """Return processor seconds, wall seconds where a GPU computes."""
    import torch

    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def against_loop(folder: Path) -> dict[str, Any]:
    """Measure both on one base, interleaved; each starts without what it remembers of earlier prompts."""
    engine = Generator.load(folder)
    asks = asks_for(engine, ASKS, seed=1)
    real, engine.renderer = engine.renderer, replace(engine.renderer, stop_ids=(NEVER,))
    # The loop is slow: it gets a part of the prompts, and speeds are compared per token.
    few = asks[:: 1 if SMALL else 4]
    engine.generate(asks[:4])
    loop(engine, asks[:1])
    ours, theirs, equal = [], [], 0
    for _ in range(ROUNDS):
        began = clock()
        plain = loop(engine, few)
        theirs.append(sum(len(ids) for ids in plain) / (clock() - began))
        engine._heads.clear()
        began = clock()
        said = engine.generate(asks)
        ours.append(sum(len(each.ids) for each in said) / (clock() - began))
        mine = [each.ids for each in said][:: 1 if SMALL else 4]
        equal = sum(a == b for a, b in zip(mine, plain, strict=True))
    engine.renderer = real
    grammar = Grammar.of_labels(LABELS)
    held = [Ask(ask.ids, 16, grammar=grammar) for ask in asks]
    began = clock()
    labels = engine.generate(held)
    held_s = clock() - began
    began = clock()
    for ask in held[:20]:
        engine.generate([ask])
    return {
        "prompt_tokens_mean": round(statistics.mean(len(ask.ids) for ask in asks), 1),
        "loop_tokens_per_s": round(statistics.median(theirs), 1),
        "engine_tokens_per_s": round(statistics.median(ours), 1),
        "ratios": [round(a / b, 2) for a, b in zip(ours, theirs, strict=True)],
        "equal": equal,
        "compared": len(few),
        "labels_per_s": round(len(held) / held_s, 1),
        "legal_labels": sum(engine.renderer.decode(each.ids) in set(LABELS) for each in labels),
        "asked_labels": len(held),
        "one_label_s": round((clock() - began) / 20, 4),
    }


def against_vllm(folder: Path, python: Path) -> dict[str, Any]:
    """Measure wall time of the same prompts here and in vLLM, one after the other."""
    from offramp.engines.vllm import Vllm, VllmSettings

    engine = Generator.load(folder)
    asks = asks_for(engine, ASKS, seed=2)
    engine.renderer = replace(engine.renderer, stop_ids=(NEVER,))
    engine.generate(asks[:4])
    engine._heads.clear()
    began = time.perf_counter()
    said = engine.generate(asks)
    ours_s = time.perf_counter() - began

    def post(url: str, ask: Ask) -> int:
        body = {"model": "base", "prompt": list(ask.ids), "max_tokens": ask.max_tokens, "temperature": 0}
        body |= {"ignore_eos": True}
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=600) as reply:
            return int(json.loads(reply.read())["usage"]["completion_tokens"])

    with tempfile.TemporaryDirectory() as logs:
        settings = VllmSettings(model=folder, dtype="float32", context_tokens=1024)
        with Vllm.start(python, settings, log=Path(logs) / "vllm.log") as server:
            url = server.base_url + "/completions"
            with ThreadPoolExecutor(64) as pool:
                list(pool.map(lambda ask: post(url, ask), asks[:8]))
                began = time.perf_counter()
                theirs = sum(pool.map(lambda ask: post(url, ask), asks))
                theirs_s = time.perf_counter() - began
    tokens = sum(len(each.ids) for each in said)
    return {
        "engine_tokens_per_s": round(tokens / ours_s, 1),
        "vllm_tokens_per_s": round(theirs / theirs_s, 1),
        "engine_over_vllm": round(tokens / ours_s / (theirs / theirs_s), 2),
    }


def main() -> None:
    """Measure every base that is here and print the table."""
    figures: dict[str, Any] = {"asks": ASKS, "rounds": ROUNDS}
    goals: dict[str, tuple[Any, Any, bool]] = {}
    python = os.environ.get("VLLM_PYTHON")
    with tempfile.TemporaryDirectory() as made:
        bases = {"random-30m": random_base(Path(made) / "base")}
        try:
            bases = {"tiny": located(base_of("tiny")), **bases}
        except NotFoundError as missing:
            print(f"skipped: {missing}")
        for name, folder in bases.items():
            found = figures[name] = against_loop(folder)
            ratio = round(statistics.median(found["ratios"]), 2)
            goals[f"{name}: times the tokens per second of a loop"] = (ratio, ">= 5", ratio >= 5)
            same = (found["equal"], found["compared"])
            goals[f"{name}: equal answers"] = (same[0], f"== {same[1]}", same[0] == same[1])
            legal = (found["legal_labels"], found["asked_labels"])
            goals[f"{name}: constrained answers that are labels"] = (
                legal[0],
                f"== {legal[1]}",
                legal[0] == legal[1],
            )
        if python:
            for name, folder in bases.items():
                figures[name] |= against_vllm(folder, Path(python))
        else:
            print("skipped: vLLM; set VLLM_PYTHON to the python of an environment that has it")
    shown = ["engine_tokens_per_s", "loop_tokens_per_s", "labels_per_s", "one_label_s"]
    shown += ["vllm_tokens_per_s", "engine_over_vllm"] if python else []
    table([[name, *(figures[name][key] for key in shown)] for name in bases], ["base", *shown])
    emit("engine", figures, goals)


if __name__ == "__main__":
    main()
