"""Chosen answers from the gateway's calls to labels, estimates and alarms: lists, files, a judge."""

import csv
import json
import re

import pytest

from deployed import answered, candidate, data, roster
from fake_endpoint import served
from monitored import BEGAN, DAY, call
from offramp import auditing, judging
from offramp.auditing import judged
from offramp.capture import Calls
from offramp.deploying import Wish, deploy
from offramp.errors import ConfigError, DataError, StoreError
from offramp.judge.rubric import load_rubric
from offramp.monitor.chosen import CHANGED
from offramp.monitor.heard import Judgement
from offramp.monitoring import look
from offramp.workspace import open as open_workspace

TOML = """
name = "triage"
[data]
sources = ["x.jsonl"]
[data.mapping]
inputs = ["text"]
target = ["label"]
"""
FOLDERS = {"quiet_days": 1, "grace_s": 60, "texts_per_day": 0, "first_audits": 50}


def opened(folder, *, audits=20.0, usd=10.0, **more):
    """A workspace with hand-made rows and records."""
    made = roster(folder)
    made.records.store.close()
    (folder / "offramp.toml").write_text(TOML)
    monitor = {**FOLDERS, "audits_per_day": audits, "audit_usd_per_month": usd}
    ws = open_workspace(
        folder, monitor=monitor, verdict={"bars": [{"metric": "accuracy", "margin": 0.1}]}, **more
    )
    ws.roster._views = made._views
    return ws


@pytest.fixture
def ws(tmp_path):
    made = opened(tmp_path)
    yield made
    made.close()


def keep(ws, calls):
    store = Calls.of(ws.path)
    store.insert(calls)
    store.close()


def stream(ws, count, *, days=2.0, first=0.0, prefix="c", **more):
    """Tickets that the incumbent, or whom `more` says, answered with 'refund'; every fourth is about a login."""
    given = {"alias": "triage", "answered_by": "incumbent", "deployment": None, "route": "record", **more}
    keep(
        ws,
        [
            call(
                f"{prefix}-{n:04d}",
                BEGAN + (first + n * days / count) * DAY,
                asked=f"ticket {n}",
                said="refund",
                **given,
            )
            for n in range(count)
        ],
    )


def right(name):
    return "login" if int(name[-4:]) % 4 == 0 else "refund"


def looked(ws, day):
    return look(ws.roster, ws.settings.monitor, now=BEGAN + day * DAY)


