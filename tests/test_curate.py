"""Curation as a whole: decisions, proof rules, bad input, and the same cleaning at serving."""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from offramp import rows as row_tables
from offramp.curate import (
    RULES,
    Curated,
    CurateSettings,
    Encoders,
    apply,
    clean_text,
    curate,
    drop,
)
from offramp.curate.lexical import LexicalThresholds
from offramp.errors import ConfigError, DataError
from offramp.types import Task


class Hashed:
    """Embeds texts by their hashed words and word beginnings: near texts are near, with no model."""

    def encode(self, texts: list[str], /) -> np.ndarray:
        """Return normalised float32 vectors of 256 dimensions."""
        vectors = np.zeros((len(texts), 256), np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                for piece in (word, word[:4]):
                    vectors[row, int(hashlib.md5(piece.encode()).hexdigest()[:6], 16) % 256] += 1
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(norms, 1e-9)


STEMS = ("lo", "ma", "ti", "re", "su", "ka", "vo", "ne")
WORDS = [f"{stem}{end}" for stem in STEMS for end in ("ran", "mik", "pol", "der", "sut")]


def _texts(n: int, seed: int = 0, words: Sequence[str] = WORDS) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(words, k=9)) for _ in range(n)]


def _table(
    texts: Sequence[str], labels: Sequence[str | None], *, start: int = 0, **more: Sequence[Any]
) -> pa.Table:
    columns: dict[str, Any] = {
        "id": [
            hashlib.sha256(f"{i}:{text}".encode()).hexdigest()[:12] for i, text in enumerate(texts, start)
        ],
        "field.text": pa.array(texts, pa.string()),
        "target": pa.array(labels, pa.string()),
    }
    return pa.table(columns | {name.replace("__", "."): values for name, values in more.items()})


def _clean_rows(n: int = 60, labels: str = "ab") -> pa.Table:
    return _table(_texts(n), [f"label {labels[i % len(labels)]}" for i in range(n)])


def _run(
    rows: pa.Table, *, labels: tuple[str, ...] = (), incumbent: bool = False, **settings: Any
) -> Curated:
    task = Task(name="t", inputs=("text",), target="label", labels=labels, target_is_incumbent=incumbent)
    return curate(rows, task=task, settings=CurateSettings(**settings), encoders=Encoders(Hashed()))


def _decisions(found: Curated, rule: str) -> dict[str, dict[str, Any]]:
    return {line["row"]: line for line in found.ledger.to_pylist() if line["rule"] == rule}


def _with(
    rows: pa.Table, texts: Sequence[str], labels: Sequence[str | None], **more: Sequence[Any]
) -> pa.Table:
    added = _table(texts, labels, start=rows.num_rows, **more)
    return pa.concat_tables([rows, added], promote_options="default")


def _split_of(found: Curated) -> dict[str, str]:
    return dict(zip(found.splits["id"].to_pylist(), found.splits["split"].to_pylist(), strict=True))


def test_clean_rows_are_left_alone_and_split() -> None:
    rows = _clean_rows(100)

    found = _run(rows)

    assert found.ledger.num_rows == 0
    assert apply(rows, found.ledger).equals(rows)
    assert {name: found.counts[name] for name in ("in", "kept", "train", "validation", "holdout")} == {
        **{"in": 100, "kept": 100, "train": 80, "validation": 10, "holdout": 10},
    }
    assert found.labels == ("label a", "label b")
    assert found.notes == ()
    assert found.certificate.straddling == 0
    assert found.certificate.near_pairs == 0


def test_the_order_of_the_rows_changes_nothing() -> None:
    rows = _with(_clean_rows(), [_texts(1)[0].upper(), "", _texts(2)[1]], ["label a", "label b", "label a"])
    turned = rows.take(list(range(rows.num_rows))[::-1])

    first, second = _run(rows), _run(turned)

    assert _split_of(first) == _split_of(second)
    assert sorted(map(str, first.ledger.to_pylist())) == sorted(map(str, second.ledger.to_pylist()))


