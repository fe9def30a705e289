"""Read promptfoo's result files (`promptfoo eval -o results.json` or `.jsonl`), file versions 2 to 4.

Each pair of provider and prompt is a candidate. Variables are the input fields; the wanted answer is what an `equals`
assertion compares with, else a variable with a usual name. Checked against files that promptfoo 0.118 wrote.

Traps: `error` is also set when an assertion failed, so only `failureReason` 2, or no output, is a failed answer; with
`--no-write` promptfoo writes a JSON file whose list of results is empty.

Source: promptfoo, src/types/index.ts (`EvaluateSummaryV3`, `EvaluateResult`), read 2026-11-21.
"""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from offramp.doors.imported import (
    TARGETS,
    Answer,
    Collector,
    Imported,
    clean_name,
    dict_of,
    json_lines,
    list_of,
    loaded,
    number_of,
    read_bytes,
    text_of,
)
from offramp.errors import DataError

_EXACT = ("equals", "classifier")
_CLOSE = (
    "contains",
    "icontains",
    "starts-with",
    "similar",
    "levenshtein",
    "factuality",
    "model-graded-closedqa",
)
_VARIABLE = re.compile(r"\{\{-?\s*([\w.\-]+)\s*-?\}\}")
_PROVIDER_FAILED = 2
"""`ResultFailureReason.ERROR`; 1 is a failed assertion, 0 is none."""

ROW_ID = "offramp_row_id"
"""Variable of our own exports; it is no input."""
_TEMPLATE = re.compile(r"\{[{%#]")
_LOADED = ("file://", "package:", "http://", "https://")
_LITERAL = re.compile(r'\{\{ ("(?:[^"\\]|\\.)*"(?: \+ "(?:[^"\\]|\\.)*")*) \}\}', re.S)
_PART = re.compile(r'"((?:[^"\\]|\\.)*)"', re.S)

Results = list[tuple[int, dict[str, Any]]]


def read(path: Path, *, target: str | None = None) -> Imported:
    """Read one result file; `target` names the variable that holds the wanted answer.

    Raises:
        DataError: not promptfoo's results, or no answers in them.
    """
    collector = Collector("promptfoo", path)
    # Answers stand in the order in which they came back; tests and prompts are sorted by their own numbers.
    results = sorted(
        _results(path, collector), key=lambda pair: (_index(pair[1], "testIdx"), _index(pair[1], "promptIdx"))
    )
    names = _names(results)
    variable = target or _target_variable(results)
    used: set[str] = set()
    for line, result in results:
        _take(collector, line, result, names=names, variable=variable, used=used)
    if used - {"equals", "variable"}:
        kinds = ", ".join(sorted(used - {"variable"}))
        collector.notes.append(f"the wanted answer was taken from assertions of kind {kinds}")
    return collector.finish()


def _results(path: Path, collector: Collector) -> Results:
    raw = read_bytes(path)
    if path.suffix.lower() == ".jsonl":
        return json_lines(raw, collector)
    file = loaded(raw, repr(str(path)))
    found = dict_of(file).get("results")
    found = found if isinstance(found, list) else dict_of(found).get("results")
    if not isinstance(found, list):
        keys = list(file) if isinstance(file, dict) else type(file).__name__
        raise DataError(
            f"promptfoo results (`results.results`) were expected in {str(path)!r}; found {keys!r}"
        )
    if not found:
        raise DataError(
            f"promptfoo results were expected in {str(path)!r}; its list is empty; run `promptfoo eval -o` "
            "without `--no-write`"
        )
    kept = []
    for number, item in enumerate(found, 1):
        if isinstance(item, dict):
            kept.append((number, item))
        else:
            collector.reject(number, f"not an object (found {type(item).__name__})", item)
    return kept


def _candidate(result: dict[str, Any]) -> tuple[str, str]:
    """Return provider and prompt; old files give the provider as text."""
    provider = result.get("provider")
    name = (
        provider
        if isinstance(provider, str)
        else dict_of(provider).get("label") or dict_of(provider).get("id")
    )
    prompt = dict_of(result.get("prompt"))
    return clean_name(name or "provider"), text_of(prompt.get("label") or result.get("promptIdx"))


def _index(result: dict[str, Any], name: str) -> float:
    """Return a number that promptfoo gave, or infinity."""
    found = number_of(result.get(name))
    return float("inf") if found is None else found


