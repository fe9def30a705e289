"""The endpoint client against a real local server that misbehaves."""

import asyncio
import json
import logging
import sqlite3

import pytest

from fake_endpoint import completion, served
from offramp.errors import ConfigError, ModelError, StoreError
from offramp.models.answer_cache import unasked
from offramp.models.client import Client
from offramp.models.endpoint import Endpoint, Request
from offramp.models.wire import wait_asked
from offramp.types import canonical_json

KEY = "sk-very-secret-0123456789"
SCHEMA = {"type": "object", "properties": {"score": {"enum": [1, 2]}}, "required": ["score"]}


def endpoint(fake, **fields) -> Endpoint:
    return Endpoint(**{"base_url": fake.base_url, "model": "m", "timeout_s": 5, "backoff_s": 0.001, **fields})


def ask(text: str, **fields) -> Request:
    return Request(messages=({"role": "user", "content": text},), **fields)


def question(body) -> str:
    return body["messages"][0]["content"]


def test_answers_come_in_the_order_of_the_requests_with_their_usage():
    with served(lambda body, _: question(body).upper()) as fake:
        client = Client(endpoint(fake))
        found = client.complete([ask("a"), ask("b"), ask("c")])

    assert [c.text for c in found] == ["A", "B", "C"]
    assert (found[0].input_tokens, found[0].output_tokens, found[0].cached_tokens) == (10, 5, 4)
    assert found[0].finish_reason == "stop"
    assert found[0].latency_s > 0
    assert (client.spent.requests, client.spent.input_tokens, client.spent.output_tokens) == (3, 30, 15)


def test_no_more_requests_are_under_way_than_allowed():
    import time

    def slowly(body, _):
        time.sleep(0.02)
        return "ok"

    with served(slowly) as fake:
        Client(endpoint(fake, concurrency=3)).complete([ask(str(i)) for i in range(12)])

    assert 2 <= fake.most_at_once <= 3


def test_equal_requests_are_sent_once_unless_repeated_on_purpose():
    with served(lambda body, number: f"answer {number}") as fake:
        found = Client(endpoint(fake)).complete([ask("a"), ask("a"), ask("a", sample=1)])

    assert len(fake.asked) == 2
    assert found[0].text == found[1].text != found[2].text
    assert [c.from_cache for c in found] == [False, True, False]


def test_a_busy_server_is_asked_again_when_it_says_so():
    with served(
        lambda _, number: (429, {"error": "busy"}, {"retry-after-ms": "30"}) if number < 2 else "ok"
    ) as fake:
        found = Client(endpoint(fake)).complete([ask("a")])

    assert (found[0].text, found[0].error, len(fake.asked)) == ("ok", None, 3)


def test_a_server_that_asks_for_an_hour_is_not_waited_for():
    with served(lambda *_: (429, {"error": {"message": "quota"}}, {"Retry-After": "3600"})) as fake:
        found = Client(endpoint(fake)).complete([ask("a")])

    assert found[0].text is None
    assert found[0].error == "the server failed (429, asking to wait 3600 s): 'quota'"
    assert len(fake.asked) == 1


def test_retry_after_is_read_as_seconds_or_as_a_date():
    assert wait_asked({"Retry-After": "2"}) == 2
    assert wait_asked({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert wait_asked({"Retry-After": "soon"}) is None
    assert wait_asked({}) is None


def test_a_server_that_always_fails_is_an_error_on_the_completion():
    with served(lambda *_: (500, b"<html>oops</html>")) as fake:
        found = Client(endpoint(fake, retries=2)).complete([ask("a")])

    assert found[0].error == "the server failed (500): '<html>oops</html>'"
    assert len(fake.asked) == 3


def test_a_dead_server_does_not_cost_the_waits_of_every_request():
    with served(lambda *_: (500, {})) as fake:
        found = Client(endpoint(fake, retries=0, concurrency=1)).complete([ask(str(i)) for i in range(100)])

    assert len(fake.asked) == 21
    assert found[-1].error == "not asked: 21 requests in a row had failed"


def test_a_timeout_is_an_error_on_the_completion():
    with served(lambda body, _: None if question(body) == "slow" else "ok") as fake:
        found = Client(endpoint(fake, timeout_s=0.1, retries=1)).complete([ask("slow"), ask("fast")])

    assert [c.error for c in found] == ["no answer within 0.1 s", None]


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (b'{"choices": [{"mess', "not JSON"),
        (b"[]", "not JSON"),
        (b'{"choices": []}', "empty answer"),
        (b'{"error": {"message": "overloaded", "code": 502}}', "overloaded"),
    ],
)
def test_a_reply_that_makes_no_sense_is_tried_again_and_then_an_error(reply, says):
    with served(lambda *_: reply) as fake:
        found = Client(endpoint(fake, retries=1)).complete([ask("a")])

    assert found[0].text is None
    assert says in found[0].error
    assert len(fake.asked) == 2


