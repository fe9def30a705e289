"""Rows of a log as calls, so that a log is watched as the gateway's own calls are.

Trap: what a log does not tell (confidence, routes, deployments) is not watched; the table leaves it out.
"""

import json
from collections.abc import Mapping
from typing import Any

from offramp.capture import Call


def call_of(row: Mapping[str, Any], alias: str) -> Call | None:
    """Return a row of `offramp.advise.calls.CALLS` as a call; `None` where it does not say when it was."""
    if row["at"] is None:
        return None
    messages = [{"role": "user", "content": row["user"] or ""}]
    message = {"role": "assistant", "content": row["answer"] or ""}
    choice = {"message": message, "finish_reason": row["finish_reason"]}
    bad = row["status"] != "ok"
    return Call(
        id=row["id"],
        at=row["at"],
        alias=alias,
        flavor="chat",
        route="record",
        status=500 if bad else 200,
        request=json.dumps({"messages": messages}).encode(),
        # An answer whose text was not logged is not an empty one.
        answer=None if row["answer"] is None else json.dumps({"choices": [choice]}).encode(),
        latency_s=float("nan") if row["latency_s"] is None else row["latency_s"],
        error=(row["error"] or "failed") if bad else None,
        model=row["model"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cost_usd=row["cost"],
        conversation=row["conversation"],
        left_out="answer" if row["answer"] is None else None,
    )
