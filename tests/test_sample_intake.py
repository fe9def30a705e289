"""The intake sample: deterministic, true to its cases, honest about what is simulated, defects as the manifest says."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from offramp.errors import ConfigError, DataError, StoreError
from offramp.ingest import read
from offramp.ingest.mapping import Mapping
from offramp.metrics.section import section_metric, value_of
from offramp.sample.intake import TITLES, SampleData, corpus, generate, prepare, sample_config, write
from offramp.sample.intake.generate import INSTRUCTION
from offramp.sample.intake.note import HEADINGS, reference, write_note
from offramp.sample.intake.patient import draw
from offramp.sample.intake.talk import bare, converse, items_of
from offramp.sample.intake.words import own, words
from offramp.settings import resolve

SEED = 5
"""Not the demo's."""


@pytest.fixture(scope="module")
def sample() -> SampleData:
    return generate(SEED, 2000)


def _plain(sample: SampleData, call: str = "note") -> list[dict]:
    """Rows of one kind that nobody tampered with."""
    return [
        row
        for row in sample.rows
        if row["metadata"]["call"] == call and row["id"] not in sample.manifest["rows"]
    ]


def _with(sample: SampleData, defect: str) -> list[dict]:
    found = {i for i, entry in sample.manifest["rows"].items() if entry["defects"] == [defect]}
    return [row for row in sample.rows if row["id"] in found]


def _said(row: dict) -> str:
    return row["metadata"]["transcript"].casefold()


def test_the_same_seed_gives_the_same_bytes_in_another_process_with_another_hash_seed(tmp_path: Path) -> None:
    here = write(tmp_path / "here", generate(3, 300))
    code = "import sys; from pathlib import Path; from offramp.sample.intake import generate, write, corpus\n"
    code += "write(Path(sys.argv[1]), generate(3, 300)); print(list(corpus(3, 5)))"
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "123",
        "PYTHONPATH": str(Path(__file__).parents[1] / "src"),
    }

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "there")],
        check=True,
        env=environment,
        capture_output=True,
        text=True,
    )

    for name, path in here.items():
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes(), name
    assert done.stdout.strip() == str(list(corpus(3, 5)))


def test_another_seed_gives_other_rows() -> None:
    assert generate(1, 300).rows != generate(2, 300).rows


def test_the_vocabulary_is_wide() -> None:
    said = words()

    assert len(said.specialties) == 20
    assert len({each.term for place in said.specialties.values() for each in place.complaints}) > 450
    assert len(said.facts["drugs"]) > 80 and len(said.facts["conditions"]) > 60
    assert all(len(place.complaints) >= 10 and len(place.also) >= 8 for place in said.specialties.values())


def test_everything_in_the_reference_was_said(sample: SampleData) -> None:
    missing = Counter()
    for row in _plain(sample):
        note, said = row["metadata"]["reference"], _said(row)
        for heading in ("Past history", "Medications"):
            value = value_of(note, heading)
            empty = value in ("none", "no past illnesses")
            missing[heading] += not empty and any(part not in said for part in value.split(", "))

    # Only a typo can make a difference.
    assert sum(missing.values()) < 0.02 * len(_plain(sample))


def test_the_reference_has_every_section_in_order_and_at_most_90_words(sample: SampleData) -> None:
    for row in _plain(sample):
        note = row["metadata"]["reference"]
        found = [line.split(":")[0] for line in note.splitlines()]
        assert found == [name for name in HEADINGS.values() if name in found]
        assert set(HEADINGS.values()) - set(found) <= {"Family and social"}
        assert len(note.split()) <= 90


def test_the_last_word_counts_where_patients_correct_themselves() -> None:
    rng, said = Random(0), words()
    corrected = 0
    for _ in range(400):
        case = draw(rng, said)
        text = " ".join(turn["content"] for turn in converse(rng, case, said, script=said.scripts[0]).turns)
        if ", no wait," in text:
            corrected += 1
            assert f"no wait, {case.duration} ago" in text
            assert f"started {case.duration} ago" in write_note(reference(case))
    assert corrected > 2


def test_the_bot_asks_in_one_order_and_not_for_what_it_knows() -> None:
    rng, said = Random(1), words()
    for _ in range(200):
        case = draw(rng, said)
        talk = converse(rng, case, said, script=said.scripts[1])

        roles = [turn["role"] for turn in talk.turns]
        assert roles == ["user", "assistant"] * len(talk.items) + ["user"]
        assert talk.items == items_of(case) and talk.items[-1] == "allergies"
        assert ("onset" in talk.items) != case.early
        assert ("drugs" in talk.items) != case.treated


def test_a_complaint_that_tells_no_specialty_comes_with_a_symptom_that_does() -> None:
    rng, said = Random(2), words()
    decides = {each.term: table for each, table in said.ambiguous}
    met = Counter()
    for _ in range(1000):
        case = draw(rng, said)
        if case.complaint.term in decides:
            met[case.specialty] += 1
            assert set(case.also) & set(decides[case.complaint.term][case.specialty])
    assert 100 < sum(met.values()) < 200


