"""A decoder as a candidate: tuned by adapters, tuned whole, or only told what to do.

A tuned one is asked the way it was trained; an untuned one the way an endpoint is (`asking`), with examples where
there are shots. Labels and JSON are constrained, so an answer is legal or the row says why there is none.
Guarantee: the base is the one it was made for (hash), and prompts are those of training (render identity).
Trap: a confidence is fitted on validation answers (`calibrated`); until then there is none.

A candidate's folder holds `decoder.json`, the renderer's files and, by what was tuned, `adapter/` (PEFT's format),
`model/` (whole weights) or neither; untuned with shots, also `model.json` and `arrays.npz` with the examples.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import ConfigDict, Field, ValidationError

from offramp import rows as _rows
from offramp.bases import Base, base_of, located, weights_sha256
from offramp.errors import DataError, MismatchError, ModelError, boundary
from offramp.models.asking import Asker, ExamplePool
from offramp.models.chat import conversations, json_of, tools_of
from offramp.models.confidence import Confidence, fit_confidence
from offramp.models.constrain import Grammar, schema_of
from offramp.models.generation import Generator
from offramp.models.labels import Embedder, load_model, save_model, size_bytes
from offramp.models.saying import Ask, Said
from offramp.render import Message, Renderer
from offramp.render.fit import shortened
from offramp.types import Frozen, Progress, Task, silent

ENGINE = "decoder"
CONFIG, ADAPTER, MODEL = "decoder.json", "adapter", "model"
_TOOL_CALL = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)

Right = Callable[[Sequence[str | None], pa.Table], Sequence[float]]
"""Says how right each answer is, 0 to 1."""


class DecoderConfig(Frozen):
    """What `decoder.json` says to those who answer; what training adds for itself is not read."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    engine: Literal["decoder"]
    """Always `decoder`."""
    base: str
    """Name of the base."""
    base_sha256: str
    """`bases.weights_sha256` of its folder."""
    adapter: bool
    """Whether there is an adapter."""
    mode: str = "untuned"
    """How it was tuned; `full` has its own weights, `untuned` none."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision."""
    instruction: str = ""
    """System prompt of every row; empty: none, or the logged one."""
    max_new_tokens: int = Field(gt=0)
    """Longest answer."""
    shots: int = Field(default=0, ge=0, le=64)
    """Examples shown per row to an untuned base."""
    answer_schema: Mapping[str, Any] | None = None
    """JSON schema of extract answers, when it was derived from the rows."""
    calibration: Confidence | None = None
    """How confidence is made, once it was fitted."""
    render: Mapping[str, Any]
    """Identity of the renderer."""

    @property
    def tuned(self) -> bool:
        """True when prompts are those of training."""
        return self.adapter or self.mode == "full"


@dataclass(frozen=True)
class Untuned:
    """What `fit_untuned` needs besides rows."""

    base: Base
    """Who is asked."""
    task: Task
    """What to do."""
    out: Path
    """Folder of the candidate."""
    shots: int = 0
    """Examples per row."""
    instruction: str = ""
    """What to do, in words; empty: the task's own, else a sentence for its kind."""
    embedder: Callable[[], Embedder] | None = field(default=None, repr=False)
    """Gives the text encoder that finds examples; needed for shots."""
    right: Right | None = None
    """How right answers are, for the confidence; default equality, for labels and JSON only."""


