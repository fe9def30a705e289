"""Telling people: once where it was confirmed, again where it was not, and nothing but what the settings name."""

import json
import logging
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from offramp.errors import ConfigError
from offramp.notify import Channel, Message, NotifySettings, Outbox, deliver, message, problems
from offramp.notify.lines import Lines
from offramp.notify.messages import line
from offramp.notify.outbox import FILE, wait_s
from offramp.notify.reach import check, outside
from offramp.notify.sending import Outcome
from offramp.notify.settings import place_of
from offramp.types import Finding, MadeBy

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
DAY_S = 86_400.0
LOG = NotifySettings()


def finding(**changed) -> Finding:
    given_ = {
        "id": "finding-sha256-0123456789abcdef0123",
        "alias": "product-category",
        "signal": "accuracy",
        "what": "Accuracy fell from 92 % to 85 %.",
        "found_at": NOON,
        "since": NOON - 2 * DAY_S,
        "since_low": NOON - 3 * DAY_S,
        "since_high": NOON - DAY_S,
        "effect": {"before": 0.92, "after": 0.85, "low": 0.81, "high": 0.88, "unit": "share"},
        "false_alarm": 0.05,
        "areas": ({"name": "garden furniture", "share": 0.12, "words": ["chair", "table"]},),
        "examples": ("call-1", "call-2"),
        "todo": ("roll back", "label 60 rows of garden furniture"),
        "made_by": MadeBy(version="test"),
    }
    return Finding(**{**given_, **changed})


def told(name: str = "m", severity: str = "warning") -> Message:
    return Message(id=name, severity=severity, title=f"title of {name}", text=f"text of {name}")


def closed_port() -> NotifySettings:
    # Nothing listens on port 9 of this machine.
    return NotifySettings(
        channels=(Channel(name="hook", kind="webhook", url="http://127.0.0.1:9/x"),), timeout_s=2
    )


# ---- words ---------------------------------------------------------------------------------------------------------


def test_a_finding_is_told_with_what_a_person_needs():
    found = message(finding())

    assert found.title == "product-category: Accuracy fell from 92 % to 85 %."
    assert found.severity == "warning"
    assert found.text.split("\n") == [
        "Accuracy fell from 92 % to 85 %.",
        "Since: 2026-11-20 12:00 UTC (between 2026-11-19 12:00 UTC and 2026-11-21 12:00 UTC)",
        "Found: 2026-11-22 12:00 UTC",
        "How much: before 0.92, after 0.85, low 0.81, high 0.88, unit share",
        "Chance that this signal cries once without a change: at most 5.00%",
        "Where: garden furniture (12% of the calls): chair, table",
        "To do 1: roll back",
        "To do 2: label 60 rows of garden furniture",
        "Calls: call-1, call-2",
        "Finding: finding-sha256-0123456789abcdef0123",
    ]


def test_a_reminder_has_an_id_of_its_own_and_says_that_it_is_one():
    first, again = message(finding()), message(finding(), again=NOON)

    assert first.id != again.id == f"{first.id}@{NOON:.0f}"
    assert again.title.startswith("Still open: ")


def test_the_severity_is_what_the_finding_says():
    assert message(finding(details={"severity": "critical"})).severity == "critical"
    assert message(finding(details={"severity": ["\x00"]})).severity == "warning"


@given(st.text(), st.integers(1, 300))
def test_a_line_is_one_short_printable_line(text: str, most: int):
    found = line(text, most)

    assert len(found) <= most
    assert len(found.splitlines()) <= 1
    assert found.encode("utf-8").decode() == found
    assert not set(found) & set("\x00\x07\x1b\x7f\x85\r\n\u2028\u202e\u2066")


