"""The recorder: `put` never waits or raises, what waits is bounded, what is confirmed is on disk, faults heal."""

import asyncio
import json
import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from offramp.capture import Call, Calls, CaptureSettings, Recorder, new_id
from offramp.errors import ConfigError, DataError, StoreError

FAST = CaptureSettings(flush_s=0.002)


def call(**changes) -> Call:
    given = Call(
        id=new_id(),
        at=1_780_000_000.5,
        alias="tickets",
        flavor="chat",
        route="record",
        status=200,
        request=b'{"model":"tickets","messages":[{"role":"user","content":"Where is my card?"}]}',
        answer=b'{"choices":[{"message":{"role":"assistant","content":"card_arrival"}}]}',
        latency_s=0.25,
        client="shop",
        deployment="deployment-1",
        answered_by="openai",
        model="gpt-4o-mini",
        stream=True,
        first_token_s=0.125,
        input_tokens=20,
        output_tokens=4,
        cached_tokens=8,
        confidence=0.75,
        ood=0.5,
        conversation="c-1",
        tags={"team": "cards"},
        attempts=2,
        shadow_of="call-0",
    )
    return replace(given, **changes)


def recorder(path: Path, settings: CaptureSettings = FAST, **more) -> Recorder:
    made = Recorder(Calls.open(path / "calls.db"), settings, **more)
    made.start()
    return made


def on_disk(path: Path) -> int:
    connection = sqlite3.connect(path / "calls.db")
    try:
        return connection.execute("SELECT count(*) FROM calls").fetchone()[0]
    finally:
        connection.close()


def test_a_call_comes_back_as_it_was_put(tmp_path):
    recording, given = recorder(tmp_path), call()

    assert recording.put(given)
    assert recording.flush()

    assert recording.is_written(given.id)
    assert Calls.open(tmp_path / "calls.db").get(given.id) == call(id=given.id)
    assert (recording.written, recording.dropped, recording.failed, recording.queued) == (1, 0, 0, 0)
    assert recording.stop()


def test_a_call_is_not_confirmed_before_it_is_written(tmp_path):
    recording, given = Recorder(Calls.open(tmp_path / "calls.db"), FAST), call()

    recording.put(given)

    assert not recording.is_written(given.id)
    assert recording.queued == 1


def test_stop_writes_what_waits_and_takes_no_more(tmp_path):
    recording = recorder(tmp_path, CaptureSettings(flush_s=60))
    for _ in range(1234):
        recording.put(call())

    assert recording.stop(10)
    assert not recording.put(call())

    assert on_disk(tmp_path) == 1234
    assert (recording.written, recording.dropped) == (1234, 1)


def test_a_full_queue_drops_and_counts_and_the_rest_is_written(tmp_path):
    recording = Recorder(Calls.open(tmp_path / "calls.db"), CaptureSettings(queue_calls=3))

    taken = [recording.put(call()) for _ in range(5)]
    recording.start()
    recording.stop()

    assert taken == [True, True, True, False, False]
    assert (recording.written, recording.dropped) == (3, 2)


def test_bodies_that_wait_are_bounded_in_bytes_too(tmp_path):
    recording = Recorder(Calls.open(tmp_path / "calls.db"), CaptureSettings(queue_bytes=100_000))

    assert recording.put(call(request=b"x" * 90_000))
    assert not recording.put(call(request=b"x" * 90_000))
    assert recording.put(call(request=b"x", answer=None))


def test_put_never_raises_whatever_it_is_given(tmp_path):
    recording = recorder(tmp_path)

    assert not recording.put(None)
    assert not recording.put(call(request=3))
    assert recording.put(call(tags=3))
    assert recording.put(call(alias=object()))
    assert recording.put(call())
    recording.stop()

    assert (recording.failed, recording.written) == (4, 1)


def test_a_call_that_no_database_takes_costs_its_neighbours_nothing(tmp_path):
    recording = recorder(tmp_path)
    odd = call(error="half a \ud83d smile", input_tokens=10**30, latency_s=float("nan"), ood=float("inf"))

    for given in (call(), odd, call()):
        recording.put(given)
    recording.flush()

    kept = Calls.open(tmp_path / "calls.db").get(odd.id)
    assert (kept.error, kept.input_tokens, kept.latency_s, kept.ood) == ("half a ? smile", None, 0.0, None)
    assert (recording.written, recording.failed) == (3, 0)


def test_half_of_the_calls_are_sampled_and_a_shadow_follows_its_call(tmp_path):
    recording = Recorder(Calls.open(tmp_path / "calls.db"), CaptureSettings(sample_ratio=0.5))
    ids = [f"call-{n}" for n in range(2000)]

    taken = [recording.put(call(id=n, shadow_of=None)) for n in ids]
    shadows = [recording.put(call(shadow_of=n)) for n in ids]

    assert shadows == taken
    assert 900 < sum(taken) < 1100
    assert recording.skipped == 4000 - 2 * sum(taken)
    assert recording.dropped == 0


