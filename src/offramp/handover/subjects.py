"""Who is asked in a parity test: the training side itself, and everything that may serve instead of it.

A subject answers prompts greedily and tells what it read and what it thought: the token ids of the prompt, of the
answer, and the log-probabilities of the first token. The training side is the plainest code there is, one prompt
after the other through transformers in float32, so that nothing clever is on both sides.

Guarantee: a subject never repairs what it compares; ids are those the model read, as the server tells them in its
reply. Trap: a server that renders messages itself reads what its template makes of them, which is the point of
asking it in both ways.
"""

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from offramp.errors import ModelError, NotFoundError, boundary
from offramp.types import Progress, silent

if TYPE_CHECKING:
    from offramp.models.generation import Generator
    from offramp.render import Renderer


@dataclass(frozen=True)
class Prompt:
    """One conversation that ends where the model has to answer."""

    messages: tuple[Mapping[str, Any], ...]
    """Messages in the OpenAI shape."""
    tools: tuple[Mapping[str, Any], ...] | None = None
    """Tools that may be called, in the OpenAI shape."""


@dataclass(frozen=True)
class Seen:
    """What a subject read and said."""

    prompt: tuple[int, ...]
    """Token ids that the model read."""
    answer: tuple[int, ...]
    """Token ids of the answer, without the token that ended it."""
    finish: Literal["stop", "length"]
    """Ended by itself, or cut off."""
    first: Mapping[int, float]
    """Log-probabilities of the most likely first tokens, by token id."""


class Subject(Protocol):
    """Something that answers prompts greedily and shows its tokens."""

    @property
    def name(self) -> str:
        """Name for people."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What is known of how it makes prompts; keys as `Renderer.identity`."""

    def ask(
        self, prompts: Sequence[Prompt], *, max_tokens: int, top: int, progress: Progress = silent
    ) -> list[Seen]:
        """Answer every prompt with at most `max_tokens` tokens; `top` log-probabilities of the first one."""


@dataclass(frozen=True)
class TransformersSubject:
    """Base, base with adapter, or merged model through plain transformers."""

    name: str
    """Name for people."""
    renderer: "Renderer"
    """Makes the prompts and knows what ends an answer."""
    model: Any = field(repr=False, compare=False)
    """The transformers or PEFT module, in evaluation mode."""

    @classmethod
    def load(
        cls,
        base: Path,
        renderer: "Renderer",
        *,
        adapter: Path | None = None,
        name: str = "training side",
        dtype: str = "float32",
    ) -> Self:
        """Read a model folder and put the adapter on it.

        Raises:
            ModelError: one of them cannot be read.
        """
        return cls(name, renderer, load_model(base, adapter, dtype=dtype))

    @property
    def identity(self) -> Mapping[str, Any]:
        """What the renderer says."""
        return self.renderer.identity

    def ask(
        self, prompts: Sequence[Prompt], *, max_tokens: int, top: int, progress: Progress = silent
    ) -> list[Seen]:
        """Answer one prompt after the other."""
        found = []
        for done, prompt in enumerate(prompts, 1):
            ids = self.renderer.prompt(prompt.messages, tools=prompt.tools)
            found.append(self._greedy(ids, max_tokens, top))
            progress(f"parity: {self.name}", done, len(prompts))
        return found

    def _greedy(self, ids: Sequence[int], max_tokens: int, top: int) -> Seen:
        import torch

        said: list[int] = []
        first: dict[int, float] = {}
        with torch.inference_mode():
            step, cache = torch.tensor([list(ids)]), None  # (1, tokens)
            for _ in range(max_tokens):
                out = self.model(input_ids=step, past_key_values=cache, use_cache=True, logits_to_keep=1)
                logits, cache = out.logits[0, -1].float(), out.past_key_values  # (vocabulary,)
                first = first or _top(torch.log_softmax(logits, -1), top)
                token = int(logits.argmax())
                if token in self.renderer.stop_ids:
                    return Seen(tuple(ids), tuple(said), "stop", first)
                said.append(token)
                step = torch.tensor([[token]])
        return Seen(tuple(ids), tuple(said), "length", first)


def _top(logprobs: Any, top: int) -> dict[int, float]:
    values, ids = logprobs.topk(min(top, len(logprobs)))
    return dict(zip(ids.tolist(), values.tolist(), strict=True))


def load_model(base: Path, adapter: Path | None = None, *, dtype: str = "float32") -> Any:
    """Read a causal language model in evaluation mode, with an adapter on it where one is given.

    Raises:
        ModelError: it cannot be read.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from offramp.embed.packed import quiet

    with boundary(ModelError, f"loading the model in {str(base)!r}", Exception), quiet():
        model = AutoModelForCausalLM.from_pretrained(base, dtype=getattr(torch, dtype), local_files_only=True)
    if adapter is not None:
        from peft import PeftModel

        with boundary(ModelError, f"loading the adapter in {str(adapter)!r}", Exception):
            model = PeftModel.from_pretrained(model, str(adapter))
    return model.eval().requires_grad_(False)


@dataclass(frozen=True)
class GeneratorSubject:
    """The engine that answers inside Offramp: batched, cached, several adapters at once."""

    name: str
    """Name for people."""
    generator: "Generator"
    """The engine."""
    adapter: str | None = None
    """Adapter to ask, by the name it was loaded under."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What the engine's renderer says."""
        return self.generator.renderer.identity

    def ask(
        self, prompts: Sequence[Prompt], *, max_tokens: int, top: int, progress: Progress = silent
    ) -> list[Seen]:
        """Answer all prompts in the engine's own batches."""
        import torch

        from offramp.models.generation import Ask

        renderer = self.generator.renderer
        ids = [renderer.prompt(prompt.messages, tools=prompt.tools) for prompt in prompts]
        asks = [Ask(ids=each, max_tokens=max_tokens, adapter=self.adapter) for each in ids]
        found = []
        for ask, said in zip(asks, self.generator.generate(asks, progress=progress), strict=True):
            logits = torch.from_numpy(self.generator.logits(ask.ids, adapter=ask.adapter))  # (vocabulary,)
            first = _top(torch.log_softmax(logits, -1), top)
            answer = said.ids[:-1] if said.ids and said.ids[-1] in renderer.stop_ids else said.ids
            found.append(Seen(tuple(ask.ids), tuple(answer), said.finish, first))
        return found


