"""The store of calls in PostgreSQL: what only a server does: it restarts, hangs, refuses, belongs to others."""

import logging
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from urllib.parse import quote

import pytest

from offramp.capture import Call, Calls, CaptureSettings, Recorder, new_id
from offramp.capture.tables import without_password
from offramp.errors import ConfigError, DataError, StoreError
from postgres import KEYED, PASSWORD

FAST = CaptureSettings(flush_s=0.002, batch=50)


def call(**more) -> Call:
    given = {"alias": "tickets", "flavor": "chat", "route": "record", "status": 200, "request": b"{}", **more}
    return Call(**{"id": new_id(), "at": time.time(), **given})


@pytest.fixture
def opened():
    """Open stores that are closed at the end."""
    stores = []

    def one(url: str, **more) -> Calls:
        stores.append(Calls.open(url, **more))
        return stores[-1]

    yield one
    for store in stores:
        store.close()


def many(n: int) -> list[Call]:
    return [call() for _ in range(n)]


def whole_text(raised: pytest.ExceptionInfo[Exception]) -> str:
    return "".join(traceback.format_exception(raised.value))


@contextmanager
def frozen(postgres):
    pids = postgres.pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


# ---- addresses and passwords -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "mystery://ann:s3cret@db.example/calls",
        "postgresql://ann:top@s3cret@db.example/calls",
        "postgresql://ann@db.example:s3cret/calls",
        "postgres+asyncpg://ann:s3cret@db.example/calls",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_without_being_shown(url):
    with pytest.raises(ConfigError, match=r"postgresql://user@host/name.*psycopg") as raised:
        Calls.open(url)

    assert "s3cret" not in whole_text(raised)


def test_a_missing_driver_is_said_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(ConfigError, match=r"offramp\[postgres\]") as raised:
        Calls.open("postgresql://ann:s3" + "cret@db.example/calls")

    assert "s3cret" not in whole_text(raised)
    assert "db.example/calls" in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:s3cret@db.example/calls",
        "postgres://ann:@db.example/calls",
        "postgresql://ann@db.example/calls?password=s3cret",
        "postgresql://ann@db.example/calls?sslmode=require&sslpassword=s3cret",
    ],
)
def test_settings_hold_no_password(url):
    with pytest.raises(ConfigError, match="PGPASSWORD") as raised:
        without_password(url)

    assert "s3cret" not in whole_text(raised)


def test_an_address_without_a_password_is_passed_as_it_is():
    for url in ("postgresql://ann@db.example/calls", "postgres:///calls?host=/run/postgresql"):
        assert without_password(url) == url


def test_the_password_comes_from_the_environment(postgres, opened, monkeypatch):
    store = opened(postgres.place(user=KEYED))
    with pytest.raises(StoreError, match="no password"):
        store.count()

    monkeypatch.setenv("PGPASSWORD", PASSWORD)

    assert store.count() == 0


def test_a_password_in_the_url_is_used_and_shown_nowhere(postgres, opened, caplog):
    caplog.set_level(logging.DEBUG)
    right, wrong = quote(PASSWORD, safe=""), "wr0ng-secret"
    url = postgres.place(user=f"{KEYED}:{right}")
    good, bad = opened(url), opened(url.replace(right, wrong))

    good.insert([call()])
    with pytest.raises(StoreError) as raised:
        bad.count()
    with pytest.raises(DataError) as refused:
        good.insert([call(alias=None)])
    recording = Recorder(bad, FAST)
    recording.start()
    recording.put(call())
    recording.flush(0.2)
    recording.stop(0.1)

    said = whole_text(raised) + whole_text(refused) + caplog.text + repr(good) + repr(bad)
    assert "password authentication failed" in said
    assert "calls are not recorded for now" in caplog.text
    assert not [secret for secret in (PASSWORD, right, wrong) if secret in said]
    assert f"127.0.0.1:{postgres.port}/postgres" in str(raised.value)


# ---- whose tables ----------------------------------------------------------------------------------------------


def test_somebody_elses_table_is_left_alone(postgres, opened):
    url = postgres.place()
    schema = url.rpartition("%3D")[2]
    postgres.run(f"CREATE TABLE {schema}.calls (phone text)")

    with pytest.raises(StoreError, match="not Offramp's"):
        opened(url).insert([call()])


def test_tables_of_a_newer_version_are_refused(postgres, opened):
    url = postgres.place()
    opened(url).count()
    postgres.run(f"COMMENT ON TABLE {url.rpartition('%3D')[2]}.calls IS 'Offramp calls, version 99'")

    with pytest.raises(StoreError, match="found version 99"):
        opened(url).count()