def test_one_symptom_never_decides_for_two_specialties() -> None:
    for complaint, decides in words().ambiguous:
        symptoms = [symptom for found in decides.values() for symptom in found]
        assert len(symptoms) == len(set(symptoms)), complaint.term
        for name, found in decides.items():
            for other in set(decides) - {name}:
                assert not set(found) & set(decides[other])


def test_rows_of_a_conversation_share_its_name_and_are_audited_together(sample: SampleData) -> None:
    sides: dict[str, set[bool]] = {}
    for row in sample.rows:
        sides.setdefault(row["metadata"]["conversation"], set()).add(row["audited"])

    assert all(len(side) == 1 for side in sides.values())
    assert 0.2 < sum(row["audited"] for row in sample.rows) / len(sample.rows) < 0.3


def test_a_call_in_the_middle_is_a_beginning_of_its_conversation(sample: SampleData) -> None:
    whole = {row["metadata"]["conversation"]: row for row in _plain(sample)}
    middle = [row for row in _plain(sample, "question") if row["metadata"]["conversation"] in whole]

    assert len(middle) > 200
    for row in middle:
        messages = whole[row["metadata"]["conversation"]]["messages"]
        at = len(row["messages"])
        assert messages[:at] == row["messages"] and row["messages"][-1]["role"] == "user"
        assert messages[at]["content"] == row["metadata"]["reference"]


def test_defect_counts_are_the_planned_ones_and_equal_the_manifest(sample: SampleData) -> None:
    wanted = {
        "exact_duplicate": 40,
        "near_duplicate": 40,
        "wrong_specialty": 40,
        "unsupported_reference": 20,
        "cut_reference": 20,
        "truncated_answer": 20,
        "refused_answer": 20,
        "out_of_domain": 20,
        "refused_reference": 10,
        "empty_input": 6,
    }

    assert sample.manifest["counts"] == wanted
    assert {name: len(_with(sample, name)) for name in wanted} == wanted
    assert len(sample.rows) == 2000 and len({row["id"] for row in sample.rows}) == 2000


def test_the_manifest_points_at_the_right_lines(sample: SampleData) -> None:
    for row_id, entry in sample.manifest["rows"].items():
        assert sample.rows[entry["line"] - 1]["id"] == row_id
        if "partner" in entry:
            assert sample.rows[entry["partner_line"] - 1]["id"] == entry["partner"]


def test_each_defect_is_what_its_name_says(sample: SampleData) -> None:
    by_id = {row["id"]: row for row in sample.rows}
    entries = sample.manifest["rows"]

    for row in _with(sample, "exact_duplicate"):
        assert row["messages"] == by_id[entries[row["id"]]["partner"]]["messages"]
    for row in _with(sample, "near_duplicate"):
        partner = by_id[entries[row["id"]]["partner"]]
        assert row["messages"][:-1] == partner["messages"][:-1] and row["messages"] != partner["messages"]
        assert row["metadata"]["conversation"] == partner["metadata"]["conversation"]
    for row in _with(sample, "wrong_specialty"):
        wrong, right = row["metadata"]["reference"], entries[row["id"]]["true_reference"]
        assert value_of(wrong, "Specialty") in sample.labels
        assert value_of(wrong, "Specialty") != value_of(right, "Specialty")
        assert wrong.rsplit("\n", 1)[0] == right.rsplit("\n", 1)[0]
    for row in _with(sample, "unsupported_reference"):
        added = set(value_of(row["metadata"]["reference"], "Medications").split(", ")) - set(
            value_of(entries[row["id"]]["true_reference"], "Medications").split(", ")
        )
        assert len(added) == 1 and added.pop() not in _said(row)
    for row in _with(sample, "cut_reference"):
        assert entries[row["id"]]["true_reference"].startswith(row["metadata"]["reference"])
    assert all(row["finish_reason"] == "length" for row in _with(sample, "truncated_answer"))
    assert all("Chief complaint" not in row["completion"] for row in _with(sample, "refused_answer"))
    assert all(row["metadata"]["transcript"] == "" for row in _with(sample, "empty_input"))


def test_audited_rows_keep_a_right_reference(sample: SampleData) -> None:
    audited = {row["id"] for row in sample.rows if row["audited"]}
    harmful = [
        i
        for i, entry in sample.manifest["rows"].items()
        if entry["defects"][0] not in ("truncated_answer", "refused_answer")
    ]

    assert not audited & set(harmful)


