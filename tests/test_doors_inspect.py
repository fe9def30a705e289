"""Inspect's logs, plain and zipped with Zstandard: samples, epochs, choices, failures, damage."""

import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from offramp import doors
from offramp.errors import DataError


def sample(number: int, said: str, **more: Any) -> dict[str, Any]:
    """One sample, shaped as inspect_ai 0.3.285 writes it."""
    message = {"role": "assistant", "content": said, "source": "generate"}
    return {
        "id": number,
        "epoch": 1,
        "input": f"question {number}",
        "target": "card",
        "messages": [],
        "output": {
            "model": "m",
            "choices": [{"message": message, "stop_reason": "stop"}],
            "completion": said,
            "usage": {"input_tokens": 4, "output_tokens": 2, "total_tokens": 6},
            "time": 0.5,
        },
        "scores": {"match": {"value": "C" if said == "card" else "I", "answer": said, "explanation": "why"}},
        "metadata": {"gold": "other"},
    } | more


HEADER = {"version": 2, "status": "success", "eval": {"task": "t", "model": "openai/gpt", "dataset": {}}}
TWO = [sample(1, "card"), sample(2, "refund")]


def plain(folder: Path, samples: list[Any], **more: Any) -> Path:
    path = folder / "log.json"
    path.write_text(json.dumps(HEADER | {"samples": samples} | more))
    return path


def zipped(folder: Path, members: dict[str, Any], *, method: int = 93) -> Path:
    """Write an archive by hand, because zipfile writes no Zstandard."""
    body, directory = b"", b""
    for name, value in members.items():
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        packed = pa.compress(data, codec="zstd", asbytes=True) if method == 93 else data
        sizes = (zlib.crc32(data), len(packed), len(data))
        encoded = name.encode()
        directory += struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 63, 63, 0, method, 0, 0, *sizes, len(encoded), 0, 0, 0, 0, 0, len(body)
        )
        directory += encoded
        body += struct.pack("<4s5H3I2H", b"PK\3\4", 63, 0, method, 0, 0, *sizes, len(encoded), 0)
        body += encoded + packed
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, len(members), len(members), len(directory), len(body), 0)
    path = folder / "log.eval"
    path.write_bytes(body + directory + end)
    return path


def archive(samples: list[dict[str, Any]]) -> dict[str, Any]:
    return {f"samples/{s['id']}_epoch_{s['epoch']}.json": s for s in samples} | {"header.json": HEADER}


def test_a_log_gives_rows_answers_scores_and_facts(tmp_path: Path):
    found = doors.read(plain(tmp_path, TWO), "inspect")

    assert found.rows.drop_columns(["id"]).to_pylist() == [
        {
            "field.input": "question 1",
            "target": "card",
            "answer.openai/gpt": "card",
            "source": "log.json",
            "line": 1,
        },
        {
            "field.input": "question 2",
            "target": "card",
            "answer.openai/gpt": "refund",
            "source": "log.json",
            "line": 2,
        },
    ]
    assert [(s["name"], s["value"], s["reason"]) for s in found.scores.to_pylist()] == [
        ("match", 1.0, "why"),
        ("match", 0.0, "why"),
    ]
    fact = found.facts.to_pylist()[0]
    assert (fact["latency_s"], fact["input_tokens"], fact["output_tokens"]) == (0.5, 4.0, 2.0)


@pytest.mark.parametrize("method", [93, 0])
def test_an_archive_reads_as_the_same_rows_with_the_same_ids(tmp_path: Path, method: int):
    found = doors.read(zipped(tmp_path, archive(TWO), method=method), "inspect")
    same = doors.read(plain(tmp_path, TWO), "inspect")

    assert found.rows.drop_columns(["source"]).equals(same.rows.drop_columns(["source"]))


