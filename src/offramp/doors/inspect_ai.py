"""Read logs of Inspect (`.eval` archives and `.json`), one log per model; `doors.join` puts several side by side.

A sample is a row: `input`, `choices`, and the target; its completion is the answer. Of several epochs the first counts.
Where samples have choices, the letter that the scorer extracted is the answer, because the target is a letter too.
Checked against logs that inspect_ai 0.3.285 wrote.

Traps: an archive without `header.json` is of a run that did not finish (its start is in `_journal`); long texts may be
references (`attachment://`) to a table in the sample; a target may be a list of answers that are all right.

Source: inspect_ai 0.3.285, log/_log.py (`EvalLog`, `EvalSample`), log/_recorders/eval.py, scorer/_metric.py.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from offramp.doors.imported import (
    Answer,
    Collector,
    Imported,
    clean_name,
    content_of,
    dict_of,
    last_user,
    list_of,
    loaded,
    number_of,
    read_bytes,
    text_of,
)
from offramp.doors.zipped import Archive
from offramp.errors import DataError

_LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
"""Correct, partial, incorrect, no answer: Inspect's own numbers for its letters (`value_to_float`)."""
_ATTACHMENT = "attachment://"


def read(path: Path, *, target: str | None = None) -> Imported:
    """Read one log; `target` names a key of the samples' metadata to use instead of their target.

    Raises:
        DataError: not an Inspect log, damaged, or without samples.
    """
    raw = read_bytes(path)
    collector = Collector("inspect", path)
    if raw.startswith(b"PK"):
        archive = Archive(raw, str(path))
        header, samples = _header(archive), _archived(archive, collector)
    else:
        header = dict_of(loaded(raw, repr(str(path))))
        listed = enumerate(map(dict_of, list_of(header.get("samples"))), 1)
        samples = iter(sorted(listed, key=lambda pair: number_of(pair[1].get("epoch")) or 0))
    if "eval" not in header:
        raise DataError(
            f"an Inspect log (`eval`, `samples`) was expected in {str(path)!r}; found {list(header)!r}"
        )
    status = header.get("status")
    if status != "success":
        collector.notes.append(f"the run did not finish (status {text_of(status) or 'started'})")
    who = clean_name(dict_of(header["eval"]).get("model") or "model")
    several: set[str] = set()
    extracted = 0
    for number, sample in samples:
        if isinstance(sample.get("target"), list) and len(sample["target"]) > 1:
            several.add(text_of(sample.get("id")))
        extracted += _take(collector, number, sample, who=who, target=target)
    if several:
        collector.notes.append(f"{len(several)} samples accept several answers; the first is the target here")
    if extracted:
        collector.notes.append(f"{extracted} answers are what a scorer extracted (samples with choices)")
    return collector.finish()


def _header(archive: Archive) -> dict[str, Any]:
    for member in ("header.json", "_journal/start.json"):
        if member in archive:
            return dict_of(loaded(archive.read(member), f"{member!r} in {archive.name!r}"))
    raise DataError(f"an Inspect log (`header.json`) was expected in {archive.name!r}; it is another archive")


def _archived(archive: Archive, collector: Collector) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the samples one at a time; a damaged one is a reject and costs nothing else."""
    members = sorted(archive.names("samples/", ".json"), key=_epoch)
    for number, member in enumerate(members, 1):
        try:
            yield number, dict_of(loaded(archive.read(member), f"{member!r}"))
        except DataError as failure:
            collector.reject(number, "a damaged sample", str(failure))


def _epoch(member: str) -> int:
    """Return the epoch in the name of a member, `samples/<id>_epoch_<n>.json`."""
    number = member.removesuffix(".json").rpartition("_epoch_")[2]
    return int(number) if number.isdecimal() else 0


def _take(collector: Collector, number: int, sample: dict[str, Any], *, who: str, target: str | None) -> bool:
    """Add a sample; return True when its answer is what a scorer extracted."""
    attached = dict_of(sample.get("attachments"))
    given = sample.get("input")
    messages = [_resolved(m, attached) for m in list_of(given)]
    fields = {"input": last_user(messages) if messages else _attached(text_of(given), attached)}
    choices = [text_of(choice) for choice in list_of(sample.get("choices"))]
    if choices:
        fields["choices"] = "\n".join(f"{chr(65 + n)}) {text}" for n, text in enumerate(choices))
    wanted = dict_of(sample.get("metadata")).get(target) if target else sample.get("target")
    if isinstance(wanted, list):
        wanted = wanted[0] if wanted else None
    key = text_of(sample.get("id", number))
    if not collector.row(key, number, fields=fields, target=wanted, messages=messages):
        return False
    scores = {name: dict_of(score) for name, score in dict_of(sample.get("scores")).items()}
    found = next((s["answer"] for s in scores.values() if isinstance(s.get("answer"), str)), None)
    extracted = found if choices else None
    repeat = collector.answer(key, who, _answer(sample, extracted, attached))
    for name, score in scores.items():
        value = score.get("value")
        parts = value if isinstance(value, dict) else {"": value}
        for part, one in parts.items():
            called = f"{name}.{part}" if part else name
            number_or_letter = _LETTERS.get(one, one) if isinstance(one, str) else one
            collector.score(
                key, who, called, number_or_letter, repeat=repeat, reason=score.get("explanation")
            )
    return extracted is not None and repeat == 1


def _answer(sample: dict[str, Any], extracted: str | None, attached: dict[str, Any]) -> Answer:
    output = dict_of(sample.get("output"))
    choices = list_of(output.get("choices"))
    said = content_of(dict_of(choices[0]).get("message")) if choices else output.get("completion")
    error = dict_of(sample.get("error")).get("message") or output.get("error")
    if not error and not choices and not said:
        error = "no output"
    usage = dict_of(output.get("usage"))
    text = extracted if extracted is not None else _attached(text_of(said), attached)
    return Answer(
        text=None if error else text,
        latency_s=number_of(output.get("time")),
        cost_usd=number_of(usage.get("total_cost")),
        input_tokens=number_of(usage.get("input_tokens")),
        output_tokens=number_of(usage.get("output_tokens")),
        error=text_of(error) if error else None,
    )


def _resolved(message: Any, attached: dict[str, Any]) -> dict[str, Any]:
    """Return role and text of a message."""
    one = dict_of(message)
    return {"role": text_of(one.get("role")), "content": _attached(content_of(one), attached)}


def _attached(text: str, attached: dict[str, Any]) -> str:
    return (
        text_of(attached.get(text.removeprefix(_ATTACHMENT), text)) if text.startswith(_ATTACHMENT) else text
    )
