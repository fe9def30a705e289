"""Chat templates, pinned: what a template leaves to the day and the caller is written into it.

Idea: one line before the template (and where needed one after it) sets the date, the switches (`enable_thinking`), the
BOS, a place for the system turn, and a generation prompt that the assistant turns begin with. A pinned template is a
plain Jinja template: transformers, vLLM and llama.cpp render it to the same prompt without being told anything.
Guarantee: pinning is found again (the line ends with a comment that says what was pinned), so it happens once.
Trap: `strftime_now` of Llama 3.x and Mistral templates puts today's date in each prompt: trained today, served
tomorrow, not the same prompt.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from offramp.errors import ConfigError, DataError, boundary

DATE = "2026-01-01"
"""What a template that asks for today's date gets, always; a Thursday."""

CHATML = """\
{%- if tools %}
{{- '<|im_start|>system\\n' }}
{%- if messages[0].role == 'system' and messages[0].content %}
{{- messages[0].content + '\\n\\n' }}
{%- endif %}
{{- 'You can call these tools, one JSON schema a line:\\n' }}
{%- for tool in tools %}
{{- (tool | tojson) + '\\n' }}
{%- endfor %}
{{- 'To call one, write: <tool_call>\\n{"name": ..., "arguments": {...}}\\n</tool_call><|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
{%- if not (tools and loop.first and message.role == 'system') %}
{{- '<|im_start|>' + message.role + '\\n' + (message.content or '') }}
{%- for call in message.tool_calls or [] %}
{%- if message.content or not loop.first %}
{{- '\\n' }}
{%- endif %}
{{- '<tool_call>\\n{"name": ' + (call.function.name | tojson) + ', "arguments": ' }}
{{- call.function.arguments if call.function.arguments is string else (call.function.arguments | tojson) }}
{{- '}\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
"""Our template for a base that has none but whose vocabulary has `<|im_start|>` and `<|im_end|>`.

