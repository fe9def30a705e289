"""The store of calls: what goes in comes out, in pages, in sums, and what is too old goes; a file or PostgreSQL."""

import json
import math
import threading
import time

import pytest

from offramp.capture import Call, Calls, Traffic
from offramp.errors import DataError, NotFoundError, StoreError


def call(n: int, **more) -> Call:
    given = {
        "alias": "tickets",
        "flavor": "chat",
        "route": "record",
        "status": 200,
        "answered_by": "openai",
        **more,
    }
    return Call(id=f"call-{n:05}", at=1000.0 + n, request=b'{"n":%d}' % n, **given)


@pytest.fixture(params=["file", "postgresql"])
def where(request, tmp_path):
    return tmp_path / "calls.db" if request.param == "file" else request.getfixturevalue("postgres").place()


@pytest.fixture
def calls(where):
    store = Calls.open(where)
    yield store
    store.close()


def test_opening_touches_nothing(tmp_path):
    Calls.open(tmp_path / "missing" / "calls.db")

    assert list(tmp_path.iterdir()) == []


def test_writing_the_same_calls_again_changes_nothing(calls):
    calls.insert([call(1), call(2)])
    calls.insert([call(2, alias="changed"), call(3)])

    assert [(one.id, one.alias) for one in calls.each()] == [
        ("call-00001", "tickets"),
        ("call-00002", "tickets"),
        ("call-00003", "tickets"),
    ]


def test_a_batch_of_any_size_is_written(calls):
    for start, size in ((0, 0), (1000, 1), (2000, 63), (3000, 64), (4000, 201)):
        calls.insert([call(start + n) for n in range(size)])

    assert calls.count() == 0 + 1 + 63 + 64 + 201


def test_a_batch_with_a_call_that_cannot_be_written_writes_none(calls):
    with pytest.raises(DataError, match=r"OverflowError|NumericValueOutOfRange"):
        calls.insert([call(1), call(2, input_tokens=10**30)])
    with pytest.raises(DataError, match="IntegrityError"):
        calls.insert([call(1), call(2, alias=None)])

    assert calls.count() == 0


def test_an_error_of_the_database_does_not_repeat_what_people_wrote(calls):
    with pytest.raises(DataError) as raised:
        calls.insert([call(1, alias=None, error="ann.lee@example.com")])

    assert "ann.lee" not in str(raised.value)


def test_a_call_that_is_not_there_is_said_so(calls):
    with pytest.raises(NotFoundError, match="call-x"):
        calls.get("call-x")

    assert not calls.has("call-x")


def test_calls_are_read_in_pages_by_alias_and_time(calls):
    calls.insert([call(n, alias="tickets" if n % 2 else "mails") for n in range(2500)])

    assert [one.at for one in calls.each(alias="mails", since=1000.0 + 2490)] == [
        3490.0,
        3492.0,
        3494.0,
        3496.0,
        3498.0,
    ]
    assert len(list(calls.each())) == 2500
    assert [one.at for one in calls.each(limit=1001)][-1] == 2000.0
    assert list(calls.each(limit=0)) == []
    assert [batch.num_rows for batch in calls.batches()] == [1000, 1000, 500]


def test_calls_of_one_moment_are_each_read_once(calls):
    many = [call(n) for n in range(2100)]
    for one in many:
        one.at = 5.0
    calls.insert(many)

    assert [one.id for one in calls.each()] == [one.id for one in many]


def test_a_table_has_a_column_for_each_field_and_bytes_for_bodies(calls):
    calls.insert([call(1, tags={"team": "cards"}, stream=True, answer=b"\xff\x00", latency_s=0.5)])

    table = calls.read()

    assert table.column_names[:4] == ["id", "at", "alias", "flavor"]
    row = table.to_pylist()[0]
    assert (row["tags"], row["stream"], row["answer"], row["latency_s"]) == (
        '{"team": "cards"}',
        True,
        b"\xff\x00",
        0.5,
    )
    assert calls.read(alias="nothing").schema == table.schema


def test_the_summary_counts_by_alias_route_and_answerer(calls):
    fast = [
        call(n, latency_s=(n + 1) / 100, input_tokens=10, output_tokens=1, cost_usd=0.5) for n in range(100)
    ]
    bad = [
        call(200, status=502, answered_by=None, error="upstream"),
        call(201, route="canary", answered_by="ours"),
    ]
    calls.insert(fast + bad)

    canary, nobody, incumbent = sorted(calls.summary(), key=lambda t: (t.route, t.answered_by or ""))

    assert incumbent == Traffic("tickets", "record", "openai", 100, 0, 0.5, 0.95, 1000, 100, 50.0, 0)
    assert (nobody.calls, nobody.errors, nobody.cost_usd, nobody.unpriced) == (1, 1, 0.0, 1)
    assert (canary.answered_by, canary.calls, canary.input_tokens) == ("ours", 1, 0)
    assert [t.calls for t in calls.summary(since=1200.0, until=1201.0)] == [1]
    assert calls.summary(since=9e9) == []


def test_each_client_pays_for_its_calls_and_nobody_for_shadows(calls):
    calls.insert(
        [
            call(1, client="shop", cost_usd=1.0),
            call(2, client="shop", cost_usd=0.5),
            call(3, client="shop", cost_usd=9.0, route="shadow"),
            call(4, client="bank"),
            call(5, cost_usd=0.25),
        ]
    )

    assert calls.spending(since=0) == {"shop": 1.5, "bank": 0.0, None: 0.25}
    assert calls.spending(since=1004.0) == {"bank": 0.0, None: 0.25}