def test_of_several_epochs_the_first_counts_wherever_it_stands(tmp_path: Path):
    samples = [sample(1, "late", epoch=2), sample(1, "card", epoch=1)]

    for path in (plain(tmp_path, samples), zipped(tmp_path, archive(samples))):
        found = doors.read(path, "inspect")
        assert found.rows.column("answer.openai/gpt").to_pylist() == ["card"]
        assert found.scores.column("repeat").to_pylist() == [1, 2]
        assert "1 answers are repetitions" in found.notes[-1]


def test_samples_with_choices_are_answered_by_the_extracted_letter(tmp_path: Path):
    scores = {"choice": {"value": "C", "answer": "B", "explanation": "ANSWER: B"}}
    one = sample(1, "I think ANSWER: B", choices=["x", "y"], target="B", scores=scores)

    found = doors.read(plain(tmp_path, [one]), "inspect")

    assert found.rows.column("answer.openai/gpt").to_pylist() == ["B"]
    assert found.rows.column("field.choices").to_pylist() == ["A) x\nB) y"]


def test_a_chat_is_kept_whole_and_its_last_user_message_is_the_input(tmp_path: Path):
    chat = [
        {"role": "system", "content": "You label."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "attachment://abc"}, {"type": "image", "image": "x"}],
        },
    ]
    one = sample(1, "card", input=chat, target=["card", "cards"], attachments={"abc": "long text"})

    found = doors.read(plain(tmp_path, [one]), "inspect")

    assert found.rows.column("field.input").to_pylist() == ["long text"]
    assert json.loads(found.rows.column("messages").to_pylist()[0])[0] == {
        "role": "system",
        "content": "You label.",
    }
    assert "1 samples accept several answers; the first is the target here" in found.notes


def test_a_failed_sample_is_a_wrong_answer_with_its_error(tmp_path: Path):
    failed = sample(2, "", error={"message": "timeout", "traceback": "…"}, output={"choices": []}, scores={})

    found = doors.read(plain(tmp_path, [TWO[0], failed], status="error"), "inspect")

    assert found.rows.column("answer.openai/gpt").to_pylist() == ["card", ""]
    assert found.facts.column("error").to_pylist() == [None, "timeout"]
    assert found.notes[0] == "the run did not finish (status error)"
    with pytest.raises(DataError, match="failed: timeout"):
        doors.read(plain(tmp_path, [failed]), "inspect")


def test_a_run_that_was_killed_is_read_from_its_journal(tmp_path: Path):
    members = {
        "_journal/start.json": {"version": 2, "eval": HEADER["eval"]},
        "samples/1_epoch_1.json": TWO[0],
    }

    found = doors.read(zipped(tmp_path, members), "inspect")

    assert found.rows.num_rows == 1
    assert found.notes[0] == "the run did not finish (status started)"


def test_scores_that_are_letters_numbers_objects_or_words_are_kept(tmp_path: Path):
    scores = {
        "grade": {"value": "P"},
        "flag": {"value": True},
        "parts": {"value": {"form": 4, "sense": "N"}},
        "word": {"value": "fine"},
        "nan": {"value": None},
    }
    found = doors.read(plain(tmp_path, [sample(1, "card", scores=scores)]), "inspect")

    assert [(s["name"], s["value"], s["reason"]) for s in found.scores.to_pylist()] == [
        ("grade", 0.5, None),
        ("flag", 1.0, None),
        ("parts.form", 4.0, None),
        ("parts.sense", 0.0, None),
        ("word", None, "fine"),
        ("nan", None, None),
    ]


def test_another_target_can_be_taken_from_the_metadata(tmp_path: Path):
    assert doors.read(plain(tmp_path, TWO), "inspect", target="gold").rows.column("target").to_pylist() == [
        "other",
        "other",
    ]


def test_a_damaged_sample_is_a_reject_and_costs_nothing_else(tmp_path: Path):
    path = zipped(tmp_path, archive(TWO) | {"samples/3_epoch_1.json": b"{"})
    raw = bytearray(path.read_bytes())
    place = raw.index(b"samples/2_epoch_1.json") + len("samples/2_epoch_1.json") + 12
    raw[place] ^= 0xFF
    path.write_bytes(bytes(raw))

    found = doors.read(path, "inspect")

    assert found.rows.num_rows == 1
    assert found.rejects.column("reason").to_pylist() == ["a damaged sample", "a damaged sample"]


