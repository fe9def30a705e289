"""A Python function of the user as a metric: `checks.py:polite` or `package.module:function`.

**Loading one runs its file.** Nothing here is called because data or a settings file says so: whoever calls
`load` must have been told by the user, on this machine, to run that code.
The function names what it wants among `answer, target, task, fields, text, latency_s, cost_usd` and returns a number or
a truth value. Attributes of the function may set `low`, `high` (default 0 and 1) and `higher_is_better`.
Guarantee: a row on which it fails is not scored and keeps the reason; the other rows are scored.
Trap: the version is the hash of its file; what that file imports is not in it.
"""

import hashlib
import importlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Callable
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from offramp import rows as _rows
from offramp.errors import ConfigError, DataError, NotFoundError, boundary
from offramp.metrics.base import Batch, Metric, Scored

WANTED = ("answer", "target", "task", "fields", "text", "latency_s", "cost_usd")
"""What a function may ask for by the name of a parameter: the answer and the target (texts), the task, the input
fields by name, the input as one text, seconds and US dollars of the answer (`None` where unknown)."""


def is_user(name: str) -> bool:
    """Say whether a metric's name asks for a function of the user."""
    place, _, function = name.rpartition(":")
    return (
        bool(place)
        and function.isidentifier()
        and (place.endswith(".py") or place.replace(".", "_").isidentifier())
    )


def _module(place: str) -> ModuleType:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = Path(place).resolve()
    spec = importlib.util.spec_from_file_location(f"offramp_user_{path.stem}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and other introspection look their module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _function(name: str) -> Callable[..., Any]:
    place, _, wanted = name.rpartition(":")
    if place.endswith(".py") and not Path(place).is_file():
        raise NotFoundError(
            f"a metric in the file {place!r} was asked for; there is no such file; name an existing one"
        )
    try:
        module = _module(place)
    except (Exception, SystemExit) as failure:
        raise ConfigError(
            f"the metric {name!r} was asked for; loading {place!r} failed with {type(failure).__name__}: {failure}; "
            "mend it or name another"
        ) from failure
    function = getattr(module, wanted, None)
    if not callable(function):
        names = sorted(
            key for key, value in vars(module).items() if callable(value) and not key.startswith("_")
        )
        raise NotFoundError(
            f"the function {wanted!r} was asked for; {place!r} has {names[:20]!r}; name one of them"
        )
    return function


def _parameters(function: Callable[..., Any], name: str) -> list[str]:
    found = []
    with boundary(ConfigError, f"reading the parameters of the metric {name!r}", TypeError, ValueError):
        parameters = inspect.signature(function).parameters.values()
    for each in parameters:
        if each.name in WANTED and each.kind not in (each.POSITIONAL_ONLY, each.VAR_POSITIONAL):
            found.append(each.name)
        elif each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            raise ConfigError(
                f"the metric {name!r} was asked for; its function wants {each.name!r}; parameters may be {WANTED!r}"
            )
    if inspect.iscoroutinefunction(function):
        raise ConfigError(f"the metric {name!r} was asked for; its function is `async`; write a plain one")
    return found


def _columns(batch: Batch, names: list[str]) -> dict[str, Any]:
    """Return what the function asks for, one list per parameter."""
    nothing = [None] * len(batch)
    columns: dict[str, Any] = {
        "answer": batch.answers,
        "target": batch.targets,
        "task": [batch.task] * len(batch),
        "latency_s": nothing if batch.latency_s is None else batch.latency_s,
        "cost_usd": nothing if batch.cost_usd is None else batch.cost_usd,
    }
    if {"fields", "text"} & set(names):
        if batch.rows is None:
            raise DataError(
                "a metric asked for the input of each answer; the rows are not known here; pass `rows`"
            )
        by_name = {each: _rows.field(batch.rows, each) for each in _rows.fields(batch.rows)}
        columns["fields"] = [{key: by_name[key][i] for key in by_name} for i in range(len(batch))]
        columns["text"] = _rows.texts(batch.rows)
    return {name: columns[name] for name in names}


def _value(found: Any, low: float, high: float) -> tuple[float, str | None]:
    """Return the score, or NaN and why."""
    if not isinstance(found, Real | np.bool_):
        return math.nan, f"returned {found!r:.80}, which is no number"
    value = float(found)
    if not low <= value <= high:
        return math.nan, f"returned {value!r}, outside {low:g}-{high:g}"
    return value, None


def load(name: str) -> Metric:
    """Run the file or module in `name` and make its function a metric.

    Raises:
        NotFoundError: no such file or function.
        ConfigError: it cannot be loaded, or wants parameters that nobody gives.
    """
    if not is_user(name):
        raise ConfigError(f"a metric `file.py:function` or `module:function` was asked for; found {name!r}")
    function = _function(name)
    names = _parameters(function, name)
    low, high = float(getattr(function, "low", 0.0)), float(getattr(function, "high", 1.0))
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(
            f"the metric {name!r} was asked for; its scale is {low!r} to {high!r}; set finite `low` < `high`"
        )

    def detail(batch: Batch) -> Scored:
        columns = _columns(batch, names)
        values, reasons = np.full(len(batch), low), dict[int, str]()
        for row, answer in enumerate(batch.answers):
            if answer is None:
                continue
            try:
                values[row], reason = _value(function(**{key: columns[key][row] for key in names}), low, high)
            except (Exception, SystemExit) as failure:
                values[row], reason = math.nan, f"{type(failure).__name__}: {failure}"[:200]
            if reason:
                reasons[row] = reason
        return Scored(values, reasons)

    return Metric(
        name=name,
        title=(inspect.getdoc(function) or name).splitlines()[0],
        version=_version(function),
        score=lambda batch: detail(batch).values,
        low=low,
        high=high,
        higher_is_better=bool(getattr(function, "higher_is_better", True)),
        detail=detail,
    )


def _version(function: Callable[..., Any]) -> str:
    """Return the hash of the file the function is in, `unknown` when there is none."""
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:
        file = None
    return (
        hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12]
        if file and Path(file).is_file()
        else "unknown"
    )
