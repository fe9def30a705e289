"""What a JSON field holds: from a JSON schema, else guessed from the wanted values.

A field is a path (`total`, `buyer.name`, `items[].price`; `$` for an answer that is one value). A schema's numbers,
booleans, enums and dated strings are taken at their word; its plain strings are looked at, since most schemas call a
date a string.
Guarantee: a guess needs nine in ten wanted values to agree; a value that cannot be read is compared as text.
Trap: digits with a leading zero, or more than 15 of them, are identifiers and therefore text.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offramp.metrics.values import Kind, Reading, empty, read_date, read_number

ROOT = "$"
"""Path of an answer that is one value and no object."""
MOSTLY_RATIO = 0.9
"""Share of a field's wanted values that must be numbers (or dates) for it to be read as such. Real columns are never
clean: 2 of the 626 dates of the SROIE receipts cannot be read as one, and would else make all of them text."""
_LONG_ID = 15
"""Digits of a number that is an identifier; so is one with a leading zero."""


@dataclass(frozen=True)
class FieldOptions:
    """What counts as the same, where the default does not suit."""

    answer_schema: Mapping[str, Any] | None = None
    """JSON schema of the answers; `None` = the task's, else types are guessed from the targets."""
    tolerance: float = 0.0
    """Numbers this far apart are the same."""
    tolerance_ratio: float = 0.0
    """Numbers this share of the larger one apart are the same."""
    day_first: bool | None = None
    """How `01/05/2024` is read; `None` = as the field's unambiguous targets are written, else month first."""
    decimal_comma: bool = False
    """Numbers are written `1.200,50`."""
    ordered: bool = False
    """Lists must have the same order: items are compared place by place."""
    fenced: bool = True
    """An answer that is one ```json block and nothing else is accepted."""


DEFAULT = FieldOptions()


def child(path: str, key: str) -> str:
    """Return the path of a key of the object at `path`."""
    return key if path == ROOT else f"{path}.{key}"


def leaves(value: Any, path: str = ROOT) -> list[tuple[str, Any]]:
    """Return (path, scalar) of everything in a value that is not nothing."""
    if empty(value):
        return []
    if isinstance(value, dict):
        return [leaf for key, each in value.items() for leaf in leaves(each, child(path, key))]
    if isinstance(value, list):
        return [leaf for each in value for leaf in leaves(each, f"{path}[]")]
    return [(path, value)]


def _guess(values: Sequence[Any]) -> Kind:
    """Say what a field holds whose wanted values these are."""
    if all(isinstance(each, bool) for each in values):
        return "boolean"
    enough = MOSTLY_RATIO * len(values)
    if sum(not str(each).strip().isdigit() and read_date(each) is not None for each in values) >= enough:
        return "date"
    if any(isinstance(each, str) and _identifies(each.strip()) for each in values):
        return "text"
    return "number" if sum(read_number(each) is not None for each in values) >= enough else "text"


def _identifies(text: str) -> bool:
    return text.isdigit() and (len(text) > _LONG_ID or (text[0] == "0" and text != "0"))


def _from_schema(
    schema: Any, path: str = ROOT, *, root: Any = None, inside: frozenset[str] = frozenset()
) -> dict[str, Kind | None]:
    """Return the type of every field a schema describes; `None` = a plain text, whose values tell more.

    `inside` names the references being followed: a schema that refers to itself is read once.
    """
    root = schema if root is None else root
    if not isinstance(schema, Mapping):
        return {}
    found: dict[str, Kind | None] = {}
    parts = [(each, path) for word in ("anyOf", "oneOf", "allOf") for each in schema.get(word, ())]
    parts += [(each, child(path, key)) for key, each in dict(schema.get("properties") or {}).items()]
    parts += [(schema["items"], f"{path}[]")] if "items" in schema else []
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference not in inside:
        parts.append((_referred(root, reference), path))
        inside |= {reference}
    for each, place in parts:
        found |= _from_schema(each, place, root=root, inside=inside)
    kinds = schema.get("type")
    for kind in [kinds] if isinstance(kinds, str) else kinds or []:
        if kind in ("number", "integer", "boolean"):
            found[path] = "boolean" if kind == "boolean" else "number"
        elif kind == "string":
            dated = str(schema.get("format", "")).startswith("date")
            found[path] = "date" if dated else "text" if "enum" in schema else None
    return found


def _referred(root: Any, reference: str) -> Any:
    """Follow `#/$defs/name`; references to other files lead nowhere."""
    for part in reference.removeprefix("#/").split("/"):
        root = root.get(part) if isinstance(root, Mapping) else None
    return root


def readings(targets: Sequence[Any], options: FieldOptions = DEFAULT) -> dict[str, Reading]:
    """Return how each field is read: by the schema in `options`, else by what the parsed targets hold."""
    values: defaultdict[str, list[Any]] = defaultdict(list)
    for target in targets:
        for path, value in leaves(target):
            values[path].append(value)
    schema = options.answer_schema or {}
    described = _from_schema(schema.get("schema", schema) if "type" not in schema else schema)
    result = {}
    for path in {*values, *described}:
        kind = described.get(path) or (_guess(values[path]) if values[path] else "text")
        day_first = options.day_first
        if kind == "date" and day_first is None:
            told = [each.day_first for value in values[path] if (each := read_date(value))]
            day_first = told.count(True) > told.count(False)
        result[path] = Reading(
            kind, bool(day_first), options.decimal_comma, options.tolerance, options.tolerance_ratio
        )
    return result
