"""Files for Prometheus and Grafana: valid, and about metrics and labels that the gateway really exports."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from offramp.gateway.app import Counts
from offramp.web.metrics import Metrics

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
RULES = yaml.safe_load((DEPLOY / "prometheus-rules.yml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
ALL_RULES = [rule for group in RULES["groups"] for rule in group["rules"]]
NAMES = re.compile(r"\b(?:offramp|process)_[a-z0-9_]+")
RECORDED = re.compile(r"\bofframp:[a-z0-9_:]+")
# Prometheus sets these itself.
FROM_SCRAPING = {"job", "instance"}


def exported() -> dict[str, set[str]]:
    """Ask the gateway's own declarations for every series name with its labels."""
    metrics = Metrics()
    recorder = SimpleNamespace(written=0, dropped=0, failed=0, queued=0)
    Counts(metrics, recorder)
    # `Gateway` declares this one itself.
    assert '"offramp_requests_under_way"' in (ROOT / "src/offramp/gateway/app.py").read_text()
    metrics.reading("offramp_requests_under_way", "", lambda: 0)
    found: dict[str, set[str]] = {}
    for family, _ in metrics._declared.values():
        for name in family.claims:
            found[name] = {*family.labels, *({"le"} if name.endswith("_bucket") else ())}
    return found


def panels() -> Iterator[dict]:
    for panel in DASHBOARD["panels"]:
        yield panel
        yield from panel.get("panels", ())


def expressions() -> list[str]:
    found = [rule["expr"] for rule in ALL_RULES]
    found += [target["expr"] for panel in panels() for target in panel.get("targets", ())]
    found += [one["expr"] for one in DASHBOARD["annotations"]["list"]]
    return [*found, *(one["definition"] for one in DASHBOARD["templating"]["list"] if "definition" in one)]


def test_there_is_something_to_check():
    assert len(ALL_RULES) >= 10
    assert len(expressions()) >= 30


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_and_label_is_one_that_the_gateway_exports(expression: str):
    known = exported()

    assert [name for name in NAMES.findall(expression) if name not in known] == []
    assert NAMES.search(expression) or RECORDED.search(expression) or expression.startswith("up{")
    for name, inside in re.findall(r"\b((?:offramp|process)_[a-z0-9_]+)\{([^}]*)\}", expression):
        labels = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", inside))
        assert labels - known[name] - FROM_SCRAPING == set()
    by = {label.strip() for some in re.findall(r"\bby \(([^)]*)\)", expression) for label in some.split(",")}
    exporting = set().union(*(known[name] for name in NAMES.findall(expression)), FROM_SCRAPING)
    assert by - exporting == set()


@pytest.mark.parametrize("expression", expressions())
def test_every_expression_is_closed(expression: str):
    bare = re.sub(r'"[^"]*"', "", expression)
    waiting = []
    for sign in bare:
        if sign in "([{":
            waiting.append({"(": ")", "[": "]", "{": "}"}[sign])
        elif sign in ")]}":
            assert waiting and waiting.pop() == sign
    assert waiting == []


def test_counters_are_only_used_as_rates():
    wrong = []
    for expression in expressions():
        for found in re.finditer(r"\w+_(?:total|bucket|sum|count)\b(?:\{[^}]*\})?", expression):
            rest, before = expression[found.end() :], expression[: found.start()]
            of_labels = before.endswith("label_values(")
            if not of_labels and not (rest.startswith("[") and re.search(r"(rate|increase)\($", before)):
                wrong.append(found[0])

    assert wrong == []


def test_recorded_names_are_recorded_and_used():
    recorded = {rule["record"] for rule in ALL_RULES if "record" in rule}
    used = {name for rule in ALL_RULES if "alert" in rule for name in RECORDED.findall(rule["expr"])}

    assert used == recorded


def test_every_alert_says_what_happened_and_what_to_do():
    alerts = [rule for rule in ALL_RULES if "alert" in rule]

    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    for rule in alerts:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert set(rule["annotations"]) == {"summary", "action"}
        assert re.fullmatch(r"\d+[smhd]", rule.get("for", "0s"))


def test_the_dashboard_has_no_overlaps_and_no_panel_twice():
    ids, cells = set(), set()
    for panel in panels():
        assert panel["id"] not in ids and panel["title"]
        ids.add(panel["id"])
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        taken = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        cells |= taken


def test_the_dashboard_uses_the_data_source_that_is_chosen_and_no_plugin():
    kinds = {panel["type"] for panel in panels()}
    sources = [panel["datasource"] for panel in panels() if panel["type"] != "row"]
    sources += [target["datasource"] for panel in panels() for target in panel.get("targets", ())]

    assert kinds <= {"row", "stat", "timeseries"}
    assert {one["uid"] for one in sources} == {"${datasource}"}


def test_nothing_is_fetched_from_elsewhere():
    texts = [(DEPLOY / "grafana-dashboard.json").read_text(), json.dumps(RULES)]

    assert [found for text in texts for found in re.findall(r"\w+://|<\w+|javascript:", text)] == []