@dataclass(frozen=True)
class DecoderModel:
    """A decoder that answers rows."""

    path: Path
    """Folder it was loaded from."""
    task: Task
    """The task it answers."""
    config: DecoderConfig
    """What `decoder.json` says."""
    generator: Generator = field(repr=False, compare=False)
    """The engine."""
    grammar: Grammar | None = field(repr=False, compare=False)
    """What may be answered, `None` for free text."""
    asker: Asker | None = field(repr=False, compare=False)
    """Writes prompts of an untuned base."""

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        task: Task,
        base: Base | None = None,
        embedder: Callable[[], Embedder] | None = None,
        threads: int | None = None,
    ) -> Self:
        """Read a candidate's folder; `base` is by default the known one that its `decoder.json` names.

        Raises:
            NotFoundError: the base is not known or not here.
            ModelError: nothing readable is there, or it is another kind of model.
            MismatchError: it was made for another base, or its renderer's files changed.
            ConfigError: answers cannot be constrained as the task asks.
        """
        config = read_config(path)
        base = base or base_of(config.base)
        if config.base != base.name:
            raise MismatchError(f"{str(path)!r} was made for base {config.base!r}; found {base.name!r}")
        renderer = Renderer.load(path)
        if dict(renderer.identity) != dict(config.render):
            raise MismatchError(
                f"the tokenizer or template in {str(path)!r} changed since the model was made"
            )
        grammar = grammar_for(task, config)
        asker = None
        if not config.tuned:
            asker = Asker(
                task,
                instruction=config.instruction,
                shots=config.shots,
                retrieve=_retrieve(path, config, embedder),
            )
        return cls(path, task, config, _generator(path, config, base, renderer, threads), grammar, asker)

    def answer(self, rows: pa.Table, *, progress: Progress = silent) -> pa.Table:
        """Answer every row; `ANSWER_SCHEMA`, same order. A row that has no answer says why."""
        said, failed = self._say(rows, progress)
        read = [(None, failed[i]) if each is None else self._read(each) for i, each in enumerate(said)]
        sure: list[float | None] = [None] * len(said)
        if self.config.calibration is not None:
            given = [i for i, each in enumerate(said) if each is not None]
            chances = self.config.calibration.of([each for each in said if each is not None])
            for i, chance in zip(given, chances.tolist(), strict=True):
                sure[i] = chance if read[i][0] is not None else None
        return _rows.answer_table(
            _rows.ids(rows),
            [text for text, _ in read],
            confidence=sure,  # type: ignore[arg-type]
            error=[error for _, error in read],
        )

    def calibrated(self, validation: pa.Table, *, right: Right | None = None) -> Self:
        """Return the model with a confidence fitted on rows it was not tuned on, kept in its `decoder.json`.

        Without `right`, an answer is right when it is the target (JSON: the same values); free text then gets none.
        """
        if validation.num_rows == 0 or (right is None and self.task.kind not in ("classify", "extract")):
            return self
        said, _ = self._say(validation, silent)
        texts = [None if each is None else self._read(each)[0] for each in said]
        scores = list((right or _equal)(texts, validation))
        kept = [i for i, text in enumerate(texts) if text is not None and np.isfinite(scores[i])]
        found = fit_confidence(
            [each for i in kept if (each := said[i]) is not None], [scores[i] for i in kept]
        )
        note(self.path, {"calibration": found.model_dump(mode="json")})
        return replace(self, config=self.config.model_copy(update={"calibration": found}))

    @property
    def size_bytes(self) -> int:
        """Size of what must be deployed beside the base."""
        return sum(size_bytes(self.path / name) for name in (ADAPTER, MODEL) if (self.path / name).is_dir())

    def ask(self, messages: Sequence[Message], *, tools: Any = None) -> Ask:
        """Return one conversation as what the engine is asked, shortened where it is too long.

        Raises:
            DataError: it is out of order, or too long however it is cut.
        """
        renderer, longest = self.generator.renderer, self.config.max_new_tokens
        limit = self.generator.context_tokens - longest
        ids = renderer.prompt(messages, tools=tools)
        if len(ids) > limit:
            cut = shortened(renderer, messages, limit=limit, tools=tools)
            if cut is None:
                raise DataError(
                    f"the conversation has {len(ids)} tokens; with an answer of {longest} the model has room for "
                    f"{max(limit, 0)}"
                )
            ids = renderer.prompt(cut, tools=tools)
        return Ask(ids, longest, self.grammar, ENGINE if ENGINE in self.generator.adapters else None)

    def _say(self, rows: pa.Table, progress: Progress) -> tuple[list[Said | None], dict[int, str]]:
        """Return what was said about each row, and why nothing could be asked about the others."""
        if self.asker is not None:
            prompts: list[Sequence[Message]] = [asked.messages for asked in self.asker.ask(rows)]
        else:
            prompts = list(conversations(rows, instruction=self.config.instruction))
        asks: dict[int, Ask] = {}
        failed: dict[int, str] = {}
        for i, (messages, tools) in enumerate(zip(prompts, tools_of(rows), strict=True)):
            try:
                asks[i] = self.ask(messages, tools=tools)
            except DataError as failure:
                failed[i] = str(failure)
        found = dict(zip(asks, self.generator.generate(list(asks.values()), progress=progress), strict=True))
        return [found.get(i) for i in range(len(prompts))], failed

    def _read(self, said: Said) -> tuple[str | None, str | None]:
        """Return the text of an answer, or why it is none."""
        text = self.generator.renderer.decode(said.ids)
        if not said.legal:
            return None, f"no legal answer fits in {self.config.max_new_tokens} tokens; allow more"
        if self.asker is not None:
            return self.asker.read(text)
        if self.task.kind == "chat":
            text = message_of(text)
        return (text, None) if text.strip() else (None, "the answer is empty")


