"""Write the measured figures from `bench/results/` into README.md and docs/figures.md, so that none is typed by hand.

python bench/_figures.py        rewrites docs/figures.md, and what stands between the two marks in README.md
"""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
START, END = "<!-- figures: written by bench/_figures.py -->\n", "<!-- end of figures -->\n"
NAMES = {
    "zero-shot": "untuned: label text against input",
    "knn": "nearest neighbours",
    "linear": "linear head (n-grams and embedding)",
    "encoder": "LoRA-tuned encoder",
    "blend": "tuned encoder and linear head",
}


def result(name: str) -> dict[str, Any] | None:
    """Return a kept result, `None` where the benchmark was not run."""
    path = ROOT / "bench" / "results" / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def _short(value: Any) -> str:
    if isinstance(value, int | float) and abs(value) >= 1e8:
        return f"{value / 1e9:.1f}e9"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _where(found: dict[str, Any]) -> str:
    commit = f"commit {found['commit']}" if found["commit"] else ""
    return ", ".join(part for part in (found["machine"], found["date"], commit) if part)


def _target(name: str) -> str:
    return f"`make bench-{name.replace('_', '-')}`"


def _all_goals(found: dict[str, Any]) -> list[str]:
    lines = ["| | measured | goal | met |", "|---|---|---|---|"]
    return lines + [
        f"| {name} | {_short(goal['value'])} | {_short(goal['goal'])} | {'yes' if goal['met'] else '**missed**'} |"
        for name, goal in found["goals"].items()
    ]


def _rungs(found: dict[str, Any], metric: str, score: Any) -> list[str]:
    lines = [f"| rung | {metric} | tuning | rows/s | size |", "|---|---|---|---|---|"]
    for name, title in NAMES.items():
        rung = found["figures"]["rungs"][name]
        marks = {"taken": "taken", "best_on_validation": "best on validation"}
        said = [mark for key, mark in marks.items() if found["figures"][key] == name]
        best = f" ({', '.join(said)})" if said else ""
        lines.append(
            f"| {title}{best} | {100 * score(rung):.1f} | {rung['tuning_s']:.0f} s | {rung['rows_per_s']:.0f} | "
            f"{rung['size_bytes'] / 1e6:.0f} MB |"
        )
    return lines


TITLES = {
    "banking77": "Banking77, 77 intents",
    "mwpd": "MWPD 2020, product to 3-level category",
    "verdict": "Verdict: how often a model that is worse by the margin is certified",
    "embed": "Embedding against sentence-transformers' default",
    "encoder": "Tuning the encoder to the same accuracy",
    "scale": "From 1,000 to 30,000 rows",
    "stats": "Statistics: false certificates, power, looking at every pair, 20 clusters",
    "judge": "Judges: correction by people's ratings, planted bad judges",
    "scorers": "Likert scorers without an LLM on SummEval, against ROUGE-L",
    "pack": "Evidence pack, 5,000 rows and 6 candidates (synthetic)",
    "curate": "Curation: planted defects, clean rows, real label noise",
    "curate_scale": "Curation of many rows, and peers that find near-duplicates",
    "variation": "Prompt wordings: seen, unseen, pruned",
    "decoder": "Tuning a decoder against plain TRL on a CPU, at the same loss",
    "engine": "Answering with a decoder against a plain `generate` loop",
    "parity": "What is served against what was trained, with a real vLLM",
    "intake": "The intake demo and real clinical dialogues, with the tiny stand-in decoder",
    "gateway": "The gateway beside a direct call and LiteLLM's proxy",
    "serve": "Serving batched, beside a plain FastAPI loop",
    "chaos": "Upstream faults against the gateway",
    "capture_kill": "SIGKILL under load: recorder alone, and the whole gateway",
    "threshold": "A cascade's threshold with a guarantee",
    "shadow": "Shadow: planted candidates, looked at again and again (simulated)",
    "replay": "28,185 real arrivals through record, shadow, canary, cascade and rollback (mock models)",
    "advise": "Tasks found in a mixed log, and twelve written scenarios",
    "money": "The case study's bill, then and now; exact prices per request",
    "capacity": "Predicted latency and load against a replay of real arrivals",
    "monitor": "Alarms on audited quality: false alarms and delay (simulated)",
    "drift": "Drift of inputs on real text",
    "monitor_scale": "A million calls a day through the monitor (simulated)",
    "audit": "Choosing which answers to label, and accuracy without labels",
    "audit_chosen": "Chosen answers in the monitor: the alarm and the estimate (simulated)",
}
"""Benchmarks in the order of the page, with what they are about."""


def _extra(name: str, found: dict[str, Any]) -> list[str]:
    """Return the table or sentence that a benchmark shows beside its goals."""
    if name == "banking77":
        return _rungs(found, "test accuracy, %", lambda r: r["test_accuracy"])
    if name == "mwpd":
        f1 = "mean weighted F1 on test, %"
        lines = _rungs(found, f1, lambda r: r["test"]["weighted_f1_mean_of_levels"])
        others = {"untuned linear SVM per level, same run": found["figures"]["untuned_svm"]}
        others |= found["figures"]["published"]
        return lines + [f"| {who} | {100 * score:.1f} | | | |" for who, score in others.items()]
    if name == "verdict":
        rows = found["figures"]["binary"]
        peers = ("offramp", "wald", "unpaired z", "mcnemar p>.05")
        worst = ", ".join(
            f"{peer} {min(r[peer] for r in rows):.3f} to {max(r[peer] for r in rows):.3f}" for peer in peers
        )
        return [f"Over {len(rows)} scenarios of single rows, nominal 0.05: {worst}."]
    return []


def section() -> str:
    """Return the section of the README: two tables, then one line a benchmark with what it missed."""
    lines = [
        "Published test splits; every choice was made on validation rows split off the training set. All goals with "
        "their values, machines, dates and commits: [figures](docs/figures.md).",
        "",
    ]
    for name in ("banking77", "mwpd"):
        if found := result(name):
            lines += [f"**{TITLES[name]}** ({_target(name)}, {_where(found)})", "", *_extra(name, found), ""]
    lines += ["| what was measured | with | goals met | missed |", "|---|---|---|---|"]
    for name, title in TITLES.items():
        if found := result(name):
            goals = found["goals"]
            missed = [
                f"{goal}: {_short(g['value'])} (goal {_short(g['goal'])})"
                for goal, g in goals.items()
                if not g["met"]
            ]
            met = f"{len(goals) - len(missed)} of {len(goals)}"
            lines.append(f"| {title} | {_target(name)} | {met} | {'; '.join(missed)} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return docs/figures.md: every goal of every benchmark."""
    lines = [
        "# Figures",
        "",
        "Written by `bench/_figures.py` from `bench/results/`; each can be measured again with the command beside it. "
        "A missed goal stands as missed.",
        "",
    ]
    for name, title in TITLES.items():
        if found := result(name):
            lines += [f"## {title}", "", f"{_target(name)}, {_where(found)}", "", *_all_goals(found), ""]
            if extra := _extra(name, found):
                lines += [*extra, ""]
    return "\n".join(lines).rstrip() + "\n"


def rewritten(text: str) -> str:
    """Return the README with the section renewed."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return before + START + section() + END + after


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(rewritten(path.read_text()))
    (ROOT / "docs" / "figures.md").write_text(page())
