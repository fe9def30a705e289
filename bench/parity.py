"""Is what is served what was trained? Plain transformers against the engine in process and against a real vLLM.

A small base and an adapter are trained here (`_parity_model.py`), and an adapter on the tiny base that ships. Asked
are the base, base with adapter, and the merged model, in float32, greedily; a server is asked in both ways, with
messages that it renders and with token ids. Then faults are planted, one at a time, and have to be caught.

    VLLM_PYTHON=/path/to/python python bench/parity.py [FOLDER]

Without `VLLM_PYTHON` the part that needs vLLM is skipped, and said so. Models that an earlier run left in FOLDER are
taken from there.
"""

import json
import os
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import _parity_model as small
from _common import SMALL, data_dir, emit, table
from offramp.engines.environment import VARIABLE, python_of
from offramp.engines.vllm import Vllm, VllmSettings
from offramp.handover.export import merge
from offramp.handover.parity import Options, Parity, parity
from offramp.handover.subjects import GeneratorSubject, HttpSubject, Prompt, Seen, TransformersSubject
from offramp.metrics.likert.schema import share_met
from offramp.models.generation import Generator
from offramp.render import Renderer

PROMPTS = 60 if SMALL else 300
FAULT_PROMPTS = 60 if SMALL else 100
RECEIPTS = 10 if SMALL else 626
TOKENS = 48
STEPS = (300, 150)
TINY = Path(small.__file__).parent.parent / "src" / "offramp" / "tiny"
RECEIPT_CHARACTERS = 1000
SCHEMA = {
    "type": "object",
    "properties": {
        "company": {"type": "string", "minLength": 1, "maxLength": 60},
        "date": {"type": "string", "pattern": "^[0-9]{2}/[0-9]{2}/[0-9]{4}$"},
        "address": {"type": "string", "minLength": 1, "maxLength": 120},
        "total": {"type": "string", "pattern": "^[0-9]{1,6}\\.[0-9]{2}$"},
    },
    "required": ["company", "date", "address", "total"],
    "additionalProperties": False,
}
"""Strings have a longest length: a model that never ends one would be cut off inside it."""


@dataclass
class Made:
    """One base with its adapter, merged model and renderer, and what the training side says."""

    name: str
    base: Path
    adapter: Path
    merged: Path
    renderer: Renderer
    rendered: Path
    prompts: list[Prompt]
    seen: dict[str, list[Seen]]

    def trained(self, form: str) -> TransformersSubject:
        """Return the training side: the base alone, or with the adapter."""
        adapter = None if form == "base" else self.adapter
        return TransformersSubject.load(self.base, self.renderer, adapter=adapter, name=f"trained {form}")

    def fewer(self) -> "Made":
        """Return the same with the prompts that faults are looked for on."""
        step = len(self.prompts) // FAULT_PROMPTS
        seen = {form: told[::step] for form, told in self.seen.items()}
        return replace(self, prompts=self.prompts[::step], seen=seen)

    def compare(self, form: str, subject: Any) -> Parity:
        """Compare a subject with the training side of `form`, which answers once."""
        piece = self.renderer.tokenizer.convert_ids_to_tokens
        options = Options(decode=self.renderer.decode, piece=piece, reference_seen=self.seen.get(form, ()))
        found = parity(self.trained(form), subject, self.prompts, max_tokens=TOKENS, options=options)
        self.seen[form] = list(found.reference_seen)
        return found


