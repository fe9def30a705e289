"""An Ollama Modelfile that makes the same prompts, or a clear no.

Ollama renders messages with a Go template of its own. It is derived from probes: what the renderer writes before,
between and after marked messages becomes the literal text of the template. Then the derived template is played
through on other conversations and compared with the renderer, text for text.
Guarantee: no Modelfile is written whose template differs from the renderer on a probe. Traps: Ollama's defaults
(temperature, repeat penalty) change answers and are set; a runtime that adds the start token itself would double
one in the template, so it is left out there; tools are not covered.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from offramp.errors import ConfigError

if TYPE_CHECKING:
    from offramp.render import Renderer

Messages = Sequence[Mapping[str, str]]
_SYSTEM, _USER, _ANSWER, _SECOND = "offramp-system", "offramp-user-1", "offramp-answer-1", "offramp-user-2"
_GREEDY = (("temperature", "0"), ("top_k", "1"), ("repeat_penalty", "1"), ("seed", "0"))
"""Answer as evaluated. Source: parameters of https://docs.ollama.com/modelfile (read 2026-11-21)."""


@dataclass(frozen=True)
class Parts:
    """The literal text around messages."""

    head: str
    """Before the first user turn, where there is no system turn."""
    before_system: str
    """Before the system turn."""
    after_system: str
    """Between the system turn and the first user turn."""
    after_user: str
    """Between a user turn and the answer that is already there."""
    ask: str
    """After the last user turn."""
    after_answer: str
    """Between an answer and the next user turn."""

    def played(self, messages: Messages) -> str:
        """Return the prompt that the Go template makes of messages."""
        system = [m["content"] for m in messages if m["role"] == "system"]
        text = self.before_system + system[0] + self.after_system if system else self.head
        turns = [m for m in messages if m["role"] != "system"]
        for place, turn in enumerate(turns, 1):
            after = self.ask if place == len(turns) else self.after_user
            text += turn["content"] + (after if turn["role"] == "user" else self.after_answer)
        return text

    def go(self) -> str:
        """Return the Go template."""
        return (
            f"{{{{ if .System }}}}{self.before_system}{{{{ .System }}}}{self.after_system}{{{{ else }}}}{self.head}"
            "{{ end }}{{ range $i, $m := .Messages }}"
            '{{ if eq $m.Role "user" }}{{ $m.Content }}'
            f"{{{{ if eq (len (slice $.Messages $i)) 1 }}}}{self.ask}{{{{ else }}}}{self.after_user}{{{{ end }}}}"
            f'{{{{ else if eq $m.Role "assistant" }}}}{{{{ $m.Content }}}}{self.after_answer}{{{{ end }}}}{{{{ end }}}}'
        )


def modelfile(renderer: "Renderer", *, gguf: str, context_tokens: int, max_tokens: int | None = None) -> str:
    """Return a Modelfile for a GGUF file, greedy, with the renderer's prompts and stop tokens.

    Raises:
        ConfigError: no template of Ollama makes this renderer's prompts; says what to do.
    """
    parts = derived(renderer)
    stops = [str(renderer.tokenizer.convert_ids_to_tokens(token)) for token in renderer.stop_ids]
    start = _added_start(renderer)
    template = Parts(*(text.removeprefix(start) if start else text for text in vars(parts).values())).go()
    lines = [f"FROM {gguf}", f'TEMPLATE """{template}"""']
    lines += [f'PARAMETER stop "{text}"' for text in stops]
    lines += [f"PARAMETER {name} {value}" for name, value in _GREEDY]
    lines.append(f"PARAMETER num_ctx {context_tokens}")
    if max_tokens is not None:
        lines.append(f"PARAMETER num_predict {max_tokens}")
    return "\n".join(lines) + "\n"


def derived(renderer: "Renderer") -> Parts:
    """Return the text around messages, checked on conversations that it was not derived from.

    Raises:
        ConfigError: the renderer's prompts are not messages with fixed text around them.
    """
    user, answer = {"role": "user", "content": _USER}, {"role": "assistant", "content": _ANSWER}
    system, second = {"role": "system", "content": _SYSTEM}, {"role": "user", "content": _SECOND}
    head, ask = _around(renderer.text([user]), _USER)
    before_system, after_system, _ = _around(renderer.text([system, user]), _SYSTEM, _USER)
    _, after_user, after_answer, _ = _around(renderer.text([user, answer, second]), _USER, _ANSWER, _SECOND)
    parts = Parts(head, before_system, after_system, after_user, ask, after_answer)
    if any(bad in text for text in vars(parts).values() for bad in ("{{", "}}", '"""')):
        raise ConfigError("the chat template has text that a Modelfile cannot hold; send prompts with `raw`")
    for messages in _checks():
        wanted, made = renderer.text(messages), parts.played(messages)
        if wanted != made:
            raise ConfigError(
                f"no Ollama template makes these prompts: {wanted!r:.300} was expected, {made!r:.300} would be made; "
                "send the rendered prompt with `raw: true`, or serve with vLLM"
            )
    return parts


def _checks() -> list[Messages]:
    """Return conversations of other shapes than the probes."""
    turns = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Yes: one."},
        {"role": "user", "content": "Two\n\nlines, ünïcödé"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "Three"},
    ]
    system = {"role": "system", "content": "Be short.\nBe kind."}
    return [turns[:1], turns[:3], turns, [system, *turns[:1]], [system, *turns]]


def _around(text: str, *marks: str) -> list[str]:
    """Return the text before, between and after marks."""
    found, rest = [], text
    for mark in marks:
        if rest.count(mark) != 1:
            raise ConfigError(
                f"the chat template shows a message {rest.count(mark)} times, once was expected; no Ollama template "
                "makes its prompts; serve with vLLM"
            )
        before, _, rest = rest.partition(mark)
        found.append(before)
    return [*found, rest]


def _added_start(renderer: "Renderer") -> str:
    """Return the start token's text where the tokenizer, and so the runtime, adds it by itself."""
    start = renderer.tokenizer.bos_token
    ids = renderer.tokenizer("x")["input_ids"]
    return str(start) if start is not None and ids[:1] == [renderer.tokenizer.bos_token_id] else ""