def test_feedback_is_kept_also_for_a_call_that_is_still_on_its_way(calls):
    calls.feedback("call-9", "thumb", "up", at=3.0)
    calls.feedback("call-9", "label", "refund", at=1.0)
    calls.feedback("call-9", "outcome", {"solved": True}, at=2.0)
    calls.feedback("call-9", "outcome", 4.5, at=4.0)

    assert calls.feedback_table().to_pylist() == [
        {"call_id": "call-9", "kind": "label", "value": "refund", "at": 1.0},
        {"call_id": "call-9", "kind": "outcome", "value": '{"solved": true}', "at": 2.0},
        {"call_id": "call-9", "kind": "thumb", "value": "up", "at": 3.0},
        {"call_id": "call-9", "kind": "outcome", "value": "4.5", "at": 4.0},
    ]
    assert calls.feedback_table(kinds=["label"], since=2.0).num_rows == 0


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("stars", 5),
        ("thumb", "sideways"),
        ("thumb", True),
        ("edit", ""),
        ("edit", "  "),
        ("label", None),
        ("label", ["a"]),
        ("edit", "x" * 1_000_001),
        ("outcome", None),
        ("outcome", math.nan),
        ("outcome", {1, 2}),
    ],
)
def test_feedback_that_means_nothing_is_refused(calls, kind, value):
    with pytest.raises(DataError, match="feedback") as raised:
        calls.feedback("call-1", kind, value, at=0.0)

    assert len(str(raised.value)) < 250


def test_old_calls_go_with_their_feedback(calls):
    calls.insert([call(n) for n in range(1500)])
    calls.feedback("call-00001", "thumb", "up", at=0.0)
    calls.feedback("call-01499", "thumb", "up", at=0.0)

    assert calls.prune(older_than=1000.0 + 1490) == 1490

    assert [one.id for one in calls.each(limit=1)] == ["call-01490"]
    assert calls.feedback_table().column("call_id").to_pylist() == ["call-01499"]
    assert calls.prune(older_than=0.0) == 0


def test_a_file_shrinks_when_old_calls_go(tmp_path):
    calls = Calls.open(tmp_path / "calls.db")
    calls.insert([call(n, answer=b"x" * 5000) for n in range(1500)])
    calls.close()
    before = (tmp_path / "calls.db").stat().st_size

    calls.prune(older_than=1000.0 + 1490)
    calls.close()

    assert (tmp_path / "calls.db").stat().st_size < before / 20


def test_the_oldest_go_until_the_rest_fits(calls):
    calls.insert([call(n, answer=b"x" * 9_700 if n < 10 else b"") for n in range(20)])

    assert calls.prune(largest_bytes=10**9) == 0
    assert calls.prune(largest_bytes=30_000) == 8
    assert calls.prune(largest_bytes=0, most=5) == 5
    assert calls.count() == 7


def test_a_store_in_a_folder_that_is_not_there_says_so(tmp_path):
    with pytest.raises(StoreError, match="is the disk full"):
        Calls.open(tmp_path / "missing" / "calls.db").count()


def test_reading_a_long_store_holds_no_lock(calls):
    calls.insert([call(n) for n in range(1500)])
    reading = calls.each()
    next(reading)

    began = time.perf_counter()
    calls.insert([call(9000)])

    assert time.perf_counter() - began < 1.0
    assert len(list(reading)) == 1500
    assert json.loads(calls.get("call-09000").request or b"") == {"n": 9000}
    reading.close()


def test_every_field_comes_back_as_it_went_in(calls):
    whole = call(
        1,
        answer=bytes(range(256)),
        latency_s=0.1 + 0.2,
        client="größe 漢字 🙂",
        deployment="d" * 10_000,
        model="'; DROP TABLE calls; -- %s ? :x",
        stream=True,
        error="\n\t\\",
        first_token_s=5e-324,
        input_tokens=2**63 - 1,
        output_tokens=0,
        cached_tokens=-(2**63),
        cost_usd=1.7976931348623157e308,
        confidence=1.0,
        ood=0.0,
        tags={"a": "b", "c": "{}"},
        attempts=3,
        shadow_of="call-0",
        left_out="",
    )
    calls.insert([whole, call(2)])

    assert calls.get("call-00001") == whole
    assert calls.get("call-00002") == call(2)


def test_calls_of_one_moment_come_in_the_order_of_their_ids_byte_by_byte(calls):
    ids = ["B", "a", "call-1", "call-A", "call_1", "é"]
    many = [call(0) for _ in ids]
    for one, name in zip(many, reversed(ids), strict=True):
        one.id = name
    calls.insert(many)

    assert [one.id for one in calls.each()] == ids


def test_a_call_of_which_nothing_can_be_summed_is_refused(calls):
    with pytest.raises(DataError, match="IntegrityError"):
        calls.insert([call(1), call(2, latency_s=math.nan)])

    assert calls.count() == 0


def test_feedback_may_hold_any_character_that_json_can(calls):
    calls.feedback("call-1", "edit", "a\0b", at=1.0)
    with pytest.raises(DataError, match="UnicodeEncodeError"):
        calls.feedback("call-1", "edit", "half a \ud83d smile", at=2.0)

    assert calls.feedback_table().column("value").to_pylist() == ["a\N{REPLACEMENT CHARACTER}b"]


def test_what_others_made_meanwhile_is_used(where):
    stores = [Calls.open(where) for _ in range(6)]
    failures = []

    def use(store: Calls, n: int) -> None:
        try:
            store.insert([call(n)])
        except StoreError as failure:
            failures.append(failure)

    threads = [threading.Thread(target=use, args=(store, n)) for n, store in enumerate(stores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert stores[0].count() == 6
    for store in stores:
        store.close()