def test_exact_and_normalised_duplicates_merge_into_a_weight() -> None:
    text = _texts(1)[0]
    rows = _with(_clean_rows(), [text, f" {text.upper()}! "], ["label a", "label a"])

    found = _run(rows)

    assert found.counts["merged"] == 2
    assert found.counts["rule.exact_duplicate"] == 2
    assert sorted(found.splits["weight"].to_pylist())[-2:] == [1, 3]


def test_the_same_input_with_another_label_is_a_conflict_never_a_duplicate() -> None:
    first, second = _texts(2)
    rows = _with(_clean_rows(), [first, second, second.title()], ["label b", "label b", "label a"])

    found = _run(rows)

    conflicts = _decisions(found, "label_conflict")
    # The first input has one vote each: both are set aside. The second has two against one: the one is.
    assert Counter(json.dumps(json.loads(line["evidence"])["votes"]) for line in conflicts.values()) == {
        '{"label a": 1, "label b": 1}': 2,
        '{"label a": 1, "label b": 2}': 1,
    }
    assert found.counts["quarantined"] == 3
    assert any("3 rows are set aside" in note for note in found.notes)


def test_near_identical_rows_merge_only_with_the_same_label_and_numbers() -> None:
    long = " ".join(_texts(4, seed=5))
    variants = [long, f"please {long}", f"{long} 12", f"{long} 13", f"{long} thanks"]
    rows = _with(_clean_rows(), variants, ["label a", "label a", "label a", "label a", "label b"])

    found = _run(rows)

    ids = rows["id"].to_pylist()[-5:]
    near = _decisions(found, "near_duplicate")
    assert len(near) == 1
    line = next(iter(near.values()))
    assert {line["row"], json.loads(line["evidence"])["into"]} == set(ids[:2])
    families = dict(zip(found.splits["id"].to_pylist(), found.splits["family"].to_pylist(), strict=True))
    assert len({families[row] for row in ids if row in families}) == 1


def test_families_and_groups_stay_in_one_split() -> None:
    base = _texts(40, seed=3)
    texts = [f"{text} {extra}" for text in base for extra in ("one", "two", "three")]
    groups = [f"g{i // 6}" for i in range(120)]
    rows = _table(texts, [f"label {i % 4}" for i in range(120)], group=groups)

    found = _run(rows)

    where = _split_of(found)
    for group in set(groups):
        members = [
            row for row, g in zip(rows["id"].to_pylist(), groups, strict=True) if g == group and row in where
        ]
        assert len({where[row] for row in members}) == 1
    assert found.certificate.straddling == 0
    assert found.certificate.near_pairs == 0
    assert found.certificate.families > 0


def test_refused_and_truncated_answers_leave_only_where_they_are_the_labels() -> None:
    labels = ["card_arrival", "change_pin"] * 30
    odd = ["I'm sorry, but I can't help with that.", "card_arr", "", None, "change_pin"]
    texts = _texts(65)
    finish = ["stop"] * 64 + ["length"]
    as_labels = _table(texts, labels + odd, finish_reason=finish)
    reviewed = _table(
        texts, labels + ["change_pin"] * 5, finish_reason=finish, answer__incumbent=labels + odd
    )

    removed = _run(as_labels, incumbent=True)
    kept = _run(reviewed)

    assert removed.counts["rule.refused_answer"] == 1
    assert removed.counts["rule.truncated_answer"] == 2
    assert removed.counts["rule.empty_answer"] == 2
    assert removed.counts["kept"] == 60
    assert removed.notes[0].startswith("the labels are the incumbent's own answers")
    assert kept.counts["kept"] == 65
    assert (
        "the incumbent gave no usable answer on 3 rows; they stay and count as its wrong answers"
        in kept.notes
    )


def test_labels_are_brought_into_one_form_and_recorded_answers_with_them() -> None:
    rows = _table(
        _texts(64),
        ["Card arrival"] * 31 + ["card_arrival ", "CARD-ARRIVAL"] + ["change pin"] * 31,
        answer__incumbent=["card_arrival."] * 33 + ["no idea"] * 31,
    )

    found = _run(rows)

    view = apply(rows, found.ledger)
    assert found.labels == ("Card arrival", "change pin")
    assert Counter(row_tables.targets(view)) == {"Card arrival": 33, "change pin": 31}
    assert Counter(row_tables.answers(view, "incumbent")) == {"Card arrival": 33, "no idea": 31}


