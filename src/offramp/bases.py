"""Which decoders there are to tune, what they need, and whether one may be used here.

`bases.yaml` is dated data; a user's own file adds bases or replaces ours by name. `check` is the pre-flight before
anything is downloaded or trained: memory, context, template, licence, engine.
Guarantee: a base is known by the hash of its weights (`weights_sha256`); what was tuned on others is refused.
Trap: memory is computed from shapes, not measured; a machine that shares its memory has less than it says.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from offramp.errors import ConfigError, NotFoundError, boundary
from offramp.types import Frozen

EMBEDDED = "embedded:"
BYTES = {"float32": 4, "bfloat16": 2, "int8": 1, "int4": 0.5}
"""Bytes of one weight."""

Engine = Literal["transformers", "vllm", "openvino", "gguf"]
Purpose = Literal["lora", "full", "transformers", "vllm", "openvino", "gguf"]
"""Tune adapters, tune every weight, or answer with an engine."""

_HEADROOM_RATIO = 0.1
_LORA_RATIO = 0.02
_ACTIVATION_BYTES = 34
_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
_ENGINE_FAMILIES: Mapping[str, frozenset[str]] = {
    "openvino": frozenset(("llama", "mistral", "qwen2", "qwen3", "phi3", "gemma3_text")),
}


class Base(Frozen):
    """A decoder that can be tuned."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,59}$")
    """Short name."""
    source: str
    """`embedded:NAME` (in the package), a local folder, or an id on the hub."""
    revision: str | None = None
    """Commit on the hub; `None` = its latest."""
    parameters: int = Field(gt=0)
    """Weights, embeddings included."""
    context_tokens: int = Field(gt=0)
    """Most tokens of prompt and answer."""
    licence: str
    """Name of the licence."""
    licence_url: str
    """Where it can be read."""
    use: Literal["open", "policy", "research"] = "open"
    """Any use; commercial use under the owner's policy; no commercial use."""
    policy_url: str | None = None
    """The owner's policy, where there is one."""
    gated: bool = False
    """The hub gives it only to accounts that accepted its terms."""
    template: Literal["own", "chatml"] = "own"
    """Whether it brings a chat template, or is given ChatML."""
    family: str
    """Architecture (`model_type` of its configuration)."""
    layers: int = Field(gt=0)
    """Layers."""
    hidden: int = Field(gt=0)
    """Width."""
    kv_heads: int = Field(gt=0)
    """Key and value heads per layer."""
    head_dim: int = Field(gt=0)
    """Width of a head."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    """Precision it is used in unless told otherwise."""
    lora_targets: tuple[str, ...] = ("all-linear",)
    """Layers that adapters are put on."""
    engines: tuple[Engine, ...] = ("transformers", "vllm", "openvino", "gguf")
    """What can answer with it."""
    standin: bool = False
    """A stand-in to see the loop run, not a model to deploy."""
    note: str = ""
    """What a person should know."""
    read: str
    """Where the facts were read."""
    checked: date
    """When."""

    def weights_bytes(self, dtype: str | None = None) -> int:
        """Return the bytes of its weights."""
        return int(self.parameters * BYTES[dtype or self.dtype])

    def cache_bytes(self, tokens: int, rows: int, dtype: str | None = None) -> int:
        """Return the bytes of keys and values for `rows` conversations of `tokens` tokens."""
        per_token = 2 * self.layers * self.kv_heads * self.head_dim * BYTES[dtype or self.dtype]
        return int(per_token * tokens * rows)

    def memory_bytes(self, purpose: Purpose, *, tokens: int, rows: int) -> int:
        """Return the bytes needed in its `dtype`, a tenth added for what nobody counts.

        Answering: weights, keys and values. Tuning adapters: weights, 16 bytes for each of the 2 % of weights that
        adapters add, activations. Tuning all: 16 bytes per weight (float32 weight, gradient, two moments).
        Source: activations without checkpointing are about 34 bytes per token, layer and width in 16 bits when
        attention keeps no score matrix (Korthikanti et al. 2022, arXiv:2205.05198, section 4.1); optimizer states
        16 bytes (Rajbhandari et al. 2020, arXiv:1910.02054, section 3.1).
        """
        wide = BYTES[self.dtype] / 2
        activations = _ACTIVATION_BYTES * self.hidden * self.layers * tokens * rows * wide
        if purpose == "full":
            need = 16.0 * self.parameters + activations
        elif purpose == "lora":
            need = self.weights_bytes() + 16 * _LORA_RATIO * self.parameters + activations
        else:
            need = self.weights_bytes() + self.cache_bytes(tokens, rows)
        return int(need * (1 + _HEADROOM_RATIO))


def known(extra: Path | None = None) -> dict[str, Base]:
    """Return every base by name, smallest first; those in the YAML file `extra` replace ours of the same name.

    Raises:
        ConfigError: the file cannot be read, or an entry is wrong.
    """
    found = dict(_ours())
    if extra is not None:
        with boundary(ConfigError, f"reading bases from {str(extra)!r}", OSError, yaml.YAMLError):
            found |= _parsed(extra.read_text(encoding="utf-8"), str(extra))
    return dict(sorted(found.items(), key=lambda item: item[1].parameters))


def base_of(name: str, extra: Path | None = None) -> Base:
    """Return the base with this name.

    Raises:
        NotFoundError: there is none.
    """
    bases = known(extra)
    if name not in bases:
        raise NotFoundError(
            f"base {name!r} was asked for; known are {list(bases)!r}; add it to your bases file"
        )
    return bases[name]


def located(base: Base) -> Path:
    """Return the local folder of a base; one on the hub is downloaded when it is not in the hub's cache.

    Raises:
        NotFoundError: it is not here and cannot be fetched; says what to do.
    """
    if base.source.startswith(EMBEDDED):
        from importlib.resources import files

        folder = Path(str(files("offramp") / base.source.removeprefix(EMBEDDED)))
    elif Path(base.source).expanduser().is_dir():
        folder = Path(base.source).expanduser()
    else:
        folder = _fetched(base)
    if not (folder / "config.json").is_file():
        raise NotFoundError(f"base {base.name!r} was looked for in {str(folder)!r}; there is no config.json")
    return folder


def check(
    base: Base,
    *,
    memory_bytes: int,
    tokens: int,
    rows: int,
    purpose: Purpose,
    accepted: frozenset[str] | set[str] = frozenset(),
) -> list[str]:
    """Return why a base cannot be used here, in sentences; empty = go on.

    `tokens` is the longest conversation with its answer, `rows` how many at a time, `accepted` the names of licences
    whose terms a person accepted.
    """
    problems = []
    need = base.memory_bytes(purpose, tokens=tokens, rows=rows)
    if need > memory_bytes:
        problems.append(
            f"{base.name} needs about {need / 2**30:.1f} GiB for `{purpose}` with {rows} rows of {tokens} tokens; "
            f"there are {memory_bytes / 2**30:.1f} GiB; take fewer rows at a time or a smaller base"
        )
    if tokens > base.context_tokens:
        problems.append(
            f"{base.name} reads {base.context_tokens} tokens; the longest conversation has {tokens}; shorten it or "
            "take another base"
        )
    if base.use != "open" and base.licence not in accepted:
        terms = {
            "policy": "permits commercial use under a policy",
            "research": "does not permit commercial use",
        }
        problems.append(
            f"{base.name} has the licence {base.licence!r}, which {terms[base.use]}; read "
            f"{base.policy_url or base.licence_url} and accept it by name"
        )
    unfit = purpose in _ENGINE_FAMILIES and base.family not in _ENGINE_FAMILIES[purpose]
    if purpose not in ("lora", "full") and (purpose not in base.engines or unfit):
        problems.append(
            f"{base.name} ({base.family}) cannot be served with `{purpose}`; it can with {base.engines!r}"
        )
    return problems + _folder_problems(base)


def weights_sha256(folder: Path) -> str:
    """Return the hash of a model's weight files, names and contents; asked again for unchanged files, it is known.

    Raises:
        NotFoundError: there are none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise NotFoundError(
            f"weights were expected in {str(folder)!r}; found no .safetensors: get the base again"
        )
    digest = hashlib.sha256()
    with boundary(NotFoundError, f"reading the weights in {str(folder)!r}"):
        for path in files:
            about = path.stat()
            digest.update(path.name.encode())
            digest.update(_sha256(path, about.st_size, about.st_mtime_ns))
    return digest.hexdigest()


