"""Write the figures of docs/scorers.md from `bench/results/scorers.json`, so that no number there is typed by hand.

python bench/_scorers_page.py        rewrites what stands between the two marks in docs/scorers.md
"""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "scorers.md"
START, END = "<!-- scorers -->\n", "<!-- /scorers -->\n"
OURS = {"relevance": "relevance", "consistency": "faithfulness"}
FACTS = {
    "FactualPrecision": "factual precision",
    "FactualRecall": "factual recall",
    "HallucinationRate": "hallucination rate",
    "OmissionRate": "omission rate",
}


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _range(pair: list[float]) -> str:
    return f"{_number(pair[0])} to {_number(pair[1])}"


def _news(found: dict[str, Any]) -> list[str]:
    lines = []
    for dimension, ours in OURS.items():
        lines += [
            f"**{dimension.capitalize()}** (Spearman)",
            "",
            "| | row, reported half | within article | system | row, all | within article | system |",
            "|---|---|---|---|---|---|---|",
        ]
        halves = [found["correlation"][half][dimension] for half in ("reported", "all")]
        for name in halves[0]:
            cells = [
                _number(half[name][level])
                for half in halves
                for level in ("row spearman", "within spearman", "system spearman")
            ]
            title = f"**{name}**" if name == ours else name
            lines.append(f"| {title} | {' | '.join(cells)} |")
        expert = found["experts"][dimension]
        cells = [_number(expert[level]) for level in ("row spearman", "within spearman", "system spearman")]
        lines += [f"| one expert with the two others, 12 systems | | | | {' | '.join(cells)} |", ""]
        for half, title in (("reported", "reported half"), ("all", "all articles")):
            spans = found["interval"][half][dimension]
            mine, gap = spans[ours], spans[f"{ours} minus ROUGE-L"]
            lines.append(
                f"95 % intervals, {title}: {ours} row {_range(mine['row'])}, system {_range(mine['system'])}; "
                f"minus ROUGE-L row {_range(gap['row'])}, system {_range(gap['system'])}.  "
            )
        lines.append("")
    return lines


def _other_dimensions(found: dict[str, Any]) -> list[str]:
    lines = [
        "What no scorer was made for, all articles, row (Spearman):",
        "",
        "| | coherence | fluency |",
        "|---|---|---|",
    ]
    both = [found["correlation"]["all"][d] for d in ("coherence", "fluency")]
    lines += [
        f"| {name} | {' | '.join(_number(d[name]['row spearman']) for d in both)} |" for name in both[0]
    ]
    experts = [_number(found["experts"][d]["row spearman"]) for d in ("coherence", "fluency")]
    return [*lines, f"| one expert with the two others, 12 systems | {' | '.join(experts)} |", ""]


def _notes(found: dict[str, Any]) -> list[str]:
    lines = [
        f"**MTS-Dialog**, {found['rows']} machine-written notes of {found['visits']} visits, Spearman with people's "
        f"fact counts (rates: less is better; {found['rows with a hallucination']} notes have a hallucination), "
        "95 % interval over visits. Nothing was chosen on these rows.",
        "",
        "| | " + " | ".join(FACTS.values()) + " |",
        "|---" * (len(FACTS) + 1) + "|",
    ]
    for name in found["FactualRecall"]:
        cells = [
            f"{_number(found[fact][name]['spearman'])} ({_range(found[fact][name]['interval'])})"
            for fact in FACTS
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return [*lines, ""]


def _anchors(found: dict[str, Any]) -> list[str]:
    lines = [
        "Raw values behind the anchors, measured on the calibration half:",
        "",
        "| | unrelated answer (median) | answers rated 4.5 or more (95th percentile) |",
        "|---|---|---|",
    ]
    lines += [
        f"| {name} | {_number(a['floor'])} | {_number(a['ceiling'])} |"
        for name, a in found["anchors"].items()
    ]
    means = ", ".join(
        f"{name} {_number(found['mean score'][name])}" for name in ("relevance", "faithfulness")
    )
    rated = ", ".join(f"{d} {_number(found['mean rating'][d])}" for d in ("relevance", "consistency"))
    return [*lines, "", f"Mean score on all rows: {means}; experts: {rated}.", ""]


def section() -> str:
    """Return what stands between the marks, or a line that the benchmark has not been run."""
    path = ROOT / "bench" / "results" / "scorers.json"
    if not path.exists():
        return "Not measured yet: `make bench-scorers`.\n"
    found = json.loads(path.read_text())
    news, notes = found["figures"]["summeval"], found["figures"]["mts"]
    where = ", ".join(part for part in (found["machine"], found["date"], f"commit {found['commit']}") if part)
    goals = found["goals"].values()
    lines = [
        f"`make bench-scorers`, {where}; {found['figures']['cpu_s']:.0f} CPU seconds. "
        f"{sum(goal['met'] for goal in goals)} of {len(goals)} goals (beat ROUGE-L) met.",
        "",
        f"**SummEval**, {news['rows']} summaries by {news['systems']} systems of {news['articles']} articles.",
        "",
        *_news(news),
        *_other_dimensions(news),
        *_notes(notes),
        *_anchors(news),
    ]
    return "\n".join(lines).rstrip() + "\n"


def rewritten(text: str) -> str:
    """Return the page with the section renewed."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return before + START + section() + END + after


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text()))
