"""The renderer: messages to token ids, and which of them carry loss.

Guarantee: the tokens before an assistant turn in training are what `prompt` gives; its own tokens and its end-of-turn
carry loss, once; a turn that the template would leave out is an error.
Trap: an answer is tokenised behind its prompt, not with it: where the joint text would merge a token across the
border (a prompt that ends with a newline, an answer that begins with one), the model at serving never sees that token.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from offramp.errors import ConfigError, DataError, MismatchError
from offramp.render import control, templates
from offramp.render.messages import Message, checked, texts
from offramp.render.tokens import (
    GENERATION_FILE,
    Tools,
    added_bos,
    drop_template,
    encode_with,
    own_template,
    pad_id_of,
    read_json,
    read_tokenizer,
    render_with,
    sha256_of,
    stop_ids_of,
    write_json,
)
from offramp.types import canonical_json

TEMPLATE_FILE, RENDER_FILE = "chat_template.jinja", "render.json"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)
"""Copied byte by byte, never written again: another version's tokenizer class would not load everywhere."""
_TEXT = 'Zoë’s 12 cafés:\n\t« naïve » 東京 🦓  {"a": [1.5]}'


@dataclass(frozen=True)
class Rendered:
    """One training sequence."""

    ids: np.ndarray
    """Token ids, int32 (tokens,)."""
    loss: np.ndarray
    """True where the token carries loss, bool (tokens,)."""


@dataclass(frozen=True)
class Answer:
    """One assistant turn as training sees it and serving meets it."""

    prompt: list[int]
    """What is sent at serving."""
    completion: list[int]
    """What is to be said: the turn's own tokens and the end-of-turn."""


def merged(answers: Sequence[Answer]) -> list[Rendered]:
    """Join answers into sequences, as long as each prompt continues what was said before, token by token."""
    ids: list[int] = []
    loss: list[bool] = []
    sequences = []
    for answer in answers:
        if ids and not control.starts_with(answer.prompt, ids):
            sequences.append(_sequence(ids, loss))
            ids, loss = [], []
        loss += [False] * (len(answer.prompt) - len(ids)) + [True] * len(answer.completion)
        ids = answer.prompt + answer.completion
    return [*sequences, _sequence(ids, loss)] if answers else []