Source: the ChatML markers, https://github.com/openai/openai-python/blob/v0.28.1/chatml.md; calls as Hermes models
write them, which vLLM reads with `--tool-call-parser hermes`.
"""

PLAIN = """\
{%- for message in messages %}
{{- '### ' + (message.role | capitalize) + '\\n' + message.content }}
{{- eos_token if message.role == 'assistant' }}
{{- '\\n\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '### Assistant\\n' }}
{%- endif %}
"""
"""Our template for a base without ChatML tokens: its EOS ends an answer, so no new token has to be learned."""

_TODAY = {
    "%-d": "1",
    "%e": " 1",
    "%d": "01",
    "%-m": "1",
    "%m": "01",
    "%b": "Jan",
    "%B": "January",
    "%Y": "2026",
    "%y": "26",
    "%A": "Thursday",
    "%a": "Thu",
    "%j": "001",
    "%H": "00",
    "%M": "00",
    "%S": "00",
    "%I": "12",
    "%p": "AM",
}
_PINNED = re.compile(r"\A[^\n]*\{# offramp (\{[^\n]*\}) #\}\n")
PROBE = "Zebra"
"""Content of the turns that templates are probed with."""

Render = Callable[..., str]
"""Renders (template, messages, tools, ask) to text with the tokenizer's special tokens."""


@dataclass(frozen=True)
class Pins:
    """What is written into a template."""

    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Switches of the template, set for good."""
    date: str | None = None
    """Today's date, where the template asks for it."""
    bos: bool = False
    """The tokenizer would put a BOS first and the template does not: it is written once."""
    system: bool = False
    """The template has no system turn: its text opens the first user turn."""
    header: str | None = None
    """What opens an answer, where the template's own generation prompt is not how its assistant turns begin."""

    def written(self, template: str) -> str:
        """Return the template with everything pinned."""
        line = [_set(name, value) for name, value in sorted(self.kwargs.items())]
        if self.date:
            chain = "".join(f"|replace('{code}','{value}')" for code, value in _TODAY.items())
            line.append("{%- macro strftime_now(format) %}{{ format" + chain + " }}{% endmacro %}")
        if self.system:
            line.append(
                "{%- if messages|length > 1 and messages[0]['role'] == 'system' and messages[1]['role'] == 'user' %}"
                "{%- set messages = [{'role': 'user', 'content': messages[0]['content'] + '\\n\\n' + "
                "messages[1]['content']}] + messages[2:] %}{%- endif %}"
            )
        if self.header is not None:
            line.append(
                "{%- set asks = add_generation_prompt is defined and add_generation_prompt %}"
                + _set("add_generation_prompt", False)
            )
            template = (
                template.removesuffix("\n") + "{% if asks %}{{ " + _literal(self.header) + " }}{% endif %}"
            )
        if self.bos:
            line.append("{{ bos_token }}")
        facts = json.dumps(asdict(self), sort_keys=True, ensure_ascii=True)
        return "".join(line) + "{# offramp " + facts.replace("#}", "#\\u007d") + " #}\n" + template


def pinned(template: str) -> Pins | None:
    """Return what was pinned in a template, `None` in one that never was."""
    found = _PINNED.match(template)
    if not found:
        return None
    with boundary(
        ConfigError, "the template was pinned by another version of Offramp", TypeError, ValueError
    ):
        return Pins(**json.loads(found[1]))


def pin(template: str, kwargs: Mapping[str, Any], render: Render, *, bos: str | None) -> tuple[str, Pins]:
    """Return the template pinned, and what that took.

    `bos`: the text that the tokenizer would put first, if any. A template that knows `enable_thinking` and is not told
    gets `False`: a tuned model answers without an empty think block.

    Raises:
        ConfigError: the template does not render, knows no such switch, or cannot be pinned.
    """
    before = pinned(template)
    if before is not None:
        if kwargs and dict(kwargs) != {name: before.kwargs.get(name) for name in kwargs}:
            raise ConfigError(
                f"the template was pinned with {dict(before.kwargs)!r}; asked for {dict(kwargs)!r}: "
                "start from the base's own template to change it"
            )
        return template, before
    unknown = sorted(name for name in kwargs if not re.search(rf"\b{re.escape(name)}\b", template))
    if unknown:
        raise ConfigError(
            f"the template reads no {unknown[0]!r}: leave it out, or use a template that has it"
        )
    quiet = {"enable_thinking": False} if re.search(r"\benable_thinking\b", template) else {}
    pins = Pins(kwargs={**quiet, **kwargs}, date=DATE if "strftime_now" in template else None)
    pins = _with_system(template, pins, render)
    pins = _with_header(template, pins, render)
    if bos and not asked(render, pins.written(template)).startswith(bos):
        pins = replace(pins, bos=True)
    return pins.written(template), pins


def asked(render: Render, template: str) -> str:
    """Render the probe's prompt: one user turn, an answer asked for."""
    return _probed(render, template, [{"role": "user", "content": PROBE}], True)


def around(render: Render, template: str) -> tuple[str, str]:
    """Return what an assistant turn has before and after its content; before = from the start of the text."""
    answer = PROBE * 2
    turns = [{"role": "user", "content": PROBE}, {"role": "assistant", "content": answer}]
    text = _probed(render, template, turns, False)
    head, found, tail = text.rpartition(answer)
    if not found:
        raise ConfigError(
            "the chat template leaves the assistant's text out: nothing could be learned with it"
        )
    return head, tail


def _probed(render: Render, template: str, turns: list[dict[str, str]], ask: bool) -> str:
    try:
        return render(template, turns, None, ask)
    except DataError as failure:
        raise ConfigError(
            f"the chat template cannot render a plain exchange ({failure}): give another as `template`"
        ) from failure


def _with_system(template: str, pins: Pins, render: Render) -> Pins:
    """Pin a place for the system turn where the template refuses or drops it."""
    turns = [{"role": "system", "content": PROBE * 3}, {"role": "user", "content": PROBE}]
    try:
        if PROBE * 3 in render(pins.written(template), turns, None, True):
            return pins
    except DataError:
        pass
    return replace(pins, system=True)


def _with_header(template: str, pins: Pins, render: Render) -> Pins:
    """Pin the generation prompt where the template's own is not the beginning of its assistant turns."""
    prompt, (head, _) = asked(render, pins.written(template)), around(render, pins.written(template))
    if head.startswith(prompt):
        return pins
    base = _probed(render, pins.written(template), [{"role": "user", "content": PROBE}], False)
    pins = replace(pins, header=head.removeprefix(base))
    if not head.startswith(base) or asked(render, pins.written(template)) != head:
        raise ConfigError(
            f"the template asks for an answer with {prompt[-40:]!r}, but its assistant turns begin with "
            f"{head[-40:]!r}: what is trained would not be what is served; give another template"
        )
    return pins


def _set(name: str, value: Any) -> str:
    return "{%- set " + name + " = " + _literal(value) + " %}"


def _literal(value: Any) -> str:
    """Write a JSON value as Jinja reads it; JSON's `null` would be an unknown name there."""
    return "none" if value is None else repr(value)


def features(render: Render, template: str) -> dict[str, str]:
    """Tell which parts of a tool conversation the template shows: "yes", "no", for calls also "text".

    "text": the template wants the arguments of a call as JSON text and not as an object.
    """
    user = {"role": "user", "content": PROBE}
    name = PROBE.lower()
    tool = {
        "type": "function",
        "function": {"name": name, "description": "?", "parameters": {"type": "object", "properties": {}}},
    }

    def calling(arguments: Any) -> dict[str, Any]:
        return {
            "role": "assistant",
            "tool_calls": [
                {"id": "a12345678", "type": "function", "function": {"name": name, "arguments": arguments}}
            ],
        }

    def shows(wanted: str, turns: list[dict[str, Any]], *, tools: list[dict[str, Any]] | None = None) -> bool:
        try:
            return wanted in render(template, turns, tools, turns[-1]["role"] != "assistant")
        except DataError:
            return False

    forms = {"yes": {"key": "okapi"}, "text": '{"key": "okapi"}'}
    calls = next((form for form, value in forms.items() if shows("okapi", [user, calling(value)])), "no")
    result = {"role": "tool", "tool_call_id": "a12345678", "name": name, "content": "okapi"}
    called = calling({} if calls == "yes" else "{}")
    return {
        "tools": "yes" if shows(name, [user], tools=[tool]) else "no",
        "tool calls": calls,
        "tool results": "yes" if shows("okapi", [user, called, result]) else "no",
    }