def read_config(folder: Path) -> DecoderConfig:
    """Read a candidate's `decoder.json`.

    Raises:
        ModelError: it is not there, unreadable, or another kind of model.
    """
    with boundary(
        ModelError, f"decoder candidate could not be read from {str(folder)!r}", OSError, ValueError
    ):
        written = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    with boundary(ModelError, f"{str(folder / CONFIG)!r} is of another version or kind", ValidationError):
        return DecoderConfig.model_validate(written)


def grammar_for(task: Task, config: DecoderConfig | None = None) -> Grammar | None:
    """Return what may be answered: labels, JSON of the schema, or anything (`None`).

    An untuned base answers labels as JSON, as it is told to. An extract task without a schema has the derived one of
    `config`; without any, answers are free.

    Raises:
        ConfigError: the schema cannot be guaranteed.
        DataError: a classify task without labels.
    """
    if task.kind == "classify" and not task.labels:
        raise DataError("a classify task needs labels to choose from; found none: add labelled rows")
    if task.kind == "classify" and config is not None and not config.tuned:
        label = {"type": "string", "enum": list(task.labels)}
        return Grammar.of_schema(
            {
                "type": "object",
                "properties": {"label": label},
                "required": ["label"],
                "additionalProperties": False,
            }
        )
    if task.kind == "classify":
        return Grammar.of_labels(task.labels)
    schema = task.answer_schema or (config.answer_schema if config else None)
    return Grammar.of_schema(schema) if task.kind == "extract" and schema else None


def answer_schema_of(task: Task, train: pa.Table) -> Mapping[str, Any] | None:
    """Return the JSON schema of an extract task's answers: its own, or what the wanted answers have in common.

    `None` for other kinds, and for answers that are no JSON objects.
    """
    if task.kind != "extract":
        return None
    targets = [target for target in train.column("target").to_pylist() if target is not None]
    return task.answer_schema or schema_of(targets)


