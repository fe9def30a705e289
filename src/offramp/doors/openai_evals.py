"""Read OpenAI Evals: output items of hosted runs (JSON lines, an array, or pages of the API), and logs of `oaieval`.

A hosted run's item has the data it was made from, the model's sample and the graders' results. A log of the open-source
tool is a list of events by sample: what was sampled, and whether it matched. The two are told apart by their keys.

Traps: a model-graded eval samples twice, the answer first and the grader after it; the first one counts. Items that
failed have a sample with an `error` and no output.

Source: developers.openai.com/api/reference, evals/runs/output_items; openai/evals, evals/record.py; both read
2026-11-21. Not checked against a live export: the hosted product is closing.
"""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from offramp.doors.imported import (
    TARGETS,
    Answer,
    Collector,
    Imported,
    clean_name,
    content_of,
    dict_of,
    json_lines,
    last_user,
    list_of,
    loaded,
    number_of,
    read_bytes,
    text_of,
)
from offramp.errors import DataError

Items = list[tuple[int, dict[str, Any]]]


def read(path: Path, *, target: str | None = None) -> Imported:
    """Read one file; `target` names the key of the data that holds the wanted answer (hosted runs only).

    Raises:
        DataError: neither of the two formats, or no answers in it.
    """
    collector = Collector("openai-evals", path)
    items = _items(path, collector)
    if any("datasource_item" in item for _, item in items):
        _hosted(items, collector, target)
    elif any("spec" in item for _, item in items) or any("sample_id" in item for _, item in items):
        _log(items, collector)
    else:
        keys = sorted({key for _, item in items[:20] for key in item})
        raise DataError(
            f"output items (`datasource_item`) or an evals log (`spec`, `sample_id`) were expected in {str(path)!r}; "
            f"found the keys {keys!r}"
        )
    return collector.finish()


def _items(path: Path, collector: Collector) -> Items:
    raw = read_bytes(path)
    if raw.lstrip()[:1] == b"[" or (path.suffix.lower() == ".json" and raw.lstrip()[:1] == b"{"):
        file = loaded(raw, repr(str(path)))
        found = file if isinstance(file, list) else dict_of(file).get("data", [file])
        return [(n, item) for n, item in enumerate(list_of(found), 1) if isinstance(item, dict)]
    pages = json_lines(raw, collector)
    # A page of the API on one line holds many items.
    return [(line, item) for line, page in pages for item in (list_of(page.get("data")) or [page])]


# ---- hosted runs ---------------------------------------------------------------------------------------------------


def _hosted(items: Items, collector: Collector, target: str | None) -> None:
    data = [_data(item) for _, item in items]
    key = target or next(
        (n for n in TARGETS if data and all(n in one and len(one) > 1 for one in data)), None
    )
    names = _run_names(items)
    for line, item in items:
        one = _data(item)
        sample = dict_of(item.get("sample"))
        fields = {name: value for name, value in one.items() if name != key}
        row = (text_of(item.get("eval_id")), text_of(item.get("datasource_item_id", item.get("id", line))))
        messages = list_of(sample.get("input"))
        if not collector.row(
            row,
            line,
            fields=fields or {"prompt": last_user(messages)},
            target=one.get(key) if key else None,
            messages=messages,
        ):
            continue
        who = names[_run(item)]
        repeat = collector.answer(row, who, _sampled(sample))
        for number, result in enumerate(map(dict_of, list_of(item.get("results"))), 1):
            name = text_of(result.get("name")) or f"grader {number}"
            value = (
                result.get("score") if number_of(result.get("score")) is not None else result.get("passed")
            )
            collector.score(row, who, name, value, repeat=repeat)


def _data(item: dict[str, Any]) -> dict[str, Any]:
    data = dict_of(item.get("datasource_item"))
    inner = data.get("item")
    return inner if isinstance(inner, dict) and len(data) == 1 else data


def _run(item: dict[str, Any]) -> tuple[str, str]:
    return clean_name(dict_of(item.get("sample")).get("model") or "model"), text_of(item.get("run_id"))


