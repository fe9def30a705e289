"""Find personal data that has a form: mail addresses, cards, phones, accounts, clinical identifiers, secrets.

Presidio's recognizers run with `NoOpNlpEngine` and a registry that names each one; its default engine, which
downloads a model, is never made. That engine reads no context, so a number whose form alone says little (nine digits)
counts here only when one of its words ("SSN", "member", "routing") stands near. Our own rules add what Presidio finds
only with context: phones of any country, dates of birth, record numbers, secrets.

Guarantee: no network; each rule reads a bounded window, so a long text costs in proportion to its length. Trap: an
identifier that is spoken in words ("one two three") or that has no digit is not found.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from functools import cache
from typing import Any

from offramp.curate.personal.spans import Span, pieces
from offramp.errors import NotFoundError

SURE = 0.4
"""From this score of Presidio's on, a form is enough by itself."""
_DIGITS_ONLY = frozenset(("ABA_ROUTING_NUMBER", "UK_NHS", "US_NPI"))
"""Plain digits with a check digit, which one number in ten or eleven has by chance: these need their word."""
_BEFORE, _AFTER = 90, 40

PRESIDIO = (
    "EmailRecognizer CreditCardRecognizer IbanRecognizer IpRecognizer MacAddressRecognizer CryptoRecognizer "
    "UsSsnRecognizer UsItinRecognizer UsPassportRecognizer UsLicenseRecognizer UsBankRecognizer AbaRoutingRecognizer "
    "MedicalLicenseRecognizer UsMbiRecognizer UsNpiRecognizer UsHealthInsuranceMemberIdRecognizer "
    "UsPriorAuthorizationNumberRecognizer UsClaimNumberRecognizer UsPrescriptionNumberRecognizer "
    "UsReferralNumberRecognizer UsProviderTaxIdRecognizer NhsRecognizer UkNinoRecognizer"
).split()

