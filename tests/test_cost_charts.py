"""Pictures of a comparison: every option drawn, what is not feasible marked, hostile names harmless."""

from datetime import date
from decimal import Decimal
from xml.etree import ElementTree

import pytest

from offramp.cost import Case, Incumbent, Measured, RequestMix, Usage, compare
from offramp.report import charts_options

HOSTILE = "<script>alert(1)</script>"


def comparison(volume: int = 250_000, **changes: object):
    usage = Usage(requests_per_month=volume, input_tokens=2000, output_tokens=20)
    usual = {
        "mix": RequestMix.average(usage),
        "incumbent": Incumbent(name="gpt-6-sol", model="gpt-6-sol", provider="openai"),
        "when": date(2026, 11, 21),
        "output_kind": "labels",
        "can_wait": False,
        "candidates": (
            Measured(
                name=HOSTILE, rung="encoder", rows_per_s=200, machine="a laptop", cores=2, quality="ready"
            ),
        ),
    }
    return compare(Case.model_validate(usual | changes))


@pytest.fixture(scope="module")
def found():
    return comparison()


def texts(picture: str) -> list[str]:
    root = ElementTree.fromstring(str(picture))
    return ["".join(node.itertext()) for node in root.iter("text")]


def test_every_picture_is_clean_markup_with_a_name_and_a_description(found):
    pictures = [
        draw(found, width=width, id_="x")
        for draw in (charts_options.option_bars, charts_options.over_time, charts_options.volumes)
        for width in (820, 340)
    ]
    pictures += [charts_options.tornado(found.tornado, width=width, id_="x") for width in (820, 340)]

    for picture in pictures:
        root = ElementTree.fromstring(str(picture))
        assert root.get("role") == "img"
        assert root.find("title").text and root.find("desc").text
        assert "<script" not in str(picture)
        assert "nan" not in str(picture) and "inf" not in str(picture)


def test_what_is_not_feasible_has_a_cross_before_its_name(found):
    shown = texts(charts_options.option_bars(found, width=820, id_="x"))

    assert "✕ gpt-6-sol, batch API" in shown
    assert "gpt-6-sol, as today" in shown


def test_lines_show_today_the_best_and_one_of_each_other_kind(found):
    picked = charts_options.shown(found)

    assert [one.key for one in picked[:2]] == ["today", found.best]
    assert len({one.kind for one in picked}) == len(picked) <= charts_options.MOST_LINES


def test_payback_is_marked_where_the_costs_meet(found):
    picture = ElementTree.fromstring(str(charts_options.over_time(found, width=820, id_="x")))

    paid = [one for one in charts_options.shown(found) if one.payback_month and one.kind != "today"]
    rings = [node for node in picture.iter("circle") if node.get("class") == "cross"]
    assert len(rings) == len(paid) > 0
    assert f"paid back by month {paid[0].payback_month}" in picture.find("desc").text


def test_a_way_that_runs_out_of_the_picture_is_cut_at_its_top():
    inside = charts_options._inside([(0.0, 5.0), (1.0, 15.0), (2.0, 25.0)], 10.0)

    assert inside == [(0.0, 5.0), (0.5, 10.0)]
    assert charts_options._inside([(0.0, 20.0), (1.0, 30.0)], 10.0) == [(0.0, 10.0)]


def test_a_tornado_tells_losses_from_gains(found):
    swings = found.swings(found.options[-1].key)

    shown = texts(charts_options.tornado(swings, width=820, id_="x"))

    assert any(text.startswith("volume: ×0.1 … ×10") for text in shown)
    assert any(text.startswith("−$") for text in shown)
    assert charts_options.tornado((), width=820, id_="x")


def test_the_volume_curve_goes_through_todays_figure(found):
    cost = charts_options.as_cost(found, found.options)

    for drawn, option in zip(cost.options, found.options, strict=True):
        middle = drawn.curve[len(drawn.curve) // 2]
        assert middle.requests_per_month == 250_000
        assert middle.usd_per_month == pytest.approx(float(option.usd_per_month))


def test_one_request_a_month_can_be_drawn():
    tiny = comparison(1, requests_low=Decimal("0.5"), requests_high=Decimal(2))

    for draw in (charts_options.option_bars, charts_options.over_time, charts_options.volumes):
        ElementTree.fromstring(str(draw(tiny, width=820, id_="x")))
