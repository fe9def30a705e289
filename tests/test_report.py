"""The report shows what it is given, nothing runs that came with the data, and missing parts do not break it."""

import re
import time
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from pydantic import BaseModel, ValidationError

from offramp.report import ReportData, charts, charts_cost, charts_data, charts_map, render, svg, text
from offramp.report import curation as rows
from offramp.report import data as r
from offramp.report.lanes import bare, fit_named, named
from offramp.types import VerdictBody
from report_fixture import WHEN, bar, flat, minimal, rich, share

VOID = {"meta", "br"}
EVIL = "<script>alert(1)</script>]]>\"'`&lt;{{ 7*7 }}</svg></style>\u202egnp.exe\x00\ud800 onload=x"


class Page(HTMLParser):
    """Reads a page strictly: every element closes, in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.text))


def poisoned(value: object, poison: str) -> object:
    """Copy a model with every text replaced, except the ones that choose among fixed values."""
    if isinstance(value, BaseModel):
        fixed = {
            "role",
            "split",
            "action",
            "basis",
            "outcome",
            "kind",
            "name",
            "option",
            "versus",
            "metric",
            "engine",
        }
        free = [name for name in type(value).model_fields if name not in fixed]
        return value.model_copy(update={name: poisoned(getattr(value, name), poison) for name in free})
    if isinstance(value, str):
        return poison
    if isinstance(value, tuple):
        return tuple(poisoned(one, poison) for one in value)
    if isinstance(value, dict):
        return {f"{poison}{i}": poisoned(one, poison) for i, one in enumerate(value.values())}
    return value


@pytest.fixture(scope="module")
def page() -> str:
    return render(rich())


@pytest.mark.parametrize("make", [rich, flat, minimal])
def test_the_page_is_well_formed_with_unique_ids(make):
    found = Page(render(make()))

    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for tag, attributes in found.tags if tag == "a"]
    assert links and {link.removeprefix("#") for link in links if link} <= set(ids)


def test_the_page_loads_nothing(page):
    found = Page(page)

    outside = {"src", "srcset", "action", "data", "poster", "xlink:href", "style", "onclick", "onload"}
    assert [a for _, attributes in found.tags for a in attributes if a in outside] == []
    assert {tag for tag, _ in found.tags} & {
        "link",
        "iframe",
        "object",
        "embed",
        "img",
        "image",
        "use",
        "form",
    } == set()
    assert re.findall(r"@import|url\(", page) == []
    policy = found.tags[[tag for tag, _ in found.tags].index("meta") + 1][1]["content"] or ""
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe-inline" not in policy and "unsafe-eval" not in policy


def test_the_verdict_is_a_word_a_sign_and_a_sentence(page):
    words = Page(page).words

    assert "✓Ready" in words
    assert "Yes: the linear model is as good as frontier-large API (simulated) on this task" in words
    assert "Switching would cost $31 a month instead of $1,912" in words
    assert "−0.3 pt90 % interval [−1.6, +0.9]; down to −2.0 pt is allowed" in words.replace("\xa0", " ")


@pytest.mark.parametrize(
    ("outcome", "start"),
    [
        ("better", "Yes: A is better than B"),
        ("ready", "Yes: A is as good as B"),
        ("not ready", "No: A is not yet as good"),
        (
            "not enough data",
            "Not decided: too few rows to tell whether A is as good as B. More checked examples",
        ),
    ],
)
def test_every_outcome_has_a_plain_sentence(outcome, start):
    found = minimal().model_copy(
        update={
            "verdict": VerdictBody(outcome=outcome, sentence="", bars=()),
            "candidate_title": "A",
            "reference_title": "B",
        }
    )

    assert start in Page(render(found)).words


def test_a_missing_verdict_is_said_and_not_guessed():
    words = Page(render(minimal())).words

    assert "No verdict yet: nothing was tested on the holdout." in words
    assert "Every candidate" not in words


def test_missing_rows_are_asked_for_by_number():
    assert "About 640 more checked examples would settle it." in Page(render(flat())).words


def test_simulated_answerers_are_called_so_in_every_picture_and_table(page):
    found = rich()
    names = [one.title for one in found.candidates if one.simulated]

    for name in names:
        short = name.removesuffix(" (simulated)")
        for where in re.finditer(rf"<text[^>]*>{re.escape(short)}([^<]*)</text>", page):
            assert "simulated" in where[1]
        for where in re.finditer(rf"<bdi>{re.escape(short)}</bdi>(.{{0,40}})", page):
            assert "simulated" in where[1]
    assert "not a real service or real people" in Page(page).words


def test_the_word_simulated_survives_a_long_title():
    assert fit_named("An incumbent with a name that does not fit", True, 160).endswith(" (simulated)")
    assert fit_named("gpt-4o (its answers here are simulated)", False, 160) == "gpt-4o (simulated)"
    assert named("api (Simulated)", True) == "api (Simulated)"
    assert bare("A, simulated") == bare("A (simulated)") == bare("simulated A") == "A"


def test_text_from_logs_can_neither_run_nor_change_the_page():
    found = render(poisoned(rich(), EVIL))  # type: ignore[arg-type]

    read = Page(found)
    assert [tag for tag, _ in read.tags].count("script") == 1
    assert found.count("<script") == 1
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00\ud800-\udfff]", found)
    assert "⟨U+202E⟩" in found
    assert "{{ 7*7 }}" in read.words
    assert [name for _, attributes in read.tags for name in attributes if name.startswith("on")] == []
    found.encode("utf-8")


def test_svg_text_and_attributes_are_escaped():
    drawn = svg.tag("text", EVIL, class_=EVIL, x=1.0)

    root = ElementTree.fromstring(str(drawn))
    assert root.tag == "text"
    assert list(root) == []
    assert set(root.attrib) == {"class", "x"}


@pytest.mark.parametrize(
    "poison", ["x" * 100_000, "ä\u0301\u0302" * 33_000, "\u202e" * 100_000, "字" * 100_000]
)
def test_huge_strings_are_cut_with_an_ellipsis(poison):
    started = time.process_time()
    found = render(poisoned(rich(), poison))  # type: ignore[arg-type]

    assert "…" in found
    assert len(found.encode()) < 1_000_000
    assert time.process_time() - started < 5


def test_every_part_may_be_missing():
    whole = rich()
    for name, field in ReportData.model_fields.items():
        if not field.is_required():
            Page(render(whole.model_copy(update={name: field.get_default(call_default_factory=True)})))


def test_every_list_may_be_empty():
    found = rich().model_copy(
        update={
            "ladder": r.Ladder(steps=()),
            "calibration": r.Calibration(bins=()),
            "coverage": r.Coverage(points=()),
            "errors": r.Errors(branches=r.BranchMatrix(labels=(), counts=())),
            "cost": r.Cost(options=()),
            "curation": rows.Curation(rows_in=0, rows_kept=0),
            "reproduce": r.Reproduce(),
            "candidates": (r.CandidateResult(name="a", title="A", role="tuned"),),
        }
    )

    Page(render(found))


def test_a_large_task_stays_small_and_quick():
    whole = rich()
    errors = whole.errors.model_copy(update={"confusions": whole.errors.confusions * 100})
    many = whole.model_copy(
        update={"candidates": whole.candidates * 20, "errors": errors, "caveats": ("no",) * 500}
    )
    render(many)
    started = time.process_time()
    found = render(many)

    assert time.process_time() - started < 1
    assert len(found.encode()) < 1_000_000
    assert "more not shown" in found


def test_the_account_of_rows_reconciles_or_says_so(page):
    assert charts_data.unexplained(rich().curation) == 0
    assert "adds up to the row" in page

    broken = rich().curation.model_copy(update={"rows_kept": 4000})
    words = Page(render(rich().model_copy(update={"curation": broken}))).words

    assert "does not add up: −21 rows unexplained" in words


def test_a_rule_says_how_right_it_was_and_what_it_spared(page):
    words = Page(page).words

    assert "Gibberish: 31 set aside, right on 85 % [64, 95] of judged rows" in words
    assert "Kept, just below the threshold: offer-00412" in words
    assert "Rows touched52383112" in words
    assert words.count("Not judged by people yet.") == 6


def test_what_waits_for_people_comes_with_the_command_that_opens_it(page):
    assert "Look at them with offramp check --rule label_error." in Page(page).words


def test_the_page_says_where_the_rows_used_differ_from_those_that_came_in(page):
    assert "Not everywhere. Different: Branch of the label (holdout)." in Page(page).words

    same = rich().curation.model_copy(update={"distributions": rich().curation.distributions[:1]})
    words = Page(render(rich().model_copy(update={"curation": same}))).words
    assert "Yes: no part of them differs" in words


def test_every_bin_of_every_group_is_drawn_on_one_scale():
    drawn = str(charts_data.small_multiples(rich().curation.distributions[0], width=820, id_="x"))

    assert drawn.count("<rect") == 5 * 5
    assert drawn.count('class="bar"') == 5
    assert "1–3: came in 10.0\N{NO-BREAK SPACE}%" in drawn


def test_the_map_names_rows_only_by_id_and_marks_what_was_set_aside(page):
    found = rich().curation.map
    drawn = str(charts_map.embedding_map(found, id_="x"))

    assert re.findall(r"<title[^>]*>(?!Map|offer-)", drawn) == []
    assert drawn.count("<path") == 10 + 1  # one in the legend
    assert "400 of 4,180 rows" in Page(page).words


def test_a_map_is_cut_to_what_a_page_can_hold():
    many = 5_000
    found = rows.EmbeddingMap(rows=("r",) * many, x=(0.5,) * many, y=(0.5,) * many, kinds=("train",) * many)

    assert len(str(charts_map.embedding_map(found, id_="x"))) < 250_000


def test_the_account_without_texts_keeps_every_count():
    whole = rich().curation
    bare = whole.without_texts()

    assert [one.count for one in bare.steps] == [one.count for one in whole.steps]
    assert [one.title for one in bare.distributions] == ["Branch of the label"]
    written = bare.model_dump_json()
    assert "LEGO" not in written and "Kabel" not in written and "Cavo" not in written
    Page(render(rich().model_copy(update={"curation": bare})))


def test_small_branches_are_added_up_and_no_row_is_lost():
    size = 40
    counts = tuple(tuple(i + j for j in range(size)) for i in range(size))
    folded = charts_data.fold(r.BranchMatrix(labels=tuple(f"b{i}" for i in range(size)), counts=counts))

    assert len(folded.labels) == 14
    assert folded.labels[-1] == "all other (27)"
    assert sum(map(sum, folded.counts)) == sum(map(sum, counts))


def test_the_scale_is_logarithmic_only_for_a_wide_spread(page):
    def option(amount: float) -> r.CostOption:
        return r.CostOption(name=str(amount), title="x", basis="given", usd_per_month=amount)

    assert charts_cost.is_log([option(1), option(31)])
    assert not charts_cost.is_log([option(1), option(29), option(0)])
    assert "log scale: each step is ten times more" in page


def test_a_cost_curve_is_followed_and_not_extended():
    points = tuple(r.CurvePoint(requests_per_month=v, usd_per_month=c) for v, c in ((10, 1), (20, 3)))
    option = r.CostOption(name="a", title="a", basis="measured", curve=points)

    assert charts_cost.at_volume(option, 15) == 2
    assert charts_cost.at_volume(option, 20) == 3
    assert charts_cost.at_volume(option, 21) is None


def test_break_even_is_said_in_words_also_when_it_never_comes():
    options = (
        r.CostOption(name="own", title="Own", basis="measured", usd_per_month=30),
        r.CostOption(name="api", title="API", basis="list price", usd_per_month=9, simulated=True),
    )
    crossings = (
        r.BreakEven(option="own", versus="api", requests_per_month=None),
        r.BreakEven(option="own", versus="api", requests_per_month=1500),
    )

    found = charts_cost.crossings(r.Cost(options=options, break_even=crossings))

    assert [(one.option, one.versus, one.since, one.today) for one in found] == [
        ("Own", "API (simulated)", "never", "no"),
        ("Own", "API (simulated)", "1,500", "no"),
    ]


def test_of_many_options_the_two_that_matter_are_always_drawn():
    def option(i: int) -> r.CostOption:
        return r.CostOption(
            name=f"o{i}",
            title=f"o{i}",
            basis="given",
            usd_per_month=float(i),
            is_candidate=i == 39,
            is_incumbent=i == 40,
        )

    found = rich().model_copy(update={"cost": r.Cost(options=tuple(option(i) for i in range(1, 41)))})

    names = [one.name for one in charts_cost.drawn_bars(found.cost)]
    assert names[:3] == ["o40", "o39", "o14"]
    assert len(names) == 16
    assert "The 24 dearest other options are only in the table" in render(found)


def test_rows_without_an_answer_lower_the_share_that_is_right():
    matrix = r.BranchMatrix(labels=("a", "b"), counts=((8, 0), (0, 4)), unanswered=(2, 0))

    drawn = charts_data.heat_map(matrix, id_="x")

    assert "a: 80.0\N{NO-BREAK SPACE}% right" in drawn
    assert ">none<" in drawn
    with pytest.raises(ValidationError, match="one count per label"):
        r.BranchMatrix(labels=("a",), counts=((1,),), unanswered=(1, 2))


def test_figures_of_different_splits_are_not_shown_as_comparable():
    results = tuple(
        one.model_copy(update={"split": "validation"}) if one.role == "untuned" else one
        for one in rich().candidates
    )

    assert "see “Every candidate” before comparing" in render(
        rich().model_copy(update={"candidates": results})
    )


def test_agreement_with_the_incumbent_is_not_called_truth():
    task = r.TaskFacts(name="t", target_is_incumbent=True)

    assert "Read “accuracy” as agreement" in render(minimal().model_copy(update={"task": task}))


def test_repeated_use_of_the_holdout_is_a_caveat():
    uses = (r.HoldoutUse(claim="a", when=WHEN), r.HoldoutUse(claim="b"))

    assert "The holdout was used 2 times." in render(minimal().model_copy(update={"holdout_uses": uses}))


def test_an_infinite_interval_is_left_out_of_the_picture():
    endless = bar(metric="accuracy", mean=0.5, reference=0.5, spread=(float("-inf"), float("inf")))

    assert not charts.drawable(endless)
    verdict = VerdictBody(outcome="not enough data", sentence="", bars=(endless,))
    Page(render(minimal().model_copy(update={"verdict": verdict})))


def test_a_figure_that_is_not_finite_is_refused():
    with pytest.raises(ValidationError):
        r.Estimate(value=float("nan"))


def test_a_matrix_that_is_not_square_is_refused():
    with pytest.raises(ValidationError, match="one row and one column per label"):
        r.BranchMatrix(labels=("a", "b"), counts=((1, 2),))


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (text.points(-0.004, -0.011, 0.003), "−0.4 pt [−1.1, +0.3]"),
        (text.points(-0.0001), "0.0 pt"),
        (text.percent(0.93411), "93.4 %"),
        (text.estimate(share(0.5, 100)), "50.0 % [40.4, 59.6]"),
        (text.usd(1912.4), "$1,912"),
        (text.usd(31.0), "$31"),
        (text.usd(0.42), "$0.42"),
        (text.usd(0.0031), "$0.0031"),
        (text.usd(None), "no price"),
        (text.size(8_400_000), "8.4 MB"),
        (text.duration(0.0021), "2.1 ms"),
        (text.duration(38.2), "38 s"),
        (text.duration(341), "5 min 41 s"),
        (text.duration(7500), "2 h 05 min"),
        (text.rate(1840.4), "1,840"),
        (text.p_value(0.0000001), "< 0.001"),
        (text.number(float("nan")), "–"),
        (text.metric("macro_f1"), "macro F1"),
        (text.short(250_000), "250k"),
    ],
)
def test_numbers_have_sensible_digits_and_units(written, wanted):
    assert written.replace("\N{NO-BREAK SPACE}", " ") == wanted


def test_hidden_characters_are_written_as_their_code():
    assert text.clean("a\u202eb\x00c\u200bd\n e") == "a⟨U+202E⟩b⟨U+0000⟩c⟨U+200B⟩d e"
    assert text.clean("x" * 50, 10) == "x" * 9 + "…"
    assert text.clean("👩\u200d🔧") == "👩\u200d🔧"


def test_ticks_are_round_and_inside():
    assert svg.ticks(0.43, 1.0, 6) == [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert svg.decades(100, 1e5) == [100, 1000, 10_000, 100_000]
