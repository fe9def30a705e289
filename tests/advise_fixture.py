"""Calls of a log as advice reads them, for tests."""

from datetime import UTC, date, datetime
from typing import Any

WHEN = date(2026, 11, 21)
START = datetime(2026, 10, 5, tzinfo=UTC).timestamp()  # a Monday


def call(n: int, **more: Any) -> dict[str, Any]:
    """Return one call an hour of a small labelling task."""
    return {
        "id": f"c{n:05}",
        "at": START + n * 3600.0,
        "model": "gpt-4o-mini",
        "provider": "openai",
        "user": f"question {n}",
        "answer": "yes" if n % 2 else "no",
        "turns": 1,
        "prompt_chars": 4000,
        "input_tokens": 1000,
        "output_tokens": 1000,
        "latency_s": 0.5,
        "finish_reason": "stop",
    } | more


def spam(n: int, **more: Any) -> dict[str, Any]:
    """Return one call of a task with an instruction."""
    return {
        "id": str(n),
        "model": "gpt-6-luna",
        "provider": "openai",
        "system": "Answer with one word: is this message spam or not?",
        "user": f"message {n} about a parcel",
        "answer": ("spam", "not")[n % 2],
        "input_tokens": 4000,
        "output_tokens": 1,
    } | more
