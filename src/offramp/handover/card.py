"""A model card: what the model is, what it was made of, what was proven, and what it is not for.

Guarantee: nothing is invented; what is not known is said to be not known. Trap: a licence of the base binds what is
made of it, and so may the terms of whoever wrote the answers it learned from; both are named, neither is judged.
Source: https://huggingface.co/docs/hub/model-cards (front matter, read 2026-11-21).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from offramp.types import Frozen, Kind

PIPELINES: Mapping[Kind, str] = {
    "classify": "text-classification",
    "extract": "text-generation",
    "generate": "text-generation",
    "chat": "text-generation",
}
"""Task kinds as the Hugging Face hub names them."""
STANDIN = (
    "**A stand-in to see the loop run, not a model to deploy.** Its base is the tiny decoder that Offramp ships; it "
    "shows that every step works and says nothing about what a model of useful size can do."
)
UNKNOWN = "Not known."


class ModelFacts(Frozen):
    """What a card tells; what is empty is told as not known."""

    title: str
    """Name for people."""
    kind: Kind
    """Kind of task."""
    base: str = ""
    """Name of the base model."""
    base_sha256: str = ""
    """Hash of the base's weights."""
    base_licence: str = ""
    """Licence of the base."""
    base_licence_url: str = ""
    """Where it is to be read."""
    licence: str = ""
    """Licence under which this model is given, SPDX name in lower case or `other`."""
    standin: bool = False
    """True for a base that only shows the loop."""
    languages: tuple[str, ...] = ()
    """ISO 639 codes of the training data."""
    intended_use: str = ""
    """What it is for, in sentences."""
    not_for: tuple[str, ...] = ()
    """What it should not be used for."""
    data: tuple[str, ...] = ()
    """The data in sentences: rows, splits, origin, terms, personal data."""
    data_id: str = ""
    """Record of the dataset."""
    training: Mapping[str, Any] = Field(default_factory=dict)
    """Settings, seed, losses, duration."""
    verdict: str = ""
    """The verdict's sentence."""
    parity: tuple[str, ...] = ()
    """What parity tests of this artefact found."""
    files: Mapping[str, str] = Field(default_factory=dict)
    """SHA-256 of each file."""
    prompts: Mapping[str, Any] = Field(default_factory=dict)
    """`Renderer.identity`: what makes its prompts."""
    serve: Mapping[str, str] = Field(default_factory=dict)
    """Commands and files that serve it, by engine."""
    made_by: str = ""
    """Offramp's version and the record of the training run."""
    notes: tuple[str, ...] = ()
    """Anything else a person should know."""


def model_card(facts: ModelFacts, *, adapter: bool) -> str:
    """Return the card as a README with front matter."""
    import yaml

    front = yaml.safe_dump(_front(facts, adapter=adapter), sort_keys=False, allow_unicode=True, width=100)
    sections = [
        f"# {' '.join(facts.title.split())}",
        STANDIN if facts.standin else "",
        "## Intended use",
        facts.intended_use or UNKNOWN,
        "## Not for",
        _bullets(facts.not_for or ("Any task but the one it was tuned for: nothing else was looked at.",)),
        "## Verdict",
        facts.verdict or "None was given: nothing shows that it is as good as what it would replace.",
        "## Is what is served what was trained?",
        _bullets(facts.parity) or "No parity test of this artefact was run.",
        "## Data",
        _bullets([*facts.data, *([f"record `{facts.data_id}`"] if facts.data_id else [])]) or UNKNOWN,
        "## Licences",
        _licences(facts),
        "## Training",
        _table(facts.training) or UNKNOWN,
        "## Prompts",
        _table(facts.prompts) or UNKNOWN,
        *(f"## Serve with {name}\n\n```\n{text.strip()}\n```" for name, text in facts.serve.items()),
        "## Files" if facts.files else "",
        _table(facts.files),
        "## Notes" if facts.notes else "",
        _bullets(facts.notes),
        f"Made by {facts.made_by}." if facts.made_by else "",
    ]
    return f"---\n{front}---\n\n" + "\n\n".join(section for section in sections if section) + "\n"


def _front(facts: ModelFacts, *, adapter: bool) -> dict[str, Any]:
    found = {
        "license": facts.licence,
        "base_model": facts.base,
        "base_model_relation": ("adapter" if adapter else "finetune") if facts.base else "",
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": PIPELINES[facts.kind],
        "language": list(facts.languages),
        "tags": ["offramp", *(["stand-in"] if facts.standin else [])],
    }
    return {key: value for key, value in found.items() if value}


def _licences(facts: ModelFacts) -> str:
    at = f" ({facts.base_licence_url})" if facts.base_licence_url else ""
    return _bullets(
        [
            f"base: {facts.base_licence}{at}" if facts.base_licence else "base: not known",
            f"this model: {facts.licence}" if facts.licence else "this model: none was given",
        ]
    )


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(values: Mapping[str, Any]) -> str:
    if not values:
        return ""
    cells = [f"| {_cell(key)} | {_cell(value)} |" for key, value in values.items()]
    return "\n".join(["| what | value |", "| --- | --- |", *cells])


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|") or "–"
