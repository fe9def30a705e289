"""Offramp: replace an expensive LLM call with the smallest model you can own that is proven as good.

`offramp.open(folder)` gives a `Workspace`; its verbs are the stages. Importing this package loads nothing heavy
and opens no file: every name below is fetched when it is first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Bar": "offramp.types",
    "Candidate": "offramp.types",
    "ConfigError": "offramp.errors",
    "CostReport": "offramp.types",
    "DataError": "offramp.errors",
    "Dataset": "offramp.types",
    "EvalRun": "offramp.types",
    "MismatchError": "offramp.errors",
    "ModelError": "offramp.errors",
    "NotFoundError": "offramp.errors",
    "OfframpError": "offramp.errors",
    "Settings": "offramp.settings",
    "StoreError": "offramp.errors",
    "Task": "offramp.types",
    "TrainingError": "offramp.errors",
    "TrainingRun": "offramp.types",
    "Verdict": "offramp.types",
    "Workspace": "offramp.workspace",
    "open": "offramp.workspace",
}

__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name: str) -> Any:
    """Fetch a public name from its home module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'offramp' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return list(__all__)
