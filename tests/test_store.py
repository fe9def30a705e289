"""The store: a record exists whole or not at all."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from offramp.errors import NotFoundError, StoreError
from offramp.store import Store, read_table, write_json, write_text
from offramp.types import Candidate, Dataset, MadeBy, Task, content_id


def _candidate(name: str = "linear", parents: tuple[str, ...] = ()) -> Candidate:
    return Candidate(
        id=content_id("candidate", name),
        name=name,
        title=name,
        engine="linear",
        rung=1,
        parents=parents,
        made_by=MadeBy(version="0"),
    )


def test_a_record_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        candidate = store.add(_candidate())

        assert store.get(candidate.id, Candidate) == candidate
        assert store.all(Candidate) == [candidate]
        assert store.has(candidate.id)


def test_files_move_in_with_the_record_and_adding_again_changes_nothing(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        candidate = _candidate()
        write_json({"a": 1}, store.workdir(candidate.id) / "x.json")
        store.add(candidate)
        later = store.add(candidate.model_copy(update={"title": "other"}))

        assert json.loads((store.folder(candidate.id) / "x.json").read_text()) == {"a": 1}
        assert later.title == "linear"
        assert not list((tmp_path / "tmp").iterdir())


def test_files_left_by_a_crash_between_move_and_insert_are_replaced(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        candidate = _candidate()
        store.folder(candidate.id).mkdir()
        (store.folder(candidate.id) / "half").write_text("left over")
        write_json({"a": 1}, store.workdir(candidate.id) / "x.json")

        store.add(candidate)

        assert [p.name for p in store.folder(candidate.id).iterdir()] == ["x.json"]


def test_a_workdir_is_emptied_unless_it_is_resumed(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        (store.workdir("a") / "checkpoint").write_text("1")

        assert (store.workdir("a", resume=True) / "checkpoint").exists()
        assert not (store.workdir("a") / "checkpoint").exists()


def test_a_missing_record_and_one_of_another_kind_are_not_found(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        candidate = store.add(_candidate())

        with pytest.raises(NotFoundError, match="no such record"):
            store.get("nothing", Candidate)
        with pytest.raises(NotFoundError, match="is a candidate; a dataset was asked for"):
            store.get(candidate.id, Dataset)


def test_names_move_and_children_know_their_parents(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        first = store.add(_candidate("one"))
        second = store.add(_candidate("two", parents=(first.id,)))
        store.set_name("chosen", first.id)
        store.set_name("chosen", second.id)

        assert store.named("chosen") == second.id
        assert store.named("other") is None
        assert list(store.children(first.id)) == [second.id]


def test_each_claim_on_a_holdout_is_counted_once(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        assert store.spend_holdout("h", "claim-a", "a against b") == 1
        assert store.spend_holdout("h", "claim-b", "c against b") == 2
        assert store.spend_holdout("h", "claim-a", "a against b") == 1
        assert store.spend_holdout("other", "claim-a", "a against b") == 1

        assert [what for _, what, _ in store.holdout_uses("h")] == ["a against b", "c against b"]


def test_a_second_process_is_told_who_holds_the_workspace(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from offramp.store import Store\n"
        "with Store(Path(sys.argv[1])).lock():\n print('held', flush=True)\n sys.stdin.read()"
    )
    with Store(tmp_path) as store:
        other = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with other:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            with pytest.raises(StoreError, match=f"in use by process {other.pid}"), store.lock():
                pass
            other.kill()
        with store.lock():
            pass


def test_a_workspace_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path) as store, store._transaction() as connection:
        connection.exec_driver_sql("PRAGMA user_version = 99")

    with pytest.raises(StoreError, match="schema 99"):
        Store(tmp_path)


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match="a folder you may write"):
        Store(tmp_path / "file" / "ws")


def test_a_damaged_database_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "offramp.db").write_bytes(b"not a database" * 100)

    with pytest.raises(StoreError, match="using the database"):
        Store(tmp_path)


def test_a_new_workspace_may_be_opened_by_several_at_once(tmp_path: Path) -> None:
    failures = []

    def opened(folder: Path, start: threading.Barrier) -> None:
        start.wait()
        try:
            Store(folder).close()
        except StoreError as failure:
            failures.append(failure)

    for number in range(10):
        given = (tmp_path / str(number), threading.Barrier(4))
        threads = [threading.Thread(target=opened, args=given) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert failures == []


def test_a_damaged_table_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"junk")

    with pytest.raises(StoreError, match="reading"):
        read_table(tmp_path / "x.parquet")


def test_text_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    write_text("one", tmp_path / "a.txt")

    with pytest.raises(StoreError, match="full or read-only"):
        write_text("two", tmp_path / "missing" / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_dataset_keeps_its_task(tmp_path: Path) -> None:
    task = Task(name="t", inputs=("a",), target="b", labels=("x > y", "x > z"), levels=2)
    data = Dataset(id="dataset-1", stage="raw", task=task, rows=1, data_hash="h", made_by=MadeBy(version="0"))
    with Store(tmp_path) as store:
        store.add(data)

        assert store.get("dataset-1", Dataset).task == task
        assert task.is_taxonomy
