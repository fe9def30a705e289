"""What share of a JSON schema's demands a value meets.

A subset that structured answers use: `type`, `enum`, `required`, `properties`, `additionalProperties: false`,
`items`, `minItems`, `maxItems`, `minimum`, `maximum`, `minLength`, `maxLength`, `pattern`. Other keywords are not
looked at. A validator says yes or no; a rating needs how much is right.
Source: the keywords' meaning is JSON Schema 2020-12, https://json-schema.org/draft/2020-12 (read 2026-11-21).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from offramp.errors import DataError, boundary

_TYPES: dict[str, Any] = {
    "object": Mapping,
    "array": list,
    "string": str,
    "boolean": bool,
    "number": (int, float),
    "integer": int,
    "null": type(None),
}


def share_met(value: Any, schema: Mapping[str, Any]) -> float:
    """Return the share of checks that pass, 0-1; 1 for a schema that demands nothing."""
    checks = list(_checks(value, schema))
    return sum(checks) / len(checks) if checks else 1.0


def schema_of(value: Any) -> dict[str, Any]:
    """Return the schema that a reference shows: its types, and its fields as required and complete."""
    if isinstance(value, Mapping):
        return {
            "type": "object",
            "required": list(value),
            "properties": {key: schema_of(inner) for key, inner in value.items()},
            "additionalProperties": False,
        }
    if isinstance(value, list):
        return {"type": "array"} | ({"items": schema_of(value[0])} if value else {})
    if value is None:
        return {}
    kind = "boolean" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"
    return {"type": kind}


def _is(value: Any, kind: str) -> bool:
    if kind in ("number", "integer") and isinstance(value, bool):
        return False
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(kind, object))


def _checks(value: Any, schema: Any) -> Iterator[bool]:
    if not isinstance(schema, Mapping):  # `true` demands nothing; `false` is not looked at
        return
    if "type" in schema:
        kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        fits = any(_is(value, kind) for kind in kinds)
        yield fits
        if not fits:
            # What is inside cannot be right either: count what was required as missed.
            yield from (False for _ in schema.get("required", ()))
            return
    if "enum" in schema:
        yield value in schema["enum"]
    yield from _inner_checks(value, schema)


def _inner_checks(value: Any, schema: Mapping[str, Any]) -> Iterator[bool]:
    if isinstance(value, Mapping):
        yield from _object_checks(value, schema)
    elif isinstance(value, list):
        yield from _range_checks(len(value), schema, "minItems", "maxItems")
        for inner in value:
            yield from _checks(inner, schema.get("items", {}))
    elif isinstance(value, str):
        yield from _range_checks(len(value), schema, "minLength", "maxLength")
        if "pattern" in schema:
            with boundary(DataError, f"the schema's pattern {schema['pattern']!r}; correct it", re.error):
                yield re.search(schema["pattern"], value) is not None
    elif _is(value, "number"):
        yield from _range_checks(value, schema, "minimum", "maximum")


def _object_checks(value: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[bool]:
    known = schema.get("properties", {})
    yield from (key in value for key in schema.get("required", ()))
    if schema.get("additionalProperties") is False:
        yield all(key in known for key in value)
    for key, inner in known.items():
        if key in value:
            yield from _checks(value[key], inner)


def _range_checks(value: float, schema: Mapping[str, Any], low: str, high: str) -> Iterator[bool]:
    if low in schema:
        yield value >= schema[low]
    if high in schema:
        yield value <= schema[high]