@cache
def _sha256(path: Path, size: int, changed_ns: int) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _folder_problems(base: Base) -> list[str]:
    """Look into a folder that is already here: has it a tokenizer, and a template where it should?"""
    if not base.source.startswith(EMBEDDED) and not Path(base.source).expanduser().is_dir():
        return []
    try:
        folder = located(base)
    except NotFoundError as missing:
        return [str(missing)]
    if not (folder / "tokenizer.json").is_file():
        return [f"{base.name} has no tokenizer.json in {str(folder)!r}; convert its tokenizer first"]
    with boundary(ConfigError, f"reading the tokenizer settings of {base.name}", OSError, ValueError):
        path = folder / "tokenizer_config.json"
        written = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    has = (folder / "chat_template.jinja").is_file() or "chat_template" in written
    if base.template == "own" and not has:
        return [
            f"{base.name} says it brings a chat template; found none in {str(folder)!r}; set `template: chatml`"
        ]
    return []


def _fetched(base: Base) -> Path:
    from huggingface_hub import snapshot_download

    gate = (
        f" its terms must be accepted first at https://huggingface.co/{base.source} ," if base.gated else ""
    )
    what = (
        f"base {base.name!r}: {base.source!r} is no local folder and could not be fetched from the hub;{gate} log in "
        "with `hf auth login`, or download it elsewhere and give its folder as `source` in your bases file"
    )
    with boundary(NotFoundError, what, Exception):
        options: dict[str, Any] = {"revision": base.revision, "allow_patterns": list(_FILES)}
        try:
            return Path(snapshot_download(base.source, local_files_only=True, **options))
        except OSError:
            return Path(snapshot_download(base.source, **options))


@cache
def _ours() -> Mapping[str, Base]:
    from importlib.resources import files

    return _parsed((files("offramp") / "bases.yaml").read_text(encoding="utf-8"), "bases.yaml")


def _parsed(text: str, where: str) -> dict[str, Base]:
    entries = (yaml.safe_load(text) or {}).get("bases", [])
    with boundary(ConfigError, f"an entry in {where!r} is wrong", ValidationError, TypeError):
        bases = [Base.model_validate(entry) for entry in entries]
    return {base.name: base for base in bases}