def filled(path, out, label=right):
    """Fill in an exported file."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with out.open("w", newline="") as file:
        sheet = csv.DictWriter(file, rows[0])
        sheet.writeheader()
        sheet.writerows({**row, "label": label(row["id"])} for row in rows)
    return rows


def test_from_a_call_to_an_estimate(ws, tmp_path):
    stream(ws, 600)
    assert looked(ws, 2.1).audited[0].labels == 0
    before = auditing.standing(ws)

    written = auditing.export(ws, tmp_path / "wait.csv")
    rows = filled(tmp_path / "wait.csv", tmp_path / "done.csv")
    taken = auditing.take(ws, tmp_path / "done.csv", now=BEGAN + 2.2 * DAY)
    between = auditing.standing(ws)
    found = looked(ws, 2.3)

    # Before any of them has a label all look alike, so about 20 a day are drawn evenly.
    assert before.waiting == written == len(rows) and 25 < written < 60
    assert [one.at for one in before.newest] == sorted((one.at for one in before.newest), reverse=True)
    assert rows[0].keys() == {"id", "request", "answer", "label"}
    assert (rows[0]["request"], rows[0]["answer"]) == (f"ticket {int(rows[0]['id'][-4:])}", "refund")
    assert taken == auditing.Taken(new=written, changed=0, same=0, empty=0, unchosen=0)
    assert between.waiting == 0, "labels that the monitor has not heard yet are known to be there"
    (one,) = found.audited
    assert one.signal == "accuracy of the incumbent" and one.labels == written
    share = sum(right(row["id"]) == "refund" for row in rows) / written
    assert one.value == pytest.approx(share) and one.low < 0.75 < one.high
    assert {row.signal: row.rows for row in found.signals}["accuracy of the incumbent"] == written
    assert found.odd == {}
    json.dumps(found.plain())


def test_the_same_file_twice_changes_nothing_and_another_label_is_named(ws, tmp_path):
    stream(ws, 400)
    looked(ws, 2.1)
    auditing.export(ws, tmp_path / "wait.csv")
    filled(tmp_path / "wait.csv", tmp_path / "done.csv")
    first = auditing.take(ws, tmp_path / "done.csv", now=BEGAN + 2.2 * DAY)

    again = auditing.take(ws, tmp_path / "done.csv", now=BEGAN + 2.3 * DAY)
    filled(tmp_path / "wait.csv", tmp_path / "all.csv", lambda _: "Refund ")
    other = auditing.take(ws, tmp_path / "all.csv", now=BEGAN + 2.1 * DAY)  # the clock went back

    wrong = first.new - other.same
    assert (again.new, again.changed, again.same) == (0, 0, first.new)
    assert wrong > 0 and (other.new, other.changed) == (0, wrong)
    found = looked(ws, 3)
    assert found.audited[0].value == 1.0, "the newest label counts"
    assert found.odd[CHANGED] == wrong
    assert looked(ws, 3.1).audited == found.audited


def test_a_bad_row_is_named_and_then_nothing_is_kept(ws, tmp_path):
    stream(ws, 400)
    keep(ws, [call("else-0001", BEGAN, alias="another")])
    looked(ws, 2.1)
    names = [one.id for one in auditing.standing(ws).newest]
    path = tmp_path / "done.jsonl"
    rows = [
        {"id": names[0], "label": "refund"},
        {"id": names[1], "label": "refnd"},
        {"id": "nobody", "label": "refund"},
        {"id": "else-0001", "label": "refund"},
        {"id": names[2], "label": "refund"},
        {"id": names[2], "label": "login"},
        {"id": names[3], "label": ""},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")

    with pytest.raises(DataError) as failure:
        auditing.take(ws, path)

    said = str(failure.value)
    assert "5 row(s) cannot be used" in said and "line 2: 'refnd' is no label of the task" in said
    assert (
        "line 3: call 'nobody' is not here" in said and "line 4: call 'else-0001' is of another alias" in said
    )
    assert "line 6: call" in said and "two labels" in said and "line 8: broken JSON" in said
    store = Calls.of(ws.path)
    assert store.feedback_table().num_rows == 0
    store.close()
    path.write_text(json.dumps(rows[0]) + "\n" + json.dumps(rows[6]) + "\n")
    assert auditing.take(ws, path) == auditing.Taken(1, 0, 0, 1, 0)


def test_a_file_without_the_columns_is_refused(ws, tmp_path):
    stream(ws, 400)
    looked(ws, 2.1)
    (tmp_path / "x.csv").write_text("call,label\nc-0001,refund\n")

    with pytest.raises(DataError, match="without \\['id'\\]; fill in a file of"):
        auditing.take(ws, tmp_path / "x.csv")


def test_a_label_on_a_call_that_was_not_chosen_is_good_for_training_alone(ws, tmp_path):
    stream(ws, 600)
    looked(ws, 2.1)
    waiting = {one.id for one in auditing.standing(ws, most=1_000).newest}
    other = next(f"c-{n:04d}" for n in range(600) if f"c-{n:04d}" not in waiting)
    (tmp_path / "x.csv").write_text(f"id,label\n{other},login\n")

    taken = auditing.take(ws, tmp_path / "x.csv", now=BEGAN + 2.2 * DAY)
    found = looked(ws, 2.3)

    assert (taken.new, taken.unchosen) == (1, 1)
    assert found.audited[0].labels == 0
    assert list(found.odd.values()) == [1] and "not chosen" in next(iter(found.odd))


def test_a_blind_file_shows_no_answer_and_no_file_can_run_a_formula(ws, tmp_path):
    given = {"alias": "triage", "answered_by": "incumbent", "deployment": None, "route": "record"}
    evil = '=HYPERLINK("http://x")'
    keep(ws, [call(f"c-{n:04d}", BEGAN + 1_000 * n, asked=evil, said="refund", **given) for n in range(30)])
    looked(ws, 1)

    auditing.export(ws, tmp_path / "a.csv", blind=True)
    auditing.export(ws, tmp_path / "a.jsonl")

    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "request", "label"] and rows[0]["request"] == "'" + evil
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert lines[0]["request"] == evil and lines[0]["answer"] == "refund" and len(lines) == len(rows)
    assert (tmp_path / "a.csv").stat().st_mode & 0o077 == 0
    with pytest.raises(ConfigError, match=r".csv or .jsonl"):
        auditing.export(ws, tmp_path / "a.xlsx")


def test_without_a_budget_or_before_the_first_look_it_says_what_to_do(tmp_path):
    off = opened(tmp_path, audits=0.0)
    stream(off, 50)
    assert looked(off, 2.1).audited == ()
    with pytest.raises(ConfigError, match=r"`monitor.audits_per_day` is 0"):
        auditing.standing(off)
    assert list((tmp_path / "monitor").glob("*.parquet")) == []
    off.close()
    on = opened_again(tmp_path, audits_per_day=5)
    with pytest.raises(DataError, match="none were chosen yet; let `offramp monitor` look"):
        auditing.standing(on)
    on.close()


def opened_again(folder, **monitor):
    return open_workspace(folder, monitor={**FOLDERS, **monitor})


def test_another_deployment_begins_another_frame_in_the_middle_of_a_window(ws):
    who = candidate(ws.roster)
    answered(ws.roster, who, "holdout", wrong={1, 2, 3})
    one = deploy(ws.roster, who, data(ws.roster), Wish(mode="canary", share=0.5, unproven=True))
    ours = {"deployment": one.id, "answered_by": "linear", "route": "canary", "confidence": 0.9}
    stream(ws, 200, prefix="old")
    stream(ws, 200, first=2.0, prefix="new", **ours)
    stream(ws, 200, first=2.0, prefix="theirs", deployment=one.id, route="canary")

    found = looked(ws, 4.1)
    waiting = auditing.standing(ws, most=1_000).newest

    assert {one.id[:3] for one in waiting} == {"new"}, (
        "neither the last deployment's nor what the incumbent answered"
    )
    (estimate,) = found.audited
    assert (estimate.deployment, estimate.signal, estimate.calls) == (one.id, "accuracy", 200)
    assert estimate.usual == pytest.approx(0.95)


def test_feedback_on_calls_that_are_gone_is_counted_and_waits_for_nobody(ws, tmp_path):
    stream(ws, 400)
    looked(ws, 2.1)
    waiting = auditing.standing(ws).waiting
    store = Calls.of(ws.path)
    assert auditing.standing(ws, most=3).newest == auditing.standing(ws).newest[:3]
    store.feedback("never-there", "label", "refund", at=BEGAN + 2.2 * DAY)
    store.prune(older_than=BEGAN + 1 * DAY)
    store.close()

    rows = auditing.export(ws, tmp_path / "a.jsonl")

    assert 0 < rows < waiting and auditing.standing(ws).waiting == rows
    assert looked(ws, 2.3).odd == {"feedback on a call that is not here": 1}


# ---- a judge ---------------------------------------------------------------------------------------------------

RUBRIC = load_rubric("helpfulness")


def grade(text):
    return 1 + int(re.search(r"ticket (\d+)", text)[1]) % 5


def fair(body, number):
    return json.dumps({"reason": "as it is", "score": grade(body["messages"][-1]["content"])})


class Bench:
    """A workspace with a canary, a judge that may be checked, and 400 calls of its model."""

    def __init__(self, folder, url, *, usd=10.0, provider=None):
        endpoint = {"base_url": url, "model": "gpt-4o-mini", "retries": 0, "backoff_s": 0}
        self.ws = opened(folder, usd=usd, judge={**endpoint, **({"provider": provider} if provider else {})})
        of = self.ws.roster
        self.run = answered(of, candidate(of), "holdout", wrong=set())
        one = deploy(of, candidate_of(of), data(of), Wish(mode="canary", share=0.5, unproven=True))
        self.given = {"deployment": one.id, "answered_by": "linear", "route": "canary", "confidence": 0.9}
        stream(self.ws, 400, **self.given)
        looked(self.ws, 2.1)

    def check(self, shift=0):
        """Let the judge score the holdout, and people rate it."""
        ws = self.ws
        judging.judge(
            ws.roster, self.run, RUBRIC, endpoint=ws.settings.judge, cache=ws.path / "cache" / "judge"
        )
        lines = ["id,candidate,who,rubric,score"]
        for row in ws.roster.asked(self.run).to_pylist():
            score = 1 + (grade(row["field.text"]) - 1 + shift) % 5
            lines.append(f"{row['id']},linear,ann,helpfulness,{score}")
        (ws.path / "ratings.csv").write_text("\n".join(lines) + "\n")
        judging.rate(ws.roster, data(ws.roster), ws.path / "ratings.csv")


def candidate_of(of):
    from offramp.types import Candidate

    return of.records.store.get("candidate-linear", Candidate)


def test_a_checked_judge_scores_what_waits_and_goes_on_where_it_stopped(tmp_path):
    down = []
    with served(lambda body, n: (500, {}) if down else fair(body, n)) as fake:
        bench = Bench(tmp_path, fake.base_url)
        bench.check()
        plan = judged.plan(bench.ws, RUBRIC, now=BEGAN + 2.2 * DAY)
        asked = len(fake.asked)

        down.append(True)
        nothing = judged.score(bench.ws, plan, now=BEGAN + 2.2 * DAY)
        down.clear()
        done = judged.score(bench.ws, judged.plan(bench.ws, RUBRIC), now=BEGAN + 2.2 * DAY)
        again = judged.plan(bench.ws, RUBRIC)
        found = looked(bench.ws, 2.3)

    assert len(plan.waiting) > 20 and plan.waiting[0].asked.startswith("ticket ")
    assert (nothing.scored, nothing.waiting) == (0, len(plan.waiting)) and nothing.stopped
    assert (done.scored, done.unscored, done.waiting, done.stopped) == (len(plan.waiting), 0, 0, "")
    assert again.waiting == () and len(fake.asked) > asked
    (judge,) = found.audited
    assert judge.labels == done.scored
    assert judge.value == pytest.approx(0.5, abs=0.15) and judge.usual == pytest.approx(0.5)
    rows = {row.signal: row for row in found.signals}
    assert rows["judged"].usual == pytest.approx(0.5), "the holdout is what its scores are held against"
    assert rows["judged"].rows <= judge.labels and rows["accuracy"].level is None
    bench.ws.close()


def test_a_judge_may_not_score_before_people_checked_it(tmp_path):
    with served(fair) as fake:
        bench = Bench(tmp_path, fake.base_url)
        with pytest.raises(DataError, match="never checked with this model"):
            judged.plan(bench.ws, RUBRIC)
        judging.judge(
            bench.ws.roster,
            bench.run,
            RUBRIC,
            endpoint=bench.ws.settings.judge,
            cache=tmp_path / "cache" / "judge",
        )
        with pytest.raises(DataError, match=r"not checked well enough.*offramp rate FILE"):
            judged.plan(bench.ws, RUBRIC)
        bench.check(shift=2)
        with pytest.raises(DataError, match=r"was refused by its check.*let people label"):
            judged.plan(bench.ws, RUBRIC)
        with pytest.raises(DataError, match="a rubric without `uses_reference`"):
            judged.plan(bench.ws, RUBRIC.model_copy(update={"uses_reference": True}))
        bench.ws.close()


def test_two_judges_are_not_mixed_in_one_deployment(tmp_path):
    with served(fair) as fake:
        bench = Bench(tmp_path, fake.base_url)
        bench.check()
        name = auditing.standing(bench.ws).newest[0].id
        store = Calls.of(tmp_path)
        store.feedback(name, "outcome", Judgement("judge-0", "else", 5).plain(), at=BEGAN + 2.2 * DAY)
        store.close()
        looked(bench.ws, 2.3)

        with pytest.raises(DataError, match="another judge \\(judge-0\\)"):
            judged.plan(bench.ws, RUBRIC)
        bench.ws.close()


def test_money_ends_at_the_cap_also_after_a_kill(tmp_path):
    with served(fair) as fake:
        bench = Bench(tmp_path, fake.base_url, usd=0.02, provider="openai")
        bench.check()
        now = BEGAN + 2.2 * DAY
        plan = judged.plan(bench.ws, RUBRIC, now=now)
        judged._book(tmp_path, now - 40 * DAY, 5.0)  # of another month
        each = judged._highest(plan.estimate) / len(plan.waiting) * judged.BATCH
        assert plan.left_usd == 0.02 and 0 < each < 0.02
        # As a kill leaves it: written down at its highest price, and never set right.
        judged._book(tmp_path, now, 0.02 - each / 2)
        sent = len(fake.asked)
        stopped = judged.score(bench.ws, plan, now=now)

    assert (stopped.scored, stopped.cost_usd, len(fake.asked)) == (0, 0.0, sent)
    assert stopped.waiting == len(plan.waiting) and "more than is left of 0.02 USD a month" in stopped.stopped
    assert judged.spent_usd(tmp_path, now) == pytest.approx(0.02 - each / 2)
    bench.ws.close()


def test_a_server_of_ones_own_has_no_price(tmp_path):
    with served(fair) as fake:
        bench = Bench(tmp_path, fake.base_url, usd=0.0)
        bench.check()
        done = judged.score(bench.ws, judged.plan(bench.ws, RUBRIC))

    assert (
        done.scored > 20
        and done.cost_usd == 0.0
        and not (tmp_path / "monitor" / "audit_spending.jsonl").exists()
    )
    bench.ws.close()


def test_what_a_judge_costs_is_booked_before_it_is_sent_and_set_right_afterwards(tmp_path):
    down = []
    with served(lambda body, n: (500, {}) if down else fair(body, n)) as fake:
        bench = Bench(tmp_path, fake.base_url, provider="openai")
        bench.check()
        now = BEGAN + 2.2 * DAY
        plan = judged.plan(bench.ws, RUBRIC, now=now)
        down.append(True)
        nothing = judged.score(bench.ws, plan, now=now)
        spent = judged.spent_usd(tmp_path, now)
        down.clear()
        done = judged.score(bench.ws, plan, now=now)

    assert nothing.stopped and (nothing.cost_usd, spent) == (0.0, 0.0)
    # 10 tokens in and 5 out a request, as the server counted, at 0.15 and 0.60 USD a million.
    assert done.cost_usd == pytest.approx(done.scored * (10 * 0.15 + 5 * 0.60) / 1e6, rel=1e-6)
    assert judged.spent_usd(tmp_path, now) == pytest.approx(done.cost_usd, abs=1e-7)
    assert judged.spent_usd(tmp_path, now + 40 * DAY) == 0.0
    assert done.cost_usd < judged._highest(plan.estimate)
    bench.ws.close()


def test_texts_stay_here_where_privacy_says_so_and_an_unknown_price_is_no_price(tmp_path):
    given = {"base_url": "http://judge.example/v1", "model": "m"}
    ws = opened(tmp_path, judge=given, gateway={"privacy": "local"})
    stream(ws, 100)
    looked(ws, 2.1)
    with pytest.raises(ConfigError, match="nothing may leave this machine"):
        judged.plan(ws, RUBRIC)
    ws.close()
    bare = opened_again(tmp_path, audits_per_day=20)
    with pytest.raises(ConfigError, match="the settings name none"):
        judged.plan(bare, RUBRIC)
    bare.close()


def test_two_processes_do_not_spend_the_same_money(ws):
    stream(ws, 100)
    looked(ws, 2.1)
    plan = judged.Plan("triage", RUBRIC, None, (), None, 0.0)
    with (
        judged._alone(ws.path),
        pytest.raises(StoreError, match="another process does so"),
        judged._alone(ws.path),
    ):
        raise AssertionError(plan)


def test_an_outcome_is_a_judgement_only_when_it_says_all_of_it():
    said = Judgement("judge-1", "tone", 4)

    assert Judgement.read(json.dumps(said.plain())) == said and said.loss == 0.25
    for bad in (
        "0.5",
        "{",
        '{"by": "judge"}',
        '{"by": "judge", "judge": "j", "rubric": "r", "score": 6}',
        '{"by": "judge", "judge": "j", "rubric": "r", "score": true}',
        '{"by": "judge", "judge": "", "rubric": "r", "score": 3}',
        '{"by": "me", "judge": "j", "rubric": "r", "score": 3}',
    ):
        assert Judgement.read(bad) is None


def test_what_a_judge_reads_is_what_the_rows_say(ws):
    task = data(ws.roster).task
    two = task.model_copy(update={"inputs": ("title", "text")})
    chat = task.model_copy(update={"inputs": ("transcript",)})
    one = call("c", BEGAN, asked='{"text": "b", "title": "a"}')

    assert auditing.asked_text(one, two) == "a\nb"
    assert auditing.asked_text(one, task) == '{"text": "b", "title": "a"}'
    assert auditing.asked_text(call("c", BEGAN, asked="hi"), None) == "hi"
    assert "hi" in auditing.asked_text(call("c", BEGAN, asked="hi"), chat)
    one.request = b"no json"
    assert auditing.asked_text(one, task) == ""


def test_the_command_lets_a_judge_score_and_says_what_it_cost(tmp_path, capsys):
    from offramp.cli.audit import _judged

    with served(fair) as fake:
        bench = Bench(tmp_path, fake.base_url)
        bench.check()
        _judged(bench.ws, "helpfulness", None, yes=False, json=True)
        record = json.loads(capsys.readouterr().out)
        _judged(bench.ws, "helpfulness", None, yes=False, json=False)

    assert record["scored"] > 20 and record["waiting"] == 0 and record["stopped"] == ""
    said = capsys.readouterr()
    assert said.out == "0 answers scored by gpt-4o-mini at 127.0.0.1 for 0.0000 USD, 0 wait\n"
    assert "10.00 USD left this month" in said.err
    bench.ws.close()


def test_a_look_that_is_killed_before_its_state_is_kept_is_made_again(ws, tmp_path):
    stream(ws, 600)
    looked(ws, 1)
    auditing.export(ws, tmp_path / "wait.csv")
    filled(tmp_path / "wait.csv", tmp_path / "done.csv")
    auditing.take(ws, tmp_path / "done.csv", now=BEGAN + 1.1 * DAY)
    state = ws.path / "monitor" / "state.json"
    before = state.read_bytes()
    first = looked(ws, 2.1)
    frame = next((ws.path / "monitor").glob("*.parquet")).read_bytes()

    state.write_bytes(before)
    again = looked(ws, 2.1)

    assert again == first and first.audited[0].labels > 0
    assert next((ws.path / "monitor").glob("*.parquet")).read_bytes() == frame


def test_a_fall_of_a_judges_scores_has_words_of_its_own():
    from offramp.monitor.findings import told
    from offramp.monitor.watch import Seen

    seen = Seen("desk", "d-1", "judged", BEGAN, 0.1, 0.3, 0.25, 0.35, None, None, 0.01, (), 200)

    what = told(seen, None).what
    assert what.startswith(
        "the mean of a judge's scores, 5 being 100 %, fell from 90 % to about 70 % (65 % to 75 %)"
    )


def test_free_texts_are_masked_before_they_are_kept_and_known_again_when_they_come_back(tmp_path):
    masked = opened(tmp_path, gateway={"capture": {"personal": "mask"}})
    masked.roster.__dict__["redactor"] = Stars()
    free = data(masked.roster).task.model_copy(update={"kind": "generate", "labels": ()})
    rows = [(2, {"id": "c-0001", "label": "tell Ann"})]
    stream(masked, 20)
    store = Calls.of(tmp_path)

    given, read = auditing._given(rows, store, "triage", free, masked)

    store.close()
    masked.close()
    assert (given, read.bad) == ({"c-0001": "tell ***"}, [])


class Stars:
    """A redactor that knows one name."""

    def find_all(self, texts):
        return [["Ann"] if "Ann" in text else [] for text in texts]

    def replace(self, text, spans, *, conversation):
        from types import SimpleNamespace

        return SimpleNamespace(text=text.replace("Ann", "***")) if spans else SimpleNamespace(text=text)