def test_an_archive_that_would_unpack_to_too_much_is_refused(tmp_path: Path):
    path = zipped(tmp_path, {"header.json": HEADER})
    raw = bytearray(path.read_bytes())
    entry = raw.index(b"PK\1\2")
    raw[entry + 24 : entry + 28] = struct.pack("<I", 2**31)
    path.write_bytes(bytes(raw))

    with pytest.raises(DataError, match="unpacks to 2147483648 bytes"):
        doors.read(path, "inspect")


def test_what_is_no_log_says_what_it_is(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as other:
        other.writestr("a.txt", "hello")
    (tmp_path / "y.zip").write_bytes(b"PK\x03\x04 torn")
    (tmp_path / "z.json").write_text('{"rows": []}')

    with pytest.raises(DataError, match="another archive"):
        doors.read(tmp_path / "x.zip", "inspect")
    with pytest.raises(DataError, match="damaged"):
        doors.read(tmp_path / "y.zip", "inspect")
    with pytest.raises(DataError, match=r"found \['rows'\]"):
        doors.read(tmp_path / "z.json", "inspect")
    with pytest.raises(DataError, match="no results"):
        doors.read(plain(tmp_path, []), "inspect")


def test_two_logs_of_one_data_set_stand_side_by_side(tmp_path: Path):
    (tmp_path / "b").mkdir()
    first = doors.read(plain(tmp_path, TWO), "inspect")
    second = doors.read(plain(tmp_path / "b", [sample(2, "card"), sample(3, "card")]), "inspect")
    other = doors.read(plain(tmp_path / "b", TWO, eval={"model": "small"}), "inspect")

    found = doors.join(first, second, other)

    assert found.rows.column_names == [
        "id",
        "field.input",
        "target",
        "answer.openai/gpt",
        "answer.openai/gpt.2",
        "answer.small",
        "source",
        "line",
    ]
    assert found.rows.column("answer.openai/gpt").to_pylist() == ["card", "refund", None]
    assert found.rows.column("answer.openai/gpt.2").to_pylist() == [None, "card", "card"]
    assert found.rows.column("answer.small").to_pylist() == ["card", "refund", None]
    assert set(found.facts.column("who").to_pylist()) == {"openai/gpt", "openai/gpt.2", "small"}


def test_files_with_other_inputs_cannot_be_joined(tmp_path: Path):
    first = doors.read(plain(tmp_path, TWO), "inspect")
    second = doors.read(plain(tmp_path, [sample(1, "x", choices=["a"])]), "inspect")

    with pytest.raises(DataError, match=r"field\.choices"):
        doors.join(first, second)


def test_an_export_is_a_data_set_and_a_log_per_candidate_that_read_back(tmp_path: Path):
    rows = pa.table(
        {
            "id": ["r1", "r2"],
            "field.title": ["a", "b"],
            "field.body": ["c", ""],
            "target": ["x", "y"],
            "answer.my/model:1": ["x", None],
            "answer.my-model-1": ["x", "x"],
        }
    )

    files = doors.export_inspect(rows, name="banking")

    assert list(files) == ["dataset.jsonl", "my-model-1.json", "my-model-1-2.json"]
    assert [json.loads(line) for line in files["dataset.jsonl"].splitlines()] == [
        {"id": "r1", "input": "a\nc", "target": "x", "metadata": {"title": "a", "body": "c"}},
        {"id": "r2", "input": "b", "target": "y", "metadata": {"title": "b", "body": ""}},
    ]
    (tmp_path / "log.json").write_text(files["my-model-1-2.json"])
    found = doors.read(tmp_path / "log.json", "inspect")
    assert found.rows.column("answer.my-model-1").to_pylist() == ["x", "x"]
    assert found.scores.column("value").to_pylist() == [1.0, 0.0]
