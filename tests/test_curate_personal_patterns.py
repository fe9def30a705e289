import sys

import pytest

from offramp.curate.personal import patterns
from offramp.curate.personal.spans import Span, merged, words
from offramp.errors import NotFoundError

pytest.importorskip("presidio_analyzer")


def found(text: str) -> list[tuple[str, str]]:
    return [(span.type, text[span.start : span.end]) for span in merged(patterns.find(text))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to jo.doe@corp.local now", [("EMAIL_ADDRESS", "jo.doe@corp.local")]),
        ("IBAN GB33BUKB20201555555555", [("IBAN_CODE", "GB33BUKB20201555555555")]),
        ("from 192.168.4.77 today", [("IP_ADDRESS", "192.168.4.77")]),
        ("my ssn is 536-22-8745", [("US_SSN", "536-22-8745")]),
        ("paid with 4111 1111 1111 1111", [("CREDIT_CARD", "4111 1111 1111 1111")]),
        ("please call 780 6326", [("PHONE_NUMBER", "780 6326")]),
        ("+41 (0)69 979 80 58", [("PHONE_NUMBER", "+41 (0)69 979 80 58")]),
        ("DOB: 4/5/1992", [("DATE_OF_BIRTH", "4/5/1992")]),
        ("she was born on March 3rd, 1971", [("DATE_OF_BIRTH", "March 3rd, 1971")]),
        ("a 93-year-old man", [("AGE", "93")]),
        ("MRN 00482913 was opened", [("MEDICAL_RECORD", "00482913")]),
        ("Her Medicare card says 1EG4-TE5-MK73", [("US_MBI", "1EG4-TE5-MK73")]),
        ("What is your member ID?\nPatient: XEH123456789", [("HEALTH_PLAN", "XEH123456789")]),
        ("claim CLM-555120987 was denied", [("CLAIM", "CLM-555120987")]),
        ("send it to P.O. Box 4312", [("ADDRESS", "P.O. Box 4312")]),
        ("lives at 12 North Hollow Road, Apt 4", [("ADDRESS", "12 North Hollow Road, Apt 4")]),
    ],
)
def test_what_has_a_form_is_found_whole(text, expected):
    assert [span[1] for span in found(text)] == [span[1] for span in expected]
    assert {kind for kind, _ in found(text)} <= {kind for kind, _ in expected} | {
        "US_HEALTH_INSURANCE_MEMBER_ID",
        "US_CLAIM_NUMBER",
        "US_HEALTHCARE_CLAIM_NUMBER",
    }


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("export KEY=AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
        ("password: hunter22", "hunter22"),
        ("git clone https://bob:s3cr3tpw@host/x.git", "s3cr3tpw"),
        ("Authorization: Bearer abcdefgh12345678", "abcdefgh12345678"),
        ("sk-proj-abcdefghijklmnop1234", "sk-proj-abcdefghijklmnop1234"),
    ],
)
def test_secrets_are_found(text, secret):
    assert any(secret in value for _, value in found(text))


@pytest.mark.parametrize(
    "text",
    [
        "Version 2.10.3 fixes 45 bugs in 2024.",
        "I take Metformin, 500 mg, twice a day.",
        "On 4/5/1992 the company was founded.",
        "A 45-year-old man with a BP of 120/80.",
        "Error 50012: timeout after 30000 ms",
        "total: 12.50, tax: 1.25",
        "from 2019-2023 in the 2000-2500 km range",
        "see main.py and README.md",
    ],
)
def test_plain_numbers_dates_and_files_are_left_alone(text):
    assert found(text) == []


def test_a_number_of_nine_digits_counts_only_beside_its_word():
    assert found("ordered 021000021 pieces") == []
    assert [value for _, value in found("routing number 021000021")] == ["021000021"]


def test_a_mail_address_is_found_without_asking_the_network_for_known_domains():
    assert found("a@b.unknowntld") == [("EMAIL_ADDRESS", "a@b.unknowntld")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00\x01\x02",
        "1" * 50_000,
        "1 " * 20_000,
        "a" * 50_000 + "@",
        "(" * 5_000,
        "password" * 2_000,
        "+1 (" * 3_000,
        "\ud800 lone surrogate 555-123-4567",
        "١٢٣ ٤٥٦ ٧٨٩٠",
    ],
)
def test_text_made_to_harm_gives_spans_inside_the_text(text):
    for span in merged(patterns.find(text)):
        assert 0 <= span.start < span.end <= len(text)


def test_a_long_text_is_searched_to_its_end():
    text = "word " * 9_000 + "mail me at a@example.com"

    assert found(text) == [("EMAIL_ADDRESS", "a@example.com")]


def test_overlapping_spans_become_one_with_the_type_of_the_surest():
    spans = [Span(0, 5, "A", 0.5, "x"), Span(3, 9, "B", 0.9, "y"), Span(9, 11, "C", 0.4, "x")]

    assert merged(spans) == [Span(0, 9, "B", 0.9, "y"), Span(9, 11, "C", 0.4, "x")]


def test_words_keep_their_apostrophes_and_signs_stand_alone():
    text = "O'Neil-Smith, 12!"

    assert [text[a:b] for a, b in words(text)] == ["O'Neil", "-", "Smith", ",", "12", "!"]


def test_without_presidio_the_message_names_the_command(monkeypatch):
    patterns._engine.cache_clear()
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)

    with pytest.raises(NotFoundError, match=r"pip install 'offramp\[personal\]'"):
        patterns.find("a@example.com")

    patterns._engine.cache_clear()
