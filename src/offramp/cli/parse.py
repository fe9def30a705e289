"""Turn command-line strings into settings."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from offramp.errors import ConfigError
from offramp.settings import put

_LISTS = ("inputs", "target", "humans")


def assignments(pairs: Sequence[str] | None) -> dict[str, Any]:
    """Turn `["verdict.margin=0.03"]` into `{"verdict": {"margin": 0.03}}`; values are read as YAML.

    Raises:
        ConfigError: a pair has no `=`, or its value is not YAML.
    """
    found: dict[str, Any] = {}
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ConfigError(f"`--set` takes KEY=VALUE; {pair!r} found; e.g. --set verdict.margin=0.03")
        put(found, name.strip().split("."), text, where=f"`--set {pair}`")
    return found


def pairs(texts: Sequence[str], flag: str) -> dict[str, str]:
    """Turn `["volume=x2"]` into `{"volume": "x2"}`.

    Raises:
        ConfigError: a text has no `=`.
    """
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"`{flag}` takes KEY=VALUE; {text!r} found")
        found[key.strip()] = value
    return found


def mapping_of(**columns: str | None) -> dict[str, Any] | None:
    """Turn column flags into a mapping; parts that take several columns are split at commas; `None` for no flags."""
    given = {part: text for part, text in columns.items() if text is not None}
    found = {part: _names(text) if part in _LISTS else text for part, text in given.items()}
    return found or None


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def relative(path: str, folder: Path) -> str:
    """Write a path given on the command line as the workspace in `folder` will read it."""
    return os.path.relpath(Path(path).expanduser().resolve(), folder.resolve())
