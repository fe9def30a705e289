"""From a workspace to candidates that answer requests: model, inputs, cleaning, and how unusual an input is.

Decoders that were tuned on one base by adapters share its weights when they are served together.
Guarantee: inputs are cleaned and masked as the dataset says that its rows were, whatever the settings say by now.
Trap: the memory of vectors is left out, as every request would be written to disk; only training rows are read from it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offramp.errors import ConfigError, DataError, MismatchError
from offramp.models.base import Model
from offramp.models.chat import MESSAGES
from offramp.roster import Roster
from offramp.serve.answering import Served
from offramp.serve.inputs import Given, Reader
from offramp.serve.near import Near, Remembering
from offramp.serve.questions import Form, Question
from offramp.serve.settings import ServeSettings
from offramp.types import Candidate, Dataset

if TYPE_CHECKING:
    from offramp.models.decoder import DecoderModel
    from offramp.models.generation import Ask, Generator, Said
    from offramp.render import Renderer
    from offramp.workspace import Workspace


def load(workspace: "Workspace", candidates: Sequence[Candidate], settings: ServeSettings) -> list[Served]:
    """Load candidates, answer one row with each, and return them.

    Raises:
        ConfigError: one has only recorded answers, or two have one name.
        ModelError: a model cannot be read.
    """
    names = [candidate.name for candidate in candidates]
    if len(set(names)) < len(names):
        raise ConfigError(f"candidates are told apart by their names; found {names!r}")
    for candidate in candidates:
        if candidate.engine == "recorded":
            raise ConfigError(
                f"a model was asked for; {candidate.name!r} is answers that were recorded, which nobody can ask again"
            )
    if settings.threads is not None:
        import torch

        torch.set_num_threads(settings.threads)
    roster = workspace.roster
    together = _together(roster, candidates)
    found = []
    for candidate in candidates:
        model = together.get(candidate.id) or roster.fresh(candidate)
        found.append(_served(roster, candidate, model, settings))
    for one in found:
        warm(one)
    return found


def warm(served: Served) -> None:
    """Answer one row, so that the first request does not pay for what is made once."""
    fields = dict.fromkeys(served.reader.task.inputs, "warm up")
    served.told([Question(Given(fields), max_tokens=1)])


def _served(roster: Roster, candidate: Candidate, model: Model, settings: ServeSettings) -> Served:
    store = roster.records.store
    data = store.get(candidate.parents[0], Dataset)
    near = None
    if settings.ood:
        # The model's own encoder, where it has one, so that an input is embedded once for both.
        memory = Remembering(type(roster.embedder)(roster.embedder.backbone))
        model = _with_embedder(model, memory)
        parts = (roster.rows(data, "train"), roster.rows(data, "validation"))
        near = Near.of(*parts, memory, kept=roster.embedder)
    raw = store.get(data.parents[0], Dataset) if data.stage == "curated" else data
    return Served(candidate.name, candidate.id, model, reader_of(roster, data), _form(raw), near)


def reader_of(roster: Roster, data: Dataset) -> Reader:
    """Return what reads requests as the rows of a dataset were read and curated."""
    how = data.made_by.config.get("curate", {}) if data.stage == "curated" else {}
    mask: Callable[[str, str], str] | None = None
    if how.get("personal") == "mask":
        redactor = roster.redactor

        def mask(text: str, conversation: str) -> str:
            return redactor.redact(text, conversation=conversation).text

    return Reader(
        data.task,
        logged=MESSAGES in roster.view(data).column_names,
        cleaned=data.stage == "curated" and "clean" not in how.get("undo", ()),
        boilerplate=tuple(data.details.get("boilerplate", ())),
        mask=mask,
    )


def _form(raw: Dataset) -> Form | None:
    """Return how the incumbent wrote its labels: an app that reads JSON goes on reading JSON."""
    key = (raw.details.get("mapping") or {}).get("answer_key")
    return Form(key) if key and raw.task.kind == "classify" else None


def _with_embedder(model: Model, embedder: Remembering) -> Model:
    from offramp.models.blend import BlendModel

    if isinstance(model, BlendModel):
        members = tuple((name, _with_embedder(member, embedder)) for name, member in model.members)
        return replace(model, members=members)  # type: ignore[arg-type]
    if getattr(model, "embedder", None) is not None and is_dataclass(model):
        return replace(model, embedder=embedder)
    return model


# ---- several adapters on one base --------------------------------------------------------------------------------


@dataclass(frozen=True)
class OneOfMany:
    """A generator with several adapters, seen by the candidate that owns one of them."""

    generator: "Generator"
    """The shared engine."""
    name: str
    """The candidate's adapter."""
    renderer: "Renderer"
    """Writes the candidate's prompts."""

    @property
    def adapters(self) -> tuple[str, ...]:
        """The name by which a candidate asks for its own adapter."""
        from offramp.models.decoder import ENGINE

        return (ENGINE,)

    @property
    def context_tokens(self) -> int:
        """Most tokens of prompt and answer together."""
        return self.generator.context_tokens

    def generate(self, asks: "Sequence[Ask]", **more: Any) -> "list[Said]":
        """Answer with the candidate's adapter."""
        return self.generator.generate([replace(ask, adapter=self.name) for ask in asks], **more)

    def stream(self, ask: "Ask") -> Iterator[tuple[int, str]]:
        """Answer one ask token by token with the candidate's adapter."""
        return self.generator.stream(replace(ask, adapter=self.name))


