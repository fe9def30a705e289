"""Make the intake sample: a log of chat calls with reference answers, and the truth about its defects.

Every conversation gives the call that writes the note, and some give one more, in the middle, that asks the next
question. The reference is what a perfect bot would have said; the answer in the log is the simulated incumbent's.
Guarantee: the same seed and size give the same bytes; all rows of a conversation carry its name, so that no split
can tear it apart. Trap: the patients are invented and the incumbent is simulated; every row says so (`simulated`).
"""

import math
from pathlib import Path
from random import Random
from typing import Any

from offramp.errors import ConfigError, DataError
from offramp.models.chat import transcript
from offramp.sample.generate import SampleData, called_at, latency_s
from offramp.sample.generate import write as write_sample
from offramp.sample.intake import incumbent
from offramp.sample.intake.defects import COPIES, RATES, Planted, Row, counts, new_id, plant
from offramp.sample.intake.note import HEADINGS, reference, write_note
from offramp.sample.intake.patient import Case, draw
from offramp.sample.intake.talk import Message, Talk, converse
from offramp.sample.intake.words import Words, words

ROWS = 1600
"""Rows of the demo, about 400 of them in the audited holdout."""
MIN_SIZE, MAX_SIZE = 200, 200_000
AUDITED_RATIO = 0.25
"""Share of conversations whose reference is never wrong: the holdout, large enough for a verdict on routing."""
MIDDLE_RATIO = 0.2
"""Share of conversations of which a call in the middle is in the log too."""
LATENCY_MEDIAN_S = 1.1
"""Median latency given to the simulated incumbent; a plausible value, measured on nobody."""
INSTRUCTION = "Patient intake: ask the next question, or write the note when all is known."
"""What a tuned model is told instead of the long system prompt."""
SYSTEM = """\
You are the intake assistant of a medical centre. You talk to patients before their visit. Greet the patient, then \
collect the history item by item, one short question per message: when and how it started, how severe it is from 1 to \
10, other symptoms, past illnesses and operations, family history or living conditions where the specialty calls for \
it, current medicines, allergies. Do not ask for what the patient has already told you. Never give advice, a diagnosis \
or a prognosis. When everything is known, write the note for the physician and nothing else, in at most 90 words, one \
line per section and in this order: {headings}. Write only what the patient said, the last word where they corrected \
themselves, and "none" where there is nothing to report. The specialty, with what \
speaks for it in brackets, is exactly one of: {specialties}."""
"""The prompt in the log, repeated with every call as in production."""
NOTES = (
    "Written by the Offramp project; patients, complaints and conversations are invented.",
    "The incumbent is simulated: its answers are drawn by a program, not by any LLM.",
    "Specialties follow a table made for this sample; it is no medical advice.",
    "Defects were planted and are listed in manifest.json, which no stage reads.",
)
TITLES = {"incumbent": "incumbent (simulated)"}
"""Names of the recorded answerers for people."""


def generate(seed: int = 7, size: int = ROWS) -> SampleData:
    """Make the sample task.

    Raises:
        DataError: `seed` is no integer, or `size` is outside 200 to 200,000.
    """
    _check(seed, size)
    rng, said = Random(f"offramp intake sample {seed}"), words("sample")
    wanted = size - sum(counts(size)[name] for name in COPIES)
    base: list[Row] = []
    while len(base) < wanted:
        base += _conversation(rng, said)
    rows, planted = plant(rng, base[:wanted], size=size)
    _fill_calls(rng, rows)
    rows.sort(key=lambda row: (row["time"], row["id"]))
    return SampleData(
        tuple(rows), _manifest(rows, planted, seed=seed), tuple(sorted(said.specialties)), NOTES
    )


def write(folder: Path, data: SampleData | None = None, *, audited_apart: bool = False) -> dict[str, Path]:
    """Write `calls.jsonl` and `manifest.json` into `folder`, as `offramp.sample.write` does.

    Raises:
        StoreError: the folder cannot be written.
    """
    return write_sample(folder, data or generate(), audited_apart=audited_apart)


def prepare(folder: Path, *, size: int = ROWS, seed: int = 7) -> dict[str, Any]:
    """Write the sample log under `folder`/sample and return the settings for it.

    Raises:
        ConfigError: too few rows for a verdict.
        StoreError: the folder cannot be written.
    """
    if size < MIN_SIZE:
        raise ConfigError(
            f"at least {MIN_SIZE} rows are needed for the intake sample; {size} asked for; "
            f"use --size {MIN_SIZE} or more"
        )
    paths = write(folder / "sample", generate(seed=seed, size=size), audited_apart=True)
    config = sample_config()
    files = {"sources": ["sample/" + paths["calls"].name], "holdout": "sample/" + paths["holdout"].name}
    return {**config, "data": {**config["data"], **files}}


