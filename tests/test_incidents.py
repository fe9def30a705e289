"""Incidents: what people say about findings is kept, and decides how they stand."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from offramp.errors import ConfigError, NotFoundError
from offramp.incidents import FILE, Event, Incidents, find, timeline
from offramp.types import Deployment, Finding, MadeBy, Renewal

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
HOUR_S = 3600.0
MADE = MadeBy(version="test")


def finding(name: str = "aa11", at: float = NOON) -> Finding:
    return Finding(
        id=f"finding-sha256-{name}",
        alias="shop",
        signal="accuracy",
        what="Accuracy fell.",
        found_at=at,
        since=at - HOUR_S,
        false_alarm=0.05,
        made_by=MADE,
    )


def event(
    said: str, hours: float = 0.0, *, who: str = "ada", until: float | None = None, note: str = ""
) -> Event:
    return Event(finding().id, said, who, NOON + hours * HOUR_S, until, note)


def state(incidents: Incidents, hours: float = 0.0) -> str:
    (one,) = incidents.of_findings([finding()], NOON + hours * HOUR_S)
    return one.state


def test_a_finding_nobody_spoke_of_is_open(tmp_path: Path):
    assert state(Incidents.of(tmp_path)) == "open"
    assert not (tmp_path / FILE).exists()


def test_an_incident_goes_the_way_people_say(tmp_path: Path):
    incidents = Incidents.of(tmp_path)
    seen = []

    for said in ("acknowledged", "resolved", "reopened", "acknowledged"):
        assert incidents.say(event(said))
        seen.append(state(incidents))

    assert seen == ["acknowledged", "resolved", "open", "acknowledged"]


def test_a_snooze_ends_by_itself_and_tells_when(tmp_path: Path):
    incidents = Incidents.of(tmp_path)
    incidents.say(event("snoozed", until=NOON + 2 * HOUR_S))

    assert [state(incidents, hours) for hours in (0, 1.99, 2, 99)] == ["snoozed", "snoozed", "open", "open"]
    (before,) = incidents.of_findings([finding()], NOON)
    (after,) = incidents.of_findings([finding()], NOON + 3 * HOUR_S)
    assert (before.woke_at, after.woke_at) == (None, NOON + 2 * HOUR_S)


def test_a_snooze_that_somebody_reacted_to_wakes_nobody(tmp_path: Path):
    incidents = Incidents.of(tmp_path)
    incidents.say(event("snoozed", until=NOON + HOUR_S))
    incidents.say(event("acknowledged", 2))

    (one,) = incidents.of_findings([finding()], NOON + 3 * HOUR_S)

    assert (one.state, one.woke_at) == ("acknowledged", None)


@pytest.mark.parametrize("until", [None, NOON, NOON - 1, float("nan"), float("inf"), NOON + 800 * 86_400])
def test_a_snooze_without_a_sensible_end_is_refused(tmp_path: Path, until: float | None):
    with pytest.raises(ConfigError, match="snoozed until"):
        Incidents.of(tmp_path).say(event("snoozed", until=until))


def test_saying_it_twice_is_saying_it_once_and_a_second_person_is_kept(tmp_path: Path):
    incidents = Incidents.of(tmp_path)

    kept = [incidents.say(event("acknowledged", who=who)) for who in ("ada", "ada", "ben")]

    assert kept == [True, False, True]
    assert len((tmp_path / FILE).read_text().splitlines()) == 2


def test_opening_what_is_open_and_resolving_what_is_resolved_changes_nothing(tmp_path: Path):
    incidents = Incidents.of(tmp_path)

    assert not incidents.say(event("reopened"))
    assert incidents.say(event("resolved"))
    assert not incidents.say(event("resolved", 1, who="ben"))


def test_a_resolved_incident_must_be_reopened_before_anything_else(tmp_path: Path):
    incidents = Incidents.of(tmp_path)
    incidents.say(event("resolved", who="ada"))

    with pytest.raises(ConfigError, match="ada resolved it"):
        incidents.say(event("snoozed", 1, until=NOON + 5 * HOUR_S))


def test_nobody_and_no_time_are_refused_and_control_characters_dropped(tmp_path: Path):
    incidents = Incidents.of(tmp_path)

    with pytest.raises(ConfigError, match="say who"):
        incidents.say(event("acknowledged", who=" \x00\n"))
    with pytest.raises(ConfigError, match="unix seconds"):
        incidents.say(event("acknowledged", float("nan")))
    incidents.say(event("acknowledged", who="a\x1bda", note="line\none"))
    (one,) = incidents.of_findings([finding()], NOON)
    assert (one.events[0].who, one.events[0].note) == ("a da", "line one")


def test_two_processes_see_what_the_other_wrote(tmp_path: Path):
    one, other = Incidents.of(tmp_path), Incidents.of(tmp_path)

    one.say(event("acknowledged"))
    assert state(other) == "acknowledged"
    other.say(event("resolved", 1))

    assert state(one) == "resolved"


def test_the_order_of_lines_counts_not_their_times(tmp_path: Path):
    incidents = Incidents.of(tmp_path)
    incidents.say(event("acknowledged", 100))
    incidents.say(event("resolved", -100))

    assert state(incidents) == "resolved"


def test_torn_and_foreign_lines_are_left_out(tmp_path: Path):
    incidents = Incidents.of(tmp_path)
    incidents.say(event("acknowledged"))
    with (tmp_path / FILE).open("a") as file:
        file.write(
            '{"finding": "finding-sha256-aa11", "said": "deleted", "who": "x", "at": 1, "note": ""}\n[]\n{"fin'
        )

    after = Incidents.of(tmp_path)

    assert state(after) == "acknowledged"
    assert after.say(event("resolved", 1))
    assert state(Incidents.of(tmp_path)) == "resolved"


def test_a_finding_is_found_by_the_beginning_of_its_digits():
    findings = [finding("aa11"), finding("aa22"), finding("bb33")]

    assert find(findings, "aa2") == findings[1]
    assert find(findings, "finding-sha256-bb33") == findings[2]
    for name, said in (("aa", "2 begin so"), ("", "there is none"), ("zz", "there is none")):
        with pytest.raises(NotFoundError, match=said):
            find(findings, name)


def test_the_timeline_tells_everything_in_its_order(tmp_path: Path):
    incidents = Incidents.of(tmp_path)
    incidents.say(event("acknowledged", 1, note="looking"))
    incidents.say(event("snoozed", 2, until=NOON + 3 * HOUR_S))
    deployed = Deployment(
        id="d",
        alias="shop",
        version=4,
        mode="record",
        restores=2,
        created_at=datetime.fromtimestamp(NOON + 1.5 * HOUR_S, UTC),
        made_by=MADE,
    )
    renewed = Renewal(
        id="r",
        alias="shop",
        why="findings",
        dataset="x",
        candidate="y",
        outcome="ready",
        sentence="Ready: within 2 points.",
        created_at=datetime.fromtimestamp(NOON + 9 * HOUR_S, UTC),
        made_by=MADE,
    )

    found = timeline(
        incidents.of_findings([finding()], NOON + 5 * HOUR_S), deployments=[deployed], renewals=[renewed]
    )

    assert [((one.at - NOON) / HOUR_S, one.what) for one in found] == [
        (-1, "accuracy of shop begins to change"),
        (0, "found: Accuracy fell."),
        (1, "acknowledged by ada: looking"),
        (1.5, "shop version 4: rolled back to version 2"),
        (2, "snoozed until 2026-11-22 15:00 UTC by ada"),
        (3, "snooze is over; open again"),
        (9, "renewed: ready; Ready: within 2 points."),
    ]