_CARD = re.compile(r"(?<![\w.])\d(?:[ -]?\d){11,18}(?![\w])")
_PHONE = re.compile(r"(?<![\w./])(?:\+|\(\+?)?\d[\d ().\-/]{4,18}\d(?:\s?(?:x|ext\.?)\s?\d{1,6})?(?![\w])")
_PHONE_SURE = re.compile(
    r"\+\d[\d ().\-]{6,18}|\(0?\d{1,4}\)[ \-]?\d[\d \-]{4,11}|\(?\d{3}\)?[ .\-]\d{3}[ .\-]\d{4}"
    r"(?:\s?(?:x|ext\.?)\s?\d{1,6})?|1[ .\-]\d{3}[ .\-]\d{3}[ .\-]\d{4}|0\d{1,4}(?:[ .\-]\d{2,7}){1,4}"
)
_PHONE_LOOSE = re.compile(
    r"\d{2,4}(?:(?: \d{2,4}){2,5}|(?:-\d{2,4}){2,5}|(?:\.\d{2,4}){2,5})|\d{3}[ \-]\d{4}|"
    r"(?!(?:19|20)\d\d (?:19|20)\d\d)\d{4} \d{4}"
)
_PHONE_WORDS = re.compile(
    r"\b(?:phone|tel|telephone|cell|cellphone|mobile|fax|call|calls|called|calling|text|texts|sms|messages?|ring|"
    r"reach|contact|dial|whatsapp|office|landline|voicemail|beeper|pager|number is|number)\b",
    re.IGNORECASE,
)
_DATE = (
    r"(?:(?:\d{4}[./\-]\d{1,2}[./\-]\d{1,2}|\d{1,2}[./\-]\d{1,2}[./\-](?:\d{4}|\d{2}))\b(?:[ T]\d\d:\d\d(?::\d\d)?)?|"
    r"(?:\d{1,2}(?:st|nd|rd|th)?(?: of)? )?(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\.?"
    r"(?: \d{1,2}(?:st|nd|rd|th)?,?)?,? (?:\d{4}|'?\d\d)\b)"
)
_BORN = re.compile(
    r"\b(?:d\.?o\.?b|date of birth|birth ?date|birth ?day|born|geboren|née?)\b.{0,40}?(" + _DATE + ")",
    re.IGNORECASE | re.DOTALL,
)
_OLD = re.compile(r"\b(?:9\d|1[01]\d)(?=[ -]?(?:years?[ -]old|year[ -]old|y/?o\b|yo\b))", re.IGNORECASE)
_URL = re.compile(
    r"\b(?:https?|ftp)://[^\s<>\"'\])]+|\bwww\.[\w\-]+(?:\.[\w\-]+)+[^\s<>\"'\])]*|"
    r"(?<![@\w.\-])[a-z0-9\-]{1,63}(?:\.[a-z0-9\-]{1,63}){0,6}\.(?:com|org|net|edu|gov|info|biz)\b(?:/[^\s<>\"'\])]*)?",
    re.IGNORECASE,
)
_STREET = re.compile(
    r"\b\d{1,6}[A-Za-z]?(?: (?:N|S|E|W|NE|NW|SE|SW|North|South|East|West)\.?)?(?: [A-Z][\w'’.\-]{1,20}){1,4}? "
    r"(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Terrace|Parkway|Pkwy|Highway|Hwy)\b\.?"
    r"(?:,? (?:Apt|Suite|Ste|Unit|#)\.? ?\w{1,6})?"
)
_BOX = re.compile(
    r"\bP\.? ?O\.? Box \d+|\b(?:PSC|Unit|CMR) \d+,? Box \d+(?:\s+[AFD]PO A[AEP] \d{5})?", re.IGNORECASE
)
_SECRET = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[A-Za-z0-9+/=\s]{0,8000}(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?|"
    r"\b(?:sk|pk|rk)[-_](?:[a-z]+[-_])?[A-Za-z0-9_\-]{16,200}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|"
    r"\bgh[opsur]_[A-Za-z0-9]{20,255}|\bgithub_pat_\w{20,255}|\bglpat-[\w\-]{16,64}|\bxox[abeoprs]-[\w\-]{10,250}|"
    r"\bAIza[\w\-]{30,45}|\bhf_[A-Za-z0-9]{20,64}|\beyJ[\w\-]{8,2000}\.[\w\-]{8,4000}\.[\w\-]{0,1000}"
)
_SECRET_GIVEN = re.compile(
    r"(?:\b|_)(?:password|passwd|passphrase|pwd|pin code|secret|api[ _\-]?key|access[ _\-]?key|"
    r"(?:auth|access)?[ _\-]?token)"
    r"[\"']?\s{0,3}(?:=|:|is:?)\s{0,3}[\"']?(?P<value>[^\s\"',;]{4,200})|"
    r"\bBearer\s{1,3}(?P<bearer>[\w\-.=+/]{12,2000})|://[^\s:/@]{1,100}:(?P<login>[^\s/@]{1,100})@",
    re.IGNORECASE,
)
_ID = re.compile(
    r"(?<![\w@.])#?(?=[A-Za-z\-/]{0,8}\d)[A-Za-z0-9](?:[A-Za-z0-9]|[\-/](?=[A-Za-z0-9])){3,23}(?![\w@])"
)
_ID_SPACED = re.compile(r"(?<![\w.])[A-Z0-9]{2,5}(?: [A-Z0-9]{2,5}){1,5}(?![\w])")
_LABELS = {
    "MEDICAL_RECORD": r"mrn|medical record|med rec|record (?:number|no|id|#)|chart(?: (?:number|no|id|#))?|patient "
    r"(?:id|number|no|identifier|#)|hospital (?:number|no|id)|unit number|health record|emr|ehr",
    "ENCOUNTER": r"encounter|visit (?:number|id|no|#)|accession|csn|admission (?:number|id|no)|specimen|"
    r"lab (?:number|id)|case (?:number|id|no|#)|episode",
    "US_MBI": r"mbi|medicare|beneficiary",
    "US_NPI": r"npi|national provider|provider (?:id|number|identifier)",
    "HEALTH_PLAN": r"member|subscriber|insurance|policy|group (?:number|no|id|#)|medicaid|plan (?:id|number)|payer"
    r"|health plan|hicn|beneficiary id",
    "PRIOR_AUTHORIZATION": r"prior auth\w*|pre-?auth\w*|authori[sz]ation|auth (?:number|no|code|#)|precert\w*",
    "CLAIM": r"claim",
    "PRESCRIPTION": r"rx|prescription|refill|script (?:number|no)",
    "REFERRAL": r"referral",
    "DEVICE": r"serial|device (?:id|number)|implant|pacemaker (?:id|number)|lot (?:number|no)|udi|imei",
    "US_DRIVER_LICENSE": r"driver'?s?'? licen[sc]e|driving licen[sc]e|licen[sc]e(?: (?:number|no|#))?|"
    r"dl (?:number|no|#)",
    "US_PASSPORT": r"passport",
    "US_SSN": r"ssn|social security|soc sec",
    "BANK_ACCOUNT": r"account (?:number|no|#)|acct|iban|routing|sort code",
    "NATIONAL_ID": r"national id|id card|identity card|tax id|nhs (?:number|no)|tin",
}
"""What may stand near an identifier, by type."""
_NEAR = re.compile(
    "|".join(rf"(?P<{name}>\b(?:{words})\b)" for name, words in _LABELS.items()), re.IGNORECASE
)
_ZIP = re.compile(
    r"\b(?:zip|postal|post) ?codes?\b\W{0,4}(?:is |to )?(\w{2,4}[ -]?\w{2,4})|\b[A-Z]{2},? (\d{5}(?:-\d{4})?)\b|"
    r"\b([A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}|[A-Z]\d[A-Z] \d[A-Z]\d)\b"
)