def note(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write facts into a candidate's `decoder.json`; what else it says stays, a crash leaves the old one.

    Raises:
        ModelError: there is none, or it cannot be written.
    """
    with boundary(ModelError, f"writing {str(folder / CONFIG)!r}", OSError, ValueError):
        _write(folder, json.loads((folder / CONFIG).read_text(encoding="utf-8")) | dict(facts))


def fit_untuned(train: pa.Table, validation: pa.Table | None, job: Untuned) -> DecoderModel:
    """Write the candidate of a base that is only told what to do, and load it.

    Raises:
        DataError: shots without an embedder, or labels that cannot be listed.
        NotFoundError: the base is not there.
    """
    folder = located(job.base)
    renderer = Renderer.load(folder)
    job.out.mkdir(parents=True, exist_ok=True)
    renderer.save(job.out)
    if job.shots:
        if job.embedder is None:
            raise DataError(f"{job.shots} examples per row were asked for; found no embedder to find them")
        pool = ExamplePool.of(train, embedder=job.embedder())
        examples = {"engine": ENGINE, "inputs": list(pool.inputs), "targets": list(pool.targets)}
        save_model(job.out, examples, {"vectors": pool.vectors})
    targets = [target for target in train.column("target").to_pylist() if target is not None]
    config = DecoderConfig(
        engine="decoder",
        base=job.base.name,
        base_sha256=weights_sha256(folder),
        adapter=False,
        dtype=job.base.dtype,
        instruction=job.instruction,
        max_new_tokens=_room(targets, renderer, job.task),
        shots=job.shots,
        answer_schema=answer_schema_of(job.task, train),
        render=dict(renderer.identity),
    )
    _write(job.out, config.model_dump(mode="json"))
    model = DecoderModel.load(job.out, task=job.task, base=job.base, embedder=job.embedder)
    return model if validation is None else model.calibrated(validation, right=job.right)


def _generator(
    path: Path, config: DecoderConfig, base: Base, renderer: Renderer, threads: int | None
) -> Generator:
    """Load the engine; an adapter is merged where that costs no precision."""
    if config.mode == "full":
        return Generator.load(path / MODEL, dtype=config.dtype, threads=threads, renderer=renderer)
    folder = located(base)
    found = weights_sha256(folder)
    if found != config.base_sha256:
        raise MismatchError(
            f"{str(path)!r} was made for weights {config.base_sha256[:12]!r} of base {base.name!r}; found "
            f"{found[:12]!r} in {str(folder)!r}; get that version of the base, or tune again"
        )
    return Generator.load(
        folder,
        adapters={ENGINE: path / ADAPTER} if config.adapter else {},
        dtype=config.dtype,
        threads=threads,
        merged=config.adapter and config.dtype == "float32",
        renderer=renderer,
    )


def _retrieve(path: Path, config: DecoderConfig, embedder: Callable[[], Embedder] | None) -> Any:
    if not config.shots:
        return None
    if embedder is None:
        raise DataError(f"{config.shots} examples per row are to be shown; found no embedder to find them")
    facts, arrays = load_model(path, ENGINE)
    pool = ExamplePool(tuple(facts["inputs"]), tuple(facts["targets"]), arrays["vectors"])
    return pool.retriever(embedder(), shots=config.shots)


def _room(targets: Sequence[str], renderer: Renderer, task: Task) -> int:
    """Return the longest answer to wait for: twice the longest of the rows, for JSON around a label or longer texts."""
    longest = max((len(text) for text in (*targets, *task.labels)), default=0)
    long = [text for text in {*targets, *task.labels} if len(text) * 2 >= longest]
    tokens = [len(renderer.tokenizer(text, add_special_tokens=False).input_ids) for text in long]
    return 2 * max(tokens, default=128) + 16


def _equal(texts: Sequence[str | None], rows: pa.Table) -> list[float]:
    return [
        float(text is not None and (text == target or json_of(text) == json_of(target) is not None))
        for text, target in zip(texts, _rows.targets(rows), strict=True)
    ]


def message_of(text: str) -> str:
    """Return an answer that calls tools as the message that logs have; other answers as they are."""
    calls = [json_of(found) for found in _TOOL_CALL.findall(text)]
    if not calls or not all(isinstance(call, dict) and "name" in call for call in calls):
        return text
    tool_calls = [
        {
            "type": "function",
            "function": {
                "name": call["name"],
                "arguments": json.dumps(call.get("arguments", {}), ensure_ascii=False),
            },
        }
        for call in calls
    ]
    content = _TOOL_CALL.sub("", text).strip() or None
    message = {"role": "assistant", "content": content, "tool_calls": tool_calls}
    return json.dumps(message, ensure_ascii=False)


def _write(folder: Path, facts: Mapping[str, Any]) -> None:
    part = folder / f"{CONFIG}.part"
    part.write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")
    part.replace(folder / CONFIG)
