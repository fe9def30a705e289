"""What speaks for a change today."""

from datetime import UTC, date, datetime

import pytest

from offramp.advise.calls import table_of
from offramp.advise.profile import Eyes, profile_of
from offramp.advise.settings import AdviseSettings
from offramp.advise.triggers import triggers_of

START = datetime(2026, 10, 5, tzinfo=UTC).timestamp()
WHEN = date(2026, 11, 1)


def found(*, when=WHEN, eyes=None, given=None, **more):
    rows = [
        {
            "id": f"c{n}",
            "at": START + n * 3600.0,
            "model": "gpt-6-luna",
            "user": f"q{n}",
            "answer": "yes",
            "turns": 1,
            "input_tokens": 100,
            "output_tokens": 10,
            "latency_s": 2.0,
            "finish_reason": "stop",
        }
        | {name: value(n) if callable(value) else value for name, value in more.items()}
        for n in range(672)
    ]
    settings = AdviseSettings(**(given or {}))
    profile = profile_of(table_of(rows), settings=settings, when=when, eyes=eyes or Eyes())
    return {trigger.kind: trigger for trigger in triggers_of(profile, settings, when)}


def test_where_nothing_presses_that_is_said():
    assert set(found()) == {"none"}
    assert found()["none"].strength == 0.0


def test_answers_slower_than_the_target_speak_for_a_change_and_without_a_target_never():
    trigger = found(given={"latency_target_s": 1.0})["latency"]

    assert trigger.sentence == "100% of the calls take longer than 1 s; 95 of 100 are complete within 2.00 s"
    assert trigger.strength == 1.0
    assert set(found(given={"latency_target_s": 3.0})) == {"none"}


def test_failures_above_what_is_allowed_speak_for_a_change():
    trigger = found(status=lambda n: ("error", "timeout")[n % 2] if n % 10 == 0 or n % 20 == 5 else "ok")[
        "reliability"
    ]

    assert trigger.sentence == "10.1% of the calls fail, 5.1% time out; 1.0% is allowed"


def test_cut_and_refused_answers_are_unreliable_too():
    cut = found(finish_reason=lambda n: "length" if n % 4 == 0 else "stop")
    refused = found(eyes=Eyes(refuses=lambda text: text == "yes"))

    assert cut["reliability"].sentence == "25.0% of the answers are cut off; 1.0% is allowed"
    assert refused["reliability"].sentence == "100.0% of the answers refuse; 1.0% is allowed"


def test_money_speaks_from_the_line_on_and_louder_with_each_tenfold():
    cheap, dear = found(cost=0.4), found(cost=10.0)

    # 730 calls a month.
    assert cheap["cost"].sentence.startswith("it costs $292 a month ($")
    assert dear["cost"].sentence.startswith("it costs $7,300 a month ($")
    assert 0.2 <= cheap["cost"].strength < dear["cost"].strength < 1.0
    assert set(found(cost=0.2)) == {"none"}
    assert "cost" in found(cost=0.2, given={"least_usd_per_month": 0.0})


def test_a_known_part_of_the_cost_is_said_to_be_a_part():
    trigger = found(
        model=lambda n: "gpt-6-luna" if n % 2 else "house-model", cost=lambda n: 5.0 if n % 2 else None
    )["cost"]

    assert trigger.sentence == "it costs $1,825 a month at least (not every call has a price)"


def test_private_texts_speak_loudest():
    trigger = found(given={"private": True})["privacy"]

    assert trigger.strength == 1.0
    assert "may not go to a vendor" in trigger.sentence


def test_personal_data_alone_is_a_weaker_reason():
    eyes = Eyes(personal=lambda texts: [["EMAIL"]] * len(texts))

    trigger = found(eyes=eyes)["privacy"]

    assert trigger.strength == pytest.approx(0.6)
    assert "100.0% of 672 calls looked at hold personal data (EMAIL)" in trigger.sentence


@pytest.mark.parametrize(
    ("when", "words"),
    [
        (date(2026, 11, 21), "is switched off on 2027-01-14, in 54 days"),
        (date(2027, 2, 1), "was switched off on 2027-01-14"),
    ],
)
def test_a_model_that_its_vendor_switches_off_must_be_replaced(when, words):
    trigger = found(model="openai/gpt-4o-mini", when=when)["shutdown"]

    assert words in trigger.sentence
    assert trigger.strength == 1.0
    assert "https://" in trigger.sentence


def test_a_vendors_shutdown_date_is_not_taken_for_another_vendor_of_the_same_model():
    when = date(2026, 11, 21)

    for own in ({"provider": "openai", "model": "gpt-4o-mini"}, {"provider": None, "model": "gpt-4o-mini"}):
        assert "shutdown" in found(when=when, **own)
    for other in ({"provider": "azure", "model": "gpt-4o-mini"}, {"model": "azure/gpt-4o-mini"}):
        assert "shutdown" not in found(when=when, **other)


def test_a_shutdown_of_a_model_that_answers_little_weighs_less():
    trigger = found(model=lambda n: "gpt-4o-mini" if n % 10 == 0 else "gpt-6-luna", when=date(2026, 11, 21))[
        "shutdown"
    ]

    assert 0.3 < trigger.strength < 0.5
    assert "answers 10% of the calls" in trigger.sentence


def test_a_shutdown_years_away_is_no_reason_yet():
    assert "shutdown" not in found(model="gpt-4o-mini", when=date(2025, 11, 21))
