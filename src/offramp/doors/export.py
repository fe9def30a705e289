"""Write rows and recorded answers as files that promptfoo and Inspect can read; returns texts, writes nothing.

promptfoo gets a configuration whose providers answer from a file, so that its viewer shows the same answers without
asking anybody; Inspect gets a data set, and one log per candidate.

The trap is promptfoo's templates: a variable that holds `{{…}}` is rendered and one that starts with `file://` is
replaced by that file, so logs that anybody could write to would run. Such texts are written as literals.

Source: promptfoo.dev/docs/configuration and /docs/providers/custom-api; inspect.aisi.org.uk/datasets.html and
/eval-logs.html; read 2026-11-21. Checked with promptfoo 0.118 and inspect_ai 0.3.285.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import yaml

from offramp import rows as _rows
from offramp.doors.promptfoo import ROW_ID, literal
from offramp.errors import DataError
from offramp.types import now

Answers = Mapping[str, Sequence[str | None]]
_ANSWERS_FILE, _TESTS_FILE, _PROVIDER_FILE = "answers.json", "tests.json", "recorded.cjs"
_PROVIDER = """// Answers from the file that Offramp wrote; asks nobody.
const answers = require('./answers.json');

module.exports = class Recorded {
  constructor(options) {
    this.who = options.config.who;
  }

  id() {
    return this.who;
  }

  async callApi(prompt, context) {
    const found = (answers[this.who] || {})[context.vars.offramp_row_id];
    return found === undefined || found === null ? { error: 'no recorded answer' } : { output: found };
  }
};
"""


def export_promptfoo(
    rows: pa.Table, answers: Answers | None = None, *, description: str = ""
) -> dict[str, str]:
    """Return the files of a promptfoo evaluation by name; run `promptfoo eval -c promptfooconfig.yaml` beside them.

    `answers` (in the order of the rows) default to those recorded in the rows. Rows need a target. Where a candidate
    has no answer, promptfoo shows an error.

    Raises:
        DataError: a row has no target, or answers for another number of rows.
    """
    said = _answers(rows, answers)
    names = _rows.fields(rows)
    texts = [_rows.field(rows, name) for name in names]
    tests = [
        {
            "vars": {ROW_ID: row_id} | {name: literal(text) for name, text in zip(names, parts, strict=True)},
            "assert": [{"type": "equals", "value": literal(target)}],
        }
        for row_id, target, parts in zip(
            _rows.ids(rows), _rows.targets(rows), list(zip(*texts, strict=True)), strict=True
        )
    ]
    config = {
        "description": description or "exported by Offramp",
        "prompts": ["\n".join(f"{{{{ {name} }}}}" for name in names)],
        "providers": [
            {"id": f"file://{_PROVIDER_FILE}", "label": who, "config": {"who": who}} for who in said
        ],
        "tests": f"file://{_TESTS_FILE}",
    }
    by_row = {who: dict(zip(_rows.ids(rows), column, strict=True)) for who, column in said.items()}
    return {
        "promptfooconfig.yaml": yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
        _TESTS_FILE: _json(tests),
        _ANSWERS_FILE: _json(by_row),
        _PROVIDER_FILE: _PROVIDER,
    }


def export_inspect(
    rows: pa.Table, answers: Answers | None = None, *, name: str = "offramp"
) -> dict[str, str]:
    """Return the files for Inspect by name: `dataset.jsonl`, and one log `<candidate>.json` per candidate.

    A log holds a score `exact`, C where the answer is the target and I where it is not; rows that a candidate was not
    asked are left out of its log.

    Raises:
        DataError: a row has no target, or answers for another number of rows.
    """
    said = _answers(rows, answers)
    fields = _rows.fields(rows)
    columns = {field: _rows.field(rows, field) for field in fields}
    samples = []
    for place, (row_id, text, target) in enumerate(
        zip(_rows.ids(rows), _rows.texts(rows), _rows.targets(rows), strict=True)
    ):
        metadata = {field: columns[field][place] for field in fields} if len(fields) > 1 else {}
        samples.append({"id": row_id, "input": text, "target": target, "metadata": metadata})
    files = {"dataset.jsonl": "".join(_json(sample) for sample in samples)}
    for number, (who, column) in enumerate(said.items(), 1):
        safe = re.sub(r"[^\w.-]+", "-", who).strip("-.") or "candidate"
        file = f"{safe}.json" if f"{safe}.json" not in files else f"{safe}-{number}.json"
        files[file] = _json(_log(name, who, samples, column))
    return files


def _answers(rows: pa.Table, answers: Answers | None) -> dict[str, list[str | None]]:
    if answers is None:
        return {who: _rows.answers(rows, who) for who in _rows.answerers(rows)}
    wrong = {who: len(column) for who, column in answers.items() if len(column) != rows.num_rows}
    if wrong:
        raise DataError(f"answers for {rows.num_rows} rows were expected; found {wrong!r}")
    return {who: list(column) for who, column in answers.items()}


def _log(
    name: str, who: str, samples: Sequence[Mapping[str, Any]], column: Sequence[str | None]
) -> dict[str, Any]:
    at = now().isoformat(timespec="seconds")
    asked = [(sample, said) for sample, said in zip(samples, column, strict=True) if said is not None]
    right = sum(said == sample["target"] for sample, said in asked)
    accuracy: dict[str, Any] = {
        "accuracy": {"name": "accuracy", "value": right / len(asked) if asked else 0.0, "params": {}}
    }
    return {
        "version": 2,
        "status": "success",
        "eval": {
            "created": at,
            "task": name,
            "dataset": {"name": name, "samples": len(asked), "sample_ids": [s["id"] for s, _ in asked]},
            "model": who,
            "config": {},
        },
        "results": {
            "total_samples": len(asked),
            "completed_samples": len(asked),
            "scores": [{"name": "exact", "scorer": "exact", "params": {}, "metrics": accuracy}],
        },
        "stats": {"started_at": at, "completed_at": at},
        "samples": [_sample(sample, said, who) for sample, said in asked],
    }


def _sample(sample: Mapping[str, Any], said: str, who: str) -> dict[str, Any]:
    question = {"role": "user", "content": sample["input"]}
    answer = {"role": "assistant", "content": said, "source": "generate"}
    score = {"value": "C" if said == sample["target"] else "I", "answer": said}
    return {
        **sample,
        "epoch": 1,
        "messages": [question, answer],
        "output": {"model": who, "choices": [{"message": answer, "stop_reason": "stop"}], "completion": said},
        "scores": {"exact": score},
    }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"