def test_the_simulated_incumbent_errs_about_as_often_as_planned(sample: SampleData) -> None:
    rows = _plain(sample)
    pairs = [(row["completion"], row["metadata"]["reference"]) for row in rows]
    wrong = sum(value_of(answer, "Specialty") != value_of(target, "Specialty") for answer, target in pairs)

    assert 0.05 < wrong / len(rows) < 0.11
    # Most notes are not the reference word for word.
    assert 0.2 < sum(answer == target for answer, target in pairs) / len(pairs) < 0.5
    assert section_metric("Specialty").name == sample_config()["verdict"]["bars"][-1]["metric"]


def test_everything_simulated_is_called_simulated(sample: SampleData) -> None:
    assert all(row["simulated"] is True and "simulated" in row["source"] for row in sample.rows)
    assert all(row["model"] == TITLES["incumbent"] == "incumbent (simulated)" for row in sample.rows)
    assert sample.manifest["simulated"] is True
    assert any("incumbent is simulated" in note for note in sample.notes)
    assert sample_config()["data"]["simulated"] == ["incumbent"]


def test_the_log_carries_a_long_system_prompt_and_the_settings_a_short_instruction(
    sample: SampleData,
) -> None:
    prompts = {row["messages"][0]["content"] for row in sample.rows}

    assert len(prompts) == 1
    assert 150 <= len(prompts.pop().split()) <= 200
    assert sample_config()["data"]["instruction"] == INSTRUCTION and len(INSTRUCTION.split()) < 20


def test_ingest_reads_the_log_as_chat_calls(tmp_path: Path, sample: SampleData) -> None:
    paths = write(tmp_path, sample, audited_apart=True)
    settings = resolve(sample_config(), overrides=None, where="the intake sample")

    found = read(paths["calls"], mapping=Mapping.model_validate(settings.data.mapping))

    row = next(row for row in sample.rows if not row["audited"])
    table = found.rows
    assert found.rejects.num_rows == 0
    assert table.num_rows == sum(not row["audited"] for row in sample.rows)
    assert table.column("field.transcript")[0].as_py() == row["metadata"]["transcript"]
    assert table.column("target")[0].as_py() == row["metadata"]["reference"]
    assert table.column("answer.incumbent")[0].as_py() == row["completion"]
    assert json.loads(table.column("messages")[0].as_py()) == row["messages"]
    assert table.column("group")[0].as_py() == row["metadata"]["conversation"]


def test_prepare_writes_the_files_that_its_settings_name(tmp_path: Path) -> None:
    config = prepare(tmp_path, size=200, seed=1)

    assert [
        (tmp_path / name).is_file() for name in (*config["data"]["sources"], config["data"]["holdout"])
    ] == [
        True,
        True,
    ]
    assert resolve(config, overrides=None, where="a test").data.kind == "chat"


def test_the_corpus_has_none_of_the_words_that_the_sample_keeps_for_itself() -> None:
    every, shared = words("sample"), words("corpus")
    lost = [
        len(getattr(every, part)[name]) - len(getattr(shared, part)[name])
        for part in ("facts", "speech")
        for name in getattr(every, part)
    ]

    assert all(values for values in [*shared.facts.values(), *shared.speech.values()])
    assert not any(
        own(value) for values in [*shared.facts.values(), *shared.speech.values()] for value in values
    )
    assert not any(own(each.term) for place in shared.specialties.values() for each in place.complaints)
    whole = sum(len(values) for values in [*every.facts.values(), *every.speech.values()])
    assert 0.1 < sum(lost) / whole < 0.2


def test_a_conversation_of_the_corpus_ends_with_the_note_that_its_prompt_asks_for() -> None:
    for messages in corpus(SEED, 50):
        roles = [message["role"] for message in messages]
        headings = [line.split(":")[0] for line in messages[-1]["content"].splitlines()]

        assert roles[0] == "system" and roles[1:] == ["user", "assistant"] * (len(roles) // 2)
        assert ", ".join(headings) in messages[0]["content"]
        assert 3 <= len(headings) <= 7


def test_the_corpus_and_the_sample_share_no_conversation(sample: SampleData) -> None:
    said = {tuple(m["content"] for m in row["messages"][1:4]) for row in sample.rows}

    assert not said & {tuple(m["content"] for m in messages[1:4]) for messages in corpus(SEED, 300)}


@pytest.mark.parametrize("arguments", [(7, 10), (7, 2_000_000), (7, -1), ("7", 600), (7, 600.0), (True, 600)])
def test_a_bad_seed_or_size_is_a_data_error(arguments: tuple) -> None:
    with pytest.raises(DataError, match="expected"):
        generate(*arguments)


def test_too_small_a_demo_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--size 200"):
        prepare(tmp_path, size=50)


def test_a_folder_that_cannot_be_written_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StoreError, match="sample task"):
        write(tmp_path / "file", generate(1, 200))


def test_articles_are_left_out_of_the_chief_complaint() -> None:
    assert bare("a dry cough") == "dry cough"
    assert bare("an itchy rash on the neck") == "itchy rash on the neck"
    assert bare("acne") == "acne"
