"""Hand a tuned model over: forms that other engines load, and the parity test before one counts as ready.

The training side, base and adapter in float32 through plain transformers, is the reference; what is served is held
against it on holdout prompts, token by token; an engine that serves rounded weights is judged as such. Guarantee: a
test that failed, or was never run, is told on the model's card. Trap: parity says that the same model answers; whether
that model is good is the verdict's business.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from offramp.errors import ConfigError
from offramp.handover.card import ModelFacts, model_card
from offramp.handover.parity import ROUNDED, Options, Parity, Thresholds
from offramp.handover.subjects import Prompt, Subject
from offramp.roster import Roster
from offramp.store import write_text
from offramp.types import Candidate, Dataset, ParityTest, TrainingRun, Verdict

if TYPE_CHECKING:
    from offramp.models.decoder import DecoderModel

Engine = Literal["embedded", "merged", "vllm", "vllm-merged"]
ENGINES: dict[str, str] = {
    "embedded": "the engine inside Offramp, as it serves",
    "merged": "adapter added to the base's weights, through transformers",
    "vllm": "base and adapter in a vLLM process",
    "vllm-merged": "the merged model in a vLLM process",
}
"""What can be held against the training side."""
FORMS = ("adapter", "merged", "gguf", "ollama", "onnx")
"""What a model can be exported as."""
PROMPTS = 100
"""Holdout prompts of a parity test."""
PROBES = 8
"""Prompts on which a merge is checked."""


@dataclass(frozen=True)
class Tuned:
    """A decoder candidate with everything that a hand-over needs."""

    candidate: Candidate
    """The record."""
    data: Dataset
    """The dataset it was tuned on."""
    model: "DecoderModel"
    """It, loaded."""
    base: Path
    """Folder of its base."""
    adapter: Path | None
    """Folder of its adapter; `None` where it has none."""

    @classmethod
    def of(cls, roster: Roster, candidate: Candidate, data: Dataset) -> "Tuned":
        """Load a candidate.

        Raises:
            ConfigError: it is no decoder, or was tuned whole.
        """
        from offramp.bases import located
        from offramp.models.decoder import ADAPTER, DecoderModel

        model = roster.model(candidate)
        if not isinstance(model, DecoderModel):
            raise ConfigError(
                f"a decoder was asked for; candidate {candidate.name!r} is of engine {candidate.engine!r}, which is "
                "served as it is; `offramp export --to onnx` writes a tuned encoder"
            )
        if model.config.mode == "full":
            raise ConfigError(
                f"an adapter was expected; {candidate.name!r} was tuned whole and is served from its own folder"
            )
        base = roster.bases[candidate.params["base"]]
        adapter = model.path / ADAPTER if model.config.adapter else None
        return cls(candidate, data, model, located(base), adapter)

    def prompts(self, rows: pa.Table, count: int) -> list[Prompt]:
        """Return the conversations of `count` rows, evenly spaced, as they are asked."""
        from offramp.models.chat import conversations, tools_of

        places = np.unique(np.linspace(0, rows.num_rows - 1, min(count, rows.num_rows)).round().astype(int))
        some = rows.take(pa.array(places))
        asker = self.model.asker
        talks = (
            conversations(some, instruction=self.model.config.instruction)
            if asker is None
            else [asked.messages for asked in asker.ask(some)]
        )
        return [
            Prompt(tuple(messages), tuple(tools) if tools else None)
            for messages, tools in zip(talks, tools_of(some), strict=True)
        ]


def parity(
    roster: Roster,
    candidate: Candidate,
    data: Dataset,
    *,
    engine: Engine = "embedded",
    prompts: int = PROMPTS,
) -> ParityTest:
    """Hold what `engine` says against the training side and keep what was found.

    Raises:
        ConfigError: no such engine, or the candidate is no decoder.
        NotFoundError: vLLM was asked for and is not installed.
    """
    from offramp.handover.parity import parity as compared
    from offramp.handover.subjects import TransformersSubject

    if engine not in ENGINES:
        raise ConfigError(f"engine {engine!r} was asked for; there are {list(ENGINES)!r}")
    tuned = Tuned.of(roster, candidate, data)
    config = {"engine": engine, "prompts": prompts}
    record_id = roster.records.id("paritytest", "parity", (candidate.id, data.id), config)
    with roster.records.making(record_id) as todo:
        if todo:
            renderer = tuned.model.generator.renderer
            holdout = roster.rows(data, "holdout")
            asked = tuned.prompts(holdout, prompts)
            reference = TransformersSubject.load(tuned.base, renderer, adapter=tuned.adapter)
            rounded = engine == "embedded" and tuned.model.config.dtype != "float32"
            thresholds = ROUNDED if rounded else Thresholds()
            thresholds = replace(thresholds, prompts=min(thresholds.prompts, len(asked)))
            options = Options(
                thresholds=thresholds,
                decode=renderer.decode,
                piece=renderer.tokenizer.convert_ids_to_tokens,
            )
            with _subject(
                tuned, engine, [renderer.prompt(one.messages) for one in asked[:PROBES]], roster
            ) as subject:
                found = compared(
                    reference,
                    subject,
                    asked,
                    max_tokens=tuned.model.config.max_new_tokens,
                    options=options,
                    progress=roster.progress,
                )
            roster.records.store.add(_kept(record_id, tuned, engine, found, roster.records.made_by(config)))
    return roster.records.store.get(record_id, ParityTest)


def _kept(record_id: str, tuned: Tuned, engine: str, found: Parity, made_by: Any) -> ParityTest:
    return ParityTest(
        id=record_id,
        candidate=tuned.candidate.id,
        dataset=tuned.data.id,
        subject=engine,
        passed=found.passed,
        body={**found.to_dict(), "text": str(found)},
        parents=(tuned.candidate.id, tuned.data.id),
        made_by=made_by,
    )


@contextmanager
def _subject(
    tuned: Tuned, engine: Engine, probes: Sequence[Sequence[int]], roster: Roster
) -> Iterator[Subject]:
    """Give what is held against the training side; servers and files of it end with the block."""
    from offramp.handover.export import merge
    from offramp.handover.subjects import GeneratorSubject, TransformersSubject

    renderer, title = tuned.model.generator.renderer, ENGINES[engine]
    if engine == "embedded":
        adapters = tuned.model.generator.adapters
        yield GeneratorSubject(title, tuned.model.generator, adapter=next(iter(adapters), None))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "merged"
        if engine != "vllm":
            merge(tuned.base, tuned.adapter, renderer=renderer, out=folder, probes=probes, dtype="float32")
        if engine == "merged":
            yield TransformersSubject.load(folder, renderer, name=title)
            return
        with _server(tuned, None if engine == "vllm" else folder, Path(scratch), roster) as subject:
            yield subject


@contextmanager
def _server(tuned: Tuned, merged: Path | None, scratch: Path, roster: Roster) -> Iterator[Subject]:
    from offramp.engines.environment import python_of
    from offramp.engines.vllm import Vllm, VllmSettings
    from offramp.handover.subjects import HttpSubject

    renderer = tuned.model.generator.renderer
    name = "base" if merged is not None or tuned.adapter is None else "tuned"
    settings = VllmSettings(
        model=merged or tuned.base,
        adapters={"tuned": tuned.adapter} if name == "tuned" and tuned.adapter else {},
        renderer=None if merged is not None else tuned.model.path,
        dtype="float32",
        context_tokens=min(tuned.model.generator.context_tokens, 4096),
    )
    with Vllm.start(python_of(), settings, log=scratch / "vllm.log", progress=roster.progress) as server:
        yield HttpSubject("vLLM", server.base_url, name, renderer)


# ---- exports ---------------------------------------------------------------------------------------------------


def export(roster: Roster, candidate: Candidate, data: Dataset, *, form: str, out: Path) -> list[str]:
    """Write a candidate in one of `FORMS` with its card; returns what a person should know.

    Raises:
        ConfigError: no such form, `out` is in use, or the candidate has no such form.
        NotFoundError: llama.cpp's converter was needed and is not there.
        MismatchError: the written model does not answer like the tuned one.
    """
    if form not in FORMS:
        raise ConfigError(f"form {form!r} was asked for; there are {list(FORMS)!r}")
    if form == "onnx":
        return _onnx(roster, candidate, data, out)
    tuned = Tuned.of(roster, candidate, data)
    notes = _written(tuned, form, out, roster)
    write_text(model_card(_facts(roster, tuned), adapter=form == "adapter"), out / "README.md")
    return notes


def _written(tuned: Tuned, form: str, out: Path, roster: Roster) -> list[str]:
    from offramp.handover import export as forms
    from offramp.handover.gguf import to_gguf
    from offramp.handover.ollama import modelfile

    renderer = tuned.model.generator.renderer
    if form == "adapter":
        if tuned.adapter is None:
            raise ConfigError(f"an adapter was asked for; {tuned.candidate.name!r} is untuned and has none")
        notes = forms.export_adapter(
            tuned.adapter, out, renderer=renderer, base=tuned.base, base_name=tuned.model.config.base
        )
        served = {} if notes else {"tuned": out}
        command = [] if notes else [forms.vllm_command(tuned.base, renderer=out, adapters=served)]
        return [*notes, *(f"serve it with: {line}" for line in command)]
    asked = tuned.prompts(roster.rows(tuned.data, "holdout"), PROBES)
    probes = [renderer.prompt(one.messages, tools=one.tools) for one in asked]
    if form == "merged":
        done = forms.merge(tuned.base, tuned.adapter, renderer=renderer, out=out, probes=probes)
        return [
            f"log-probabilities differ by {done.gap:.2g} at most after merging, {done.rounding_gap:.2g} as saved",
            f"serve it with: {forms.vllm_command(out)}",
        ]
    with tempfile.TemporaryDirectory() as scratch:
        merged = Path(scratch) / "merged"
        forms.merge(tuned.base, tuned.adapter, renderer=renderer, out=merged, probes=probes)
        out.mkdir(parents=True, exist_ok=True)
        file = to_gguf(merged, out / "model.gguf")
    if form == "ollama":
        longest = tuned.model.generator.context_tokens
        text = modelfile(
            renderer,
            gguf=f"./{file.name}",
            context_tokens=longest,
            max_tokens=tuned.model.config.max_new_tokens,
        )
        write_text(text, out / "Modelfile")
        return [f"serve it with: ollama create {tuned.candidate.name} -f {out / 'Modelfile'}"]
    return [f"written: {file}"]


def _onnx(roster: Roster, candidate: Candidate, data: Dataset, out: Path) -> list[str]:
    from offramp.handover.onnx import export_encoder
    from offramp.models.encoder import EncoderModel

    model = roster.model(candidate)
    if not isinstance(model, EncoderModel):
        raise ConfigError(
            f"ONNX is a form of tuned encoders; candidate {candidate.name!r} is of engine {candidate.engine!r}"
        )
    done = export_encoder(model, out, rows=roster.rows(data, "holdout").slice(0, 256))
    return [
        f"probabilities differ by {done.gap:.2g} at most; {done.same_label_ratio:.1%} of rows have the same label"
    ]


def _facts(roster: Roster, tuned: Tuned) -> ModelFacts:
    """Gather what the card tells from what is kept."""
    store, candidate, data = roster.records.store, tuned.candidate, tuned.data
    base = roster.bases[candidate.params["base"]]
    verdicts = [one for one in store.all(Verdict) if one.candidate == candidate.id]
    tests = [one for one in store.all(ParityTest) if one.candidate == candidate.id]
    run = roster.training(candidate)
    kept = {name: data.counts[name] for name in ("train", "validation", "holdout") if name in data.counts}
    return ModelFacts(
        title=f"{candidate.title} for {data.task.name}",
        kind=data.task.kind,
        base=base.name,
        base_sha256=tuned.model.config.base_sha256,
        base_licence=base.licence,
        base_licence_url=base.licence_url,
        standin=base.standin,
        intended_use=f"The task {data.task.name!r} alone: {data.task.instruction or data.task.kind}.",
        data=(", ".join(f"{count:,} {name} rows" for name, count in kept.items()),),
        data_id=data.id,
        training=_training(run),
        verdict=verdicts[-1].body.sentence if verdicts else "",
        parity=tuple(f"{one.subject}: {'passed' if one.passed else 'FAILED'}" for one in tests),
        prompts=dict(tuned.model.config.render),
        made_by=f"Offramp {candidate.made_by.version}, record {candidate.id}",
    )


def _training(run: TrainingRun | None) -> dict[str, Any]:
    if run is None:
        return {}
    wanted = ("chosen_step", "steps_per_epoch", "max_tokens", "truncated", "dropped", "tokens_per_s")
    return {
        "duration_s": run.duration_s,
        **{name: run.details[name] for name in wanted if name in run.details},
    }