def test_a_store_that_may_not_be_written_is_waited_for(postgres, opened, caplog):
    url = postgres.place()
    schema = url.rpartition("%3D")[2]
    opened(url).count()
    recording = Recorder(opened(url.replace("offramp@", f"{KEYED}:{quote(PASSWORD, safe='')}@")), FAST)
    recording.start()
    recording.put(call())
    early = recording.flush(0.1)

    postgres.run(f"GRANT USAGE ON SCHEMA {schema} TO {KEYED}")
    postgres.run(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {KEYED}")

    assert not early
    assert recording.flush(10)
    postgres.run(f"REVOKE INSERT ON {schema}.calls FROM {KEYED}")
    recording.put(call())
    revoked = recording.flush(0.1)
    postgres.run(f"GRANT INSERT ON {schema}.calls TO {KEYED}")

    assert not revoked
    assert recording.flush(10)
    assert (recording.written, recording.failed) == (2, 0)
    assert [text.split(",")[0].split(";")[0] for text in caplog.messages] == [
        "calls are not recorded for now",
        "calls are recorded again",
    ] * 2
    recording.stop()


def test_tables_that_were_dropped_are_made_anew(postgres, opened):
    url = postgres.place()
    recording = Recorder(opened(url), FAST)
    recording.start()
    recording.put(call())
    recording.flush()

    postgres.run(f"DROP TABLE {url.rpartition('%3D')[2]}.calls")
    recording.put(call())

    assert recording.flush(10)
    assert (recording.written, recording.failed) == (2, 0)
    recording.stop()


def test_ids_are_ordered_byte_by_byte_whatever_the_locale(postgres, opened):
    store = opened(postgres.database("LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"))
    ids = ["B", "a", "call-1", "call-A", "call_1"]
    store.insert([call(id=name, at=1.0) for name in reversed(ids)])

    assert [one.id for one in store.each()] == ids


# ---- what goes wrong -------------------------------------------------------------------------------------------


def test_a_call_that_postgresql_does_not_take_costs_its_neighbours_nothing(postgres, opened):
    store = opened(postgres.place())
    recording = Recorder(store, FAST)
    recording.start()
    odd = call(
        error="half a \ud83d smile",
        conversation="nul \0",
        input_tokens=10**30,
        latency_s=float("nan"),
        ood=float("-inf"),
    )

    for given in (call(), odd, call(alias=object()), call()):
        recording.put(given)
    recording.flush()

    kept = store.get(odd.id)
    assert (kept.error, kept.conversation, kept.input_tokens) == ("half a ? smile", "nul �", None)
    assert (kept.latency_s, kept.ood) == (0.0, None)
    assert (recording.written, recording.failed) == (3, 1)
    recording.stop()


def test_a_server_that_restarts_loses_nothing_and_doubles_nothing(postgres, opened, caplog):
    store = opened(postgres.place(), patience_s=5)
    recording = Recorder(store, FAST)
    recording.start()
    given = many(300)
    for one in given[:100]:
        recording.put(one)
    before = recording.flush()

    postgres.stop()
    taken_s = time.perf_counter()
    for one in given[100:]:
        recording.put(one)
    taken_s = time.perf_counter() - taken_s
    down = recording.flush(0.2)
    ill = not recording.healthy
    postgres.start()

    assert (before, down, ill) == (True, False, True)
    assert taken_s < 0.1
    assert recording.flush(20)
    assert sorted(one.id for one in store.each()) == sorted(one.id for one in given)
    assert (recording.written, recording.dropped, recording.failed) == (300, 0, 0)
    assert [text.split(",")[0].split(";")[0] for text in caplog.messages] == [
        "calls are not recorded for now",
        "calls are recorded again",
    ]
    recording.stop()


def test_a_batch_under_way_when_the_server_is_killed_is_there_whole_or_not_at_all(postgres, opened):
    store = opened(postgres.place())
    store.count()
    batches = [many(200) for _ in range(200)]
    killer = threading.Timer(0.3, lambda: postgres.stop(how=signal.SIGQUIT))
    killer.start()

    returned = 0
    with pytest.raises(StoreError):
        for batch in batches:
            store.insert(batch)
            returned += 1
    killer.join()
    postgres.start()
    there = {one.id for one in store.each()}
    under_way = {one.id for one in batches[returned]}

    assert returned > 0
    assert there - under_way == {one.id for batch in batches[:returned] for one in batch}
    assert there & under_way in (set(), under_way)
    store.insert(batches[returned])
    assert store.count() == 200 * (returned + 1)


def test_a_server_that_hangs_is_given_up_in_time(postgres, opened):
    store = opened(postgres.place(more="&connect_timeout=2"), patience_s=0.3)
    store.insert([call()])

    with frozen(postgres):
        began = time.perf_counter()
        with pytest.raises(StoreError):
            store.insert([call()])
        took_s = time.perf_counter() - began

    assert took_s < 6
    store.insert([call()])
    assert store.count() == 2


def test_a_table_that_somebody_locks_is_given_up_in_time(postgres, opened):
    import psycopg

    url = postgres.place()
    store = opened(url, patience_s=0.3)
    store.insert([call()])
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE calls")
        with pytest.raises(StoreError):
            store.insert([call()])

    store.insert([call()])
    assert store.count() == 2


def test_connections_that_were_cut_while_idle_are_not_noticed(postgres, opened):
    for patience_s in (None, 5):
        url = postgres.place(more="&application_name=idle")
        store = opened(url, patience_s=patience_s)
        store.insert([call()])

        postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'idle'")

        store.insert([call()])
        assert store.count() == 2


def test_two_recorders_write_at_once_at_the_strictest_isolation(postgres, opened):
    url = postgres.place(more="%20-cdefault_transaction_isolation%3Dserializable")
    recorders = [Recorder(opened(url), FAST) for _ in range(2)]
    for one in recorders:
        one.start()
    for _ in range(400):
        for one in recorders:
            one.put(call())

    assert [one.flush(20) for one in recorders] == [True, True]
    assert opened(url).count() == 800
    assert [one.stop() for one in recorders] == [True, True]


def test_two_that_delete_old_calls_at_once_delete_each_once(postgres, opened):
    url = postgres.place()
    stores = [opened(url) for _ in range(2)]
    stores[0].insert([call(at=float(n)) for n in range(2000)])
    threads = [threading.Thread(target=store.prune, kwargs={"older_than": 1500.0}) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [one.at for one in stores[0].each(limit=1)] == [1500.0]
    assert stores[0].count() == 500