def test_nothing_is_recorded_when_capture_is_off(tmp_path):
    recording = recorder(tmp_path, CaptureSettings(enabled=False))

    assert not recording.put(call())
    assert recording.stop()
    assert not (tmp_path / "calls.db").exists()


def test_ids_sort_by_time_and_differ_between_processes(tmp_path):
    code = "from offramp.capture.call import new_id; import random; random.seed(0); print(new_id())"
    ids = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(2)
    ]

    assert ids == sorted(ids)
    assert ids[0][17:] != ids[1][17:]
    assert len({new_id() for _ in range(10_000)}) == 10_000
    assert len(new_id()) == len("call-") + 12 + 16


def test_a_clock_that_goes_back_loses_nothing(tmp_path):
    recording = recorder(tmp_path)
    for at in (1000.0, 990.0, 1001.0, -5.0):
        recording.put(call(at=at))
    recording.flush()

    calls = Calls.open(tmp_path / "calls.db")
    assert [one.at for one in calls.each()] == [-5.0, 990.0, 1000.0, 1001.0]
    assert [one.at for one in calls.each(since=995.0)] == [1000.0, 1001.0]


def test_the_price_is_filled_in_and_an_unknown_one_stays_unknown(tmp_path):
    def price(one):
        if one.model == "broken":
            raise RuntimeError("no price book")
        return {"cheap": 0.25}.get(one.model)

    recording = recorder(tmp_path, price=price)
    ids = {}
    for model in ("cheap", "unheard of", "broken"):
        given = call(model=model)
        ids[model] = given.id
        recording.put(given)
    recording.flush()

    calls = Calls.open(tmp_path / "calls.db")
    costs = {model: calls.get(one).cost_usd for model, one in ids.items()}
    assert costs == {"cheap": 0.25, "unheard of": None, "broken": None}


# ---- faults ----------------------------------------------------------------------------------------------------


