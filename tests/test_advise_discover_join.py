"""What evidence is enough to call two wordings one task, and templates mined out of texts."""

import numpy as np
import pyarrow as pa

from offramp.advise.discover.evidence import Pair, mixed
from offramp.advise.discover.join import score
from offramp.advise.discover.names import printable, unique
from offramp.advise.discover.templates import templates_of
from offramp.advise.discover.variants import label_of

UNLIKE = {
    "shared": 0.0, "meaning": 0.4, "inputs": 0.1, "answers": 0.0, "tools": 1.0, "schema": True, "handover": False,
    "telling": 0.8, "surety": 0.9,
}  # fmt: skip


def pair(**facts):
    return Pair(**{**UNLIKE, **facts})


def test_a_paraphrase_with_the_same_labels_on_the_same_inputs_is_one_task():
    assert score(pair(inputs=0.9, answers=0.95, telling=1.0)) > 1


def test_classifying_and_extracting_the_same_inputs_are_two_tasks_even_with_a_preamble_in_common():
    assert score(pair(inputs=1.0, answers=0.0, shared=0.45, meaning=0.9)) < 0


def test_yes_and_no_to_other_inputs_is_another_task_but_many_labels_in_common_tell_enough():
    assert score(pair(inputs=0.3, answers=1.0, telling=0.25)) < 0
    assert score(pair(inputs=0.3, answers=1.0, telling=1.0)) > 0


def test_an_edit_that_changes_the_form_of_the_answer_is_the_same_task_only_when_it_takes_over():
    changed = {"inputs": 1.0, "answers": 0.0, "shared": 0.6, "meaning": 0.95}

    assert score(pair(**changed, handover=True)) > 0
    assert score(pair(**changed, handover=False)) < 0


def test_tools_that_differ_speak_against():
    assert score(pair(inputs=0.9, answers=0.8, tools=0.0)) < score(pair(inputs=0.9, answers=0.8)) - 1


def test_two_sets_of_one_kind_are_mixed_and_two_kinds_are_not():
    rng = np.random.default_rng(0)
    near, far = rng.normal(0, 0.1, (2, 60, 8))
    near[:, 0] += 1
    far[:, 1] += 1
    near, far = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (near, far))

    assert mixed(near[:30], near[30:]) > 0.8
    assert mixed(near, far) == 0.0
    assert mixed(near[:2], far) == 0.5


def test_a_label_is_read_out_of_json_and_out_of_a_sentence():
    assert [
        label_of(text) for text in ('{"intent": "Card_Arrival"}', "Intent: card arrival.", "`card_arrival`")
    ] == ["card arrival"] * 3
    assert label_of("A first line.\nA second line.") == ""


def test_a_template_has_slots_where_texts_differ_and_rare_texts_keep_their_own():
    names = ["Ana", "Tom", "Mei", "Omar", "Ida", "Sam"]
    texts = [f"You answer mail for {name} on day {n}. Be brief and kind." for n, name in enumerate(names)]
    texts.append("Translate the attached contract into plain German without changing any number in it.")

    found, member = templates_of(pa.array(texts, pa.large_string()), every=True)

    assert len(set(member[:6].tolist())) == 1 and member[6] not in member[:6]
    assert found[member[0]].skeleton == "You answer mail for ⟨…⟩ on day ⟨…⟩ Be brief and kind."


def test_first_messages_without_an_instruction_in_common_have_no_template():
    words = "how do i get my card to the bank when it is late and where is the money that you owe me".split()
    texts = [" ".join(np.random.default_rng(n).permutation(words)[:9]) for n in range(200)]

    found, member = templates_of(pa.array(texts, pa.large_string()), every=False)

    assert found == [] and (member == -1).all()


def test_names_are_printable_short_and_unique():
    long = "word " * 40

    assert printable("a\x00b\u202ec\nd") == "a b c d"
    assert len(printable(long)) <= 60
    assert unique("Sort", ["Sort", "Sort (2)"]) == "Sort (3)"
    assert unique("\x00", []) == "Task"