def test_a_refusal_and_an_answer_cut_before_its_first_word_say_so():
    refusal = {"choices": [{"message": {"refusal": "I cannot"}, "finish_reason": "stop"}]}
    cut = {"choices": [{"message": {"content": ""}, "finish_reason": "length"}]}
    with served(lambda body, _: (200, refusal if question(body) == "r" else cut)) as fake:
        found = Client(endpoint(fake)).complete([ask("r"), ask("c")])

    assert found[0].error == "the model refused: I cannot"
    assert found[1].error.startswith("the answer was cut off")
    assert len(fake.asked) == 2


def test_missing_usage_is_unknown_and_not_zero():
    with served(lambda *_: "ok") as fake:
        fake.usage = False
        client = Client(endpoint(fake))
        found = client.complete([ask("a")])

    assert (found[0].text, found[0].input_tokens, found[0].output_tokens) == ("ok", None, None)
    assert client.spent.uncounted == 1


def test_one_request_that_the_server_refuses_does_not_stop_the_others():
    with served(
        lambda body, _: (400, {"error": {"message": "too long"}}) if question(body) == "x" else "ok"
    ) as fake:
        found = Client(endpoint(fake)).complete([ask("x"), ask("y")])

    assert [c.error for c in found] == ["the server refused (400): 'too long'", None]


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (401, "check the key in 'MY_KEY'"),
        (403, "what it may use"),
        (404, "ends like `/v1`"),
        (307, "redirects"),
    ],
)
def test_a_wrong_configuration_is_raised_with_what_to_do_and_without_the_key(
    status, advice, monkeypatch, caplog
):
    monkeypatch.setenv("MY_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    reply = (status, {"error": {"message": f"no: {KEY}"}}, {"Location": "http://127.0.0.1:1/elsewhere"})
    with served(lambda *_: reply) as fake:
        with pytest.raises(ModelError) as raised:
            Client(endpoint(fake, api_key_env="MY_KEY")).complete([ask("a")])

    assert fake.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert advice in str(raised.value)
    assert f"answered {status}: 'no: ***'" in str(raised.value)
    assert KEY not in caplog.text


def test_an_account_without_money_is_said_at_once():
    reply = (429, {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}})
    with served(lambda *_: reply) as fake:
        with pytest.raises(ModelError, match=r"429: 'You exceeded your quota'; check the account's quota"):
            Client(endpoint(fake, concurrency=1)).complete([ask("a")])

    assert len(fake.asked) == 1


def test_a_server_that_is_only_busy_is_waited_for_longer_than_one_that_fails():
    with served(lambda _, number: (429, {}) if number < 6 else "ok") as fake:
        found = Client(endpoint(fake, retries=1)).complete([ask("a")])

    assert found[0].text == "ok"


def test_a_dummy_key_does_not_change_answers(monkeypatch):
    monkeypatch.setenv("MY_KEY", "EMPTY")
    with served(lambda *_: "the tank is EMPTY") as fake:
        found = Client(endpoint(fake, api_key_env="MY_KEY")).complete([ask("a")])

    assert found[0].text == "the tank is EMPTY"


@pytest.mark.parametrize("name", ["stream", "n", "model", "messages"])
def test_fields_that_are_not_the_users_to_set_are_refused(name):
    with pytest.raises(ConfigError, match=name):
        Endpoint(base_url="http://127.0.0.1/v1", model="m", params={name: 1})