def test_a_long_hostile_log_text_in_a_finding_makes_a_short_message():
    huge = "\x1b[31m\r\nBcc: all@example.com" * 4_000
    made = finding(
        what=huge,
        signal=huge,
        costs=huge,
        effect={"before": float("nan"), "deep": [[[[[huge]]]]], huge: list(range(9_999))},
        areas=tuple({"name": huge, "share": float("nan"), "words": [huge] * 50} for _ in range(50)),
        todo=(huge,) * 50,
        examples=(huge,) * 10,
    )

    found = message(made)

    assert len(found.title) <= 160 and len(found.text) <= 4_000
    written = json.dumps(found.model_dump(mode="json"), allow_nan=False)
    assert len(written) < 60_000
    assert "\\u001b" not in written and "\\r" not in written
    assert not any(each.startswith("Bcc") for each in found.text.split("\n"))


# ---- settings ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "webhook"},
        {"kind": "webhook", "url": "http://127.0.0.1/x", "url_env": "X"},
        {"kind": "webhook", "url": "ftp://127.0.0.1/x"},
        {"kind": "webhook", "url": "http://user:word@127.0.0.1/x"},
        {"kind": "webhook", "url": "http://127.0.0.1:99999/x"},
        {"kind": "webhook", "url": "http://127.0.0.1/x\r\nHost: other"},
        {"kind": "slack", "url": "unix:relative.sock"},
        {"kind": "log", "url": "http://127.0.0.1/x"},
        {"kind": "email", "host": "127.0.0.1", "sender": "a@b.c"},
        {"kind": "email", "host": "127.0.0.1", "sender": "a@b.c", "to": ["x@y.z\r\nBcc: all@example.com"]},
        {"kind": "email", "host": "127.0.0.1", "sender": "a@b.c", "to": ["x@y.z"], "user": "me"},
        {"kind": "webhook", "url": "http://127.0.0.1/x", "secret_env": "a pasted secret"},
        {"kind": "log", "name": "Not a name"},
    ],
)
def test_a_channel_that_makes_no_sense_is_an_error(fields: dict):
    with pytest.raises(ConfigError):
        Channel(**{"name": "one", **fields})


def test_a_password_never_goes_to_another_machine_unprotected():
    fields = {
        "name": "m",
        "kind": "email",
        "sender": "a@b.c",
        "to": ("x@y.z",),
        "user": "u",
        "password_env": "P",
    }

    with pytest.raises(ConfigError, match="unprotected"):
        Channel(**fields, host="mail.example.com", encryption="none")
    assert Channel(**fields, host="127.0.0.1", encryption="none").port is None


def test_a_pasted_secret_is_not_shown():
    with pytest.raises(ConfigError) as failure:
        Channel(name="s", kind="slack", url_env="https://hooks.slack.com/services/T0/B0/verysecret")
    assert "verysecret" not in str(failure.value)

    with pytest.raises(ConfigError) as failure:
        Channel(name="s", kind="slack", url="https://me:verysecret@hooks.slack.com/services/verysecret")
    assert "verysecret" not in str(failure.value)


def test_unknown_keys_and_two_channels_of_one_name_are_errors():
    one = Channel(name="log", kind="log")

    with pytest.raises(ConfigError, match="different names"):
        NotifySettings(channels=(one, one))
    with pytest.raises(ValidationError):
        Channel(name="log", kind="log", colour="red")


def test_an_address_is_read_with_its_query_and_default_port():
    assert place_of("https://hooks.example.com/x?key=1") == ("https", "hooks.example.com", 443, "/x?key=1")
    assert place_of("http://[::1]:81") == ("http", "::1", 81, "/")
    assert place_of("unix:/run/hook.sock") == ("unix", "/run/hook.sock", 0, "/")


# ---- private -------------------------------------------------------------------------------------------------------


def test_inside_is_this_machine_and_private_networks():
    inside = [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "::1",
        "fd00::1",
        "::ffff:10.0.0.1",
        "a.name",
    ]
    far = [
        "8.8.8.8",
        "172.32.0.1",
        "100.64.0.1",
        "192.0.2.1",
        "2001:db8::1",
        "::ffff:8.8.8.8",
        "64:ff9b::a00:1",
    ]

    assert outside(inside) is None
    assert [one for one in far if outside([one]) is None] == []


