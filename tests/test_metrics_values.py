"""Numbers, dates and truth values in all the ways people and models write them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.metrics.values import Number, Reading, empty, read_boolean, read_date, read_number, same

NUMBER, DATE, TEXT, BOOLEAN = (Reading(kind) for kind in ("number", "date", "text", "boolean"))


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("100", 100, ""),
        ("1,200.50", 1200.5, ""),
        ("1.200,50", 1200.5, ""),
        ("1 200,50", 1200.5, ""),
        ("1'200.50", 1200.5, ""),
        ("1,20,000", 120000, ""),
        ("1,200", 1200, ""),
        ("1.200", 1.2, ""),
        ("1,5", 1.5, ""),
        ("1e3", 1000, ""),
        (".5", 0.5, ""),
        ("-5", -5, ""),
        ("−5", -5, ""),
        ("$1,200", 1200, "USD"),
        ("-$5", -5, "USD"),
        ("5 EUR", 5, "EUR"),
        ("50 %", 50, "%"),
        ("RM7.70", 7.7, "MYR"),
        ("Rs. 1,20,000", 120000, "INR"),
    ],
)
def test_numbers_are_read_as_people_write_them(text: str, value: float, unit: str):
    assert read_number(text) == Number(value, unit)


@pytest.mark.parametrize(
    "value", ["", "5kg", "1.2.3", "12,34,5", "$5 EUR", "+-5", "one", "nan", "inf", True, None, [1]]
)
def test_what_is_no_number_is_not_read_as_one(value: object):
    assert read_number(value) is None


def test_a_decimal_comma_swaps_the_marks():
    assert read_number("1.200", decimal_comma=True) == Number(1200)
    assert read_number("1,200", decimal_comma=True) == Number(1.2)


def test_numbers_are_the_same_by_value_not_by_writing():
    assert same("100", 100, NUMBER)
    assert same(1.0, 1, NUMBER)
    assert same(0.1 + 0.2, 0.3, NUMBER)
    assert not same("100.01", 100, NUMBER)
    assert not same(True, 1, NUMBER)


def test_long_identifiers_differ_in_their_last_digit():
    assert not same(12345678901234567, 12345678901234568, NUMBER)
    assert not same("12345678901234567890", "12345678901234567891", NUMBER)


def test_currencies_must_agree_when_both_are_written():
    assert same("$100", 100, NUMBER)
    assert same("$100", "100 USD", NUMBER)
    assert not same("$100", "€100", NUMBER)


def test_a_tolerance_is_absolute_or_relative():
    assert same(101, 100, Reading("number", tolerance=1.0))
    assert same(101, 100, Reading("number", tolerance_ratio=0.01))
    assert not same(102, 100, Reading("number", tolerance_ratio=0.01))


@pytest.mark.parametrize(
    "text",
    [
        "2024-05-01", "2024/5/1", "20240501", "1 May 2024", "May 1st, 2024", "1st of May 2024", "01-May-24",
        "01/MAY/2024", "Wednesday, 1 May 2024", "1.5.2024", "05/01/2024",
    ],
)  # fmt: skip
def test_dates_are_read_in_many_forms(text: str):
    assert same(text, "2024-05-01", DATE)


@pytest.mark.parametrize("text", ["2024-02-30", "May 2024", "13/13/2024", "hello", "12:30", "1.200.500", ""])
def test_what_is_no_date_is_not_read_as_one(text: str):
    assert read_date(text) is None


def test_a_part_above_12_decides_the_order_else_the_reading_does():
    assert same("13/05/2024", "2024-05-13", DATE)
    assert same("05/13/2024", "2024-05-13", Reading("date", day_first=True))
    assert same("01/05/2024", "2024-01-05", DATE)
    assert same("01/05/2024", "2024-05-01", Reading("date", day_first=True))
    assert not same("01/05/2024", "2024-05-01", DATE)


def test_times_are_compared_when_they_were_wanted():
    assert same("2024-05-01T10:30:00", "2024-05-01", DATE)
    assert not same("2024-05-01", "2024-05-01T10:30:00", DATE)
    assert same("1 May 2024 10:30 PM", "2024-05-01 22:30", DATE)
    assert same("2024-05-01T12:30:00+02:00", "2024-05-01T10:30:00Z", DATE)
    assert not same("2024-05-01T12:30:00Z", "2024-05-01T10:30:00Z", DATE)


def test_two_digits_of_a_year_are_1969_to_2068():
    assert [read_date(f"1 May {year}").at.year for year in ("68", "69", "'24")] == [2068, 1969, 2024]


def test_truth_values():
    assert [read_boolean(each) for each in (True, "Yes", 1, "FALSE", 0, "maybe", None)] == [
        True, True, True, False, False, None, None,
    ]  # fmt: skip
    assert same("yes", True, BOOLEAN)
    assert not same("perhaps", False, BOOLEAN)


def test_a_text_that_looks_alike_gets_no_credit():
    assert not same("Snack foods", "Snacks", TEXT)
    assert same(" SNACKS ", "snacks", TEXT)
    assert same(100, "100", TEXT)
    assert not same("true", "yes", TEXT)


@settings(deadline=None)
@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2060, 1, 1), timezones=st.just(UTC)))
def test_iso_times_read_back(at: datetime):
    assert read_date(at.isoformat(timespec="seconds")).at == at.replace(microsecond=0)


@settings(deadline=None)
@given(st.integers(-(10**12), 10**12))
def test_grouped_integers_read_back(value: int):
    assert read_number(f"{value:,}") == Number(value)
    assert same(f"{value:,}", value, NUMBER)


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_compared_the_same_both_ways(one: float, other: float):
    assert same(one, other, NUMBER) == same(other, one, NUMBER)


@settings(deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_read_without_an_error(text: str):
    read_number(text)
    read_date(text)
    read_boolean(text)


def test_nothing_is_null_or_empty_and_zero_is_something():
    assert [empty(each) for each in (None, "", "  ", [], {}, 0, False, "0")] == [True] * 5 + [False] * 3