def test_a_host_that_is_not_there_is_refused_at_once():
    with served(lambda *_: "ok") as fake:
        gone = endpoint(fake)

    with pytest.raises(ModelError, match="no server could be reached"):
        Client(gone).complete([ask("a")])


def test_a_key_that_is_not_set_is_a_configuration_error(monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)

    with pytest.raises(ConfigError, match="'MY_KEY'; it is not set"):
        Client(Endpoint(base_url="http://127.0.0.1:1/v1", model="m", api_key_env="MY_KEY"))


@pytest.mark.parametrize(
    "fields",
    [
        {"base_url": "http://127.0.0.1/v1", "api_key_env": KEY},
        {"base_url": f"http://user:{KEY}@127.0.0.1/v1"},
        {"base_url": f"http://127.0.0.1/v1?key={KEY}"},
    ],
)
def test_a_key_written_where_it_does_not_belong_is_refused_and_not_repeated(fields):
    with pytest.raises(ConfigError, match="not shown") as raised:
        Endpoint(model="m", **fields)

    assert KEY not in str(raised.value)


@pytest.mark.parametrize(
    "address", ["api.example.com", "ftp://h/v1", "http://", "http://h:port/v1", "file:///etc"]
)
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ConfigError, match="base_url"):
        Endpoint(base_url=address, model="m")


def test_only_loopback_addresses_are_local():
    def local(url: str) -> bool:
        return Endpoint(base_url=url, model="m").is_local

    assert local("http://127.0.0.1:8000/v1")
    assert local("http://[::1]/v1")
    assert local("http://localhost/v1/chat/completions")
    assert not local("https://api.example.com/v1")
    assert not local("https://localhost.example.com/v1")
    assert not local("http://10.0.0.7/v1")


def test_a_server_that_takes_no_schema_is_asked_in_plain_text_from_then_on():
    def plain_only(body, _):
        return (400, {"error": {"message": "bad request"}}) if "response_format" in body else "ok"

    with served(plain_only) as fake:
        client = Client(endpoint(fake, concurrency=1))
        found = client.complete([ask(str(i), schema=SCHEMA) for i in range(3)])

    assert [c.text for c in found] == ["ok"] * 3
    assert [c.structured for c in found] == [False] * 3
    assert ["response_format" in body for body in fake.asked] == [True, False, False, False]
    assert "does not hold answers to a JSON schema" in client.dialect.notes()[0]


def test_a_refused_request_says_nothing_about_schemas():
    def too_long(body, number):
        return (400, {"error": {"message": "too long"}}) if question(body) == "long" else "ok"

    with served(too_long) as fake:
        client = Client(endpoint(fake, concurrency=1))
        found = client.complete([ask("long", schema=SCHEMA), ask("short", schema=SCHEMA)])

    assert [c.error is None for c in found] == [False, True]
    assert found[1].structured
    assert client.dialect.notes() == ()


def test_a_parameter_that_the_server_has_renamed_or_forbids_is_given_up():
    def reasoning_model(body, _):
        for name in ("max_tokens", "temperature"):
            if name in body:
                message = f"Unsupported parameter: '{name}' is not supported with this model."
                return 400, {"error": {"message": message, "param": name, "code": "unsupported_parameter"}}
        return "ok"

    with served(reasoning_model) as fake:
        client = Client(endpoint(fake))
        found = client.complete([ask("a", params={"max_tokens": 7, "temperature": 0}, schema=SCHEMA)])

    assert found[0].text == "ok"
    assert fake.asked[-1]["max_completion_tokens"] == 7
    assert "response_format" in fake.asked[-1]
    assert client.dialect.notes() == ("the server does not take `temperature`",)


def test_what_the_user_sets_on_the_endpoint_goes_before_the_request():
    with served(lambda *_: "ok") as fake:
        Client(endpoint(fake, params={"temperature": 1, "top_k": 5})).complete(
            [ask("a", params={"temperature": 0})]
        )

    assert (fake.asked[0]["temperature"], fake.asked[0]["top_k"]) == (1, 5)