@dataclass(frozen=True)
class HttpSubject:
    """An OpenAI-compatible server that tells token ids in its replies, as vLLM does."""

    name: str
    """Name for people."""
    base_url: str
    """Address of the API, such as `http://127.0.0.1:8000/v1`."""
    model: str
    """Model or adapter as the server names it."""
    renderer: "Renderer"
    """Makes the prompts where token ids are sent."""
    send: Literal["messages", "ids"] = "messages"
    """`messages`: the server renders (`/chat/completions`); `ids`: it reads our tokens (`/completions`)."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of every request."""
    parallel: int = 8
    """Requests under way at once."""
    timeout_s: float = 600.0
    """Seconds one request may take."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What the server says of its template, where it does (`--enable-tokenizer-info-endpoint`).

        Only for a server that renders: one that is sent token ids has no part in the template.
        """
        if self.send == "ids":
            return self.renderer.identity
        try:
            said = self._call(self.base_url.removesuffix("/v1") + "/tokenizer_info")
        except NotFoundError:
            return {}
        template = said.get("chat_template")
        return {} if template is None else {"template_sha256": hashlib.sha256(template.encode()).hexdigest()}

    def ask(
        self, prompts: Sequence[Prompt], *, max_tokens: int, top: int, progress: Progress = silent
    ) -> list[Seen]:
        """Ask the server, several prompts at once.

        Raises:
            ModelError: it refuses, fails, or does not tell its tokens.
        """
        found = []
        with ThreadPoolExecutor(self.parallel) as pool:
            for seen in pool.map(lambda prompt: self._ask(prompt, max_tokens, top), prompts):
                found.append(seen)
                progress(f"parity: {self.name}", len(found), len(prompts))
        return found

    def _ask(self, prompt: Prompt, max_tokens: int, top: int) -> Seen:
        body: dict[str, Any] = {"model": self.model, "max_tokens": max_tokens, "temperature": 0}
        body |= {"return_token_ids": True, "return_tokens_as_token_ids": True, **self.extra}
        if self.send == "ids":
            body |= {"prompt": self.renderer.prompt(prompt.messages, tools=prompt.tools), "logprobs": top}
            reply = self._call(self.base_url + "/completions", body)
        else:
            body |= {"messages": [dict(message) for message in prompt.messages]}
            body |= {"logprobs": True, "top_logprobs": top}
            body |= {"tools": [dict(tool) for tool in prompt.tools]} if prompt.tools else {}
            reply = self._call(self.base_url + "/chat/completions", body)
        return _seen(reply)

    def _call(self, url: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=self.timeout_s) as reply:
                return dict(json.loads(reply.read()))
        except urllib.error.HTTPError as refusal:
            said = refusal.read().decode(errors="replace")[:500]
            kind = NotFoundError if refusal.code == 404 else ModelError
            raise kind(f"{self.name} at {url!r} answered {refusal.code}: {said}") from refusal
        except (OSError, ValueError) as failure:
            raise ModelError(
                f"asking {self.name} at {url!r}: {type(failure).__name__}: {failure}"
            ) from failure


def _seen(reply: Mapping[str, Any]) -> Seen:
    """Read a reply of either API; the token that ended an answer is its last one and is left out."""
    choice = reply["choices"][0]
    read = choice.get("prompt_token_ids") or reply.get("prompt_token_ids")
    said = choice.get("token_ids")
    if read is None or said is None:
        raise ModelError(
            "a server that tells its token ids was expected (`return_token_ids`, as vLLM 0.32 has it); the reply has "
            f"none: {sorted(choice)!r}; token parity cannot be shown with it"
        )
    finish: Literal["stop", "length"] = "length" if choice.get("finish_reason") == "length" else "stop"
    answer = said[:-1] if finish == "stop" and said else said
    return Seen(tuple(read), tuple(answer), finish, _first(choice.get("logprobs") or {}))


def _first(logprobs: Mapping[str, Any]) -> dict[int, float]:
    """Return the first token's log-probabilities from either API's shape; tokens are written `token_id:17`."""
    if logprobs.get("content"):
        pairs = [(item["token"], item["logprob"]) for item in logprobs["content"][0]["top_logprobs"]]
    else:
        pairs = list((logprobs.get("top_logprobs") or [{}])[0].items())
    return {int(name.removeprefix("token_id:")): float(value) for name, value in pairs}
