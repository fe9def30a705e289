"""Fast JSON that is also exact: orjson, and the standard library for what orjson changes or refuses.

Guarantee: `loads(dumps(value)) == value` for every JSON value, integers of any size and lone surrogates among them,
down to about 250 levels from anywhere, and what is no JSON (`NaN`, `1e999`) or nested too deep is a `ValueError`,
never a `RecursionError`.
Trap: orjson reads integers past 64 bits as floats without a word; `loads` looks for them first.
"""

import json
import math
from typing import Any

import orjson

_DIGITS = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))
_LONG = b"0" * 19
"""The shortest run of digits that may be an integer past 64 bits (−2**63 − 1 has 19)."""


def loads(body: bytes) -> Any:
    """Read one JSON value.

    Raises:
        ValueError: it is no JSON in UTF-8, or nested too deep, or holds a number without a value.
    """
    if _LONG in body.translate(_DIGITS):
        return _exact(body)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _exact(body)


def _exact(body: bytes) -> Any:
    """Read with the standard library, strictly."""
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"the number {digits[:40]} is too large")
    return number


def dumps(value: Any) -> bytes:
    """Write `value` without spaces; not-a-number is written as null, as JSON has no word for it.

    Raises:
        ValueError: nested too deep, or not-a-number beside what only the standard library can write.
        TypeError: it holds something that JSON cannot.
    """
    try:
        return orjson.dumps(value)
    except TypeError:  # orjson: integers past 64 bits, lone surrogates, more than 254 levels
        try:
            return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")
        except RecursionError:
            raise ValueError("nested too deep") from None
