"""Texts before they are written: everything is masked or dropped, and a cut body is whole JSON that says so."""

import json
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.capture import Call, Calls, CaptureSettings, Recorder, masking, new_id
from offramp.capture.texts import bare, cut, masked

SECRET = "ann.lee@example.com"


def call(request: bytes | None, answer: bytes | None = None, **more) -> Call:
    return Call(new_id(), 1.0, "tickets", "chat", "record", 200, request, answer, **more)


def shout(texts, conversation):
    """A redactor whose work is easy to see."""
    return [text.replace(SECRET, "[EMAIL]") for text in texts]


def body(text: str, **more) -> bytes:
    return json.dumps({"model": "tickets", "messages": [{"role": "user", "content": text}], **more}).encode()


def test_every_string_is_masked_and_the_structure_stays():
    request = {
        "model": "tickets",
        "messages": [
            {"role": "system", "content": f"Write to {SECRET}"},
            {"role": "user", "name": SECRET, "content": [{"type": "text", "text": SECRET}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "1",
                        "type": "function",
                        "function": {"name": "mail", "arguments": json.dumps({"to": SECRET})},
                    }
                ],
            },
        ],
        "temperature": 0.5,
        "metadata": {"deep": [[{"x": [SECRET, 3, None, True]}]]},
    }
    given_ = call(
        json.dumps(request).encode(), json.dumps({"choices": [{"message": {"content": SECRET}}]}).encode()
    )

    found = masked(given_, shout)

    assert found.request is not None and found.answer is not None
    assert json.loads(found.request) == json.loads(json.dumps(request).replace(SECRET, "[EMAIL]"))
    assert json.loads(found.answer) == {"choices": [{"message": {"content": "[EMAIL]"}}]}
    assert found.left_out is None
    assert SECRET.encode() in (given_.request or b"")


def test_error_tags_and_conversation_are_masked_too():
    found = masked(call(b"{}", error=f"no {SECRET}", tags={"user": SECRET}, conversation=SECRET), shout)
    other = masked(call(b"{}", conversation="b@example.com"), lambda texts, _: ["[EMAIL]" for _ in texts])

    assert (found.error, found.tags) == ("no [EMAIL]", {"user": "[EMAIL]"})
    assert found.conversation is not None and found.conversation.startswith("conversation-")
    assert found.conversation != other.conversation
    assert masked(call(b"{}", conversation="c-1"), shout).conversation == "c-1"


def test_a_key_that_occurs_twice_hides_nothing():
    found = masked(call(b'{"text": "%s", "text": "fine"}' % SECRET.encode()), shout)

    assert found.request == b'{"text":"fine"}'


@pytest.mark.parametrize(
    "request_", [b"\xff\xfe not text " + SECRET.encode(), f'{{"a": "{SECRET}"'.encode(), b"["]
)
def test_a_body_that_is_no_json_is_dropped(request_):
    found = masked(call(request_, b'{"a": 1}'), shout)

    assert (found.request, found.answer) == (None, b'{"a":1}')
    assert found.left_out == "request: no JSON, so not masked"


def test_without_masking_a_body_that_is_no_text_is_kept_as_it_came(tmp_path):
    calls = Calls.open(tmp_path / "calls.db")
    recording = Recorder(calls, CaptureSettings(flush_s=0.002))
    recording.start()
    given_ = call(b"\xff\xfe\x00 no text")

    recording.put(given_)
    recording.stop()

    assert calls.get(given_.id).request == b"\xff\xfe\x00 no text"


@pytest.mark.parametrize(
    "redact",
    [
        lambda texts, _: 1 / 0,
        lambda texts, _: [],
        lambda texts, _: [None for _ in texts],
        lambda texts, _: [*texts, "more"],
    ],
)
def test_a_redactor_that_fails_drops_the_texts_and_keeps_the_call(tmp_path, redact, caplog):
    calls = Calls.open(tmp_path / "calls.db")
    recording = Recorder(calls, CaptureSettings(personal="mask", flush_s=0.002), redact=redact)
    recording.start()
    given_ = call(
        body(SECRET), body(SECRET), error=SECRET, conversation=SECRET, tags={"who": SECRET}, input_tokens=7
    )

    recording.put(given_)
    recording.stop()

    kept = calls.get(given_.id)
    assert (kept.request, kept.answer, kept.tags) == (None, None, {})
    assert (kept.error, kept.left_out, kept.input_tokens) == ("left out", "texts: could not be masked", 7)
    assert (recording.unmasked, recording.written) == (1, 1)
    calls.close()
    assert b"ann.lee" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert SECRET not in caplog.text


