import stat
import string
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.curate import ledger
from offramp.curate.personal import RULE, Redactor, Span, Vault, counts, find, findings
from offramp.curate.personal.surrogates import surrogate
from offramp.errors import ConfigError, MismatchError, NotFoundError

pytest.importorskip("presidio_analyzer")


def person(text: str, *names: str) -> list[Span]:
    """Mark names by hand: what a tagger finds is tested elsewhere."""
    spans, at = [], 0
    for name in names:
        start = text.index(name, at)
        at = start + len(name)
        spans.append(Span(start, at, "PERSON", 0.9, "tagger"))
    return spans


def masked(redactor: Redactor, text: str, *names: str, conversation: str = "c") -> str:
    return redactor.replace(text, person(text, *names), conversation=conversation).text


def test_a_first_name_after_the_full_name_is_the_same_person():
    redactor = Redactor(None)

    text = "Ana Costa called. Then ANA and Bo Li met; Costa left."

    assert masked(redactor, text, "Ana Costa", "ANA", "Bo Li", "Costa") == (
        "[PERSON_1] called. Then [PERSON_1] and [PERSON_2] met; [PERSON_1] left."
    )


def test_a_full_name_after_the_first_name_is_the_same_person_in_the_next_text_too():
    redactor = Redactor(None)

    assert masked(redactor, "Hi Zoë!", "Zoë") == "Hi [PERSON_1]!"
    assert masked(redactor, "Zoe K. Ruiz here", "Zoe K. Ruiz") == "[PERSON_1] here"
    assert masked(redactor, "Ruiz speaking", "Ruiz") == "[PERSON_1] speaking"


def test_numbers_start_anew_in_another_conversation():
    redactor = Redactor(None)

    masked(redactor, "Ana", "Ana", conversation="a")

    assert masked(redactor, "Bo", "Bo", conversation="b") == "[PERSON_1]"


def test_each_type_counts_for_itself_and_the_same_value_has_the_same_number():
    redactor = Redactor(None)

    redacted = redactor.redact("a@x.com or b@x.com, not A@x.com; call 555-201-9944")

    assert (
        redacted.text
        == "[EMAIL_ADDRESS_1] or [EMAIL_ADDRESS_2], not [EMAIL_ADDRESS_1]; call [PHONE_NUMBER_1]"
    )
    assert redacted.counts == {"EMAIL_ADDRESS": 3, "PHONE_NUMBER": 1}


def test_only_the_types_asked_for_are_replaced():
    redactor = Redactor(None, types=["PHONE_NUMBER"])

    assert redactor.redact("a@x.com, 555-201-9944").text == "a@x.com, [PHONE_NUMBER_1]"


def test_a_vault_restores_the_text_exactly_and_only_its_owner_can_read_it(tmp_path):
    key = tmp_path / "vault.jsonl"
    redactor = Redactor(None, vault=Vault(key))
    text = "Ana Costa, then Ana: a@x.com"

    redacted = redactor.replace(
        text, [*person(text, "Ana Costa", "Ana"), Span(21, 28, "EMAIL_ADDRESS", 1, "x")], conversation="c"
    )

    assert redacted.text == "[PERSON_1], then [PERSON_1]: [EMAIL_ADDRESS_1]"
    assert redactor.restore(redacted.text, key, conversation="c") == text
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_a_text_written_with_placeholders_gets_the_fullest_name_and_unknown_ones_stay(tmp_path):
    key = tmp_path / "vault.jsonl"
    redactor = Redactor(None, vault=Vault(key))
    masked(redactor, "Ana, that is Ana Costa", "Ana", "Ana Costa")

    assert (
        Redactor(None).restore("Dear [PERSON_1], [PERSON_2]", key, conversation="c")
        == "Dear Ana Costa, [PERSON_2]"
    )
    assert Redactor(None).restore("Dear [PERSON_1]", key, conversation="other") == "Dear [PERSON_1]"


def test_a_placeholder_that_was_in_the_text_comes_back_as_it_was(tmp_path):
    key = tmp_path / "vault.jsonl"
    redactor = Redactor(None, vault=Vault(key))
    text = "literally [PERSON_1], but Ana"

    redacted = redactor.replace(text, person(text, "Ana"), conversation="c")

    assert redacted.text == "literally [LITERAL_1], but [PERSON_1]"
    assert redactor.restore(redacted.text, key, conversation="c") == text