def test_a_missing_folder_is_waited_for_and_said_once_each_way(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    folder = tmp_path / "unmounted"
    recording = recorder(folder, CaptureSettings(flush_s=0.002, queue_calls=10))
    taken = [recording.put(call()) for _ in range(20)]
    assert not recording.flush(0.1)
    assert not recording.healthy

    folder.mkdir()

    assert recording.flush(5)
    assert recording.healthy
    assert (taken.count(True), recording.written, recording.dropped) == (10, 10, 10)
    assert on_disk(folder) == 10
    said = [record.getMessage() for record in caplog.records]
    assert [text.split(",")[0].split(";")[0] for text in said] == [
        "calls are not recorded for now",
        "calls are recorded again",
    ]
    recording.stop()


def test_a_database_locked_by_another_process_is_waited_for(tmp_path):
    Calls.open(tmp_path / "calls.db").count()
    other = sqlite3.connect(tmp_path / "calls.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    recording = recorder(tmp_path)

    taken_s = time.perf_counter()
    recording.put(call())
    taken_s = time.perf_counter() - taken_s
    still_waiting = not recording.flush(0.05)
    other.execute("COMMIT")

    assert still_waiting
    assert taken_s < 0.02
    assert recording.flush(10)
    assert recording.written == 1
    other.close()
    recording.stop()


FULL_DISK = """
import resource, sys, json, time
from pathlib import Path
from offramp.capture import Call, Calls, CaptureSettings, Recorder, new_id
folder = Path(sys.argv[1])
recording = Recorder(Calls.open(folder / "calls.db"), CaptureSettings(flush_s=0.002, batch=20))
recording.start()
def some(n):
    made = [Call(new_id(), time.time(), "t", "chat", "record", 200, b"x" * 10_000) for _ in range(n)]
    for one in made:
        recording.put(one)
    return [one.id for one in made]
first = some(20)
before = recording.flush(5)
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
second = some(200)
full = recording.flush(0.3)
ill = not recording.healthy
confirmed = [one for one in first + second if recording.is_written(one)]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
after = recording.flush(10)
kept = all(recording.is_written(one) for one in first + second)
early = len(confirmed)
print(json.dumps([before, full, ill, 20 <= early < 220, after, kept, recording.written, recording.dropped]))
"""


def test_a_full_disk_stops_nothing_and_what_was_confirmed_stays(tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True
    )

    assert json.loads(found.stdout) == [True, False, True, True, True, True, 220, 0]


def test_a_file_that_was_deleted_or_replaced_is_made_anew(tmp_path):
    recording = recorder(tmp_path)
    recording.put(call())
    recording.flush()

    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"calls.db{suffix}").unlink(missing_ok=True)
    recording.put(call())
    recording.flush()

    assert on_disk(tmp_path) == 1
    assert recording.written == 2
    recording.stop()


def test_a_file_that_is_no_database_is_left_alone_and_waited_for(tmp_path):
    (tmp_path / "calls.db").write_text("these are somebody's notes, not a database " * 50)
    recording = recorder(tmp_path)
    recording.put(call())

    assert not recording.flush(0.1)
    assert (tmp_path / "calls.db").read_text().startswith("these are somebody's notes")
    (tmp_path / "calls.db").unlink()

    assert recording.flush(5)
    assert on_disk(tmp_path) == 1
    recording.stop()


def test_stop_does_not_wait_for_a_dead_disk_and_counts_what_is_lost(tmp_path):
    recording = recorder(tmp_path / "gone")
    recording.put(call())

    assert not recording.stop(0.05)
    assert (recording.dropped, recording.queued) == (1, 0)


def test_a_store_of_a_newer_version_is_refused(tmp_path):
    Calls.open(tmp_path / "calls.db").count()
    connection = sqlite3.connect(tmp_path / "calls.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(StoreError, match="found version 99"):
        Calls.open(tmp_path / "calls.db").count()


def test_what_was_confirmed_survives_sigkill(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "bench/capture_kill.py", "record", str(tmp_path / "calls.db")],
        cwd=Path(__file__).resolve().parent.parent,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    confirmed = [child.stdout.readline().split()[1] for _ in range(300)]
    child.kill()
    confirmed += [line.split()[1] for line in child.stdout.read().splitlines() if line.count(" ") == 1]
    child.stdout.close()
    child.wait()

    calls = Calls.open(tmp_path / "calls.db")
    assert len(confirmed) >= 300
    assert all(calls.has(one) for one in confirmed[:-1])
    assert all(json.loads(one.request)["metadata"]["n"] >= 0 for one in calls.each())


# ---- many at once ----------------------------------------------------------------------------------------------


def test_threads_may_put_at_once(tmp_path):
    recording = recorder(tmp_path)
    threads = [threading.Thread(target=lambda: [recording.put(call()) for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert recording.flush(10)
    assert recording.written == on_disk(tmp_path) == 800
    recording.stop()


def test_processes_may_write_to_one_file_at_once(tmp_path):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from offramp.capture import Call, Calls, CaptureSettings, Recorder, new_id\n"
        "recording = Recorder(Calls.open(Path(sys.argv[1])), CaptureSettings(flush_s=0.002, batch=10))\n"
        "recording.start()\n"
        "for _ in range(300): recording.put(Call(new_id(), time.time(), 't', 'chat', 'record', 200, b'{}'))\n"
        "sys.exit(0 if recording.stop(20) else 1)\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "calls.db")]) for _ in range(3)]

    assert [child.wait() for child in children] == [0, 0, 0]
    assert on_disk(tmp_path) == 900


def test_put_is_cheap_and_does_not_hold_the_loop_up(tmp_path):
    recording = Recorder(Calls.open(tmp_path / "calls.db"), CaptureSettings())
    given = [call() for _ in range(2000)]

    async def serve() -> float:
        best = 1.0
        for start in range(0, 2000, 200):
            began = time.process_time()
            for one in given[start : start + 200]:
                recording.put(one)
            best = min(best, (time.process_time() - began) / 200)
            await asyncio.sleep(0)
        return best

    assert asyncio.run(serve()) < 3e-6


def test_the_recorder_loads_no_arrow_and_no_torch():
    code = (
        "import sys; from offramp.capture import Recorder\n"
        "print([m for m in ('pyarrow', 'torch') if m in sys.modules])"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def test_masking_needs_somebody_who_masks(tmp_path):
    with pytest.raises(ConfigError, match="nothing that masks"):
        Recorder(Calls.open(tmp_path / "calls.db"), CaptureSettings(personal="mask"))


def test_feedback_is_masked_as_calls_are_or_not_kept(tmp_path):
    def redact(texts, conversation):
        if "broken" in texts[0]:
            raise RuntimeError(texts[0])
        return [text.replace("Ann", "[PERSON_1]") for text in texts]

    recording = recorder(tmp_path, CaptureSettings(personal="mask"), redact=redact)

    recording.feedback("call-1", "edit", "Dear Ann", at=1.0)
    with pytest.raises(DataError, match="could not be masked"):
        recording.feedback("call-1", "edit", "broken Ann", at=2.0)

    assert Calls.open(tmp_path / "calls.db").feedback_table().column("value").to_pylist() == [
        "Dear [PERSON_1]"
    ]
    recording.stop()


def test_old_calls_are_deleted_by_the_recorder(tmp_path):
    now = time.time()
    Calls.open(tmp_path / "calls.db").insert([call(at=now - 3 * 86_400), call(at=now)])
    recording = recorder(tmp_path, CaptureSettings(flush_s=0.002, keep_days=2))

    recording.put(call(at=now))
    recording.flush()
    recording.stop()

    assert sorted(one.at for one in Calls.open(tmp_path / "calls.db").each()) == [now, now]


def test_calls_are_readable_by_their_owner_only(tmp_path):
    recording = recorder(tmp_path)
    recording.put(call())
    recording.flush()

    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("calls.db*")}
    assert set(modes.values()) == {0o600}
    assert os.access(tmp_path / "calls.db", os.R_OK)
    recording.stop()
