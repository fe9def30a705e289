"""Tasks are found in calls whatever their order, keep their ids, and bad input does no harm."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.advise.calls import table_of
from offramp.advise.discover import Edits, FoundTask, Tasks, find_tasks

WORDS = (
    "card balance refund mortgage branch cheque loan transfer currency statement pin limit fee salary deposit "
    "savings overdraft interest payment merchant invoice contact address phone"
).split()
FISH = (
    "trout river salmon lake bait hook net boat tide reef carp perch pike eel cod herring tuna shrimp crab "
    "lobster oyster squid whale seal"
).split()
NAMES = ("Ana Ruiz", "Tom Becker", "Mei Lin", "Omar Haddad", "Julia Novak", "Sam Okoye", "Priya Nair")


def text(words, number):
    return (
        " ".join(words[(number * step + step) % len(words)] for step in (1, 5, 7, 11, 3, 13)) + f" {number}"
    )


def bank_call(number, *, at=None, extra=""):
    name = NAMES[number % len(NAMES)]
    return {
        "id": f"bank-{number}",
        "at": at if at is not None else 1.79e9 + number,
        "system": f"You sort the messages of {name}, account {number * 7919}. Name the department that must answer, "
        f"one word, nothing else.{extra}",
        "user": text(WORDS, number),
        "answer": ("cards", "loans", "cash")[number % 3],
    }


def fish_call(number):
    return {
        "id": f"fish-{number}",
        "at": 1.79e9 + number,
        "system": "You are a helpful assistant.",
        "user": f"Write one sentence for anglers about the following catch.\n\n{text(FISH, number)}",
        "answer": f"What a day at the water: {text(FISH, number + 3)}, and the boat came home before the storm.",
    }


def chat_call(number):
    return {
        "id": f"json-{number}",
        "at": 1.79e9 + number,
        "system": "You are a helpful assistant.",
        "user": f"Return the words of the order as JSON with the key items.\n\n{text(WORDS[::-1], number)}",
        "answer": '{"items": ["' + text(WORDS[::-1], number) + '"]}',
    }


@pytest.fixture(scope="module")
def rows():
    return [make(n) for n in range(90) for make in (bank_call, fish_call, chat_call)]


@pytest.fixture(scope="module")
def found(rows):
    return find_tasks(table_of(rows))


def kinds_in(found: Tasks, rows) -> list[set[str]]:
    return [
        {row["id"].partition("-")[0] for row, own in zip(rows, found.member, strict=True) if own == number}
        for number in range(len(found.tasks))
    ]


def test_calls_with_names_and_numbers_in_the_prompt_are_one_task_and_a_generic_prompt_is_several(found, rows):
    assert sorted(map(sorted, kinds_in(found, rows))) == [["bank"], ["fish"], ["json"]]
    assert sorted((task.calls, task.output) for task in found.tasks) == [
        (90, "json"),
        (90, "labels"),
        (90, "text"),
    ]


def test_a_task_shows_its_prompt_with_slots_its_name_and_calls_of_its_own(found, rows):
    bank = next(task for task in found.tasks if task.output == "labels")

    assert "Name the department that must answer" in bank.skeleton
    assert "⟨…⟩" in bank.skeleton and not any(name in bank.skeleton for name in NAMES)
    assert bank.name == "Name the department that must answer"
    assert len(bank.samples) == 5 and all(one.startswith("bank-") for one in bank.samples)
    assert (bank.variants[0].first_at, bank.variants[0].last_at) == (1.79e9, 1.79e9 + 89)


@given(st.permutations(range(60)))
@settings(max_examples=5, deadline=None)
def test_the_order_of_the_calls_changes_nothing(order):
    rows = [make(n) for n in range(20) for make in (bank_call, fish_call, chat_call)]
    straight = find_tasks(table_of(rows))
    mixed = find_tasks(table_of([rows[i] for i in order]))

    assert mixed.tasks == straight.tasks
    assert mixed.member.tolist() == [int(straight.member[i]) for i in order]


def test_an_edited_prompt_is_the_same_task(rows):
    later = [
        bank_call(n, at=1.79e9 + 10**6 + n, extra=" Messages about fees go to cash.") for n in range(90, 180)
    ]

    found = find_tasks(table_of([*rows, *later]))

    bank = next(task for task in found.tasks if task.output == "labels")
    assert bank.calls == 180 and len(found.tasks) == 3


def test_a_known_task_keeps_its_id_when_its_prompt_was_edited(found):
    later = [
        bank_call(n, extra=" Messages about fees go to cash, whatever their amount is.")
        for n in range(90, 180)
    ]

    again = find_tasks(table_of(later), known=found.tasks)

    bank = next(task for task in found.tasks if task.output == "labels")
    assert [(task.id, task.name) for task in again.tasks] == [(bank.id, bank.name)]


def test_another_prompt_does_not_take_the_id_of_a_known_task(found):
    fish = [task for task in found.tasks if task.output == "text"]

    again = find_tasks(table_of([bank_call(n) for n in range(40)]), known=fish)

    assert again.tasks[0].id != fish[0].id


def test_a_name_given_by_a_person_outlives_new_data(found):
    bank = next(task for task in found.tasks if task.output == "labels")
    edits = Edits(renamed={bank.id: "Departments"})

    again = find_tasks(table_of([bank_call(n) for n in range(200, 260)]), known=found.tasks, edits=edits)

    assert [(task.id, task.name) for task in again.tasks] == [(bank.id, "Departments")]


def test_merged_tasks_stay_merged_on_new_data(found):
    bank, fish, _ = sorted(found.tasks, key=lambda task: ["labels", "text", "json"].index(task.output))
    edits = Edits(merged=((bank.id, fish.id),))
    new = [make(n) for n in range(200, 260) for make in (bank_call, fish_call)]

    first = find_tasks(table_of(new), known=found.tasks, edits=edits)
    second = find_tasks(table_of(new), known=first.tasks, edits=edits)

    assert [(task.id, task.calls) for task in first.tasks] == [(bank.id, 120)]
    assert [(task.id, task.calls) for task in second.tasks] == [(bank.id, 120)]


def split_calls(first, last):
    calls = []
    for n in range(first, last):
        words = (WORDS, FISH)[n % 2]
        calls.append(
            {
                "id": f"{n}",
                "system": "Translate the note of the guest into French, please.",
                "user": text(words, n),
                "answer": f"Voici ce que dit la note du client: {text(words, n)} " * 3,
            }
        )
    return calls


def test_a_split_task_falls_into_kinds_of_inputs_that_new_data_falls_into_too():
    whole = find_tasks(table_of(split_calls(0, 200)))
    (task,) = whole.tasks
    edits = Edits(split=(task.id,))

    parts = find_tasks(table_of(split_calls(0, 200)), known=whole.tasks, edits=edits)
    again = find_tasks(table_of(split_calls(200, 300)), known=parts.tasks, edits=edits)

    assert len(parts.tasks) >= 2 and all(one.id.startswith(f"{task.id}.") for one in parts.tasks)
    for found in (parts, again):
        for number in range(len(found.tasks)):
            own = [row for row, place in enumerate(found.member) if place == number]
            assert max(sum(row % 2 == side for row in own) for side in (0, 1)) >= 0.9 * len(own)
    assert {one.id for one in again.tasks} <= {one.id for one in parts.tasks}


def test_parts_name_the_tasks_that_a_split_would_give():
    whole = find_tasks(table_of(split_calls(0, 200)))
    (task,) = whole.tasks

    parts = find_tasks(table_of(split_calls(0, 200)), edits=Edits(split=(task.id,)))

    assert task.parts and sorted(task.parts) == sorted(one.id for one in parts.tasks)


def test_edits_of_tasks_that_are_not_there_are_left_alone(rows, found):
    edits = Edits(renamed={"task-gone": "x"}, merged=(("task-gone", "task-lost"),), split=("task-gone",))

    assert find_tasks(table_of(rows), edits=edits).tasks == found.tasks


def test_an_empty_table_has_no_tasks():
    found = find_tasks(table_of([]))

    assert found.tasks == () and found.member.tolist() == []


def test_one_call_is_one_task():
    (task,) = find_tasks(table_of([bank_call(1)])).tasks

    assert task.calls == 1 and task.samples == ("bank-1",)


def test_a_task_seen_three_times_beside_a_large_one_is_found(rows):
    rare = [fish_call(n) for n in range(3)]
    for call in rare:
        call["system"] = "Describe what anglers could see on this day for the harbour's newsletter."
        call["user"] = call["user"].partition("\n\n")[2]

    found = find_tasks(table_of([bank_call(n) for n in range(90)] + rare))

    assert [task.calls for task in found.tasks] == [90, 3]


def test_calls_without_texts_are_counted():
    nothing = {"system": None, "user": None, "answer": None, "tools": None, "schema": None}

    found = find_tasks(table_of([{"id": str(n), **nothing} for n in range(4)]))

    assert [task.calls for task in found.tasks] == [4] and found.tasks[0].name


def test_a_prompt_of_a_megabyte_is_read_at_its_ends():
    rows = [bank_call(n) for n in range(30)]
    for row in rows[:3]:
        row["system"] += "x y z " * 180_000
        row["user"] += " padding" * 130_000

    found = find_tasks(table_of(rows))

    assert sum(task.calls for task in found.tasks) == 30
    assert all(len(task.skeleton) < 5_000 for task in found.tasks)


def test_control_characters_and_broken_unicode_do_not_reach_a_name():
    rows = [bank_call(n) for n in range(20)]
    for row in rows:
        row["system"] = (
            "Sort\x00 this\x1b[31m mail \u202e into \u200bfolders\x07 quickly.\r\n" + row["system"][:0]
        )

    (task,) = find_tasks(table_of(rows)).tasks

    assert task.name.isprintable() and 0 < len(task.name) <= 60


def test_one_prompt_for_all_calls_is_one_task():
    rows = [{"id": str(n), "system": "", "user": "Ping?", "answer": "pong"} for n in range(50)]

    (task,) = find_tasks(table_of(rows)).tasks

    assert (task.calls, task.output) == (50, "labels")


def test_the_same_calls_twice_give_the_same_tasks_with_twice_the_calls(rows, found):
    twice = [*rows, *({**row, "id": row["id"] + "x"} for row in rows)]

    again = find_tasks(table_of(twice))

    assert [task.calls for task in again.tasks] == [180, 180, 180]
    assert {task.id for task in again.tasks} == {task.id for task in found.tasks}


def test_a_table_in_many_pieces_is_read_like_one(rows, found):
    pieces = pa.concat_tables([table_of(rows[at : at + 50]) for at in range(0, len(rows), 50)])

    again = find_tasks(pieces)

    assert again.tasks == found.tasks and again.member.tolist() == found.member.tolist()


def test_a_found_task_survives_being_written_and_read(found):
    for task in found.tasks:
        assert FoundTask.model_validate_json(task.model_dump_json()) == task