def test_a_vault_that_others_can_read_is_refused(tmp_path):
    key = tmp_path / "vault.jsonl"
    key.write_text("")
    key.chmod(0o644)

    with pytest.raises(ConfigError, match="chmod 600"):
        Vault(key)


def test_a_missing_or_broken_vault_says_so(tmp_path):
    with pytest.raises(NotFoundError, match="a vault was expected"):
        Redactor(None).restore("x", tmp_path / "none")
    key = tmp_path / "broken"
    key.write_text("[1]\n")
    key.chmod(0o600)
    with pytest.raises(MismatchError, match="line 1"):
        Redactor(None).restore("x", key)


def test_a_short_salt_is_refused():
    with pytest.raises(ConfigError, match="16 bytes"):
        Redactor(None, salt=b"short")


def test_what_a_redactor_remembers_and_shows_holds_no_value():
    redactor = Redactor(None)

    redacted = redactor.redact("mail ana.costa@example.com")

    assert "ana.costa" not in repr(redacted)
    assert "ana" not in repr(vars(redactor._books[""]))


def test_surrogates_are_consistent_and_the_same_with_the_same_salt():
    one = Redactor(None, salt=b"0" * 16, surrogate=surrogate)
    two = Redactor(None, salt=b"0" * 16, surrogate=surrogate)
    text = "Ana Costa and Ana"

    first = masked(one, text, "Ana Costa", "Ana")

    assert first == masked(two, text, "Ana Costa", "Ana")
    name, _, again = first.partition(" and ")
    assert name.startswith(again) and "Ana" not in first


def test_a_surrogate_keeps_the_form_of_a_number():
    fake = surrogate("PHONE_NUMBER", "+41 (0)69-979x5", 7)

    assert [c if not c.isdigit() else "9" for c in fake][:5] == ["+", "9", "9", " ", "("]
    assert len(fake) == len("+41 (0)69-979x5")


def test_threads_may_share_a_redactor():
    redactor = Redactor(None)
    texts = [f"mail u{i % 5}@x.com" for i in range(60)]

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda text: redactor.redact(text, conversation="c").text, texts))

    assert len(set(done)) == 5
    assert all(len({done[i] for i in range(start, 60, 5)}) == 1 for start in range(5))


@settings(max_examples=60, deadline=None)
@given(text=st.text(alphabet=string.printable + "é[]_[PERSON_1]١", max_size=80))
def test_restore_takes_any_redaction_back(text, tmp_path_factory):
    key = tmp_path_factory.mktemp("vault") / "key"
    redactor = Redactor(None, vault=Vault(key))

    redacted = redactor.redact(text, conversation="c")

    assert (
        redactor.restore(redacted.text, key, conversation="c") if redacted.values else redacted.text
    ) == text


def rows() -> pa.Table:
    return pa.table(
        {
            "id": ["r1", "r2", "r3"],
            "group": ["g", "g", None],
            "field.text": ["I am a@x.com", "b@x.com wrote to a@x.com", "nothing here"],
            "target": ["billing", "billing", "billing"],
        }
    )


def test_rows_are_edited_by_conversation_and_the_evidence_holds_no_value():
    found = find(rows(), Redactor(None))

    assert [(line.row, line.rule, line.field, line.after) for line in found] == [
        ("r1", RULE, "field.text", "I am [EMAIL_ADDRESS_1]"),
        ("r2", RULE, "field.text", "[EMAIL_ADDRESS_2] wrote to [EMAIL_ADDRESS_1]"),
    ]
    assert found[1].evidence["types"] == {"EMAIL_ADDRESS": 2}
    assert "x.com" not in str(found[1].evidence) + str(found[1].params)


def test_undoing_the_rule_gives_the_raw_rows_back():
    raw = rows()
    book = ledger.table(find(raw, Redactor(None)))

    assert ledger.apply(raw, book).column("field.text").to_pylist()[2] == "nothing here"
    assert ledger.apply(raw, ledger.drop(book, rules=[RULE])).equals(raw)


def test_the_report_counts_by_type():
    assert counts(findings(rows(), Redactor(None))) == {"EMAIL_ADDRESS": 3}