@dataclass(frozen=True)
class Renderer:
    """A tokenizer and its pinned chat template."""

    folder: Path = field(compare=False)
    """Where the tokenizer came from."""
    tokenizer: Any = field(compare=False, repr=False)
    """The transformers tokenizer."""
    template: str = field(repr=False)
    """The pinned template: renders to the same prompt in every engine."""
    stop_ids: tuple[int, ...]
    """Tokens that end an answer: the end-of-turn first, then EOS and what the base's generation_config names."""
    pad_id: int
    """Fills short rows of a batch; never an end-of-turn where the vocabulary has any other choice."""
    identity: Mapping[str, Any]
    """JSON: sha256 of template, tokenizer.json and a probe's ids; pins, BOS, stop ids. Equal = the same prompts."""

    @classmethod
    def load(
        cls, folder: Path, *, template: str | None = None, kwargs: Mapping[str, Any] | None = None
    ) -> "Renderer":
        """Read a local folder with tokenizer.json; nothing is ever downloaded.

        `template`: Jinja text instead of the folder's own; a folder without one gets `CHATML` or `PLAIN`. `kwargs`:
        switches of the template, pinned for good; `enable_thinking` is `False` unless given.

        Raises:
            NotFoundError: no such folder, or no tokenizer.json in it.
            ConfigError: the template or the tokenizer cannot be used; says why.
        """
        folder = Path(folder)
        tokenizer = read_tokenizer(folder)
        own = template or own_template(tokenizer)
        text, pins = templates.pin(own, kwargs or {}, render_with(tokenizer), bos=added_bos(tokenizer))
        stop_ids = stop_ids_of(tokenizer, text, folder)
        bos_ids = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
        probe = encode_with(tokenizer)(templates.asked(render_with(tokenizer), text) + _TEXT)
        if bos_ids and probe[:2] == bos_ids * 2:
            raise ConfigError("the chat template writes the BOS twice: remove one `bos_token` from it")
        identity = {
            "template_sha256": sha256_of(text.encode()),
            "tokenizer_sha256": sha256_of((folder / "tokenizer.json").read_bytes()),
            "probe_sha256": sha256_of(canonical_json(probe).encode()),
            "kwargs": dict(pins.kwargs),
            "date": pins.date,
            "bos_id": bos_ids[0] if bos_ids and probe[:1] == bos_ids else None,
            "bos": "pinned" if pins.bos else "template" if bos_ids and probe[:1] == bos_ids else "none",
            "system": "in the first user turn" if pins.system else "own turn",
            "generation_prompt": "template" if pins.header is None else "pinned",
            "stop_ids": list(stop_ids),
        }
        return cls(folder, tokenizer, text, stop_ids, pad_id_of(tokenizer, text, stop_ids), identity)

    def prompt(self, messages: Sequence[Message], *, tools: Tools = None) -> list[int]:
        """Return the token ids that ask for the next turn.

        Raises:
            DataError: the conversation is out of order, or the template has no place for one of its turns.
        """
        turns = checked(messages, answered=False)
        self._supported(turns, tools)
        shown, tools, mark = self._marked(turns, tools)
        return self._encoded(self._rendered(shown, tools, ask=True), mark)

    def text(self, messages: Sequence[Message], *, tools: Tools = None) -> str:
        """Return the prompt as text, as an engine that renders the template itself writes it."""
        turns = checked(messages, answered=False)
        self._supported(turns, tools)
        return self._rendered([self._turn(turn) for turn in turns], tools, ask=True)

    def train(self, messages: Sequence[Message], *, tools: Tools = None) -> list[Rendered]:
        """Return the training sequences of a conversation that ends with an assistant turn.

        One sequence as long as each next prompt continues the one before, token by token; else a new one.
        """
        return merged(self.answers(messages, tools=tools))

    def answers(self, messages: Sequence[Message], *, tools: Tools = None) -> list[Answer]:
        """Return each assistant turn of a conversation with the prompt before it."""
        turns = checked(messages, answered=True)
        self._supported(turns, tools)
        shown, tools, mark = self._marked(turns, tools)
        found = []
        for place, turn in enumerate(shown):
            if turn["role"] != "assistant":
                continue
            prompt = self._rendered(shown[:place], tools, ask=True)
            whole = self._rendered(shown[: place + 1], tools, ask=False)
            if not whole.startswith(prompt):
                raise DataError(
                    f"turn {place + 1}: the template asks for it with {prompt[-40:]!r}, but renders it otherwise: "
                    "what is trained would not be what is served; give another template"
                )
            found.append(self._split(prompt, whole, mark))
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """Return the answer in `ids`: up to the first stop token, without special tokens and the template's padding."""
        end = next((index for index, token in enumerate(ids) if token in self.stop_ids), len(ids))
        text = self._shown(ids[:end])
        before, after = self._padding
        text = text.removeprefix(before)
        return text.removesuffix(after) if end < len(ids) else text

    def save(self, folder: Path) -> None:
        """Write tokenizer, pinned template, stop tokens and identity; `load` of it gives an equal renderer.

        Raises:
            MismatchError: the tokenizer's files changed since they were loaded.
        """
        folder.mkdir(parents=True, exist_ok=True)
        source = (self.folder / "tokenizer.json").read_bytes()
        if sha256_of(source) != self.identity["tokenizer_sha256"]:
            raise MismatchError(
                f"{self.folder / 'tokenizer.json'} changed since it was loaded: load it again"
            )
        for name in TOKENIZER_FILES:
            if (self.folder / name).is_file() and self.folder.resolve() != folder.resolve():
                (folder / name).write_bytes((self.folder / name).read_bytes())
        drop_template(folder / "tokenizer_config.json")
        (folder / TEMPLATE_FILE).write_text(self.template, encoding="utf-8", newline="")
        ends = {"eos_token_id": list(self.stop_ids), "pad_token_id": self.pad_id}
        if self.identity["bos_id"] is not None:
            ends["bos_token_id"] = self.identity["bos_id"]
        write_json(folder / GENERATION_FILE, {**read_json(folder / GENERATION_FILE), **ends})
        write_json(folder / RENDER_FILE, {"identity": self.identity})

    # ------------------------------------------------------------ inside

    def _split(self, prompt: str, whole: str, mark: str) -> Answer:
        """Tokenise a prompt and the answer behind it."""
        head, joint = self._encoded(prompt, mark), self._encoded(whole, mark)
        if control.starts_with(joint, head):
            answer = joint[len(head) :]
        else:
            first, *others = whole[len(prompt) :].split(mark)
            answer = [token for part in (first, *others) for token in control.continued(part, self._encode)]
        end = next((index for index, token in enumerate(answer) if token in self.stop_ids), len(answer))
        if not end:
            raise DataError(
                "the template leaves nothing of an assistant turn: the turn holds no text it shows"
            )
        return Answer(head, [*answer[:end], self.stop_ids[0] if end == len(answer) else answer[end]])

    def _rendered(self, turns: Sequence[Message], tools: Tools, *, ask: bool) -> str:
        return render_with(self.tokenizer)(self.template, turns, tools, ask)

    @cached_property
    def _encode(self) -> control.Encode:
        return encode_with(self.tokenizer)

    def _encoded(self, text: str, mark: str) -> list[int]:
        return control.encoded(text, mark, self._encode)

    def _turn(self, turn: Message) -> dict[str, Any]:
        """Return a turn with the arguments of its calls as the template wants them: engines parse them too."""
        calls = [
            {**call, "function": {**call["function"], "arguments": self._arguments(call)}}
            for call in turn.get("tool_calls", ())
        ]
        return {**turn, "tool_calls": calls} if calls else dict(turn)

    def _arguments(self, call: Mapping[str, Any]) -> Any:
        arguments = call["function"]["arguments"]
        if self._features["tool calls"] == "text":
            return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        if not isinstance(arguments, str):
            return arguments
        try:
            return json.loads(arguments or "{}")
        except ValueError as failure:
            raise DataError(f"the arguments of a tool call are no JSON: {arguments[:80]!r}") from failure

    def _marked(self, turns: Sequence[Message], tools: Tools) -> tuple[list[dict[str, Any]], Tools, str]:
        """Break what spells a control token in the messages; return the mark that was used."""
        given, own = self._patterns
        shown = [self._turn(turn) for turn in turns]
        everything = "\0".join(texts([shown, tools]))
        mark = control.unused_mark(everything)
        if given is None or not given.search(everything):
            return shown, tools, mark
        marked = []
        for turn in shown:
            pattern = own if turn["role"] == "assistant" else given
            rest = {key: value for key, value in turn.items() if key != "role"}
            marked.append(
                {"role": turn["role"], **(control.broken(rest, pattern, mark) if pattern else rest)}
            )
        return marked, control.broken(tools, given, mark), mark

    @cached_property
    def _patterns(self) -> tuple[Any, Any]:
        """What finds control tokens in given text, and in the assistant's own.

        An assistant may write `<think>` or `<tool_call>`: tokens of its answer that are not special. What marks
        turns is nobody's to write.
        """
        turns = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
        marking = self._rendered(turns, None, ask=False)
        added = self.tokenizer.added_tokens_decoder.values()
        plain = {token.content for token in added if not token.special and not token.content.isspace()}
        special = {token.content for token in added if token.special}
        return (
            control.pattern_of(special | {token for token in plain if token in self.template}),
            control.pattern_of(special | {token for token in plain if token in marking}),
        )

    @cached_property
    def _padding(self) -> tuple[str, str]:
        """What the template writes between prompt and content, and between content and end-of-turn, as decoded."""
        probe = templates.PROBE
        turns = [{"role": "user", "content": probe}, {"role": "assistant", "content": probe}]
        said = self.answers(turns)[0].completion[:-1]
        before, _, after = self._shown(said).partition(probe)
        return before, after

    def _shown(self, ids: Sequence[int]) -> str:
        """Decode as in the middle of a text: alone, SentencePiece tokenizers drop a space at the front."""
        anchor = self._encode("x")
        before, whole = (
            self.tokenizer.decode(
                [int(token) for token in given], skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
            for given in (anchor, [*anchor, *ids])
        )
        return whole.removeprefix(before)

    @cached_property
    def _features(self) -> dict[str, str]:
        """Which turns the template shows: probed, since most leave out what they do not know."""
        return templates.features(render_with(self.tokenizer), self.template)

    def _supported(self, turns: Sequence[Message], tools: Tools) -> None:
        needs = {
            "tools": bool(tools),
            "tool calls": any("tool_calls" in turn for turn in turns),
            "tool results": any(turn["role"] == "tool" for turn in turns),
        }
        lost = [name for name, needed in needs.items() if needed and self._features[name] == "no"]
        if lost:
            raise DataError(
                f"the chat template shows no {lost[0]}, the model would never see them: use a base whose template "
                "does, or the template `offramp.render.CHATML`"
            )


def _sequence(ids: list[int], loss: list[bool]) -> Rendered:
    return Rendered(np.asarray(ids, np.int32), np.asarray(loss, np.bool_))
