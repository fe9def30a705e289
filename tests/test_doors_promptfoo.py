"""promptfoo's result files: who answered what, what failed, and that nothing in a text is a template."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from offramp import doors
from offramp.doors import promptfoo
from offramp.errors import ConfigError, DataError


def result(test: int, who: str, output: Any, **more: Any) -> dict[str, Any]:
    """One entry of `results.results`, shaped as promptfoo 0.118 writes it."""
    text, wanted = [("Where is my card?", "card"), ("Refund", "refund")][test]
    return {
        "testIdx": test,
        "promptIdx": 0,
        "provider": {"id": who, "label": ""},
        "prompt": {"raw": f"Label: {text}", "label": "Label: {{text}}"},
        "vars": {"text": text, "expected": wanted},
        "testCase": {
            "vars": {"text": text, "expected": wanted},
            "assert": [{"type": "equals", "value": "{{expected}}"}],
        },
        "response": {
            "output": output,
            "cached": False,
            "tokenUsage": {"total": 12, "prompt": 10, "completion": 2},
        },
        "success": output == wanted,
        "score": 1 if output == wanted else 0,
        "failureReason": 0 if output == wanted else 1,
        "error": None if output == wanted else f'Expected output "{output}" to equal "{wanted}"',
        "gradingResult": {"pass": output == wanted, "score": 1, "reason": "because"},
        "namedScores": {"shape": 0.5},
        "latencyMs": 250,
        "cost": 0.001,
    } | more


def written(folder: Path, results: Any, name: str = "results.json") -> Path:
    path = folder / name
    if name.endswith(".jsonl"):
        path.write_text("\n".join(json.dumps(one) for one in results))
    else:
        path.write_text(
            json.dumps({"evalId": "e", "results": {"version": 3, "results": results}, "config": {}})
        )
    return path


FOUR = [
    result(1, "openai:gpt", "refund"),
    result(0, "openai:gpt", "card"),
    result(0, "echo", "Label"),
    result(1, "echo", {"label": "refund"}),
]


@pytest.mark.parametrize("name", ["results.json", "results.jsonl"])
def test_each_test_is_a_row_and_each_provider_a_candidate(tmp_path: Path, name: str):
    found = doors.read(written(tmp_path, FOUR, name), "promptfoo")

    assert found.rows.drop_columns(["id", "line"]).to_pylist() == [
        {
            "field.text": "Where is my card?",
            "target": "card",
            "answer.echo": "Label",
            "answer.openai:gpt": "card",
            "source": name,
        },
        {
            "field.text": "Refund",
            "target": "refund",
            "answer.echo": '{"label": "refund"}',
            "answer.openai:gpt": "refund",
            "source": name,
        },
    ]
    assert found.rejects.num_rows == 0
    assert found.notes == ("2 rows with answers of echo, openai:gpt",)


def test_their_scores_and_what_an_answer_cost_are_kept_beside_ours(tmp_path: Path):
    found = doors.read(written(tmp_path, FOUR[:1]), "promptfoo")

    row = found.rows.column("id").to_pylist()[0]
    assert found.scores.schema == doors.SCORE_SCHEMA
    assert [(s["name"], s["value"], s["reason"]) for s in found.scores.to_pylist()] == [
        ("score", 1.0, "because"),
        ("pass", 1.0, None),
        ("shape", 0.5, None),
    ]
    assert found.facts.to_pylist() == [
        {
            "id": row,
            "who": "openai:gpt",
            "latency_s": 0.25,
            "cost_usd": 0.001,
            "input_tokens": 10.0,
            "output_tokens": 2.0,
            "error": None,
        }
    ]


def test_a_failed_assertion_is_an_answer_and_a_failed_provider_is_a_wrong_answer(tmp_path: Path):
    broken = result(1, "openai:gpt", None, response=None, error="429 too many", failureReason=2)
    found = doors.read(written(tmp_path, [result(0, "openai:gpt", "wrong"), broken]), "promptfoo")

    assert found.rows.column("answer.openai:gpt").to_pylist() == ["wrong", ""]
    assert found.facts.column("error").to_pylist() == [None, "429 too many"]
    assert "1 answers failed; they count as wrong" in found.notes


def test_a_row_that_a_provider_was_not_asked_has_no_answer_of_it(tmp_path: Path):
    found = doors.read(written(tmp_path, FOUR[:3]), "promptfoo")

    assert found.rows.column("answer.echo").to_pylist() == ["Label", None]


def test_a_cached_answer_has_no_latency(tmp_path: Path):
    cached = result(0, "api", "card", response={"output": "card", "cached": True})

    assert doors.read(written(tmp_path, [cached]), "promptfoo").facts.column("latency_s").to_pylist() == [
        None
    ]


def test_prompts_of_one_provider_are_candidates_of_their_own_with_the_same_number_everywhere(tmp_path: Path):
    other = {"raw": "x", "label": "Second"}
    results = [
        result(0, "b", "card", prompt=other, promptIdx=3),
        result(0, "b", "card", promptIdx=2),
        result(0, "a", "card", prompt=other, promptIdx=1),
        result(0, "a", "card", promptIdx=0),
        result(0, "c", "card", prompt=other, promptIdx=4),
    ]

    found = doors.read(written(tmp_path, results), "promptfoo")

    assert [name for name in found.rows.column_names if name.startswith("answer.")] == [
        "answer.a prompt 1",
        "answer.a prompt 2",
        "answer.b prompt 1",
        "answer.b prompt 2",
        "answer.c",
    ]


def test_a_repeated_answer_does_not_replace_the_first(tmp_path: Path):
    found = doors.read(written(tmp_path, [result(0, "a", "card"), result(0, "a", "other")]), "promptfoo")

    assert found.rows.column("answer.a").to_pylist() == ["card"]
    assert found.scores.column("repeat").to_pylist() == [1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("assertions", "target", "note"),
    [
        ([{"type": "latency", "threshold": 5}, {"type": "equals", "value": "card"}], "card", None),
        ([{"type": "assert-set", "assert": [{"type": "equals", "value": 3}]}], "3", None),
        ([{"type": "icontains", "value": "car"}], "car", "assertions of kind icontains"),
        ([{"type": "javascript", "value": "output.length"}], None, None),
    ],
)
def test_the_wanted_answer_is_what_an_assertion_compares_with(tmp_path: Path, assertions, target, note):
    one = result(0, "a", "card", vars={"text": "x"}, testCase={"vars": {"text": "x"}, "assert": assertions})

    found = doors.read(written(tmp_path, [one]), "promptfoo")

    assert found.rows.column("target").to_pylist() == [target]
    assert (note is None) or any(note in one for one in found.notes)
    assert any("no wanted answer was found" in n for n in found.notes) == (target is None)


def test_the_variable_of_the_wanted_answer_can_be_named(tmp_path: Path):
    found = doors.read(written(tmp_path, FOUR), "promptfoo", target="text")

    assert found.rows.column("target").to_pylist() == ["Where is my card?", "Refund"]
    assert "field.expected" in found.rows.column_names


def test_a_row_without_a_wanted_answer_is_a_reject_where_others_have_one(tmp_path: Path):
    bare = result(1, "a", "x", vars={"text": "hm"}, testCase={"assert": []})
    empty = result(1, "a", "x", testIdx=7, vars={}, testCase={})

    found = doors.read(
        written(tmp_path, [result(0, "a", "card", vars={"text": "t"}), bare, empty, 7]), "promptfoo"
    )

    assert found.rows.num_rows == 1
    assert sorted(found.rejects.column("reason").to_pylist()) == [
        "no input",
        "no wanted answer",
        "not an object (found int)",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"results": {"results": []}}', "without `--no-write`"),
        ('{"tests": []}', r"found \['tests'\]"),
        ("{", "broken JSON"),
        ("", "has 0"),
        ('{"results": {"results": [7]}}', "not an object"),
    ],
)
def test_a_file_without_results_says_what_was_found(tmp_path: Path, text: str, message: str):
    (tmp_path / "r.json").write_text(text)

    with pytest.raises(DataError, match=message):
        doors.read(tmp_path / "r.json", "promptfoo")


def test_an_unknown_format_and_a_missing_file_are_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="promptfoo, openai-evals, inspect"):
        doors.read(tmp_path / "r.json", "deepeval")
    with pytest.raises(DataError, match="there is none"):
        doors.read(tmp_path / "r.json", "promptfoo")


EVIL = [
    "{{ 1+1 }}",
    "{% for x %}",
    "file:///etc/passwd",
    'a "b" \\n {{x}}\nc',
    "{{{{7}}}}",
    "{# c #}",
    "plain",
    "",
]
ROWS = pa.table(
    {
        "id": [f"r{n}" for n in range(len(EVIL))],
        "field.title": EVIL,
        "field.body": ["body"] * len(EVIL),
        "target": ["card", *EVIL[1:6], "card", "card"],
        "answer.incumbent": ["card", None, *EVIL[2:]],
    }
)


def test_an_export_has_configuration_tests_answers_and_a_provider_that_asks_nobody():
    files = doors.export_promptfoo(ROWS)

    assert sorted(files) == ["answers.json", "promptfooconfig.yaml", "recorded.cjs", "tests.json"]
    config = yaml.safe_load(files["promptfooconfig.yaml"])
    assert config["providers"] == [
        {"id": "file://recorded.cjs", "label": "incumbent", "config": {"who": "incumbent"}}
    ]
    assert config["prompts"] == ["{{ title }}\n{{ body }}"]
    assert json.loads(files["answers.json"])["incumbent"]["r0"] == "card"


def test_texts_that_would_run_as_templates_or_load_files_are_written_as_literals():
    tests = json.loads(doors.export_promptfoo(ROWS)["tests.json"])

    for test, text in zip(tests, EVIL, strict=True):
        said = test["vars"]["title"]
        assert promptfoo.plain(said) == text
        assert not said.startswith("file://")
        # Nothing that opens a template is left but the literal's own braces.
        assert "{{" not in said.removeprefix("{{ ")
        assert "{%" not in said
    assert tests[6]["vars"]["title"] == "plain"


def test_what_was_exported_reads_back_as_it_was(tmp_path: Path):
    tests = json.loads(doors.export_promptfoo(ROWS)["tests.json"])
    results = [
        result(0, "incumbent", "x", testIdx=n, vars=test["vars"], testCase=test)
        for n, test in enumerate(tests)
    ]

    found = doors.read(written(tmp_path, results), "promptfoo")

    assert found.rows.column("field.title").to_pylist() == EVIL
    assert found.rows.column("target").to_pylist() == ROWS.column("target").to_pylist()
    assert "field.offramp_row_id" not in found.rows.column_names


def test_an_export_needs_targets_and_answers_for_its_rows():
    with pytest.raises(DataError, match="8 rows"):
        doors.export_promptfoo(ROWS, {"a": ["x"]})
    with pytest.raises(DataError, match="a label was expected"):
        doors.export_promptfoo(ROWS.set_column(3, "target", pa.array([None] * len(EVIL), pa.string())))
