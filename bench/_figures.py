"""Write the figures of the README from `bench/results/`, so that no number there is typed by hand.

python bench/_figures.py        rewrites what stands between the two marks in README.md
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


def goals(found: dict[str, Any]) -> str:
    """Return met and missed goals in one line."""
    parts = [
        f"{'met' if goal['met'] else '**missed**'}: {name} {_short(goal['value'])} (goal {_short(goal['goal'])})"
        for name, goal in found["goals"].items()
    ]
    return "; ".join(parts) + "."


def _short(value: Any) -> str:
    if isinstance(value, int | float) and abs(value) >= 1e8:
        return f"{value / 1e9:.1f}e9"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _head(title: str, name: str, found: dict[str, Any]) -> list[str]:
    commit = f"commit {found['commit']}" if found["commit"] else ""
    where = ", ".join(part for part in (found["machine"], found["date"], commit) if part)
    return [f"**{title}** (`make bench-{name.replace('_', '-')}`, {where}). {goals(found)}", ""]


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


def section() -> str:
    """Return the whole section."""
    lines = [
        "Published test splits; every choice was made on validation rows split off the training set. Each figure "
        "names the commit it was measured at.",
        "",
    ]
    if found := result("banking77"):
        lines += _head("Banking77, 77 intents", "banking77", found)
        lines += [*_rungs(found, "test accuracy, %", lambda r: r["test_accuracy"]), ""]
    if found := result("mwpd"):
        lines += _head("MWPD 2020, product to 3-level category", "mwpd", found)
        lines += _rungs(
            found, "mean weighted F1 on test, %", lambda r: r["test"]["weighted_f1_mean_of_levels"]
        )
        lines += [
            f"| untuned linear SVM per level, same run | {100 * found['figures']['untuned_svm']:.1f} | | | |"
        ]
        lines += [f"| {name} | {100 * f1:.1f} | | | |" for name, f1 in found["figures"]["published"].items()]
        lines += [""]
    if found := result("verdict"):
        lines += _head(
            "Verdict: how often a model that is worse by the margin is certified", "verdict", found
        )
        rows = found["figures"]["binary"]
        peers = ("offramp", "wald", "unpaired z", "mcnemar p>.05")
        worst = ", ".join(
            f"{name} {min(r[name] for r in rows):.3f} to {max(r[name] for r in rows):.3f}" for name in peers
        )
        lines += [f"Over {len(rows)} scenarios of single rows, nominal 0.05: {worst}.", ""]
    for name, title in (
        ("embed", "Embedding against sentence-transformers' default"),
        ("encoder", "Tuning the encoder to the same accuracy"),
        ("scale", "From 1,000 to 30,000 rows"),
        ("stats", "Statistics: false certificates, power, looking at every pair, 20 clusters"),
        ("judge", "Judges: correction by people's ratings, planted bad judges"),
        ("scorers", "Likert scorers without an LLM on SummEval, against ROUGE-L"),
        ("pack", "Evidence pack, 5,000 rows and 6 candidates (synthetic)"),
        ("curate", "Curation: planted defects, clean rows, real label noise"),
        ("curate_scale", "Curation of many rows, and peers that find near-duplicates"),
        ("variation", "Prompt wordings: seen, unseen, pruned"),
        ("decoder", "Tuning a decoder against plain TRL on a CPU, at the same loss"),
        ("engine", "Answering with a decoder against a plain `generate` loop"),
        ("parity", "What is served against what was trained, with a real vLLM"),
        ("intake", "The intake demo and real clinical dialogues, with the tiny stand-in decoder"),
        ("gateway", "The gateway beside a direct call and LiteLLM's proxy"),
        ("serve", "Serving batched, beside a plain FastAPI loop"),
        ("chaos", "Upstream faults against the gateway"),
        ("capture_kill", "SIGKILL under load: recorder alone, and the whole gateway"),
        ("threshold", "A cascade's threshold with a guarantee"),
        ("shadow", "Shadow: planted candidates, looked at again and again (simulated)"),
        ("replay", "28,185 real arrivals through record, shadow, canary, cascade and rollback (mock models)"),
    ):
        if found := result(name):
            lines += _head(title, name, found)
    return "\n".join(lines).rstrip() + "\n"


def rewritten(text: str) -> str:
    """Return the README with the section renewed."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return before + START + section() + END + after


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(rewritten(path.read_text()))