def sample_config() -> dict[str, Any]:
    """Return what `offramp.toml` of the intake sample should say, as nested dicts."""
    likert = [
        {"metric": name, "margin": 0.2}
        for name in ("completeness", "formatting", "relevance", "faithfulness")
    ]
    return {
        "name": "patient-intake",
        "data": {
            "kind": "chat",
            "instruction": INSTRUCTION,
            "sources": ["calls.jsonl"],
            "simulated": ["incumbent"],
            "mapping": {
                "inputs": ["transcript"],
                "target": ["reference"],
                "incumbent": "answer",
                "free_text": True,
                "group": "conversation",
                "time": "time",
                "latency": "latency_s",
                "input_tokens": "input_tokens",
                "output_tokens": "output_tokens",
                "finish_reason": "finish_reason",
            },
        },
        # The bot's questions stand in many rows and are no boilerplate: without them an answer "No." says nothing.
        "curate": {"boilerplate_ratio": 1.0},
        "verdict": {"bars": [*likert, {"metric": f"section:{HEADINGS['specialty']}", "margin": 0.03}]},
        "cost": {"requests_per_month": 300_000, "incumbent_model": "gpt-3.5-turbo", "provider": "openai"},
    }


def system_prompt(said: Words) -> str:
    """Return the long system prompt that every call of the log carries."""
    headings = ", ".join(f"`{heading}:`" for heading in HEADINGS.values())
    return SYSTEM.format(headings=headings, specialties=", ".join(sorted(said.specialties)))


def _check(seed: int, size: int) -> None:
    for name, value in (("seed", seed), ("size", size)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise DataError(
                f"`{name}` of the sample was expected to be an integer; found {value!r}; pass e.g. 7"
            )
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise DataError(f"`size` of the sample was expected in {MIN_SIZE} to {MAX_SIZE:,}; found {size!r}")


def _conversation(rng: Random, said: Words) -> list[Row]:
    """Return the calls of one conversation that are in the log."""
    case, script = draw(rng, said), rng.choice(said.scripts)
    talk = converse(rng, case, said, script=script)
    about = {"conversation": f"int_{rng.getrandbits(40):010x}", "audited": rng.random() < AUDITED_RATIO}
    system: Message = {"role": "system", "content": system_prompt(said)}
    note = incumbent.note(rng, case, said)
    rows = [
        _row(
            rng,
            [system, *talk.turns],
            {"call": "note", "reference": write_note(reference(case)), **about},
            note,
        )
    ]
    if rng.random() < MIDDLE_RATIO:
        rows.append(_middle(rng, case, talk, (system, about, script)))
    return rows


def _middle(rng: Random, case: Case, talk: Talk, around: tuple[Message, dict[str, Any], Any]) -> Row:
    """Return the call that asks one of the questions."""
    system, about, script = around
    at = rng.randrange(len(talk.items))
    answer = incumbent.next_turn(rng, case, talk, at=at, script=script)
    facts = {"call": "question", "reference": talk.turns[2 * at + 1]["content"], **about}
    return _row(rng, [system, *talk.turns[: 2 * at + 1]], facts, answer)


def _row(rng: Random, messages: list[Message], facts: dict[str, Any], answer: str) -> Row:
    about = {name: value for name, value in facts.items() if name != "audited"}
    copies = [dict(message) for message in messages]
    return {
        "id": new_id(rng),
        "time": "",
        "model": "incumbent (simulated)",
        "messages": copies,
        "completion": answer,
        "usage": {},
        "finish_reason": "stop",
        "latency_s": 0.0,
        "metadata": {**about, "transcript": transcript(copies)},
        "audited": facts["audited"],
        "simulated": True,
        "source": "offramp sample (simulated)",
    }


_HOURS = (2, 1, 1, 1, 1, 2, 4, 8, 11, 11, 10, 9, 8, 9, 10, 10, 9, 8, 7, 7, 6, 5, 4, 3)
"""How busy each hour is: days are busier than nights."""


def _fill_calls(rng: Random, rows: list[Row]) -> None:
    """Give every call its own time and usage."""
    for row in rows:
        row["time"] = called_at(rng, _HOURS)
        sent = sum(len(message["content"]) for message in row["messages"])
        written = max(1, round(len(row["completion"]) / 4.4))
        row["usage"] = {"prompt_tokens": math.ceil(sent / 4.4), "completion_tokens": written}
        row["latency_s"] = latency_s(rng, LATENCY_MEDIAN_S, written)


def _manifest(rows: list[Row], planted: Planted, *, seed: int) -> dict[str, Any]:
    line = {row["id"]: number for number, row in enumerate(rows, start=1)}
    entries: dict[str, Any] = {}
    totals = dict.fromkeys(RATES, 0)
    for row_id, name in sorted(planted.defects.items(), key=lambda pair: line[pair[0]]):
        entry: dict[str, Any] = {"line": line[row_id], "defects": [name]}
        if row_id in planted.partners:
            partner = planted.partners[row_id]
            entry |= {"partner": partner, "partner_line": line[partner]}
        if row_id in planted.truth:
            entry["true_reference"] = planted.truth[row_id]
        entries[row_id] = entry
        totals[name] += 1
    return {
        "simulated": True,
        "seed": seed,
        "size": len(rows),
        "notes": list(NOTES),
        "counts": totals,
        "rows": entries,
    }