def prompts() -> list[Prompt]:
    """Return prompts that no training row has."""
    rows = [
        row
        for tuned in (False, True)
        for row in small.conversations(PROMPTS // 2, seed=9 + tuned, tuned=tuned)
    ]
    return [Prompt(tuple(row[:-1])) for row in rows]


def bases(folder: Path) -> dict[str, Path]:
    """Return the small base, trained unless it is there, and the tiny one where it ships."""
    base = folder / "base"
    if not base.exists():
        small.make_base(base, seed=0)
        loss = small.train_base(base, Renderer.load(base), steps=STEPS[0])
        print(f"small: base trained to a loss of {loss:.3f}")
    return {"small": base} | ({"tiny": TINY} if (TINY / "model.safetensors").exists() else {})


def made(name: str, folder: Path, base: Path) -> Made:
    """Tune an adapter, merge it, and write the renderer's folder."""
    renderer, rendered = Renderer.load(base), folder / "renderer"
    if not (folder / "adapter").exists():
        loss = small.train_adapter(base, renderer, folder / "adapter", steps=STEPS[1])
        print(f"{name}: adapter trained to a loss of {loss:.3f}")
    for again in (rendered, folder / "merged"):
        shutil.rmtree(again, ignore_errors=True)
    renderer.save(rendered)
    probes = [renderer.prompt(prompt.messages) for prompt in prompts()[:8]]
    merged = merge(
        base, folder / "adapter", renderer=renderer, out=folder / "merged", probes=probes, dtype="float32"
    )
    print(f"{name}: merging changed log-probabilities by {merged.gap:.1e}")
    return Made(name, base, folder / "adapter", folder / "merged", renderer, rendered, prompts(), {})


def in_process(model: Made) -> list[tuple[str, str, Parity]]:
    """Compare the engine in process with the training side."""
    engine = Generator.load(model.base, adapters={"tuned": model.adapter}, renderer=model.renderer)
    merged = Generator.load(model.merged, renderer=model.renderer)
    return [
        ("base", "in process", model.compare("base", GeneratorSubject("engine", engine))),
        ("adapter", "in process", model.compare("adapter", GeneratorSubject("engine", engine, "tuned"))),
        ("merged", "in process", model.compare("adapter", GeneratorSubject("engine, merged", merged))),
    ]


# ---- planted faults ------------------------------------------------------------------------------------------------

TEMPLATES: dict[str, Callable[[str], str]] = {
    "no newline after a turn": lambda text: text.replace("<|im_end|>\n", "<|im_end|>"),
    "a space after the role": lambda text: text.replace("{{ m.role }}", "{{ m.role }} "),
    "another name of the role": lambda text: text.replace("|im_start|>assistant", "|im_start|>Assistant"),
    "trimmed content": lambda text: text.replace("{{ m.content }}", "{{ m.content[:-1] }}"),
    "a system turn of its own": lambda text: text.replace(
        "{{ bos_token }}", "{{ bos_token }}<|im_start|>system\nBe kind.<|im_end|>\n"
    ),
}
SCALINGS: dict[str, dict[str, Any]] = {
    "twice": {"lora_alpha": 64},
    "half": {"lora_alpha": 16},
    "a tenth more": {"lora_alpha": 35},
    "rank-stabilised": {"use_rslora": True},
}


def rescaled(model: Made, name: str, folder: Path) -> Path:
    """Copy the adapter with another scaling."""
    out = folder / f"scaled-{name.replace(' ', '-')}"
    shutil.copytree(model.adapter, out)
    file = out / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | SCALINGS[name]))
    return out


@dataclass
class TwiceBegun:
    """The training side with the start token put in front once more."""

    subject: TransformersSubject
    name: str = "double BOS"

    @property
    def identity(self) -> Any:
        """Say nothing wrong."""
        return self.subject.identity

    def ask(self, asked: list[Prompt], *, max_tokens: int, top: int, progress: Any = None) -> list[Seen]:
        """Read one token more than was trained."""
        ids = [self.subject.renderer.prompt(prompt.messages) for prompt in asked]
        return [self.subject._greedy([each[0], *each], max_tokens, top) for each in ids]


def planted_in_process(model: Made, folder: Path) -> dict[str, Parity]:
    """Plant every fault in the training side's own code."""
    model = model.fewer()
    right, found = model.trained("adapter"), {}
    for name, change in TEMPLATES.items():
        text = change(model.renderer.template)
        assert text != model.renderer.template, name
        # The identity still says the old hash: tokens alone have to show it.
        changed = replace(right, renderer=replace(model.renderer, template=text))
        found[f"template: {name}"] = model.compare("adapter", changed)
    for name in SCALINGS:
        wrong = TransformersSubject.load(model.base, model.renderer, adapter=rescaled(model, name, folder))
        found[f"scaling: {name}"] = model.compare("adapter", wrong)
    plain = [token for token in model.renderer.stop_ids if token != model.renderer.stop_ids[0]]
    endless = replace(right, renderer=replace(model.renderer, stop_ids=tuple(plain)))
    found["missing EOS"] = model.compare("adapter", endless)
    found["double BOS"] = model.compare("adapter", TwiceBegun(right))
    found["no adapter"] = model.compare("adapter", model.trained("base"))
    return found