def test_logprobs_come_as_pairs_also_from_the_cache(tmp_path):
    logprobs = {"content": [{"token": "o", "logprob": -0.5}, {"token": "k", "logprob": -1}]}
    reply = completion("ok")
    reply["choices"][0]["logprobs"] = logprobs
    with served(lambda *_: (200, reply)) as fake:
        first = Client(endpoint(fake), cache=tmp_path).complete([ask("a", params={"logprobs": True})])
        again = Client(endpoint(fake), cache=tmp_path).complete([ask("a", params={"logprobs": True})])

    assert first[0].logprobs == again[0].logprobs == (("o", -0.5), ("k", -1.0))


def test_a_second_run_is_free_and_failures_are_asked_again(tmp_path):
    def first_fails(body, number):
        return (500, {}) if question(body) == "b" and number < 2 else question(body)

    with served(first_fails) as fake:
        here = endpoint(fake, retries=0, concurrency=1)
        first = Client(here, cache=tmp_path).complete([ask("a"), ask("b")])
        again = Client(here, cache=tmp_path).complete([ask("a"), ask("b")])
        third = Client(here, cache=tmp_path)
        todo = unasked(here, [ask("a"), ask("b"), ask("c"), ask("c")], tmp_path)
        third.complete([ask("a"), ask("b")])

    assert [c.text for c in first] == ["a", None]
    assert [(c.text, c.from_cache) for c in again] == [("a", True), ("b", False)]
    assert len(fake.asked) == 3
    assert todo == [ask("c")]
    assert third.spent.requests == 0


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path):
    def stop_at_3(stage, done, total):
        if done == 3:
            raise KeyboardInterrupt

    requests = [ask(str(i)) for i in range(5)]
    with served(lambda body, _: question(body)) as fake:
        here = endpoint(fake, concurrency=1)
        with pytest.raises(KeyboardInterrupt):
            Client(here, cache=tmp_path).complete(requests, progress=stop_at_3)
        found = Client(here, cache=tmp_path).complete(requests)

    assert [c.text for c in found] == ["0", "1", "2", "3", "4"]
    assert len(fake.asked) == 5


def test_the_cache_holds_neither_questions_nor_keys(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    with served(lambda *_: "answer") as fake:
        here = endpoint(fake, api_key_env="MY_KEY")
        Client(here, cache=tmp_path).complete([ask("a private question")])

    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"answer" in kept
    assert b"private" not in kept
    assert KEY.encode() not in kept
    assert KEY not in canonical_json(here.model_dump(mode="json")) + repr(here)


def test_a_cache_that_cannot_be_read_says_what_to_do(tmp_path):
    (tmp_path / "completions.sqlite").write_bytes(b"not a database, but long enough to be one" * 100)
    here = Endpoint(base_url="http://127.0.0.1:1/v1", model="m")

    with pytest.raises(StoreError, match="delete it"):
        Client(here, cache=tmp_path).complete([ask("a")])


def test_a_kept_answer_that_is_damaged_is_an_error_and_not_an_answer(tmp_path):
    with served(lambda *_: "ok") as fake:
        here = endpoint(fake)
        Client(here, cache=tmp_path).complete([ask("a")])
        with sqlite3.connect(tmp_path / "completions.sqlite") as database:
            database.execute("UPDATE completions SET answer = '{'")
        database.close()

        with pytest.raises(StoreError, match="delete it"):
            Client(here, cache=tmp_path).complete([ask("a")])


def test_it_works_inside_a_running_loop():
    async def notebook(client):
        return client.complete([ask("a")])

    with served(lambda *_: "ok") as fake:
        found = asyncio.run(notebook(Client(endpoint(fake))))

    assert found[0].text == "ok"


def test_lone_surrogates_are_sent_as_question_marks():
    with served(lambda body, _: json.dumps(question(body))) as fake:
        found = Client(endpoint(fake)).complete([ask("a\ud800b")])

    assert found[0].text == '"a?b"'


def test_progress_counts_what_was_asked():
    seen = []
    with served(lambda *_: "ok") as fake:
        Client(endpoint(fake)).complete(
            [ask("a"), ask("b")], progress=lambda *step: seen.append(step), stage="judging"
        )

    assert seen == [("judging", 1, 2), ("judging", 2, 2)]
