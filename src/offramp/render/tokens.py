"""The tokenizer of a folder: read without network or foreign code, with its stop tokens, BOS and pad found.

Guarantee: a tokenizer that lacks something that training or serving needs (a template, a token that ends an answer) is
an error here, before any work.
Trap: `eos_token` alone is not what ends an answer: chat models end a turn with another token, which only their
template and generation_config.json tell.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from offramp.errors import ConfigError, DataError, NotFoundError, boundary
from offramp.render import control, templates
from offramp.render.messages import Message

GENERATION_FILE = "generation_config.json"
Tools = Sequence[Mapping[str, Any]] | None
"""JSON schemas of the tools a request offers."""


def render_with(tokenizer: Any) -> templates.Render:
    """Return what renders a template with the tokenizer's special tokens, as transformers and vLLM do."""
    from jinja2 import TemplateError

    def render(template: str, turns: Sequence[Message], tools: Tools, ask: bool) -> str:
        with boundary(DataError, "the chat template refuses", TemplateError, TypeError, ValueError, KeyError):
            return tokenizer.apply_chat_template(
                [dict(turn) for turn in turns],
                tools=[dict(tool) for tool in tools] if tools else None,
                chat_template=template,
                add_generation_prompt=ask,
                tokenize=False,
            )

    return render


def encode_with(tokenizer: Any) -> control.Encode:
    """Return what tokenises a text, adding nothing."""
    backend = tokenizer.backend_tokenizer

    def encode(text: str) -> list[int]:
        return backend.encode(text, add_special_tokens=False).ids

    return encode


def read_tokenizer(folder: Path) -> Any:
    """Read a folder's tokenizer.

    Raises:
        NotFoundError: there is none.
        ConfigError: it needs code of its own, or is broken.
    """
    if not (folder / "tokenizer.json").is_file():
        raise NotFoundError(
            f"a tokenizer was asked for in {str(folder)!r}; found no tokenizer.json there: give the folder of a "
            "model that has one (convert an old tokenizer with transformers' `save_pretrained`)"
        )
    config = read_json(folder / "tokenizer_config.json")
    if "auto_map" in config:
        raise ConfigError(
            f"the tokenizer in {str(folder)!r} needs code of its own (`trust_remote_code`), which is never run: "
            "use a base whose tokenizer transformers knows"
        )
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    with boundary(ConfigError, f"the tokenizer in {str(folder)!r} cannot be read", Exception):
        if not config:
            tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
        else:
            tokenizer = AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True, trust_remote_code=False
            )
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def own_template(tokenizer: Any) -> str:
    """Return the tokenizer's chat template, or ours that fits its vocabulary."""
    own = tokenizer.chat_template
    if isinstance(own, Mapping):
        own = own.get("default")
        if own is None:
            raise ConfigError(
                f"the tokenizer names templates {sorted(tokenizer.chat_template)}, none of them `default`: "
                "give one as `template`"
            )
    if own:
        return own
    vocabulary = tokenizer.get_vocab()
    return templates.CHATML if {"<|im_start|>", "<|im_end|>"} <= set(vocabulary) else templates.PLAIN


def added_bos(tokenizer: Any) -> str | None:
    """Return the BOS where the tokenizer would put one before a text."""
    bos = tokenizer.bos_token_id
    return tokenizer.bos_token if bos is not None and tokenizer("x").input_ids[:1] == [bos] else None


def stop_ids_of(tokenizer: Any, template: str, folder: Path) -> tuple[int, ...]:
    """Return the end-of-turn that the template writes, EOS, and what the base's generation_config names."""
    _, tail = templates.around(render_with(tokenizer), template)
    added = set(tokenizer.added_tokens_decoder)
    written = [token for token in control.continued(tail, encode_with(tokenizer)) if token in added]
    named = read_json(folder / GENERATION_FILE).get("eos_token_id")
    eos = tokenizer.eos_token_id
    stops = written[:1] + ([] if eos is None else [eos])
    stops += named if isinstance(named, list) else [named] if isinstance(named, int) else []
    if not stops:
        raise ConfigError(
            "neither the chat template nor the tokenizer has a token that ends an answer: set `eos_token` in "
            "tokenizer_config.json to a token that the base was trained to end with"
        )
    return tuple(dict.fromkeys(int(token) for token in stops))


def pad_id_of(tokenizer: Any, template: str, stop_ids: Sequence[int]) -> int:
    """Return a token to fill rows with; a loss mask that is built from the pad id must not hide the end-of-turn."""
    if tokenizer.pad_token_id is not None:
        return int(tokenizer.pad_token_id)
    added = tokenizer.added_tokens_decoder.items()
    named = [token for token, it in added if "pad" in it.content.lower()]
    taken = (*stop_ids, tokenizer.bos_token_id)
    unused = [
        token for token, it in added if it.special and token not in taken and it.content not in template
    ]
    choices = [*named, tokenizer.unk_token_id, *unused, *stop_ids[::-1]]
    return int(next(token for token in choices if token is not None))


def drop_template(path: Path) -> None:
    """Drop the template that an old tokenizer_config.json carries: the pinned one is in its own file."""
    config = read_json(path)
    if config.pop("chat_template", None) is not None:
        write_json(path, config)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; a missing file is an empty one."""
    if not path.is_file():
        return {}
    with boundary(ConfigError, f"{str(path)!r} cannot be read as JSON", OSError, ValueError):
        value = json.loads(path.read_text(encoding="utf-8"))
    return value if isinstance(value, dict) else {}


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object for people and programs."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def sha256_of(data: bytes) -> str:
    """Return the hash in hex."""
    return hashlib.sha256(data).hexdigest()