# ---- vLLM ----------------------------------------------------------------------------------------------------------


@contextmanager
def serving(folder: Path, **settings: Any) -> Iterator[Vllm]:
    """Start vLLM in float32, and end it."""
    log = folder / "vllm.log"
    told = VllmSettings(dtype="float32", context_tokens=2048, **settings)
    with Vllm.start(python_of(), told, log=log) as server:
        print(f"vLLM answered after {server.start_s:.0f} s")
        yield server


def both_ways(model: Made, server: Vllm, form: str, name: str) -> list[tuple[str, str, Parity]]:
    """Ask a served model with messages and with token ids."""
    trained = "base" if form == "base" else "adapter"
    found = []
    for send in ("messages", "ids"):
        subject = HttpSubject("vLLM", server.base_url, name, model.renderer, send)
        found.append((form, f"vLLM, {send}", model.compare(trained, subject)))
    return found


def with_vllm(
    model: Made, folder: Path, *, plant: bool
) -> tuple[list[Any], dict[str, Parity], dict[str, Any]]:
    """Compare base, adapter and merged model; plant faults in one of the servers; extract receipts."""
    adapters = {"tuned": model.adapter} | (
        {f"scaled {name}": rescaled(model, name, folder) for name in SCALINGS} if plant else {}
    )
    folder.mkdir(exist_ok=True)
    rows, faults = [], {}
    shared = {"name": "base", "model": model.base}
    flags = ("--trust-request-chat-template",) if plant else ()
    with serving(folder, **shared, adapters=adapters, renderer=model.rendered, flags=flags) as server:
        rows += both_ways(model, server, "base", "base") + both_ways(model, server, "adapter", "tuned")
        ask, some = HttpSubject("vLLM", server.base_url, "tuned", model.renderer), model.fewer()
        for name in SCALINGS if plant else ():
            faults[f"vLLM, scaling: {name}"] = some.compare("adapter", replace(ask, model=f"scaled {name}"))
        for name, change in TEMPLATES.items() if plant else ():
            wrong = replace(ask, extra={"chat_template": change(model.renderer.template)})
            faults[f"vLLM, template: {name}"] = some.compare("adapter", wrong)
        doubled: dict[str, dict[str, Any]] = {
            "the server": {"add_special_tokens": True},
            "the template": {"chat_template": "{{ bos_token }}" + model.renderer.template},
        }
        for name, extra in doubled.items() if plant else ():
            faults[f"vLLM, double BOS by {name}"] = some.compare("adapter", replace(ask, extra=extra))
    with serving(folder, name="merged", model=model.merged) as server:
        rows += both_ways(model, server, "merged", "merged")
        receipts = extracted(server) if plant else {}
    if plant:
        # As many bases ship: the file names one EOS, which no turn ends with.
        wrong = folder / "wrong-renderer"
        shutil.copytree(model.rendered, wrong)
        (wrong / "generation_config.json").write_text(json.dumps({"eos_token_id": 0}))
        with serving(folder, **shared, adapters={"tuned": model.adapter}, renderer=wrong) as server:
            for send in ("messages", "ids"):
                ask = HttpSubject("vLLM", server.base_url, "tuned", model.renderer, send)
                faults[f"vLLM, missing EOS, {send}"] = some.compare("adapter", ask)
    return rows, faults, receipts