def _together(roster: Roster, candidates: Sequence[Candidate]) -> dict[str, Model]:
    """Load candidates that have adapters on one base into one engine; by id, those that stand alone left out."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.engine == "decoder":
            groups.setdefault(_base_key(roster.records.store.folder(candidate.id)), []).append(candidate)
    found: dict[str, Model] = {}
    for key, members in groups.items():
        if key and len(members) > 1:
            found |= _shared(roster, members)
    return found


def _base_key(folder: Path) -> str:
    """Return what must be equal for two candidates to share an engine; "" where there is no adapter."""
    from offramp.models.decoder import read_config
    from offramp.types import canonical_json

    config = read_config(folder)
    if not config.adapter:
        return ""
    return canonical_json([config.base, config.base_sha256, config.dtype, dict(config.render)])


def _shared(roster: Roster, members: Sequence[Candidate]) -> "dict[str, DecoderModel]":
    from offramp.bases import located, weights_sha256
    from offramp.models.decoder import ADAPTER, DecoderModel, grammar_for, read_config
    from offramp.models.generation import Generator
    from offramp.render import Renderer

    store = roster.records.store
    folders = {member.name: store.folder(member.id) for member in members}
    configs = {name: read_config(folder) for name, folder in folders.items()}
    first = next(iter(configs.values()))
    if first.base not in roster.bases:
        raise DataError(f"base {first.base!r} was expected; known are {sorted(roster.bases)!r}")
    base = located(roster.bases[first.base])
    if (there := weights_sha256(base)) != first.base_sha256:
        raise MismatchError(
            f"the candidates were made for weights {first.base_sha256[:12]!r} of base {first.base!r}; found "
            f"{there[:12]!r} in {str(base)!r}; get that version of the base, or tune again"
        )
    generator = Generator.load(
        base,
        adapters={name: folder / ADAPTER for name, folder in folders.items()},
        dtype=first.dtype,
        renderer=Renderer.load(next(iter(folders.values()))),
    )
    found = {}
    for member in members:
        config, task = configs[member.name], store.get(member.parents[0], Dataset).task
        view = OneOfMany(generator, member.name, generator.renderer)
        grammar = grammar_for(task, config)
        found[member.id] = DecoderModel(folders[member.name], task, config, view, grammar, None)  # type: ignore[arg-type]
    return found
