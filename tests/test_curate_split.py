"""Splits: nothing straddles, sizes and label mix hold, order does not matter."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offramp.curate.split import SPLITS, Item, Placed, components, split


def _items(counts: dict[str, int], **more: str) -> list[Item]:
    return [Item(f"{label}{i}", label, **more) for label, n in counts.items() for i in range(n)]


def _sizes(placed: dict[str, Placed]) -> dict[str, int]:
    return dict(Counter(where.split for where in placed.values()))


def test_sizes_and_label_mix_are_met() -> None:
    items = _items({"a": 500, "b": 300, "c": 200})

    placed = split(items)

    assert _sizes(placed) == {"train": 800, "validation": 100, "holdout": 100}
    held = Counter(item.label for item in items if placed[item.id].split == "holdout")
    assert held == {"a": 50, "b": 30, "c": 20}


def test_another_seed_chooses_other_rows() -> None:
    items = _items({"a": 100, "b": 100})
    first, other = split(items, seed=0), split(items, seed=1)

    assert _sizes(first) == _sizes(other)
    assert first != other


def test_rare_labels_reach_the_holdout_as_often_as_they_occur() -> None:
    # 200 labels of 5 rows: each alone would round to none or to one of five.
    items = _items({f"label{i}-": 5 for i in range(200)})

    placed = split(items)

    held = Counter(item.label for item in items if placed[item.id].split == "holdout")
    assert sum(held.values()) == 100
    assert max(held.values()) == 1


def test_every_label_keeps_a_row_in_train() -> None:
    items = _items({"common": 50, "once": 1, "twice": 2})

    for seed in range(20):
        placed = split(items, seed=seed, holdout_ratio=0.3, validation_ratio=0.3)
        assert {item.label for item in items if placed[item.id].split == "train"} == {
            "common",
            "once",
            "twice",
        }


def test_families_and_groups_join_through_any_chain() -> None:
    items = [Item("a", "x", "g1"), Item("b", "x", "g1"), Item("c", "y", "g2"), Item("d", "y"), Item("e", "z")]

    assert components(items, [("b", "c"), ("d", "c")]) == {"a": "a", "b": "a", "c": "a", "d": "a", "e": "e"}


def test_large_groups_of_many_labels_still_fill_the_holdout() -> None:
    items = [Item(f"{g}-{i}", f"label{(g + i) % 7}", f"group{g}") for g in range(60) for i in range(20)]

    placed = split(items)

    assert _sizes(placed) == {"train": 960, "validation": 120, "holdout": 120}


def test_a_group_of_all_rows_leaves_the_other_splits_empty() -> None:
    assert _sizes(split([Item(str(i), "ab"[i % 2], "one") for i in range(50)])) == {"train": 50}


def test_the_users_holdout_is_taken_as_it_is_and_gets_no_other_row() -> None:
    items = [*_items({"a": 100, "b": 100}), Item("t1", "a", pin="holdout"), Item("t2", "new", pin="holdout")]

    placed = split(items)

    assert [row for row, where in placed.items() if where.split == "holdout"] == ["t1", "t2"]
    assert _sizes(placed) == {"train": 180, "validation": 20, "holdout": 2}


def test_a_free_row_related_to_a_pinned_one_goes_to_train() -> None:
    items = [*_items({"a": 30}), Item("t", "a", pin="holdout"), Item("v", "a", pin="validation")]

    placed = split(items, [("t", f"a{i}") for i in range(30)])

    assert _sizes(placed) == {"train": 30, "holdout": 1, "validation": 1}
    assert {where.family for row, where in placed.items() if row != "v"} == {"a0"}


@pytest.mark.parametrize("ratio", [0.0, 0.2])
def test_a_ratio_of_zero_makes_no_split(ratio: float) -> None:
    placed = split(_items({"a": 50, "b": 50}), holdout_ratio=ratio)

    assert _sizes(placed).get("holdout", 0) == 100 * ratio


def test_no_rows_make_no_split() -> None:
    assert split([]) == {}


@st.composite
def _worlds(draw: st.DrawFn) -> tuple[list[Item], list[tuple[str, str]]]:
    n = draw(st.integers(1, 60))
    labels = draw(st.lists(st.sampled_from("abcd"), min_size=n, max_size=n))
    groups = draw(st.lists(st.sampled_from([None, None, "g", "h", "i"]), min_size=n, max_size=n))
    pins = draw(
        st.lists(st.sampled_from([None] * 8 + ["train", "validation", "holdout"]), min_size=n, max_size=n)
    )
    ids = [f"r{i:02d}" for i in range(n)]
    links = draw(st.lists(st.tuples(st.sampled_from(ids), st.sampled_from(ids)), max_size=12))
    return [Item(*parts) for parts in zip(ids, labels, groups, pins, strict=True)], links


@settings(deadline=None)  # a busy machine is no failure
@given(_worlds(), st.integers(0, 5), st.randoms())
def test_splits_never_separate_what_belongs_together(
    world: tuple[list[Item], list[tuple[str, str]]], seed: int, random: object
) -> None:
    items, links = world
    placed = split(items, links, seed=seed)
    free = [item for item in items if not item.pin]

    assert placed.keys() == {item.id for item in items}
    assert all(placed[item.id].split == item.pin for item in items if item.pin)
    places: dict[str, set[str]] = {}
    for item in free:
        places.setdefault(placed[item.id].family, set()).add(placed[item.id].split)
    assert all(len(found) == 1 for found in places.values())
    assert all(placed[a].family == placed[b].family for a, b in links)
    groups: dict[str, set[str]] = {}
    for item in items:
        if item.group:
            groups.setdefault(item.group, set()).add(placed[item.id].family)
    assert all(len(found) == 1 for found in groups.values())
    for name in ("validation", "holdout"):
        assert sum(placed[item.id].split == name for item in free) <= round(0.1 * len(free))
        if any(item.pin == name for item in items):
            assert all(placed[item.id].split != name for item in free)
    kept = {item.label for item in items if placed[item.id].split == "train"}
    assert {item.label for item in free} <= kept
    mixed = list(items)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert split(mixed, links[::-1], seed=seed) == placed


def test_a_split_by_time_holds_out_the_newest_rows_and_never_parts_a_family() -> None:
    items = [Item(f"r{i:02d}", "a", time=float(i)) for i in range(20)]

    placed = split(items, [("r19", "r03")], validation_ratio=0.1, holdout_ratio=0.2, seed=1, by_time=True)

    by_split = {name: sorted(row for row, at in placed.items() if at.split == name) for name in SPLITS}
    assert by_split["holdout"] == ["r15", "r16", "r17", "r18"]
    assert by_split["validation"] == ["r13", "r14"]
    assert "r19" in by_split["train"]


def test_a_row_without_a_time_is_never_held_out_by_time() -> None:
    items = [Item("a", "x", time=None), Item("b", "x", time=2.0), Item("c", "x", time=1.0)]

    placed = split(items, validation_ratio=0.0, holdout_ratio=0.7, by_time=True)

    assert {row for row, at in placed.items() if at.split == "holdout"} == {"b", "c"}
