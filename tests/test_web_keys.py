"""Clients' keys: hashed at rest, followed on disk, refused when revoked."""

import json
import logging
import os
import threading

import pytest
from multidict import CIMultiDict

from offramp.errors import ConfigError, NotFoundError
from offramp.web.keys import Client, Keys, presented


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_key_is_found_again_with_its_limits(tmp_path):
    keys = Keys.load(tmp_path / "keys.json")

    key = keys.add("shop", requests_per_minute=60, usd_per_day=2.5, aliases=("triage",))

    found = Keys.load(tmp_path / "keys.json").find(key)
    assert found == keys.find(key)
    assert found is not None
    assert (found.name, found.requests_per_minute, found.usd_per_day) == ("shop", 60, 2.5)
    assert found.may_ask("triage") and not found.may_ask("gpt-5")
    assert Client(name="any").may_ask("gpt-5")
    assert key.startswith("ofr-") and len(key) == 47


def test_the_file_holds_no_key_and_is_the_owners_alone_whatever_the_umask(tmp_path):
    path = tmp_path / "keys.json"
    before = os.umask(0)
    try:
        key = Keys.load(path).add("shop")
    finally:
        os.umask(before)

    assert key not in path.read_text()
    assert key[4:] not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == [".keys.json.lock", "keys.json"]


@pytest.mark.parametrize("guess", [None, "", "ofr-", "ofr-" + "a" * 43, "é\udcff\ud800", "x" * 100_000])
def test_what_is_no_key_is_nobodys(tmp_path, guess):
    keys = Keys.load(tmp_path / "keys.json")
    keys.add("shop")

    assert keys.find(guess) is None


def test_the_hash_in_the_file_does_not_work_as_a_key(tmp_path):
    keys = Keys.load(tmp_path / "keys.json")
    keys.add("shop")
    (stolen,) = json.loads((tmp_path / "keys.json").read_text())["clients"]

    assert keys.find(stolen) is None


def test_without_a_file_nothing_is_guarded_and_after_the_last_revocation_everything_is(tmp_path):
    keys = Keys.load(tmp_path / "keys.json")
    assert not keys.guarded

    key = keys.add("shop")
    keys.revoke("shop")

    assert keys.guarded
    assert keys.find(key) is None
    assert Keys.load(tmp_path / "keys.json").guarded


def test_another_process_sees_a_change_after_a_second_and_not_before(tmp_path):
    clock = Clock()
    admin = Keys.load(tmp_path / "keys.json")
    first = admin.add("first")
    gateway = Keys(tmp_path / "keys.json", clock=clock)

    second = admin.add("second")
    admin.revoke("first")

    clock.now += 0.99
    assert (gateway.find(first) is not None, gateway.find(second)) == (True, None)
    clock.now += 0.02
    found = gateway.find(second)
    assert gateway.find(first) is None
    assert found is not None and found.name == "second"


def test_a_gateway_without_keys_is_guarded_a_second_after_the_first_is_made(tmp_path):
    clock = Clock()
    gateway = Keys(tmp_path / "keys.json", clock=clock)
    assert not gateway.guarded

    Keys.load(tmp_path / "keys.json").add("shop")
    clock.now += 1.0

    assert gateway.guarded


@pytest.mark.parametrize("damage", ["{", '{"version": 2}', '{"clients": {"short": {"name": "a"}}}', None])
def test_a_broken_or_lost_file_keeps_the_keys_read_before_and_warns_once(tmp_path, damage, caplog):
    path, clock = tmp_path / "keys.json", Clock()
    key = Keys.load(path).add("shop")
    keys = Keys(path, clock=clock)

    if damage is None:
        path.unlink()
    else:
        path.write_text(damage)

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            clock.now += 1.5
            assert keys.find(key) is not None
            assert keys.guarded
    assert len(caplog.records) == 1
    assert "stay good" in caplog.text


def test_a_mended_file_counts_again(tmp_path):
    path, clock = tmp_path / "keys.json", Clock()
    admin = Keys.load(path)
    key = admin.add("shop")
    whole = path.read_text()
    keys = Keys(path, clock=clock)
    path.write_text("{")
    clock.now += 1.5
    keys.find(key)

    path.write_text(whole)
    admin.revoke("shop")
    clock.now += 1.5

    assert keys.find(key) is None


def test_a_file_that_others_may_change_is_refused(tmp_path):
    path = tmp_path / "keys.json"
    Keys.load(path).add("shop")
    path.chmod(0o622)

    with pytest.raises(ConfigError, match="chmod 600"):
        Keys.load(path)


def test_a_key_written_by_hand_is_not_shown_in_the_error(tmp_path):
    path = tmp_path / "keys.json"
    path.write_text('{"clients": {"ofr-secretsecretsecret": {"name": "shop"}}}')
    path.chmod(0o600)

    with pytest.raises(ConfigError) as raised:
        Keys.load(path)

    assert "secretsecret" not in str(raised.value)


def test_one_name_in_the_file_twice_is_an_error_because_limits_count_by_name(tmp_path):
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"clients": {"a" * 64: {"name": "shop"}, "b" * 64: {"name": "shop"}}}))
    path.chmod(0o600)

    with pytest.raises(ConfigError, match="twice"):
        Keys.load(path)


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("", {}),
        ("a b", {}),
        ("a\n", {}),
        ("x" * 65, {}),
        ("shop", {"requests_per_minute": 0}),
        ("shop", {"usd_per_day": -1}),
        ("shop", {"usd_per_day": float("nan")}),
    ],
)
def test_a_bad_name_or_limit_makes_no_key(tmp_path, name, limits):
    with pytest.raises(ConfigError):
        Keys.load(tmp_path / "keys.json").add(name, **limits)

    assert not (tmp_path / "keys.json").exists()


def test_a_taken_name_and_an_unknown_one_are_errors(tmp_path):
    keys = Keys.load(tmp_path / "keys.json")
    keys.add("shop")

    with pytest.raises(ConfigError, match="'shop'"):
        keys.add("shop")
    with pytest.raises(NotFoundError, match="'shop'"):
        keys.revoke("shpo")


def test_keys_made_at_the_same_time_do_not_undo_each_other(tmp_path):
    path = tmp_path / "keys.json"

    def make(name: str) -> None:
        Keys.load(path).add(name)

    threads = [threading.Thread(target=make, args=(f"client-{i}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [client.name for client in Keys.load(path).clients] == [f"client-{i}" for i in range(8)]


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"authorization": "Bearer ofr-1"}, "ofr-1"),
        ({"Authorization": "bearer  ofr-1 "}, "ofr-1"),
        ({"X-Api-Key": "ofr-2"}, "ofr-2"),
        ({"api-key": "ofr-3"}, "ofr-3"),
        ({"authorization": "Bearer ofr-1", "x-api-key": "ofr-2"}, "ofr-1"),
        ({"authorization": "Basic b2Zy", "x-api-key": "ofr-2"}, None),
        ({"authorization": "Bearer"}, None),
        ({"authorization": "Bearer  "}, None),
        ({}, None),
    ],
)
def test_a_key_is_read_where_the_official_clients_put_it(headers, key):
    assert presented(CIMultiDict(headers)) == key
