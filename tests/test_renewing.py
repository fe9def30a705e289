"""Renewing: what production taught becomes the next dataset and model, and no old holdout row is ever learned from."""

import json
import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import offramp
import renewed
from offramp import renewing
from offramp import rows as _rows
from offramp.capture import Calls
from offramp.errors import ConfigError, DataError, NotFoundError
from offramp.renew.settings import RenewSettings
from offramp.renew.sides import FreshRow, Known, sides
from offramp.renewing.data import RENEWED, SIDES, dataset, fresh_of, held, past_of, separation
from offramp.settings import resolve
from offramp.store import read_table
from offramp.types import Candidate, Dataset, Deployment, Finding, MadeBy, Renewal, Verdict
from offramp.workspace import Workspace, init

AUTOMATIC = {"policy": "automatic", "budget_usd": 0, "begin_as": "canary", "share": 0.2, "at_most": 1}
AREA = {"name": "warranty", "share": 0.5, "words": "warranty1, warranty2"}


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a tuned model and 80 reviewed calls, some of which repeat the old holdout."""
    folder = tmp_path_factory.mktemp("renewing")
    with renewed.workspace(folder, verdict={"margin": 0.2}, renew=AUTOMATIC) as ws:
        ws.store.add(_finding())
        renewed.period(ws, 80)
        _plant(ws)
    return folder / "ws"


@pytest.fixture(scope="module")
def cycle(untouched: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Renewal]:
    """The same after one automatic cycle, which was interrupted in the middle of its proof and begun again."""
    folder = tmp_path_factory.mktemp("renewed") / "ws"
    shutil.copytree(untouched, folder)
    answered = []

    def stop(stage: str, done: int, total: int) -> None:
        answered.append(stage)
        if sum("answering holdout" in one for one in answered) == 3:
            raise KeyboardInterrupt

    with (
        renewed.fitted(offramp.open(folder, progress=stop)) as ws,
        pytest.raises(KeyboardInterrupt),
    ):
        renewing.retrain(ws, findings=[_finding()])
    with _opened(folder) as ws:
        assert not ws.store.all(Renewal)
        return folder, renewing.retrain(ws, findings=[_finding()])


def _opened(folder: Path, **overrides) -> Workspace:
    return renewed.fitted(offramp.open(folder, **overrides))


def _copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to / "ws")
    return to / "ws"


def _finding() -> Finding:
    fields = {
        "alias": "desk",
        "signal": "inputs",
        "what": "Half of the calls ask about warranty.",
        "areas": (AREA,),
    }
    times = {"found_at": renewed.BEGAN + 90, "since": renewed.BEGAN, "false_alarm": 0.01}
    return Finding.model_validate({"id": "finding-1", **fields, **times, "made_by": MadeBy(version="0")})


def _plant(ws: Workspace) -> None:
    """Ask what the old holdout asks: the same text, nearly the same, and something else of the same customer."""
    rows = ws.rows(ws.curate(), "holdout").slice(0, 6).to_pylist()
    calls = []
    for n, row in enumerate(rows):
        for kind, asked in (("same", row["field.text"]), ("near", row["field.text"] + " please")):
            calls.append(renewed.call(f"{kind}-{n}", asked, row["target"], at=renewed.BEGAN + 100 + n))
        own = renewed.call(
            f"group-{n}", renewed.text(row["target"], 50_000 + n), row["target"], at=renewed.BEGAN + 200
        )
        calls.append(replace(own, tags={"customer": row["group"]}))
    renewed.keep(ws, calls, [row["target"] for row in rows for _ in range(3)])


def _sides(ws: Workspace, data: Dataset) -> dict[str, str]:
    table = read_table(ws.store.folder(data.parents[0]) / SIDES)
    return dict(zip(table.column("call_id").to_pylist(), table.column("side").to_pylist(), strict=True))


# ---- one cycle -----------------------------------------------------------------------------------------------------


def test_planted_copies_of_the_old_holdout_are_nowhere_in_training(cycle):
    folder, found = cycle
    with _opened(folder) as ws:
        data = ws.store.get(found.dataset, Dataset)
        placed = _sides(ws, data)
        planted = [call for call in placed if not call.startswith("call-")]
        view = ws.roster.view(data)
        calls, splits = view.column("call_id").to_pylist(), view.column("split").to_pylist()
        trained = {call for call, split in zip(calls, splits, strict=True) if split != "holdout"}

    assert len(planted) == 18
    assert {placed[call] for call in planted} <= {"holdout", "out"}
    assert not trained & set(planted)
    assert len(trained) > 20
    assert found.details["rows of old holdouts in training"] == {
        "same rows": 0,
        "same text": 0,
        "near text": 0,
        "same group": 0,
    }


def test_the_new_holdout_shares_nothing_with_the_old_training_rows(cycle):
    folder, found = cycle
    with _opened(folder) as ws:
        found_now = separation(ws, ws.curate(), [ws.store.get(found.dataset, Dataset)])

    assert found_now == {"same rows": 0, "same text": 0, "near text": 0, "same group": 0}


def test_separation_finds_what_was_planted_when_it_is_trained_on(cycle):
    folder, found = cycle
    with _opened(folder) as ws:
        data = ws.store.get(found.dataset, Dataset)
        view = ws.roster.view(data)
        at = view.column_names.index("split")
        ws.roster._views[data.id] = view.set_column(at, "split", [["train"] * view.num_rows])

        found_now = separation(ws, data, [ws.curate()])

    assert found_now["same rows"] == 0
    assert found_now["same text"] >= 6
    assert found_now["near text"] >= 6
    assert found_now["same group"] >= 6


def test_the_new_holdout_is_of_the_new_period_alone_and_both_are_named(cycle):
    folder, found = cycle
    with _opened(folder) as ws:
        data = ws.store.get(found.dataset, Dataset)
        told = ws.store.get(data.parents[0], Dataset).details[RENEWED]
        base = ws.store.get(told["base"], Dataset)
        calls = ws.rows(data, "holdout").column("call_id").to_pylist()

    assert all(calls)
    assert told["new_holdout_sha256"] == data.details["certificate"]["holdout_sha256"]
    assert told["old_holdout_sha256"] == base.details["certificate"]["holdout_sha256"]


def test_the_candidate_is_held_against_the_current_model_and_the_incumbent_on_both_periods(cycle):
    folder, found = cycle
    with _opened(folder) as ws:
        verdicts = {name: ws.store.get(one, Verdict) for name, one in found.verdicts.items()}
        said = [one.body.sentence for one in verdicts.values()]
        uses = ws.store.holdout_uses(found.details["old holdout"])

    assert list(verdicts) == [
        "new holdout, against the current model",
        "new holdout, against the incumbent",
        "old holdout, against the current model",
        "old holdout, against the incumbent",
    ]
    assert [one.body.bars[0].bar.alpha for one in verdicts.values()] == [0.05 / 4] * 4
    assert [one.holdout_use for one in verdicts.values()] == [2, 1, 2, 1]
    assert len(uses) == 2
    assert all(said)


def test_the_outcome_is_told_in_a_sentence_to_act_on(cycle):
    _, found = cycle

    assert found.outcome == "better"
    assert found.sentence.startswith("better than the current model on the new period (+")
    assert "as good as the current model on the old holdout" in found.sentence
    assert found.sentence.endswith(
        "deployed as a canary of 20% as version 1; `offramp rollback` takes it back"
    )


def test_an_automatic_cycle_deploys_a_canary_that_can_be_rolled_back(cycle, tmp_path):
    folder, found = cycle
    with _opened(_copy(folder, tmp_path)) as ws:
        one = ws.store.get(found.deployment or "", Deployment)
        back = ws.rollback()

    assert (one.mode, one.share, one.candidate, one.why) == (
        "canary",
        0.2,
        found.candidate,
        f"renewal {found.id}",
    )
    assert found.dataset in one.parents
    assert (back.mode, back.candidate) == ("record", None)


def test_the_whole_cycle_is_in_the_lineage(cycle):
    folder, found = cycle
    with _opened(folder) as ws:
        kinds = [record.kind for record in ws.show(found.id)]
        ids = {record.id for record in ws.show("renewal")}

    assert kinds[0] == "renewal"
    assert kinds.count("finding") == 1
    assert kinds.count("verdict") == 4
    assert kinds.count("dataset") == 4
    assert {found.candidate, *found.findings} <= ids


def test_the_same_cycle_again_makes_nothing(cycle):
    folder, found = cycle
    with _opened(folder) as ws:
        before = [record.id for record in ws.show()]

        again = renewing.retrain(ws)

        assert again == found
        assert [record.id for record in ws.show()] == before


def test_an_interrupted_cycle_went_on_and_left_nothing_twice(cycle, untouched):
    folder, found = cycle
    with _opened(untouched) as before, _opened(folder) as ws:
        kinds = {
            kind: [one.id for one in ws.store.all(kind)] for kind in (Dataset, Verdict, Deployment, Renewal)
        }
        datasets = [one for one in kinds[Dataset] if not before.store.has(one)]
        same = {
            candidate.id for candidate in ws.store.all(Candidate) if candidate.parents[0] == found.dataset
        }
        incumbents = [one for one in same if ws.store.get(one, Candidate).engine == "recorded"]

    assert len(datasets) == 2
    assert [len(kinds[kind]) for kind in (Verdict, Deployment, Renewal)] == [4, 1, 1]
    assert len(incumbents) == 1


# ---- the next cycle ------------------------------------------------------------------------------------------------


def test_a_second_cycle_keeps_every_earlier_holdout_apart_and_says_why_it_does_not_deploy(cycle, tmp_path):
    folder, first = cycle
    with _opened(_copy(folder, tmp_path)) as ws:
        base = ws.store.get(first.dataset, Dataset)
        earlier = set(_rows.ids(held(ws, [base, ws.curate()])))
        renewed.period(ws, 30, first=1000, label="visa")
        ours = {"route": "canary", "answered_by": "candidate"}
        renewed.period(ws, 30, first=1030, label="visa", **ours)

        found = renewing.retrain(ws)

        data = ws.store.get(found.dataset, Dataset)
        verdicts = {name: ws.store.get(one, Verdict) for name, one in found.verdicts.items()}
        old = ws.store.get(verdicts["old holdout, against the current model"].dataset, Dataset)
        taught = set(_rows.ids(ws.rows(data, "train"))) | set(_rows.ids(ws.rows(data, "validation")))
        said = _rows.answers(ws.rows(data, "holdout"), "incumbent")

        assert renewing.may_begin(ws) == "2 cycles ran in the last 30 days and `renew.at_most` is 1"
    assert set(_rows.ids(held(ws, [old]))) == earlier
    assert not earlier & taught
    # Two claims were made on each of the two holdouts that are one now.
    assert verdicts["old holdout, against the incumbent"].holdout_use == 5
    assert (
        verdicts["new holdout, against the incumbent"].body.bars[0].n
        == sum(one is not None for one in said)
        < len(said)
    )
    assert found.deployment is None
    assert "not deployed automatically: " in found.sentence


def test_a_finding_that_names_a_cluster_says_what_to_label(tmp_path, untouched):
    with _opened(_copy(untouched, tmp_path), renew={"least_labels": 120}) as ws:
        with pytest.raises(
            DataError, match=r"at least 120 reviewed .* found 98; label 22 more: 22 of 'warranty'"
        ):
            renewing.retrain(ws, findings=[_finding()])
        with pytest.raises(DataError, match=r"label 22 more, or lower `renew\.least_labels`"):
            renewing.retrain(ws)

        assert renewing.may_begin(ws) == ""


def test_calls_that_nobody_reviewed_are_only_trained_on(tmp_path, untouched):
    with _opened(_copy(untouched, tmp_path), renew={"unreviewed": 20}) as ws:
        calls = [
            renewed.call(f"plain-{n}", renewed.text("login", 70_000 + n), "login", at=renewed.BEGAN + n)
            for n in range(25)
        ]
        renewed.keep(ws, calls, [None] * 25)
        past = past_of(ws, ws.curate())
        fresh = fresh_of(ws, past)

        raw = dataset(ws, past, fresh, starts=renewed.BEGAN)
        rows = ws.rows(raw)

    assert fresh.reviewed == 98
    plain = [
        (split, target)
        for call, split, target in zip(
            *(rows.column(n).to_pylist() for n in ("call_id", "split", "target")), strict=True
        )
        if call and call.startswith("plain")
    ]
    assert 10 <= len(plain) <= 20
    assert set(plain) == {("train", "login")}


def test_calls_that_cannot_be_rows_are_counted_by_reason(tmp_path, untouched):
    with _opened(_copy(untouched, tmp_path)) as ws:
        calls = [
            renewed.call("failed-1", "x", "", status=500, error="HTTP 500"),
            renewed.call("json-1", json.dumps({"text": "a parcel"}), "delivery"),
        ]
        renewed.keep(ws, calls, ["delivery", "delivery"])
        store = Calls.of(ws.path)
        store.feedback("nobody-1", "label", "login", at=renewed.BEGAN)
        store.close()

        fresh = fresh_of(ws, past_of(ws, ws.curate()))

    assert fresh.left_out == {"failed": 1, "feedback on a call that is not here": 1}
    places = {item.call: at for at, item in enumerate(fresh.items)}
    assert _rows.field(fresh.rows, "text")[places["json-1"]] == "a parcel"


@pytest.mark.parametrize(("ratio", "theirs"), [(0.1, "login"), (0.0, None)])
def test_the_incumbents_unseen_answer_is_its_answer_to_what_the_candidate_answered(
    tmp_path, untouched, ratio, theirs
):
    with _opened(_copy(untouched, tmp_path), gateway={"shadow": {"incumbent_ratio": ratio}}) as ws:
        asked = renewed.text("delivery", 80_000)
        ours = renewed.call("ours-1", asked, "refund", route="full", answered_by="candidate")
        unseen = renewed.call("unseen-1", asked, "login", route="shadow", shadow_of="ours-1")
        renewed.keep(ws, [ours, unseen], ["delivery", None])

        fresh = fresh_of(ws, past_of(ws, ws.curate()))

    place = [item.call for item in fresh.items].index("ours-1")
    assert fresh.rows.column("answer.incumbent").to_pylist()[place] == theirs
    assert fresh.rows.column("target").to_pylist()[place] == "delivery"


def test_fields_are_found_as_the_caller_finds_them(tmp_path, untouched):
    with _opened(_copy(untouched, tmp_path)) as ws:
        renewed.keep(ws, [renewed.call("lines-1", "text: a parcel", "delivery")], ["delivery"])
        past = past_of(ws, ws.curate())

        fresh = fresh_of(
            ws,
            past,
            fields=lambda body, messages: (
                {"text": messages[0]["content"].removeprefix("text: ")} if "text: " in str(body) else {}
            ),
        )

    assert [item.call for item in fresh.items] == ["lines-1"]
    assert _rows.field(fresh.rows, "text") == ["a parcel"]
    assert fresh.left_out == {"the fields text were not found in the request": 98}


def test_where_the_policy_is_never_no_cycle_begins_by_itself(untouched):
    with _opened(untouched, renew={"policy": "never"}) as ws:
        assert renewing.may_begin(ws) == "`renew.policy` is never; run `offramp retrain` yourself"


def test_without_a_model_there_is_nothing_to_renew(tmp_path):
    content = {"name": "desk"}
    with init(tmp_path / "ws", resolve(content, overrides=None, where="a test")) as ws:
        with pytest.raises(NotFoundError, match="offramp tune"):
            renewing.retrain(ws)
        assert renewing.calendar(ws) == []


def test_automatic_needs_a_budget():
    with pytest.raises(ConfigError, match="budget_usd"):
        RenewSettings(policy="automatic")


# ---- another base --------------------------------------------------------------------------------------------------


def test_a_rebase_tunes_the_frozen_dataset_on_another_base(untouched, tmp_path):
    with _opened(_copy(untouched, tmp_path)) as ws:
        current = renewing.current_model(ws)
        with pytest.raises(ConfigError, match="already"):
            renewing.rebase(ws, "words")

        found = renewing.rebase(ws, "minilm")

        assert renewing.rebase(ws, "minilm") == found
        candidate = ws.store.get(found.candidate, Candidate)
        alphas = [ws.store.get(one, Verdict).body.bars[0].bar.alpha for one in found.verdicts.values()]
    assert candidate.id != current.id
    assert candidate.made_by.config["encoder"] == "minilm"
    assert candidate.parents[0] == found.dataset == current.parents[0]
    assert alphas == [0.025, 0.025]
    assert found.deployment is None
    assert "set `encoder` to 'minilm' in offramp.toml" in found.sentence


def test_the_calendar_names_what_ends_soonest_first(tmp_path):
    content = {
        "name": "desk",
        "cost": {"incumbent_model": "gemini-2.5-pro", "provider": "google"},
        "judge": {"base_url": "https://router.example/v1", "model": "google/gemini-2.0-flash"},
    }
    with init(tmp_path / "ws", resolve(content, overrides=None, where="a test")) as ws:
        found = renewing.calendar(ws, today=date(2026, 11, 21))

    assert [(one.role, one.gone_on, one.days_left) for one in found] == [
        ("judge", date(2026, 6, 1), -173),
        ("incumbent", date(2026, 12, 1), 10),
    ]
    assert all(one.source.startswith("https://") for one in found)


# ---- the two sides -------------------------------------------------------------------------------------------------


def _fresh(*names: str, at: float = 10.0) -> list[FreshRow]:
    return [FreshRow(name, f"call-{name}", at) for name in names]


def test_a_row_near_both_sides_stands_on_neither():
    component = {"old-h": "a", "old-t": "a", "x": "a", "y": "b", "old-h2": "b", "z": "c", "old-t2": "c"}
    known = Known({"old-h", "old-h2"}, {"old-t", "old-t2"})

    placed = sides(_fresh("x", "y", "z"), component, known, starts=0, holdout_ratio=0.5)

    assert {row: side for row, (side, _) in placed.items()} == {"x": "out", "y": "holdout", "z": "train"}


def test_what_is_older_than_the_new_period_never_proves():
    component = {"old-h": "a", "x": "a", "y": "y"}

    placed = sides(_fresh("x", "y"), component, Known({"old-h"}, ()), starts=11.0, holdout_ratio=0.9)

    assert {row: side for row, (side, _) in placed.items()} == {"x": "out", "y": "train"}


def test_a_row_that_proved_once_is_never_trained_on():
    component = {"x": "a", "y": "a", "old-t": "a"}

    placed = sides(_fresh("x", "y"), component, Known((), {"old-t"}, {"x"}), starts=0, holdout_ratio=0.5)

    assert {row: side for row, (side, _) in placed.items()} == {"x": "holdout", "y": "out"}


_LETTERS = st.sampled_from("abcdefgh")


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(
        st.tuples(_LETTERS, st.sampled_from(["held", "trained", "fresh", "plain", "before"])), max_size=30
    ),
    ratio=st.sampled_from([0.1, 0.5, 0.9]),
)
def test_no_family_teaches_and_proves(rows, ratio):
    named = {f"row-{n}": where for n, where in enumerate(rows)}
    component = {row: letter for row, (letter, _) in named.items()}
    of = {
        kind: {row for row, (_, what) in named.items() if what == kind}
        for kind in ("held", "trained", "before")
    }
    fresh = [
        FreshRow(row, f"call-{row}", 1.0, reviewed=what != "plain")
        for row, (_, what) in named.items()
        if what in ("fresh", "plain", "before")
    ]

    placed = sides(
        fresh, component, Known(of["held"], of["trained"], of["before"]), starts=0, holdout_ratio=ratio
    )

    taught = {component[row] for row, (side, _) in placed.items() if side == "train"}
    proved = {component[row] for row, (side, _) in placed.items() if side == "holdout"}
    assert set(placed) == {row.id for row in fresh}
    assert not taught & (proved | {component[row] for row in of["held"]})
    assert all(row.reviewed for row in fresh if placed[row.id][0] == "holdout")
    assert not any(placed[row][0] == "train" for row in of["before"])