def test_a_name_with_one_address_outside_is_refused_in_private_mode():
    check("mail.example.com", ["10.0.0.1", "8.8.8.8"], private=False)

    with pytest.raises(ConfigError, match="private"):
        check("mail.example.com", ["10.0.0.1", "8.8.8.8"], private=True)


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1%eth0", "::ffff:169.254.169.254", "0.0.0.0"])
def test_a_metadata_address_is_refused_always(address: str):
    with pytest.raises(ConfigError, match="link-local"):
        check("metadata.example.com", [address], private=False)


def test_private_mode_refuses_an_outside_channel_says_so_and_sends_nothing(tmp_path: Path):
    far = Channel(name="far", kind="webhook", url="https://192.0.2.1/x")
    post = Channel(name="post", kind="email", host="192.0.2.1", sender="a@b.c", to=("x@y.z",))
    chosen = NotifySettings(channels=(far, post))
    outbox = Outbox.of(tmp_path)
    outbox.queue([told()], chosen, NOON)

    # The tests' own guard would name the address if a connection were tried.
    done = deliver(outbox, chosen, NOON, private=True)

    assert (done.delivered, done.failed, done.waiting) == (0, 2, 2)
    assert all("this workspace is private" in note for note in done.notes)
    assert len(problems(chosen, private=True)) == 2
    assert problems(chosen) == ()


def test_a_missing_secret_is_said_at_the_start_and_counted_in_a_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("HOOK_KEY", raising=False)
    hook = Channel(name="hook", kind="webhook", url="http://127.0.0.1:9/x", secret_env="HOOK_KEY")
    chosen = NotifySettings(channels=(hook,))
    outbox = Outbox.of(tmp_path)
    outbox.queue([told()], chosen, NOON)

    assert "HOOK_KEY" in problems(chosen)[0]
    assert "HOOK_KEY" in deliver(outbox, chosen, NOON).notes[0]


# ---- the outbox ----------------------------------------------------------------------------------------------------


def test_the_log_is_told_in_one_line_at_the_level_of_the_severity(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    outbox = Outbox.of(tmp_path)
    outbox.queue([message(finding(what="bad\nERROR forged", details={"severity": "critical"}))], LOG, NOON)

    with caplog.at_level(logging.INFO, logger="offramp.notify"):
        done = deliver(outbox, LOG, NOON)

    assert (done.delivered, done.failed, done.waiting) == (1, 0, 0)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith("critical: bad ERROR forged; Since: ")
    assert "\n" not in record.getMessage()


def test_a_message_is_told_once_however_often_it_is_queued_and_delivered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, logger="offramp.notify")
    for hour in range(5):
        # A new object is what a restart of the process sees.
        outbox = Outbox.of(tmp_path)
        outbox.queue([told("a"), told("a"), told("b")], LOG, NOON + hour)
        deliver(outbox, LOG, NOON + hour)

    assert len(caplog.records) == 2
    assert outbox.counts() == {"tried": 2, "delivered": 2}


def test_a_channel_is_told_only_what_is_severe_enough_and_came_after_it(tmp_path: Path):
    loud = Channel(name="loud", kind="log", least="info")
    calm = Channel(name="calm", kind="log", least="critical")
    outbox = Outbox.of(tmp_path)

    outbox.queue(
        [told("a", "info"), told("b", "warning"), told("c", "critical")],
        NotifySettings(channels=(loud,)),
        NOON,
    )
    outbox.queue(
        [told("c", "critical"), told("d", "warning"), told("e", "critical")],
        NotifySettings(channels=(loud, calm)),
        NOON,
    )

    waiting = [(one.message.id, one.channel) for one in outbox.waiting()]
    assert waiting == [
        ("a", "loud"),
        ("b", "loud"),
        ("c", "loud"),
        ("d", "loud"),
        ("e", "loud"),
        ("e", "calm"),
    ]