def test_paths_are_folded_level_by_level() -> None:
    wanted = ["Home > Kitchen", "Home > Garden & Yard", "Tech > Phones"]
    odd = [
        "home>kitchen",
        "Home / Garden and Yard",
        "Phones",
        "HOME > Pool",
        "Tech > Phoness",
        "Tech > Phones > 5G",
    ]
    rows = _table(_texts(66), wanted * 20 + odd)

    found = _run(rows)

    after = row_tables.targets(apply(rows, found.ledger))[60:]
    assert after == [
        *("Home > Kitchen", "Home > Garden & Yard", "Tech > Phones", "Home > Pool", "Tech > Phones"),
        "Tech > Phones > 5G",
    ]
    assert set(_decisions(found, "label_typo")) == {rows["id"][64].as_py()}
    assert any("2 labels have a single row" in note for note in found.notes)


def test_with_a_given_label_set_what_does_not_fit_is_quarantined() -> None:
    rows = _table(_texts(63), ["Alpha", "Beta"] * 30 + ["alpha ", "tbd", "Gamma"])

    found = _run(rows, labels=("Alpha", "Beta", "Gamma", "Delta"))

    assert list(_decisions(found, "unknown_label")) == [rows["id"][61].as_py()]
    assert found.labels == ("Alpha", "Beta", "Delta", "Gamma")


def test_one_keystroke_is_corrected_but_not_digits_or_first_letters() -> None:
    rows = _table(_texts(62), ["winter coats", "level 1 support"] * 29 + ["winter caots", "winter boats"] * 2)
    once = ["wintr coats", "winter boats", "level 2 support"]
    odd = _table(_texts(63, seed=9), ["winter coats", "level 1 support"] * 30 + once)

    assert _decisions(_run(rows), "label_typo") == {}  # seen twice: a label of its own
    assert [line["before"] for line in _decisions(_run(odd), "label_typo").values()] == ["wintr coats"]


def test_html_and_boilerplate_are_edits_that_serving_repeats() -> None:
    boilerplate = "Visit our web shop for more offers."
    texts = [
        f"<p>{text} &amp; more</p>" if i % 3 else f"{text}. {boilerplate}"
        for i, text in enumerate(_texts(120))
    ]
    rows = _table(texts, [f"label {i % 4}" for i in range(120)])

    found = _run(rows)

    view = apply(rows, found.ledger)
    assert found.boilerplate == ("visit our web shop for more offers",)
    assert row_tables.field(view, "text") == [clean_text(text, found.boilerplate) for text in texts]
    assert row_tables.field(view, "text")[:2] == [f"{_texts(1)[0]}.", f"{_texts(2)[1]} & more"]
    assert found.counts["edited"] == 120


def test_a_sentence_that_tells_the_label_is_no_boilerplate() -> None:
    texts = [
        f"{t}. {'Flowers are not included here.' if i % 4 == 0 else ''}" for i, t in enumerate(_texts(120))
    ]

    assert _run(_table(texts, [f"label {i % 4}" for i in range(120)])).boilerplate == ()


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain text  with   spaces \n", "plain text  with   spaces \n"),
        ("a < b and c > d", "a < b and c > d"),
        ("write to <me@example.com>", "write to <me@example.com>"),
        ("AT&T and R&D; x&y", "AT&T and R&D; x&y"),
        ("<b>bold</b><br/>line", "bold line"),
        ("&lt;p&gt;hidden&lt;/p&gt; &amp;amp; twice", "hidden & twice"),
        ("<script>alert('<p>')</script>shown", "shown"),
        ("<style>p {}</style><!-- gone -->kept<script>open", "kept"),
        ("5&nbsp;kg &#8364;20", "5 kg €20"),
        ("null &#0; byte &#7;", "null \ufffd byte"),
        ("漢字 <i>שלום</i> 🎁", "漢字 שלום 🎁"),
    ],
)
def test_cleaning_takes_markup_and_nothing_else_and_twice_is_once(text: str, clean: str) -> None:
    assert clean_text(text) == clean
    assert clean_text(clean) == clean


