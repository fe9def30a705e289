"""Evidence packs: what is in them, that every changed byte is found, and that forged numbers are recomputed."""

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import offramp
from offramp import __version__
from offramp.cli.pack import show_packed, show_verified
from offramp.errors import DataError, NotFoundError
from offramp.pack import container, seal, verify_pack, write_pack
from offramp.pack.manifest import Manifest, safe
from offramp.pack.strict import differences
from offramp.settings import resolve
from offramp.workspace import init

WORDS = {"refund": "money back please", "delivery": "where is my parcel", "password": "cannot log in"}
SETTINGS = {
    "name": "inbox",
    "data": {
        "sources": ["rows.csv"],
        "mapping": {
            "inputs": ["text"],
            "target": ["label"],
            "incumbent": "model",
            "humans": ["ann"],
            "group": "who",
            "split": "part",
        },
    },
    "ladder": {"rungs": ["majority", "zero-shot"]},
    "cost": {"requests_per_month": 100_000, "incumbent_usd_per_1k_requests": 4.0},
}


def _make_rows(path: Path) -> None:
    drawn, labels = random.Random(0), sorted(WORDS)
    lines = ["text,label,model,ann,who,part"]
    for i in range(120):
        label = labels[i % 3]
        words = " ".join(f"{drawn.choice('aeiou')}{drawn.randrange(10**6)}" for _ in range(12))
        model = label if drawn.random() < 0.9 else drawn.choice(labels)
        part = ("train", "train", "validation", "holdout")[i // 2 % 4]
        lines.append(f"{WORDS[label]} secretword {words},{label},{model},{label},customer{i // 2},{part}")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pack") / "ws"
    path.mkdir()
    _make_rows(path / "rows.csv")
    with init(path, resolve(SETTINGS, overrides=None, where="test")) as workspace:
        workspace.run()
    return path


@pytest.fixture(scope="module")
def pack(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with offramp.open(folder) as ws:
        return write_pack(ws, tmp_path_factory.mktemp("out") / "pack.zip")


@pytest.fixture(scope="module")
def files(pack: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(pack) as zipped:
        return {name: zipped.read(name) for name in zipped.namelist() if name != "manifest.json"}


def _sealed(files: dict[str, bytes], path: Path) -> Path:
    entries = tuple(container.entry(name, files[name]) for name in sorted(files))
    manifest = Manifest(format=1, offramp=__version__, texts=True, files=entries)
    path.write_bytes(container.write(manifest, files)[0])
    return path


def _forged(files: dict[str, bytes], name: str, change: Callable[[dict], None], path: Path) -> Path:
    body = json.loads(files[name])
    change(body)
    content = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    return _sealed({**files, name: content}, path)


def _failed(path: Path) -> set[str]:
    return {check.name.split()[0] for check in verify_pack(path).failed}


def test_an_untouched_pack_holds_without_its_workspace(pack: Path, folder: Path, tmp_path: Path):
    away = folder.with_name("away")
    folder.rename(away)
    try:
        report = verify_pack(pack)
    finally:
        away.rename(folder)

    assert report.failed == ()
    assert [check.name for check in report.checks if check.ok is None] == []
    assert report.texts is True


def test_the_same_records_give_the_same_bytes(pack: Path, folder: Path, tmp_path: Path):
    with offramp.open(folder) as ws:
        again = write_pack(ws, tmp_path / "again.zip")

    assert again.read_bytes() == pack.read_bytes()
    assert list(tmp_path.iterdir()) == [again]


def test_any_zip_program_opens_a_pack(pack: Path, files: dict[str, bytes]):
    with zipfile.ZipFile(pack) as zipped:
        assert zipped.testzip() is None
        assert zipped.comment.decode() == f"offramp-pack 1 sha256:{seal(pack)}"
    assert {"report.html", "report.json", "rows.parquet", "holdout.json", "environment.json"} <= set(files)
    assert b"incumbent" in files["report.html"]


def test_inputs_can_be_left_out_and_the_numbers_still_hold(folder: Path, tmp_path: Path):
    with offramp.open(folder) as ws:
        private = write_pack(ws, tmp_path / "private.zip", texts=False)

    report = verify_pack(private)
    with zipfile.ZipFile(private) as zipped:
        tables = {name: zipped.read(name) for name in zipped.namelist()}
    said = [
        str(pq.read_table(io.BytesIO(content)).to_pydict()) if name.endswith(".parquet") else content.decode()
        for name, content in tables.items()
    ]

    assert report.failed == ()
    assert report.texts is False
    assert [check.name for check in report.checks if check.ok is None] == ["data hash"]
    assert not any("secretword" in text or "customer1" in text for text in said)


def test_a_changed_byte_in_any_file_is_named(pack: Path, files: dict[str, bytes]):
    data = pack.read_bytes()
    with zipfile.ZipFile(pack) as zipped:
        spans = {i.filename: (i.header_offset, i.header_offset + 30 + len(i.filename) + i.file_size)
                 for i in zipped.infolist()}  # fmt: skip
    drawn = random.Random(1)

    for name, (start, end) in spans.items():
        for place in (start, drawn.randrange(start, end), end - 1):
            changed = bytearray(data)
            changed[place] ^= 1 << drawn.randrange(8)
            assert {fault.file for fault in container.read(bytes(changed)).faults} == {name}


def test_a_changed_byte_behind_the_files_is_found(pack: Path):
    data = pack.read_bytes()
    start = data.rindex(b"PK\x05\x06") - 60

    for place in range(start, len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        assert container.read(bytes(changed)).faults


def test_nothing_is_computed_from_a_damaged_file(pack: Path, files: dict[str, bytes], tmp_path: Path):
    name = next(name for name in files if name.endswith("answers.parquet"))
    data = bytearray(pack.read_bytes())
    data[data.index(files[name]) + 100] ^= 4
    broken = tmp_path / "broken.zip"
    broken.write_bytes(data)

    report = verify_pack(broken)

    assert [(check.name, check.file) for check in report.failed] == [("file", name)]
    assert report.checks[-1].found == "not recomputed: the pack is damaged"


def test_files_that_another_program_changed_added_or_left_out_are_named(
    files: dict[str, bytes], pack: Path, tmp_path: Path
):
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(pack) as old, zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as new:
        new.comment = old.comment
        for name in old.namelist():
            if name != "prices.json":
                new.writestr(name, old.read(name) + (b" " if name == "report.html" else b""))
        new.writestr("more.txt", "hello")
        new.writestr("../evil.txt", "hello")

    found = {check.file: check.found for check in verify_pack(other).failed}

    assert found == {
        "../evil.txt": "such a name may not stand in a pack",
        "more.txt": "the manifest does not list it",
        "prices.json": "it is missing",
        "report.html": "its content was changed",
    }


def test_a_manifest_made_to_fit_is_found_by_the_comment_and_by_the_seal(
    files: dict[str, bytes], pack: Path, tmp_path: Path
):
    forged = _sealed({**files, "README.txt": b"hello"}, tmp_path / "forged.zip")
    data = forged.read_bytes()
    kept = tmp_path / "kept.zip"
    kept.write_bytes(data[:-64] + seal(pack).encode())

    assert [check.file for check in verify_pack(kept).failed] == ["manifest.json"]
    assert [check.name for check in verify_pack(forged, sha256=seal(pack)).failed] == ["seal", "contents"]
    assert verify_pack(pack, sha256=seal(pack)).ok


FORGERIES = [
    ("records/verdict", lambda b: b["body"].update(outcome="better"), "verdict"),
    ("records/verdict", lambda b: b["body"]["bars"][0].update(p_value=0.01), "verdict"),
    ("records/verdict", lambda b: b["made_by"]["config"]["bars"][0].update(margin=0.2), "record"),
    ("records/verdict", lambda b: b.update(holdout_use=3), "holdout"),
    ("records/costreport", lambda b: b["table"]["options"][0].update(usd_per_month="1"), "costs"),
    ("records/costreport", lambda b: b["table"].update(break_even_requests=1), "cost"),
    ("report.json", lambda b: b["candidates"][0]["accuracy"].update(value=0.99), "report"),
    ("report.json", lambda b: b.update(cost_sentence="It is free."), "report"),
    ("summaries.json", lambda b: next(iter(b.values())).update(macro_f1=0.123), "metrics"),
    ("prices.json", lambda b: b[0].update(usd="0.01"), "prices"),
    ("holdout.json", lambda b: b["uses"].clear(), "holdout"),
    ("prompts.json", lambda b: b["task"].update(instruction="Be kind."), "contents"),
]


@pytest.mark.parametrize(("start", "change", "caught_by"), FORGERIES)
def test_a_forged_number_is_recomputed_though_every_checksum_is_right(
    files: dict[str, bytes], tmp_path: Path, start: str, change: Callable[[dict], None], caught_by: str
):
    name = next(name for name in files if name.startswith(start))

    assert caught_by in _failed(_forged(files, name, change, tmp_path / "forged.zip"))


def test_a_forged_answer_score_or_page_is_recomputed(files: dict[str, bytes], tmp_path: Path):
    answers = next(name for name in files if name.endswith("answers.parquet"))
    table = pq.read_table(io.BytesIO(files[answers]))
    texts = pa.array(["nonsense"] * table.num_rows, pa.string())
    sink = io.BytesIO()
    pq.write_table(table.set_column(table.column_names.index("text"), "text", texts), sink)
    page = files["report.html"].replace(b"Accuracy", b"Certainty", 1).replace(b"accuracy", b"certainty", 1)

    assert "row" in _failed(_sealed({**files, answers: sink.getvalue()}, tmp_path / "answer.zip"))
    assert _failed(_sealed({**files, "report.html": page}, tmp_path / "page.zip")) == {"page"}


def test_a_record_that_is_missing_is_a_finding_and_never_made(files: dict[str, bytes], tmp_path: Path):
    name = next(name for name in files if name.startswith("records/candidate"))
    kept = {key: value for key, value in files.items() if key != name}

    report = verify_pack(_sealed(kept, tmp_path / "less.zip"))

    assert not report.ok
    assert any("missing" in check.found for check in report.failed)


@pytest.mark.parametrize("content", [b"", b"PK", b"hello" * 100, b"PK\x05\x06" + b"\0" * 18])
def test_what_is_no_pack_is_a_clear_error_or_a_finding(content: bytes, tmp_path: Path):
    path = tmp_path / "no.zip"
    path.write_bytes(content)

    try:
        report = verify_pack(path)
    except DataError as failure:
        assert "a pack was expected" in str(failure)
    else:
        assert [check.file for check in report.failed] == ["manifest.json"]


def test_a_pack_that_was_cut_off_is_a_clear_error(pack: Path, tmp_path: Path):
    short = tmp_path / "short.zip"
    short.write_bytes(pack.read_bytes()[:-5000])

    with pytest.raises(DataError, match="damaged or cut off"):
        verify_pack(short)
    with pytest.raises(NotFoundError, match="there is no file"):
        verify_pack(tmp_path / "none.zip")


def test_a_zip_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("a.txt", bytes(2_000_000))
    monkeypatch.setattr(container, "MAX_BYTES", 1_000_000)

    with pytest.raises(DataError, match="2,000,000 bytes unpacked"):
        verify_pack(bomb)


def test_names_of_files_are_plain():
    assert [name for name in ("a.json", "records/a-b.json", "files/x/y.parquet") if not safe(name)] == []
    assert [
        name for name in ("../a", "/a", "a/../b", ".a", "a\\b", "a//b", "", "a/", "ä") if safe(name)
    ] == []


def test_differences_tell_the_place():
    assert list(differences({"a": [1, 2.0]}, {"a": [1, 2.0 + 1e-12]})) == []
    assert list(differences({"a": [1, 2], "b": 1}, {"a": [1, 3]})) == [
        "a[1] is 2, recomputed 3",
        "b is only in what was packed",
    ]
    assert list(differences(True, 1)) == ["(all) is True, recomputed 1"]


def test_the_table_names_what_failed(
    pack: Path, files: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture
):
    forged = _forged(
        files, "summaries.json", lambda b: next(iter(b.values())).update(macro_f1=0.123), tmp_path / "f.zip"
    )

    show_packed(pack, json=False)
    show_verified(verify_pack(forged), json=False)
    text = capsys.readouterr().out
    show_verified(verify_pack(forged), json=True)

    assert seal(pack) in text
    assert "WRONG" in text and "summaries.json" in text and "1 check(s) failed" in text
    assert json.loads(capsys.readouterr().out)["ok"] is False