def test_waits_grow_from_a_minute_to_an_hour():
    assert [wait_s(n) for n in (1, 2, 3, 6, 7, 8, 5_000)] == [60, 120, 240, 1920, 3600, 3600, 3600]


def test_a_dead_channel_is_tried_with_growing_waits_and_given_up_after_a_day(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    chosen, outbox = closed_port(), Outbox.of(tmp_path)
    outbox.queue([told()], chosen, NOON)
    tries = []

    for minute in range(26 * 60):
        done = deliver(outbox, chosen, NOON + 60 * minute)
        if done.failed:
            tries.append(minute)
        if done.given_up:
            break

    assert tries[:8] == [0, 1, 3, 7, 15, 31, 63, 123]
    assert 22 * 60 < tries[-1] <= 24 * 60
    assert done.given_up == 1 and done.waiting == 0
    assert "is given up and was not told there" in done.notes[0]
    assert "given up" in caplog.records[-1].getMessage()
    assert outbox.counts() == {"tried": len(tries), "given up": 1}
    assert deliver(outbox, chosen, NOON + 30 * DAY_S).failed == 0


def test_a_message_that_waited_over_a_long_stop_is_tried_before_it_is_given_up(tmp_path: Path):
    chosen, outbox = closed_port(), Outbox.of(tmp_path)
    outbox.queue([told()], chosen, NOON)
    outbox.queue([told("log me")], LOG, NOON)

    done = deliver(
        outbox, NotifySettings(channels=(*chosen.channels, *LOG.channels), timeout_s=2), NOON + 9 * DAY_S
    )

    assert (done.delivered, done.failed, done.given_up) == (1, 1, 1)


def test_a_clock_that_was_set_back_keeps_nothing_from_being_told(tmp_path: Path):
    chosen, outbox = closed_port(), Outbox.of(tmp_path)
    outbox.queue([told()], chosen, NOON + 365 * DAY_S)
    deliver(outbox, chosen, NOON + 365 * DAY_S)

    assert deliver(outbox, chosen, NOON).failed == 1


def test_what_waits_for_a_channel_that_is_gone_is_given_up_and_said(tmp_path: Path):
    outbox = Outbox.of(tmp_path)
    outbox.queue([told("a"), told("b")], closed_port(), NOON)

    done = deliver(outbox, LOG, NOON)

    assert (done.failed, done.given_up, done.waiting) == (2, 2, 0)
    assert "no such channel any more" in done.notes[0]


def test_one_dead_channel_holds_up_no_other_and_is_tried_once_a_round(tmp_path: Path):
    chosen = NotifySettings(channels=(*closed_port().channels, *LOG.channels), timeout_s=2)
    outbox = Outbox.of(tmp_path)
    outbox.queue([told(str(n)) for n in range(20)], chosen, NOON)

    done = deliver(outbox, chosen, NOON)

    assert (done.delivered, done.failed, done.waiting) == (20, 1, 20)


def test_a_process_killed_in_an_attempt_makes_it_again_after_the_wait(tmp_path: Path):
    outbox = Outbox.of(tmp_path)
    outbox.queue([told()], LOG, NOON)
    assert outbox.claim(outbox.waiting()[0], NOON)

    after = Outbox.of(tmp_path)

    assert deliver(after, LOG, NOON + 59).delivered == 0
    assert deliver(after, LOG, NOON + 60).delivered == 1


def test_two_processes_never_make_the_same_attempt(tmp_path: Path):
    one, other = Outbox.of(tmp_path), Outbox.of(tmp_path)
    one.queue([told()], LOG, NOON)
    (seen,), (seen_too,) = one.waiting(), other.waiting()

    assert one.claim(seen, NOON)
    assert not other.claim(seen_too, NOON)


def test_a_torn_or_foreign_line_spoils_nothing_but_itself(tmp_path: Path):
    outbox = Outbox.of(tmp_path)
    outbox.queue([told("a")], LOG, NOON)
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'null\n{"event": "queued", "at": 1}\n{"event": "deliver')

    after = Outbox.of(tmp_path)
    after.queue([told("b")], LOG, NOON)

    assert [one.message.id for one in after.waiting()] == ["a", "b"]
    assert deliver(after, LOG, NOON).delivered == 2
    assert Outbox.of(tmp_path).waiting() == []


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 600))
def test_a_file_cut_anywhere_loses_no_message_that_was_whole(
    tmp_path_factory: pytest.TempPathFactory, cut: int
):
    folder = tmp_path_factory.mktemp("cut")
    outbox = Outbox.of(folder)
    for name in "abc":
        outbox.queue([told(name)], LOG, NOON)
    data = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(data[:cut])
    whole = sum(cut >= place for place, byte in enumerate(data) if byte == ord("\n"))

    after = Outbox.of(folder)
    after.queue([told("d")], LOG, NOON)

    assert [one.message.id for one in after.waiting()] == [*"abc"[:whole], "d"]


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Let files grow no further than the outbox is now; only here, for pytest's own output may be a file too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((folder / FILE).stat().st_size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_nothing_is_sent_that_could_not_be_written_down(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, logger="offramp.notify")
    outbox = Outbox.of(tmp_path)
    outbox.queue([told()], LOG, NOON)

    with full_disk(tmp_path):
        done = deliver(outbox, LOG, NOON)

    assert done.failed == 1 and "is the disk full" in done.notes[0]
    assert not [one for one in caplog.records if "text of m" in one.getMessage()]