def find(text: str) -> list[Span]:
    """Return everything that has a form, in no order, possibly overlapping.

    Raises:
        NotFoundError: Presidio is not installed.
    """
    spans: list[Span] = []
    for start, piece in pieces(text):
        for span in _found(piece):
            spans.append(Span(span.start + start, span.end + start, span.type, span.score, span.source))
    return spans


def _found(text: str) -> Iterator[Span]:
    yield from _presidio(text)
    for rule in (_plain, _cards, _phones, _labelled):
        yield from rule(text)


# ---- Presidio ---------------------------------------------------------------------------------------------------


@cache
def _engine() -> tuple[Any, dict[str, "re.Pattern[str]"]]:
    """Make the engine once; returns it and, for each type, the words that make a weak form count."""
    try:
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry, predefined_recognizers
        from presidio_analyzer.nlp_engine import NoOpNlpEngine
    except ImportError as error:
        raise NotFoundError(
            "personal data was to be found with Presidio; it is not installed: "
            "run `pip install 'offramp[personal]'` (or `pip install presidio-analyzer`)"
        ) from error

    recognizers = [getattr(predefined_recognizers, name)() for name in PRESIDIO]
    # Its check asks tldextract, which would fetch a list from the network; the form of a mail address is enough.
    recognizers[0].validate_result = _undecided
    languages = ["en"]
    for one in recognizers:
        one.supported_language = "en"  # the Spanish or Italian ones would be left out; these read digits
    registry = RecognizerRegistry(recognizers=recognizers, supported_languages=languages)
    nlp = NoOpNlpEngine(models=[{"lang_code": "en", "model_name": "none"}])
    engine = AnalyzerEngine(registry=registry, nlp_engine=nlp, supported_languages=languages)
    words = {
        kind: re.compile(rf"\b(?:{'|'.join(map(re.escape, one.context))})", re.IGNORECASE)
        for one in recognizers
        for kind in one.supported_entities
        if one.context
    }
    return engine, words


def _undecided(pattern_text: str) -> None:
    """Neither confirm nor reject."""


def _presidio(text: str) -> Iterator[Span]:
    engine, words = _engine()
    if not any(c.isdigit() or c in "@:" for c in text):
        return  # every recognizer above wants one of these
    for found in engine.analyze(text, language="en"):
        start, end = found.start, found.end
        near = words.get(found.entity_type)
        if found.score >= SURE and found.entity_type not in _DIGITS_ONLY:
            yield Span(start, end, found.entity_type, found.score, "presidio")
        elif near and _has_digits(text[start:end]) and near.search(_around(text, start, end)):
            yield Span(start, end, found.entity_type, SURE, "presidio")


