import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.web.sse import DONE, Event, Events, event


def whole(stream):
    events = Events()
    return events.feed(stream) + events.end()


def in_parts(stream, sizes):
    """Feed the stream cut at `sizes`; return the events and the bytes that may be sent on."""
    events, found, passed, at = Events(), [], b"", 0
    for size in [*sizes, len(stream)]:
        found += events.feed(stream[at : at + size])
        passed += events.whole
        at += size
    found += events.end()
    return found, passed + events.whole


PIECES = (
    b"data: x",
    b"data:y",
    b"data",
    b"data: {",
    b"event: e",
    b"event:",
    b"id: 1",
    b"retry: 3",
    b": note",
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b" ",
    "é".encode(),
    b"\xff\x00",
)
STREAMS = st.lists(st.sampled_from(PIECES), max_size=25).map(b"".join)
CUTS = st.lists(st.integers(0, 5), max_size=60)


def test_one_line_events_are_read_in_one_go():
    assert Events().feed(b"data: a\n\ndata: b\n\n" + DONE) == [Event(b"a"), Event(b"b"), Event(b"[DONE]")]


def test_the_example_of_the_standard_reads_as_the_standard_says():
    stream = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"

    assert whole(stream) == [Event(b"first event"), Event(b"second event"), Event(b" third event")]


def test_several_data_lines_are_joined_and_an_event_without_data_is_none():
    assert whole(b"data: YHOO\ndata: +2\ndata: 10\n\nevent: nothing\n\ndata\n\ndata\ndata\n\n") == [
        Event(b"YHOO\n+2\n10"),
        Event(b""),
        Event(b"\n"),
    ]


def test_a_name_belongs_to_its_own_event_only():
    assert whole(b"event: error\ndata: 1\n\ndata: 2\n\nevent:\ndata: 3\n\n") == [
        Event(b"1", "error"),
        Event(b"2", "message"),
        Event(b"3", "message"),
    ]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_every_line_end_is_understood(end):
    lines = [b"event: e", b"data: 1", b"", b"data: 2", b"", b""]

    assert whole(end.join(lines)) == [Event(b"1", "e"), Event(b"2")]


def test_a_byte_order_mark_is_dropped_at_the_start_only():
    assert in_parts(b"\xef\xbb\xbfdata: 1\n\n\xef\xbb\xbfdata: 2\n\n", [1, 1, 1]) == (
        [Event(b"1")],
        b"data: 1\n\n\xef\xbb\xbfdata: 2\n\n",
    )


def test_an_end_without_its_empty_line_is_no_lost_event():
    events = Events()

    assert events.feed(b"data: 1\n\ndata: [DONE]") == [Event(b"1")]
    assert events.whole == b"data: 1\n\n"
    assert events.end() == [Event(b"[DONE]")]
    assert events.whole == b"data: [DONE]\n\n"
    assert events.end() == []
    assert events.whole == b""


def test_half_an_event_is_never_among_the_bytes_to_send_on():
    events = Events()

    events.feed(b": keep-alive\n\ndata: 1\n\ndata: {")

    assert events.whole == b": keep-alive\n\ndata: 1\n\n"


@pytest.mark.parametrize("sizes", [[], [3] * 20], ids=["at once", "in parts"])
def test_an_event_past_the_limit_ends_the_reading(sizes):
    events = Events(limit=20)
    assert events.feed(b"data: " + b"x" * 14 + b"\n\n") == [Event(b"x" * 14)]

    with pytest.raises(ValueError, match="at most 20 bytes"):
        for size in [*sizes, 60]:
            events.feed(b"y" * size)


def test_an_event_past_the_limit_is_refused_when_it_is_complete_too():
    with pytest.raises(ValueError, match="at most 20 bytes"):
        Events(limit=20).feed(b"data: " + b"x" * 15 + b"\n\n")


@settings(max_examples=400, deadline=None)
@given(STREAMS, CUTS)
def test_a_stream_cut_anywhere_gives_the_same_events(stream, sizes):
    found, passed = in_parts(stream, sizes)

    assert found == whole(stream)
    assert whole(passed) == found


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), CUTS)
def test_any_bytes_at_all_give_the_same_events_however_cut(stream, sizes):
    assert in_parts(stream, sizes)[0] == whole(stream)


@settings(max_examples=200, deadline=None)
@given(STREAMS.filter(bytes), CUTS)
def test_what_is_read_agrees_with_an_official_client(stream, sizes):
    from openai._streaming import SSEDecoder

    theirs = SSEDecoder()
    lines = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").decode("utf-8", "replace").split("\n")
    official = [found for line in lines[:-1] if (found := theirs.decode(line)) is not None]
    events, ours, at = Events(), [], 0
    for size in [*sizes, len(stream)]:
        ours += events.feed(stream[at : at + size])
        at += size

    # Theirs also tells of events without data, which the standard drops.
    assert [(found.data.decode("utf-8", "replace"), found.name) for found in ours if found.data] == [
        (found.data, found.event or "message") for found in official if found.data
    ]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([None, "error", "response.created"]))
def test_what_is_written_is_read_back(data, name):
    ends = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    assert whole(event(data, name)) == [Event(ends, name or "message")]


def test_an_event_is_written_as_the_apis_write_it():
    assert event(b"{}") == b"data: {}\n\n"
    assert event(b"{}", "ping") == b"event: ping\ndata: {}\n\n"
