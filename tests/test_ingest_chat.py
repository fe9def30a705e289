"""Chat logs in the OpenAI shapes, and Hugging Face folders."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from offramp.errors import DataError
from offramp.ingest import Mapping, read

SYSTEM = {"role": "system", "content": "Answer with one category."}


def _user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _assistant(text: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def _jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    file = path / "calls.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return file


def _pair(text: str, answer: str | None, **more: Any) -> dict[str, Any]:
    response: dict[str, Any] = {"choices": [], "usage": {"prompt_tokens": 20, "completion_tokens": 2}}
    if answer is not None:
        response["choices"] = [{"message": _assistant(answer), "finish_reason": "stop"}]
    return {"request": {"model": "m", "messages": [SYSTEM, _user(text)]}, "response": response, **more}


def test_request_and_response_pairs_are_read_with_usage(tmp_path: Path) -> None:
    calls = [_pair("my card is lost", "lost", latency_s=0.5), _pair("hello", "greeting", latency_s=0.25)]

    found = read(_jsonl(tmp_path, calls))

    assert found.rows.drop_columns(["id"]).to_pylist()[0] == {
        "field.prompt": "my card is lost",
        "answer.incumbent": "lost",
        "target": "lost",
        "messages": json.dumps([SYSTEM, _user("my card is lost")], separators=(",", ":")),
        "finish_reason": "stop",
        "latency_s": 0.5,
        "input_tokens": 20.0,
        "output_tokens": 2.0,
        "source": "calls.jsonl",
        "line": 1,
    }
    assert found.target_is_incumbent
    assert "no reference label was found: the labels are the incumbent's own answers" in found.notes


def test_a_reference_label_beside_the_call_is_the_target(tmp_path: Path) -> None:
    calls = [
        _pair("my card is lost", "lost", label="stolen"),
        _pair("hello", "hi", metadata={"label": "greeting"}),
    ]

    found = read(_jsonl(tmp_path, calls))

    assert not found.target_is_incumbent
    assert found.rows["target"].to_pylist() == ["stolen", "greeting"]
    assert found.rows["answer.incumbent"].to_pylist() == ["lost", "hi"]


def test_a_call_that_failed_stays_for_curation_to_judge(tmp_path: Path) -> None:
    found = read(_jsonl(tmp_path, [_pair("my card is lost", "lost"), _pair("hello", None), _pair("hm", "")]))

    assert found.rows["target"].to_pylist() == ["lost", None, ""]


def test_fine_tuning_rows_answer_with_their_last_message(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "look at"}, {"type": "text", "text": "this"}]
    rows = [
        {"messages": [SYSTEM, _user(parts), _assistant("a")]},
        {"messages": [_user("other"), _assistant("b")]},
    ]

    found = read(_jsonl(tmp_path, rows))

    assert found.rows["field.prompt"].to_pylist() == ["look at\nthis", "other"]
    assert found.rows["target"].to_pylist() == ["a", "b"]
    assert json.loads(found.rows["messages"][1].as_py()) == [_user("other")]


@pytest.mark.parametrize("key", ["completion", "output", "response", "answer"])
def test_flat_calls_are_read(tmp_path: Path, key: str) -> None:
    found = read(
        _jsonl(tmp_path, [{"messages": [_user("one")], key: "a"}, {"messages": [_user("two")], key: "b"}])
    )

    assert found.rows["target"].to_pylist() == ["a", "b"]


def test_calls_without_a_usable_message_are_kept_aside(tmp_path: Path) -> None:
    rows = [
        {"messages": [_user("one")], "output": "a"},
        {"messages": ["x"]},
        {"messages": [_assistant("only")]},
    ]

    found = read(_jsonl(tmp_path, rows))

    assert found.rejects["reason"].to_pylist() == ["no list of messages", "no user message"]
    assert found.rejects["line"].to_pylist() == [2, 3]


def test_labels_inside_json_answers_are_taken_out(tmp_path: Path) -> None:
    calls = [
        _pair("red shoes", '{"category": "Home > Shoes", "sure": true}'),
        _pair("mill", '```json\n{"category": "Home > Kitchen"}\n```'),
        _pair("phone", '{"category": "Tech > Phones"}'),
        _pair("broken", "sorry, no idea"),
    ]

    found = read(_jsonl(tmp_path, calls))

    assert found.mapping.answer_key == "category"
    assert found.mapping.separator == " > "
    assert found.rows["target"].to_pylist() == [
        "Home > Shoes",
        "Home > Kitchen",
        "Tech > Phones",
        "sorry, no idea",
    ]


def test_chat_logs_inside_parquet_are_flattened(tmp_path: Path) -> None:
    rows = [{"messages": [_user("one"), _assistant("a")], "label": "x"}, {"messages": [], "label": "y"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "d.parquet")

    found = read(tmp_path / "d.parquet")

    assert found.rows["field.prompt"].to_pylist() == ["one"]
    assert found.rows["target"].to_pylist() == ["x"]
    assert found.rejects["reason"].to_pylist() == ["no user message"]


def _saved(folder: Path, table: pa.Table, features: dict[str, Any]) -> None:
    folder.mkdir(parents=True)
    with pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as sink:
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    (folder / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]})
    )
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))


FEATURES = {
    "text": {"dtype": "string", "_type": "Value"},
    "label": {"names": ["no", "yes"], "_type": "ClassLabel"},
}


def test_a_saved_hugging_face_dataset_is_read_with_label_names(tmp_path: Path) -> None:
    _saved(tmp_path / "d", pa.table({"text": ["first text", "second text"], "label": [1, 0]}), FEATURES)

    found = read(tmp_path / "d")

    assert found.rows["target"].to_pylist() == ["yes", "no"]


def test_the_splits_of_a_dataset_dict_are_kept(tmp_path: Path) -> None:
    _saved(tmp_path / "d/train", pa.table({"text": ["first text", "second text"], "label": [1, 0]}), FEATURES)
    _saved(tmp_path / "d/test", pa.table({"text": ["third text"], "label": [1]}), FEATURES)
    (tmp_path / "d/dataset_dict.json").write_text('{"splits": ["train", "test"]}')

    found = read(tmp_path / "d")

    assert found.rows["split"].to_pylist() == ["train", "train", "holdout"]
    assert found.rows["line"].to_pylist() == [1, 2, 3]


def test_the_library_itself_writes_what_we_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    whole = datasets.Dataset.from_dict({"text": ["one text", "two text"], "label": [0, 1]}, features=features)
    datasets.DatasetDict({"train": whole.select([1, 0]), "validation": whole}).save_to_disk(
        str(tmp_path / "d")
    )

    found = read(tmp_path / "d")

    assert found.rows["target"].to_pylist() == ["yes", "no", "no", "yes"]
    assert found.rows["split"].to_pylist() == ["train", "train", "validation", "validation"]


def test_a_folder_of_parquet_files_takes_its_splits_from_their_names(tmp_path: Path) -> None:
    for name, label in (("train-00000-of-00001", "a"), ("test-00000-of-00001", "b")):
        (tmp_path / "data").mkdir(exist_ok=True)
        pq.write_table(
            pa.table({"text": [f"a text {label}"], "label": [label]}), tmp_path / f"data/{name}.parquet"
        )

    found = read(tmp_path, mapping=Mapping(inputs=("text",), target=("label",)))

    assert dict(zip(found.rows["target"].to_pylist(), found.rows["split"].to_pylist(), strict=True)) == {
        "a": "train",
        "b": "holdout",
    }


def test_folders_that_are_no_dataset_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(DataError, match=r"it holds \['notes.txt'\]"):
        read(tmp_path)

    (tmp_path / "dataset_dict.json").write_text('{"splits": []}')
    with pytest.raises(DataError, match="names no splits"):
        read(tmp_path)

    (tmp_path / "dataset_dict.json").write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        read(tmp_path)


def test_damaged_and_indexed_datasets_are_refused(tmp_path: Path) -> None:
    _saved(tmp_path / "d", pa.table({"text": ["first text"], "label": [1]}), FEATURES)
    (tmp_path / "d/data-00000-of-00001.arrow").write_bytes(b"garbage")
    with pytest.raises(DataError, match="is damaged"):
        read(tmp_path / "d")

    (tmp_path / "d/state.json").write_text('{"_data_files": []}')
    with pytest.raises(DataError, match="holds no Arrow file"):
        read(tmp_path / "d")

    (tmp_path / "d/state.json").write_text('{"_indices_data_files": [{"filename": "x"}]}')
    with pytest.raises(DataError, match="flatten_indices"):
        read(tmp_path / "d")


def test_tools_and_calls_of_tools_are_kept(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"name": "book"}}]
    calls = [{"id": "c1", "type": "function", "function": {"name": "book", "arguments": "{}"}}]
    request = {"messages": [SYSTEM, _user("book it")], "tools": tools}
    said = {"role": "assistant", "content": None, "tool_calls": calls}

    found = read(
        _jsonl(tmp_path, [{"request": request, "response": {"choices": [{"message": said}]}}]),
        mapping=Mapping(inputs=("prompt",), incumbent="answer", free_text=True),
    )

    row = found.rows.to_pylist()[0]
    assert json.loads(row["tools"]) == tools
    assert json.loads(row["answer.incumbent"]) == {"role": "assistant", "content": "", "tool_calls": calls}


def test_a_conversation_is_told_apart_by_all_its_turns_where_answers_are_text(tmp_path: Path) -> None:
    turns = [SYSTEM, _user("my card is lost"), _assistant("which one?"), _user("the blue one")]
    calls = [
        {"messages": [*turns, _assistant("it is blocked")]},
        {"messages": [SYSTEM, _user("hi"), _assistant("hello")]},
    ]

    text = read(_jsonl(tmp_path, calls), mapping=Mapping(free_text=True))
    labels = read(_jsonl(tmp_path, calls))

    assert text.rows.column("field.transcript").to_pylist() == [
        "- my card is lost\nwhich one?\n- the blue one",
        "hi",
    ]
    assert text.mapping.inputs == ("transcript",)
    assert labels.mapping.inputs == ("prompt",)