def test_cleaning_takes_whole_sentences_only() -> None:
    assert clean_text(
        "Nice mug. Free shipping on all orders! v2.0 here", ("free shipping on all orders",)
    ) == ("Nice mug. v2.0 here")
    assert clean_text("Free shipping on all orders", ["free shipping on all orders"]) == ""


def test_empty_inputs_leave_also_when_only_markup_was_there() -> None:
    rows = _with(_clean_rows(), ["", "<p>&nbsp;</p>", "???"], ["label a"] * 3)

    found = _run(rows)

    assert found.counts["rule.empty_input"] == 2
    assert found.counts["removed"] == 2


def _pinned(rows: pa.Table, texts: Sequence[str], labels: Sequence[str | None]) -> pa.Table:
    return _with(rows, texts, labels, split=["holdout"] * len(texts))


def test_the_users_holdout_is_never_judged_and_copies_of_it_leave_training() -> None:
    twin, near = _texts(1)[0], _texts(2)[1]
    own = [twin.upper(), twin, f"{near} ", "", "<b>new</b> thing", "odd one"]
    labels = ["label b", "label a", "label a", "label b", "unseen", "LABEL A "]
    rows = _pinned(_clean_rows(), own, labels)

    found = _run(rows)

    where = _split_of(found)
    held = rows["id"].to_pylist()[-6:]
    assert [where[row] for row in held] == ["holdout"] * 6
    assert set(_decisions(found, "leak")) == set(rows["id"].to_pylist()[:2])
    assert found.labels == ("label a", "label b")
    view = apply(rows, found.ledger)
    assert row_tables.field(view, "text")[-2:] == ["new thing", "odd one"]
    assert row_tables.targets(view)[-2:] == ["unseen", "label a"]
    assert found.certificate.unseen_labels == ("unseen",)
    assert found.notes[0] == (
        "1 labels of the test data (1 rows) have no training row, the first is 'unseen'; "
        "those rows stay and will mostly count as wrong"
    )
    assert "2 rows repeat a row of the user's own test data and left the training data" in found.notes
    assert found.counts["holdout"] == 6


def test_near_copies_of_the_users_holdout_leave_training_whatever_their_label() -> None:
    long = " ".join(_texts(4, seed=5))
    ours = _with(_clean_rows(), [f"please {long}"], ["label b"])
    rows = _pinned(ours, [long, f"thanks {long}"], ["label a", "label a"])

    found = _run(rows)

    leaks = _decisions(found, "leak")
    assert list(leaks) == [rows["id"][60].as_py()]
    assert json.loads(next(iter(leaks.values()))["evidence"])["of"] in rows["id"].to_pylist()[-2:]


def test_a_holdout_row_without_a_label_cannot_be_scored_and_leaves() -> None:
    found = _run(_pinned(_clean_rows(), ["some new words", "other new words"], [None, "label a"]))

    assert found.counts["rule.empty_answer"] == 1
    assert found.counts["holdout"] == 1


def test_the_users_splits_are_kept() -> None:
    names = (["train"] * 3 + ["validation", "holdout"]) * 12
    rows = _table(_texts(60), [f"label {i % 3}" for i in range(60)], split=names)

    found = _run(rows)

    assert [_split_of(found)[row] for row in rows["id"].to_pylist()] == names


def test_strange_rows_are_set_aside_but_never_from_the_holdout() -> None:
    draw = random.Random(1)
    topics = ("alpha", "betas", "gammo", "delto")
    texts = [f"{w} {w}s {w}x {' '.join(draw.sample(WORDS, 2))}" for w in topics for _ in range(100)]
    labels = [f"label {i // 100}" for i in range(400)]
    texts += [f"epsil epsils {' '.join(draw.sample(WORDS, 2))}" for _ in range(12)]
    texts += [f"qx{i} zz{i} yy{i} ww{i}" for i in range(4)]
    rows = _table(texts, [*labels, *["label 4"] * 16])

    free = _run(rows, validation_ratio=0, holdout_ratio=0)
    pinned = _run(rows.append_column("split", pa.array(["train"] * 412 + ["holdout"] * 4)))

    taken = set(_decisions(free, "off_task"))
    # Far from everything, their nearest rows are arbitrary and may share the label by chance.
    assert len(taken) >= 2
    assert taken <= set(rows["id"].to_pylist()[-4:])
    assert _decisions(pinned, "off_task") == {}
    assert pinned.counts["holdout"] == 4