def extracted(server: Vllm) -> dict[str, Any]:
    """Extract receipts under a JSON schema; count the answers that it allows."""
    lines = (
        (data_dir() / "sroie_receipts" / "sroie.jsonl").read_text(encoding="utf-8").splitlines()[:RECEIPTS]
    )

    def ask(line: str) -> tuple[float, str]:
        text = json.loads(line)["text"][:RECEIPT_CHARACTERS]
        body = {
            "model": server.settings.name,
            "messages": [{"role": "user", "content": f"Extract company, date, address and total.\n{text}"}],
            "temperature": 0,
            "max_tokens": 900,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "receipt", "strict": True, "schema": SCHEMA},
            },
        }
        request = urllib.request.Request(
            server.base_url + "/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=600) as reply:
            choice = json.loads(reply.read())["choices"][0]
        try:
            return share_met(json.loads(choice["message"]["content"]), SCHEMA), choice["finish_reason"]
        except ValueError:
            return 0.0, choice["finish_reason"]

    began = time.perf_counter()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, lines))
    valid = sum(met == 1.0 for met, _ in answers)
    ends = {end: sum(found == end for _, found in answers) for end in {end for _, end in answers}}
    return {
        "receipts": len(lines), "valid": valid, "ends": ends, "duration_s": round(time.perf_counter() - began, 1),
    }  # fmt: skip


# ---- report --------------------------------------------------------------------------------------------------------


def summary(found: Parity) -> dict[str, Any]:
    """Return the figures of one comparison."""
    kept = ("prompts", "identical", "identical_low", "same_prompts", "same_ends", "logprob_gap", "problems")
    return {name: value for name, value in found.to_dict().items() if name in kept}


def shown(rows: list[tuple[str, str, str, Parity]]) -> None:
    """Print comparisons."""
    headers = ("model", "form", "served by", "identical", "of", "prompts same", "ends same", "log-prob. gap")
    table(
        [(m, form, by, p.identical, p.prompts, p.same_prompts, p.same_ends, p.logprob_gap) for m, form, by, p in rows],
        headers,
    )  # fmt: skip


def main() -> None:
    """Make the models, compare, plant, report."""
    live = bool(os.environ.get(VARIABLE))
    rows: list[tuple[str, str, str, Parity]] = []
    faults: dict[str, Parity] = {}
    receipts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        work, kept = Path(temporary), Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        for name, base in bases(kept).items():
            model = made(name, kept / name, base)
            rows += [(name, *row) for row in in_process(model)]
            if name == "small":
                faults |= planted_in_process(model, work)
            if live:
                more, caught, found = with_vllm(model, work / name, plant=name == "small")
                rows += [(name, *row) for row in more]
                faults |= caught
                receipts = found or receipts
    shown(rows)
    told = {name: [p for p in found.problems if "too few" not in p] for name, found in faults.items()}
    missed = [name for name, problems in told.items() if not problems]
    table(
        [(name, problems[0][:90] if problems else "MISSED") for name, problems in told.items()],
        ("planted", "caught by"),
    )
    report(rows, faults, missed, receipts)


def report(rows: list[Any], faults: dict[str, Parity], missed: list[str], receipts: dict[str, Any]) -> None:
    """Print goals and write the result."""
    goals: dict[str, tuple[Any, Any, bool]] = {}
    for where in ("in process", "vLLM"):
        found = [p for _, _, by, p in rows if by.startswith(where)]
        if not found:
            print(f"skipped: {where}; set {VARIABLE} to a Python that has vLLM", file=sys.stderr)
            continue
        share = min(p.identical / p.prompts for p in found)
        gap = max(p.logprob_gap if p.logprob_gap is not None else float("inf") for p in found)
        goals[f"{where}: identical greedy answers, base, adapter, merged (worst)"] = (
            share,
            ">= 0.99",
            share >= 0.99,
        )
        goals[f"{where}: first-token log-probabilities apart (worst)"] = (gap, "<= 0.01", gap <= 0.01)
    caught = f"{len(faults) - len(missed)} of {len(faults)}"
    goals["planted faults caught"] = (caught, "all", not missed)
    if receipts:
        share = receipts["valid"] / receipts["receipts"]
        goals["vLLM: receipts valid against the schema"] = (share, "1.0", share == 1.0)
    figures = {
        "comparisons": {f"{m}, {form}, {by}": summary(p) for m, form, by, p in rows},
        "planted": {name: summary(p) for name, p in faults.items()},
        "receipts": receipts,
    }
    emit("parity", figures, goals)


if __name__ == "__main__":
    main()