def test_json_deeper_than_any_request_is_dropped(tmp_path):
    calls = Calls.open(tmp_path / "calls.db")
    recording = Recorder(calls, CaptureSettings(personal="mask", flush_s=0.002), redact=shout)
    recording.start()
    deep = call(b'{"a":' * 500 + json.dumps(SECRET).encode() + b"}" * 500)
    deeper = call(b"[" * 100_000 + b"]" * 100_000)

    recording.put(deep)
    recording.put(deeper)
    recording.stop()

    assert (calls.get(deep.id).request, calls.get(deeper.id).request) == (None, None)
    assert recording.written == 2


@pytest.mark.slow
def test_the_real_redactor_counts_people_within_a_conversation():
    from offramp.curate.personal import Redactor

    redact = masking(Redactor(None))

    first = redact(["mail a@example.com or b@example.com", "again b@example.com"], "one")
    later = redact(["b@example.com"], "one")
    other = redact(["b@example.com"], "two")

    assert first == ["mail [EMAIL_ADDRESS_1] or [EMAIL_ADDRESS_2]", "again [EMAIL_ADDRESS_2]"]
    assert (later, other) == (["[EMAIL_ADDRESS_2]"], ["[EMAIL_ADDRESS_1]"])


class Finder:
    """A redactor that finds one word; it has the two methods of the real one that are used."""

    def __init__(self) -> None:
        self.searched: list[str] = []

    def find_all(self, texts):
        self.searched += texts
        return [text.find(SECRET) for text in texts]

    def replace(self, text, spans, *, conversation):
        at = spans
        return SimpleNamespace(
            text=text if at < 0 else f"{text[:at]}[{conversation}]{text[at + len(SECRET) :]}"
        )


def test_a_text_that_comes_again_is_replaced_anew_and_not_searched_again():
    finder = Finder()
    redact = masking(finder)
    finder.searched.clear()

    said = [redact([f"system prompt of {SECRET}", f"turn {name}"], name) for name in ("one", "two", "two")]

    assert finder.searched == [f"system prompt of {SECRET}", "turn one", "turn two"]
    assert said[0] == ["system prompt of [one]", "turn one"]
    assert said[1] == said[2] == ["system prompt of [two]", "turn two"]


def test_of_a_body_that_is_too_big_the_long_texts_go_and_the_rest_stays():
    image = "data:image/png;base64," + "A" * 10_000_000
    content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": image}}]
    big = json.dumps({"messages": [{"role": "user", "content": content}], "n": 1}).encode()

    found = cut(call(big, b"{}"), 2**20)

    assert found.request is not None
    content[1]["image_url"]["url"] = "[left out: 10000022 characters]"
    assert json.loads(found.request) == {"messages": [{"role": "user", "content": content}], "n": 1}
    assert (found.left_out, found.answer) == ("request: too big", b"{}")


def test_a_big_body_that_cannot_be_cut_is_left_out_whole_and_never_kept_in_half():
    assert cut(call(b"x" * 2000), 1024).request is None
    assert cut(call(json.dumps(list(range(2000))).encode()), 1024).request is None
    assert cut(call(b'{"a":"' + b"x" * 2000), 1024).request is None
    assert cut(call(b'"' + b"x" * 20_000_000 + b'"'), 1024).request is None
    assert cut(call(None, b"x" * 2000), 1024).left_out == "answer: too big"


def test_a_body_that_fits_is_untouched():
    given_ = call(b'{ "a":  1 }' + b" " * 900, b"\xff")

    assert cut(given_, 1024) is given_


def test_a_call_without_its_texts_has_no_word_of_them():
    found = bare(call(body(SECRET), body(SECRET), error=SECRET, conversation=SECRET, tags={"a": SECRET}))

    assert "ann.lee" not in repr(found)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_masking_that_finds_nothing_changes_no_value(value):
    found = masked(call(json.dumps(value).encode()), lambda texts, _: list(texts))

    assert found.request is not None
    assert json.loads(found.request) == value


@settings(max_examples=60, deadline=None)
@given(JSON)
def test_a_cut_body_is_none_or_json_that_fits(value):
    found = cut(call(json.dumps(value).encode() + b" " * 300), 300).request

    assert found is None or (len(found) <= 300 and json.loads(found) is not ...)