def test_undone_rules_do_not_run_and_kept_rows_stay() -> None:
    rows = _with(_clean_rows(), ["", _texts(1)[0], "<b>bold</b> words"], ["label a", "label a", "label b"])
    empty = rows["id"][60].as_py()

    undone = _run(rows, undo=("exact_duplicate", "near_duplicate", "clean"))
    kept = _run(rows, keep=(empty,))

    assert set(undone.ledger["rule"].to_pylist()) == {"empty_input"}
    assert empty in _split_of(kept)
    assert kept.counts["removed"] == 0


def test_dropping_all_lines_gives_back_the_raw_rows() -> None:
    rows = _with(_clean_rows(), ["", _texts(1)[0], "<b>bold</b> words"], ["label a", "label a", "Label B "])

    found = _run(rows)

    assert found.counts["in"] == found.counts["kept"] + found.counts["removed"] + found.counts["merged"]
    assert apply(rows, drop(found.ledger, rules=RULES)).equals(rows)


def test_rows_with_the_same_id_are_refused() -> None:
    with pytest.raises(DataError, match="ids of rows must be unique"):
        _run(pa.concat_tables([_clean_rows()] * 2))


def test_unknown_rules_and_rows_are_refused() -> None:
    with pytest.raises(ConfigError, match="'magic'"):
        _run(_clean_rows(), undo=("magic",))
    with pytest.raises(ConfigError, match="'nobody'"):
        _run(_clean_rows(), keep=("nobody",))


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (_texts(5), ["same"] * 5, "all 5 rows have 'same'"),
        ([""] * 4, ["a", "b", "a", "b"], "every row was taken out"),
        (_texts(3), [None, "", " "], "every row was taken out"),
        ([_texts(1)[0]] * 2, ["a", "b"], "every row was taken out"),
    ],
)
def test_rows_that_cannot_be_learned_from_are_refused(
    texts: Sequence[str], labels: Sequence[str | None], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        _run(_table(texts, labels))


def test_a_test_file_that_repeats_all_training_rows_is_refused() -> None:
    rows = _clean_rows(10)

    with pytest.raises(DataError, match=r"every row was taken out \(leak 10\)"):
        _run(_pinned(rows, rows["field.text"].to_pylist(), rows["target"].to_pylist()))


def test_a_class_with_one_row_is_kept_in_train_and_noted() -> None:
    rows = _with(_clean_rows(), ["something quite different"], ["rare"])

    found = _run(rows)

    assert _split_of(found)[rows["id"][60].as_py()] == "train"
    assert "1 labels have a single row, which is kept for training; the first is 'rare'" in found.notes


def test_few_rows_make_empty_splits_with_a_note() -> None:
    found = _run(_table(_texts(3), ["a", "b", "a"]))

    assert found.counts["train"] == 3
    assert sum("split is empty" in note for note in found.notes) == 2


def test_one_group_of_nearly_all_rows_is_noted() -> None:
    rows = _table(_texts(60), [f"label {i % 2}" for i in range(60)], group=["one"] * 50 + [None] * 10)

    assert any("holds 50 of 60 rows" in note for note in _run(rows).notes)


def test_a_thousand_copies_and_very_long_rows_are_no_trouble() -> None:
    rows = _table(["same words here"] * 1000 + ["word " * 30_000, *_texts(30)], ["a"] * 1000 + ["b"] * 31)

    found = _run(rows)

    assert found.counts["merged"] == 999
    assert max(found.splits["weight"].to_pylist()) == 1000


def test_thresholds_can_be_set() -> None:
    long = " ".join(_texts(4, seed=5))
    rows = _with(_clean_rows(), [long, f"please {long}"], ["label a", "label a"])

    assert _run(rows, lexical=LexicalThresholds(merge_ratio=1.0)).counts["merged"] == 0


def test_the_details_of_a_run_are_json() -> None:
    details = json.loads(json.dumps(_run(_clean_rows()).details()))

    assert details["certificate"]["rows"] == {"train": 48, "validation": 6, "holdout": 6}


def test_a_split_by_time_needs_times() -> None:
    rows = _clean_rows()
    newest = rows.append_column("time", pa.array([f"2026-03-{1 + i // 2:02d}T08:00:00Z" for i in range(60)]))

    with pytest.raises(ConfigError, match="no row has a readable time"):
        _run(rows, split="time")
    found = _run(newest, split="time")

    held = [i for i, name in enumerate(found.splits["split"].to_pylist()) if name == "holdout"]
    assert held == [54, 55, 56, 57, 58, 59]
    assert found.certificate.by == "time"
    ids = sorted(newest["id"].to_pylist()[i] for i in held)
    assert found.certificate.holdout_sha256 == hashlib.sha256("\n".join(ids).encode()).hexdigest()


def test_times_are_read_as_iso_text_seconds_and_milliseconds() -> None:
    table = pa.table({"time": ["2026-01-01T00:00:00Z", "1767225600", "1767225600000", "soon", None, "nan"]})

    assert row_tables.times(table) == [1767225600.0, 1767225600.0, 1767225600.0, None, None, None]


def test_mojibake_in_inputs_is_mended_where_serving_mends_it_too() -> None:
    broken = "le cafÃ© est fermÃ©"
    rows = _with(_clean_rows(), [broken], ["label a"])

    found = _run(rows)

    assert clean_text(broken) == "le café est fermé"
    assert [line["after"] for line in _decisions(found, "clean").values()] == ["le café est fermé"]


def _with_mail(mode: str) -> Curated:
    pytest.importorskip("presidio_analyzer")
    from offramp.curate.personal import Redactor

    texts = [f"{text}, write to ann{i}@example.com" for i, text in enumerate(_texts(60))]
    rows = _table(texts, [f"label {'ab'[i % 2]}" for i in range(60)], split=["train"] * 50 + ["holdout"] * 10)
    task = Task(name="t", inputs=("text",), target="label", labels=(), target_is_incumbent=False)
    encoders = Encoders(Hashed(), redactor=Redactor(None))
    return curate(rows, task=task, settings=CurateSettings(personal=mode), encoders=encoders)


def test_personal_data_is_masked_in_all_rows_the_holdout_too() -> None:
    found = _with_mail("mask")

    masked = _decisions(found, "personal_data").values()
    assert len(masked) == 60
    assert all("@" not in line["after"] and "[EMAIL_ADDRESS_1]" in line["after"] for line in masked)
    assert all("@" not in line["evidence"] for line in masked)
    assert any("60 EMAIL_ADDRESS" in note for note in found.notes)


def test_personal_data_that_is_only_looked_for_stays_and_its_finding_quotes_nothing() -> None:
    found = _with_mail("find")

    assert _decisions(found, "personal_data") == {}
    kept = [one for one in found.findings.to_pylist() if one["rule"] == "personal_data"]
    assert len(kept) == 60
    assert all(one["action"] == "review" and "@" not in json.dumps(one) for one in kept)


def test_personal_data_cannot_be_looked_for_without_what_finds_it() -> None:
    with pytest.raises(ConfigError, match="nothing that finds it was given"):
        _run(_clean_rows(), personal="mask")


def test_rows_that_repeat_a_named_test_set_leave(tmp_path: Any) -> None:
    rows = _clean_rows()
    public = tmp_path / "public.txt"
    public.write_text(rows["field.text"][3].as_py().upper() + "\n")

    found = _run(rows, test_sets=(str(public),))

    assert list(_decisions(found, "contamination")) == [rows["id"][3].as_py()]


def test_a_target_size_thins_train_and_leaves_the_rest() -> None:
    whole, thinned = _run(_clean_rows(90)), _run(_clean_rows(90), target_rows=30)

    assert thinned.counts["train"] == 30
    assert [thinned.counts[name] for name in ("validation", "holdout")] == [
        whole.counts[name] for name in ("validation", "holdout")
    ]
    assert len(_decisions(thinned, "target_size")) == whole.counts["train"] - 30


def test_a_label_with_a_damaged_character_in_its_name_keeps_its_rows() -> None:
    names = ("label a", "label b", "label \ufffd")
    rows = _table(_texts(120), [names[i % 3] for i in range(120)])

    found = _run(rows)

    assert found.counts["kept"] == 120
    assert "label \ufffd" in found.labels