def _run_names(items: Items) -> dict[tuple[str, str], str]:
    """Name runs by their model, and number them where a model ran several times."""
    runs: dict[str, dict[str, None]] = defaultdict(dict)
    for _, item in items:
        model, run = _run(item)
        runs[model][run] = None
    return {
        (model, run): model if len(found) == 1 else f"{model} run {number}"
        for model, found in runs.items()
        for number, run in enumerate(found, 1)
    }


def _sampled(sample: dict[str, Any]) -> Answer:
    said = list_of(sample.get("output"))
    error = sample.get("error")
    message = (
        text_of(dict_of(error).get("message") or error) if error and any(dict_of(error).values()) else ""
    )
    usage = dict_of(sample.get("usage"))
    text = content_of(said[-1]) if said else None
    return Answer(
        text=None if message else text,
        input_tokens=number_of(usage.get("prompt_tokens")),
        output_tokens=number_of(usage.get("completion_tokens")),
        error=message or (None if said else "no output"),
    )


# ---- logs of the open-source tool ----------------------------------------------------------------------------------


def _log(items: Items, collector: Collector) -> None:
    spec = next((dict_of(item["spec"]) for _, item in items if "spec" in item), {})
    who = _completion_fn(spec)
    events: dict[str, list[tuple[int, str, dict[str, Any]]]] = defaultdict(list)
    for line, item in items:
        if "sample_id" in item:
            events[text_of(item["sample_id"])].append(
                (line, text_of(item.get("type")), dict_of(item.get("data")))
            )
        elif not {"spec", "final_report"} & item.keys():
            collector.reject(line, "not an event", item)
    if not any("final_report" in item for _, item in items):
        collector.notes.append("the log has no final report: the run did not finish")
    kinds = Counter(kind for found in events.values() for _, kind, _ in found)
    graded = sum(sum(kind == "sampling" for _, kind, _ in found) > 1 for found in events.values())
    if graded:
        collector.notes.append(
            f"{graded} samples have several samplings (a grader's); the first is the answer"
        )
    if not kinds["sampling"]:
        collector.notes.append(
            "the log has no samplings; what was picked is the answer, and inputs are missing"
        )
    for sample, found in events.items():
        _sample(collector, sample, found, who)


def _sample(
    collector: Collector, sample: str, events: list[tuple[int, str, dict[str, Any]]], who: str
) -> None:
    first = {kind: (line, data) for line, kind, data in reversed(events)}
    line, sampling = first.get("sampling", (events[0][0], {}))
    match = first.get("match", (0, {}))[1]
    error = first.get("error", (0, {}))[1]
    prompt = sampling.get("prompt")
    messages = [m for m in list_of(prompt) if isinstance(m, dict)]
    text = last_user(messages) if messages else text_of(prompt)
    expected = match.get("expected", sampling.get("expected"))
    if isinstance(expected, list):
        expected = expected[0] if expected else None
    if not collector.row(sample, line, fields={"prompt": text}, target=expected, messages=messages):
        return
    said = match.get("sampled", sampling.get("sampled", match.get("picked")))
    if isinstance(said, list):
        said = said[0] if said else None
    missing = text_of(error.get("message")) or "nothing was sampled"
    answer = Answer(None if said is None else text_of(said), error=missing if said is None else None)
    repeat = collector.answer(sample, who, answer)
    if "correct" in match:
        collector.score(sample, who, "match", match["correct"], repeat=repeat)
    for name, value in first.get("metrics", (0, {}))[1].items():
        if number_of(value) is not None:
            collector.score(sample, who, name, value, repeat=repeat)


def _completion_fn(spec: dict[str, Any]) -> str:
    """Return what answered; old logs call it `model_name`."""
    found = list_of(spec.get("completion_fns")) or list_of(dict_of(spec.get("model_name")).get("completions"))
    name = found[0] if found else spec.get("model_name") or spec.get("completion_fn") or "model"
    return clean_name(name if isinstance(name, str) else text_of(name))