def test_a_confirmation_that_could_not_be_written_down_still_counts_and_is_written_later(tmp_path: Path):
    outbox = Outbox.of(tmp_path)
    outbox.queue([told("a")], LOG, NOON)
    (one,) = outbox.waiting()
    assert outbox.claim(one, NOON)

    with full_disk(tmp_path):
        assert outbox.end(one, Outcome(), NOON) == "delivered"
        assert outbox.waiting() == [] and len(Outbox.of(tmp_path).waiting()) == 1

    outbox.queue([told("b")], LOG, NOON)
    deliver(outbox, LOG, NOON)
    assert Outbox.of(tmp_path).waiting() == []


def test_an_outbox_that_cannot_be_read_raises_nothing_into_the_monitor(tmp_path: Path):
    (tmp_path / FILE).mkdir()

    assert deliver(Outbox.of(tmp_path), LOG, NOON).failed == 1


def test_a_process_that_is_killed_leaves_every_message_that_it_queued(tmp_path: Path):
    code = (
        "import os, sys, pathlib; from offramp.notify import *\n"
        "box = Outbox.of(pathlib.Path(sys.argv[1]))\n"
        "for n in range(1000):\n"
        "    box.queue([Message(id=str(n), severity='critical', title='t', text='x')], NotifySettings(), 0.0)\n"
        "    print(n, flush=True)\n"
        "    if n == 7: os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)

    assert done.returncode == -9 and done.stdout.split()[-1] == "7", done.stderr
    assert len(Outbox.of(tmp_path).waiting()) == 8


def test_lines_are_read_once_and_only_owners_may_read_them(tmp_path: Path):
    lines = Lines(tmp_path / "deep" / "x.jsonl")
    lines.add([{"a": 1}])

    assert lines.read() == [{"a": 1}]
    assert lines.read() == []
    assert (tmp_path / "deep" / "x.jsonl").stat().st_mode & 0o077 == 0


def test_settings_that_were_written_out_are_read_again():
    settings = NotifySettings()

    assert NotifySettings.model_validate(settings.model_dump(mode="json")) == settings