def _around(text: str, start: int, end: int) -> str:
    return f"{text[max(0, start - _BEFORE) : start]} {text[end : end + _AFTER]}"


def _has_digits(text: str) -> bool:
    return sum(c.isdigit() for c in text) >= 3


# ---- our own ----------------------------------------------------------------------------------------------------

_RULES: tuple[tuple[str, "re.Pattern[str]", float], ...] = (
    ("DATE_OF_BIRTH", _BORN, 0.9),
    ("AGE", _OLD, 0.8),
    ("URL", _URL, 0.6),
    ("ADDRESS", _STREET, 0.6),
    ("ADDRESS", _BOX, 0.8),
    ("SECRET", _SECRET, 0.95),
    ("SECRET", _SECRET_GIVEN, 0.9),
    ("ADDRESS", _ZIP, 0.5),
)


def _plain(text: str) -> Iterator[Span]:
    """Rules whose form is enough; where a rule has groups, the one that matched is the value."""
    for kind, pattern, score in _RULES:
        for found in pattern.finditer(text):
            group = found.lastindex or 0
            start, end = found.span(group)
            yield Span(start, end, kind, score, "pattern")


def _cards(text: str) -> Iterator[Span]:
    """Card numbers: 12 to 19 digits that pass the check digit, or that stand near a word for cards."""
    for found in _CARD.finditer(text):
        digits = re.sub(r"\D", "", found[0])
        near = re.search(
            r"\b(?:card|credit|debit|visa|mastercard|amex|cc|atm)\b", _around(text, *found.span()), re.I
        )
        if near or _luhn(digits):
            yield Span(*found.span(), "CREDIT_CARD", 0.9 if near else 0.7, "pattern")


def _luhn(digits: str) -> bool:
    """Check a card number. Source: ISO/IEC 7812-1, annex B."""
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0 and len(set(digits)) > 1


def _phones(text: str) -> Iterator[Span]:
    for found in _PHONE.finditer(text):
        said = (
            found[0].strip(" .-/(") if found[0].count("(") != found[0].count(")") else found[0].strip(" .-/")
        )
        digits = sum(c.isdigit() for c in said)
        if not 7 <= digits <= 17 or re.fullmatch(_DATE, said):
            continue
        start = found.start() + found[0].index(said)
        end = start + len(said)
        if _PHONE_SURE.fullmatch(said):
            yield Span(start, end, "PHONE_NUMBER", 0.75, "pattern")
        elif _PHONE_WORDS.search(_around(text, start, end)):
            yield Span(start, end, "PHONE_NUMBER", 0.55, "pattern")
        elif _PHONE_LOOSE.fullmatch(said) and digits <= 15:
            yield Span(start, end, "PHONE_NUMBER", 0.45, "pattern")


def _labelled(text: str) -> Iterator[Span]:
    """Identifiers that stand near what they are called; the nearest name before them gives the type."""
    labels = [(one.start(), one.end(), str(one.lastgroup)) for one in _NEAR.finditer(text)]
    if not labels:
        return
    for pattern, enough in ((_ID, _is_id), (_ID_SPACED, _is_spaced)):
        for found in pattern.finditer(text):
            kind = _nearest(labels, *found.span()) if enough(found[0]) else None
            if kind:
                yield Span(*found.span(), kind, 0.65, "pattern")


def _is_id(text: str) -> bool:
    digits = sum(c.isdigit() for c in text)
    return (
        digits >= 3
        and len(text) >= 5
        and not re.fullmatch(_DATE, text)
        and not re.fullmatch(r"\d+(?:mg|ml|mcg|th)", text, re.I)
    )


def _is_spaced(text: str) -> bool:
    return sum(c.isdigit() for c in text) >= 5


def _nearest(labels: list[tuple[int, int, str]], start: int, end: int) -> str | None:
    """Return the type of the last label before the value, else of one right after it."""
    after = bisect_left(labels, (end,))
    before = bisect_left(labels, (start,)) - 1
    if before >= 0 and labels[before][1] <= start and start - labels[before][1] <= _BEFORE:
        return labels[before][2]
    if after < len(labels) and labels[after][0] - end <= _AFTER // 2:
        return labels[after][2]
    return None