def _names(results: Results) -> dict[tuple[str, str], str]:
    """Name candidates: by provider, and by prompt too where a provider has several; a prompt has one number."""
    pairs = dict.fromkeys(_candidate(result) for _, result in results)
    number = {prompt: n for n, prompt in enumerate(dict.fromkeys(prompt for _, prompt in pairs), 1)}
    several = Counter(provider for provider, _ in pairs)
    return {
        (provider, prompt): provider if several[provider] == 1 else f"{provider} prompt {number[prompt]}"
        for provider, prompt in pairs
    }


def _target_variable(results: Results) -> str | None:
    """Find a variable with a usual name that every test has and that is not the only one."""
    given = [dict_of(result.get("vars")) for _, result in results]
    for name in TARGETS:
        if given and all(name in one and len(one) > 1 for one in given):
            return name
    return None


def _take(
    collector: Collector,
    line: int,
    result: dict[str, Any],
    *,
    names: dict[tuple[str, str], str],
    variable: str | None,
    used: set[str],
) -> None:
    test = dict_of(result.get("testCase"))
    given = dict_of(result.get("vars")) or dict_of(test.get("vars"))
    given = {name: plain(value) for name, value in given.items() if name != ROW_ID}
    wanted, kind, from_variable = _wanted(list_of(test.get("assert")), given, variable)
    fields = {name: value for name, value in given.items() if name not in (variable, from_variable)}
    key = result.get("testIdx")
    key = key if isinstance(key, int) else text_of([sorted(given.items(), key=str), wanted])
    if not collector.row(key, line, fields=fields or given, target=plain(wanted)):
        return
    used.add(kind)
    who = names[_candidate(result)]
    repeat = collector.answer(key, who, _answer(result))
    collector.score(key, who, "score", result.get("score"), repeat=repeat, reason=_reason(result))
    collector.score(key, who, "pass", result.get("success"), repeat=repeat)
    for name, value in dict_of(result.get("namedScores")).items():
        collector.score(key, who, name, value, repeat=repeat)


def _answer(result: dict[str, Any]) -> Answer:
    response = dict_of(result.get("response"))
    output = response.get("output")
    failed = result.get("failureReason") == _PROVIDER_FAILED or bool(response.get("error")) or output is None
    usage = dict_of(response.get("tokenUsage"))
    # An answer from promptfoo's cache took no time; its latency says nothing.
    latency_ms = None if response.get("cached") else number_of(result.get("latencyMs"))
    cost = number_of(result.get("cost"))
    error = text_of(response.get("error") or result.get("error")) or "no output"
    return Answer(
        text=None if failed else text_of(output),
        latency_s=None if latency_ms is None else latency_ms / 1000,
        cost_usd=cost if cost is not None else number_of(response.get("cost")),
        input_tokens=number_of(usage.get("prompt")),
        output_tokens=number_of(usage.get("completion")),
        error=error if failed else None,
    )


def _reason(result: dict[str, Any]) -> str | None:
    return text_of(dict_of(result.get("gradingResult")).get("reason")) or None


def _wanted(
    assertions: Iterable[Any], given: dict[str, Any], variable: str | None
) -> tuple[Any, str, str | None]:
    """Return the wanted answer, where it is from, and the variable that an assertion names."""
    if variable is not None:
        return given.get(variable), "variable", variable
    flat = [
        a for one in assertions for a in [dict_of(one), *map(dict_of, list_of(dict_of(one).get("assert")))]
    ]
    for kinds in (_EXACT, _CLOSE):
        for one in flat:
            value = one.get("value")
            if one.get("type") in kinds and isinstance(value, str | int | float | bool | dict):
                named = _VARIABLE.fullmatch(value.strip()) if isinstance(value, str) else None
                if named and named[1] in given:
                    return given[named[1]], str(one["type"]), named[1]
                return value, str(one["type"]), None
    return None, "variable", None


def literal(text: str) -> str:
    """Return `text` so that promptfoo's templates give it back unchanged: nothing in it runs or is loaded."""
    if not _TEMPLATE.search(text) and not text.startswith(_LOADED):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    # Each brace on its own, or a second rendering would find a template again.
    return "{{ " + " + ".join(f'"{part}"' for part in re.split(r"(?<=\{)(?=[{%#])", escaped)) + " }}"


def plain(value: Any) -> Any:
    """Undo `literal`; anything else is returned as it is."""
    found = _LITERAL.fullmatch(value) if isinstance(value, str) else None
    if not found:
        return value
    return re.sub(r"\\(.)", r"\1", "".join(_PART.findall(found[1])), flags=re.S)
