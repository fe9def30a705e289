"""Read JSON of a stranger, and say where two values differ."""

import json
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from offramp.errors import DataError

TOLERANCE = 1e-9
"""Relative and absolute: sums in another order differ by less, another answer by far more.

Source: 1 / 1,000,000 rows is 1e-6; float64 sums of a million numbers are good to about 1e-10.
"""


def parsed(name: str, content: bytes) -> Any:
    """Return the JSON value of a file of the pack.

    Raises:
        DataError: the file is missing or no JSON.
    """
    try:
        return json.loads(content.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as failure:
        raise DataError(f"{name!r} of the pack was expected to be JSON: {str(failure)[:120]}") from None


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def differences(asked: Any, found: Any, where: str = "") -> Iterator[str]:
    """Yield each place where `found` is not `asked`; numbers may differ by `TOLERANCE`."""
    if isinstance(asked, dict) and isinstance(found, dict):
        for key in sorted({*asked, *found}):
            if key not in asked or key not in found:
                yield f"{where}.{key} is only in what was {'recomputed' if key in found else 'packed'}".lstrip(
                    "."
                )
            else:
                yield from differences(asked[key], found[key], f"{where}.{key}")
    elif isinstance(asked, list | tuple) and isinstance(found, list | tuple):
        if len(asked) != len(found):
            yield f"{where.lstrip('.')} has {len(asked)} entries, recomputed {len(found)}"
        for i, (one, other) in enumerate(zip(asked, found, strict=False)):
            yield from differences(one, other, f"{where}[{i}]")
    elif not _same(asked, found):
        yield f"{where.lstrip('.') or '(all)'} is {_short(asked)}, recomputed {_short(found)}"


def _same(asked: Any, found: Any) -> bool:
    numbers = (int, float, Decimal)
    plain = not isinstance(asked, bool) and not isinstance(found, bool)
    if plain and isinstance(asked, numbers) and isinstance(found, numbers):
        return math.isclose(asked, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return type(asked) is type(found) and asked == found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
