"""What curation noticed, by rule or one by one, and what another threshold would do: `offramp findings`."""

import json as _json
from typing import TYPE_CHECKING, Any

from offramp.cli import tables
from offramp.cli.review import printable

if TYPE_CHECKING:
    import pyarrow as pa

    from offramp.workspace import Workspace

AT = (0.5, 0.7, 0.8, 0.9, 0.95)
"""Thresholds that are tried for every rule."""
TEXT_CHARS = 160


def findings(workspace: "Workspace", *, rule: str | None, at: float | None, limit: int, json: bool) -> None:
    """Show the rules with their counts, or the rows of one rule, the surest first.

    Raises:
        NotFoundError: no such rule found anything.
    """
    found = workspace.findings()
    if rule is None:
        return _rules(found, at, json=json)
    return _rows(workspace, found, rule, limit, json=json)


def _rules(found: "pa.Table", at: float | None, *, json: bool) -> None:
    from offramp.curate.finding import REVIEW, acting

    asked = AT if at is None else (at,)
    lines: dict[str, dict[str, Any]] = {}
    columns = (found.column(name).to_pylist() for name in ("rule", "action", "score", "threshold"))
    for rule, action, score, threshold in zip(*columns, strict=True):
        line = lines.setdefault(rule, {"found": 0, "acted on": 0, "for people": 0, "threshold": threshold})
        acts = action != REVIEW and score >= threshold
        line["found"] += 1
        line["acted on" if acts else "for people"] += 1
    for rule, line in lines.items():
        line["would act at"] = {str(score): acting(found, rule, score) for score in asked}
    if json:
        return tables.as_json(lines)
    heads = ("rule", "found", "acted on", "for people", "threshold", *(f"at {score:g}" for score in asked))
    cells = [
        (rule, *(line[name] for name in heads[1:5]), *line["would act at"].values())
        for rule, line in lines.items()
    ]
    tables.as_table("findings, and rows each rule would act on at other thresholds", heads, cells)
    if not lines:
        print("curation noticed nothing beyond what it decided")
    return None


def _rows(workspace: "Workspace", found: "pa.Table", rule: str, limit: int, *, json: bool) -> None:
    import pyarrow.compute as pc

    from offramp import rows as _table
    from offramp.errors import NotFoundError

    part = found.filter(pc.equal(found.column("rule"), rule)).sort_by([("score", "descending")])
    if not part.num_rows:
        there = sorted(set(found.column("rule").to_pylist()))
        raise NotFoundError(f"findings of {rule!r} were asked for; found those of {there!r}")
    part = part.slice(0, limit)
    if json:
        return tables.as_json(
            [{**line, "evidence": _json.loads(line["evidence"])} for line in part.to_pylist()]
        )
    raw = workspace.rows(workspace.ingest())
    texts = dict(zip(_table.ids(raw), _table.texts(raw), strict=True))
    cells = [
        (line["row"], line["score"], line["action"], printable(texts[line["row"]])[:TEXT_CHARS],
         printable(line["evidence"])[:TEXT_CHARS])
        for line in part.to_pylist()
    ]  # fmt: skip
    return tables.as_table(rule, ("row", "score", "suggests", "input", "evidence"), cells)
