"""Reports to look at and to test with: a rich taxonomy task, a flat task without incumbent, and next to nothing.

Run as a script, `python tests/report_fixture.py FOLDER` writes them as HTML for a browser.
"""

import math
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from offramp.report import ReportData, render
from offramp.report import curation as rows
from offramp.report import data as r
from offramp.types import Bar, BarResult, VerdictBody

WHEN = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


def share(value: float, rows: int = 412) -> r.Estimate:
    """Return a ratio with a Wilson interval."""
    z2 = 1.96**2
    middle = (value + z2 / (2 * rows)) / (1 + z2 / rows)
    half = 1.96 * math.sqrt(value * (1 - value) / rows + z2 / (4 * rows**2)) / (1 + z2 / rows)
    return r.Estimate(value=value, low=middle - half, high=middle + half)


def bar(*, metric: str, mean: float, reference: float | None, spread: tuple[float, float], where: str | None = None,
        n: int = 412) -> BarResult:  # fmt: skip
    """Return a finished bar."""
    margin = None if where or reference is None else 0.02
    return BarResult(
        bar=Bar(metric=metric, margin=margin, level=0.9 if reference is None else None, slice=where),
        n=n,
        candidate_mean=mean,
        reference_mean=reference,
        difference=None if reference is None else mean - reference,
        low=spread[0],
        high=spread[1],
        p_value=0.0132 if where is None else 0.41,
        power=0.86,
        discordance=0.094,
        clusters=None,
        method="Tango score interval, paired",
        outcome="ready",
    )


CANDIDATES: tuple[tuple[str, str, str, int, r.Role, tuple[float, float, float]], ...] = (
    ("incumbent", "frontier-large API (simulated)", "recorded", -1, "incumbent", (0.968, 0.931, 0.886)),
    ("human_1", "Annotator A", "recorded", -1, "human", (0.985, 0.952, 0.913)),
    ("human_2", "Annotator B", "recorded", -1, "human", (0.971, 0.927, 0.871)),
    (
        "zero_shot",
        "Zero-shot: label text in embedding space",
        "zero_shot",
        0,
        "untuned",
        (0.731, 0.602, 0.478),
    ),
    ("majority", "Majority label", "majority", 0, "untuned", (0.164, 0.061, 0.022)),
    ("knn", "k nearest neighbours", "knn", 0, "tuned", (0.912, 0.851, 0.789)),
    ("linear", "Linear: word and character TF-IDF + embeddings", "linear", 1, "tuned", (0.964, 0.929, 0.883)),
    (
        "encoder",
        "Encoder: LoRA on MiniLM-L6, linear probe first",
        "encoder",
        2,
        "tuned",
        (0.966, 0.932, 0.891),
    ),
)


def candidates() -> tuple[r.CandidateResult, ...]:
    """Return every result, on the holdout, and the tuned ones on validation too."""
    made = []
    speeds = {"linear": (1840.0, 0.0021, 8_400_000, 38.2, 31.0), "encoder": (212.0, 0.0094, 91_000_000, 341.0, 62.0),
              "knn": (610.0, 0.0049, 27_000_000, 4.1, 31.0), "zero_shot": (690.0, 0.0043, 46_000_000, None, 31.0),
              "majority": (950_000.0, 0.00002, 900, 0.04, 0.0), "incumbent": (None, 1.31, None, None, 1912.0),
              "human_1": (None, 14.2, None, None, 41_000.0)}  # fmt: skip
    for name, title, engine, rung, role, levels in CANDIDATES:
        speed = speeds.get(name, (None, None, None, None, None))
        for split in ("holdout", "validation") if role == "tuned" else ("holdout",):
            shift = 0.004 if split == "validation" else 0.0
            made.append(
                r.CandidateResult(
                    name=name, title=title, engine=engine, rung=rung, role=role, split=split,
                    simulated=role in ("incumbent", "human"), chosen=name == "linear", rows=412,
                    accuracy=share(levels[2] + shift), level_accuracy=tuple(share(v + shift) for v in levels),
                    macro_f1=max(levels[2] - 0.031, 0.001), weighted_f1=levels[2] - 0.004, hierarchical_f1=levels[1] + 0.008,
                    rows_per_s=speed[0], p50_latency_s=speed[1], size_bytes=speed[2], tuning_s=speed[3],
                    usd_per_month=speed[4], failed_answers=3 if name == "incumbent" else 0,
                )
            )  # fmt: skip
    return tuple(made)


def cost() -> r.Cost:
    """Return options that spread widely enough for a log scale."""
    return r.Cost(
        requests_per_month=250_000,
        requests_basis="counted in the logs, October 2026",
        options=(
            r.CostOption(name="incumbent", title="frontier-large API", usd_per_month=1912.4, basis="given", is_incumbent=True,
                         simulated=True, usd_per_request=0.00765, fixed_usd_per_month=0.0, source="offramp.toml",
                         checked="2026-11-20", note="412 input and 23 output tokens per request on average"),
            r.CostOption(name="mini", title="small frontier API", usd_per_month=118.0, basis="list price",
                         usd_per_request=0.00047, source="genai-prices 0.0.68", checked="2026-11-02"),
            r.CostOption(name="hosted", title="Hosted fine-tune, 8B", usd_per_month=412.0, basis="published",
                         low_usd_per_month=330.0, high_usd_per_month=550.0, one_off_usd=4.2,
                         fixed_usd_per_month=140.0, usd_per_request=0.00109, source="https://example.com/pricing"),
            r.CostOption(name="linear", title="Linear model on one small server", usd_per_month=31.0, basis="measured",
                         is_candidate=True, source="bench on this machine × server price", checked="2026-11-18",
                         curve=tuple(r.CurvePoint(requests_per_month=v, usd_per_month=31.0 * math.ceil(v / 2e8))
                                     for v in (1e2, 1e8, 2e8, 2.01e8, 4e8, 4.01e8, 1e9))),
            r.CostOption(name="gpu", title="8B decoder on a rented GPU", usd_per_month=1460.0, basis="estimated",
                         fixed_usd_per_month=1460.0, usd_per_request=0.0, source="prices/gpus.yml", checked="2026-11-10"),
            r.CostOption(name="people", title="People, two per row", usd_per_month=41_000.0, basis="estimated",
                         usd_per_request=0.164, simulated=True, note="14 s per row at $21 an hour, two people"),
        ),
        break_even=(
            r.BreakEven(option="linear", versus="incumbent", requests_per_month=4052,
                        sentence="Cheaper than the simulated frontier-large API from 4,052 requests a month."),
            r.BreakEven(option="linear", versus="mini", requests_per_month=65_957,
                        sentence="Cheaper than the small frontier API from 65,957 requests a month."),
        ),
        notes=("Work of people to run the server is not included.", "Prices in US dollars, without tax."),
    )  # fmt: skip


def curation() -> rows.Curation:
    """Return an account that reconciles: 4,180 in, 4,021 used."""

    def step(
        rule: str, title: str, action: rows.Action, count: int, *texts: str, **more: Any
    ) -> rows.CurationStep:
        examples = tuple(rows.RowExample(row=f"offer-{i:05d}", text=text, note="same as offer-00017" if "dup" in rule else "")
                         for i, text in enumerate(texts, 41))  # fmt: skip
        return rows.CurationStep(rule=rule, title=title, action=action, count=count, reason="It would teach or test the wrong thing.",
                                 examples=examples, **more)  # fmt: skip

    return rows.Curation(
        rows_in=4180, rows_kept=4021, splits={"train": 3205, "validation": 404, "holdout": 412},
        steps=(
            step("unreadable", "Rows that could not be read", "quarantine", 3, "offer;;;\x00\x00broken"),
            step("html", "HTML and boilerplate stripped", "edit", 611, "Buy now! Bosch GSR 12V-15", "Free shipping"),
            step("gibberish", "Gibberish", "quarantine", 31, "asdkj qwe lkj", "", threshold=0.6,
                 what_if=tuple(rows.WhatIf(threshold=at, rows=n) for at, n in ((0.4, 52), (0.5, 38), (0.6, 31), (0.8, 12))),
                 borderline=(rows.RowExample(row="offer-00412", text="GSR12V15FC 06019F6001 L-BOXX", note="score 0.59"),),
                 precision=rows.Precision(confirmed=17, judged=20, low=0.64, high=0.948)),
            step("exact_duplicate", "Exact duplicates", "merge", 62, "Nike Air Zoom Pegasus 40 Herren Laufschuh 44.5", "LEGO 42141 McLaren F1"),
            step("near_duplicate", "Near-duplicates with the same label", "merge", 38, "LEGO Technic 42141 McLaren Formula 1 (1432 pcs)"),
            step("label_conflict", "Same input, different labels", "quarantine", 17, "Kabel USB-C 2 m schwarz"),
            step("outside", "Label outside the label set, or no product at all", "remove", 8, "asdf test please ignore"),
        ),
        reviews=(
            rows.Review(rule="label_error", title="Label likely wrong", count=96, reason="Other models say another label.",
                        examples=(rows.RowExample(row="offer-00077", text="Cavo jack 3,5 mm", note="score 0.98; suggested: Audio"),)),
        ),
        families=families(), distributions=(spread("Length in words", 0.021), spread("Branch of the label", 0.31)),
        map=plane(),
    )  # fmt: skip


def families() -> rows.Families:
    """Return 41 families."""
    members = tuple(
        rows.RowExample(row=f"offer-{i:05d}", text=f"LEGO Technic 42141, part {i}") for i in (3, 9, 12)
    )
    return rows.Families(count=41, rows=97, largest=6, sizes=(("2", 33), ("3", 5), ("4–5", 2), ("6–10", 1)),
                         examples=(rows.Family(rows=6, home="train", members=members),), conflicts_aside=17, conflicts_open=4)  # fmt: skip


def spread(title: str, psi: float) -> rows.Distribution:
    """Return a property of five bins, the holdout the one that differs."""
    shares = (0.1, 0.2, 0.4, 0.25, 0.05)

    def group(name: str, count: int, index: float | None) -> rows.Group:
        facts: dict[str, Any] = {} if index is None else {"psi": index, "weighted_psi": index, "chance": 0.02}
        reading = "different" if index and index > 0.25 else "same"
        return rows.Group(title=name, rows=count, shares=shares, weighted=shares, **facts,
                          reading=None if index is None else reading)  # fmt: skip

    groups = (
        ("came in", 4180, None),
        ("used", 4021, 0.001),
        ("train", 3205, 0.002),
        ("validation", 404, 0.01),
        ("holdout", 412, psi),
    )
    return rows.Distribution(title=title, bins=("1–3", "4–7", "8–15", "16–31", "32–63"), reads_inputs=title.startswith("Length"),
                             groups=tuple(group(*one) for one in groups), note="Read on every row.")  # fmt: skip


def plane() -> rows.EmbeddingMap:
    """Return 400 points on a spiral."""
    turns = [(math.sqrt(i / 400), 2.4 * i) for i in range(400)]
    kinds: list[rows.Kind] = ["set aside" if i % 40 == 7 else "holdout" if i % 10 == 3 else "validation" if i % 10 == 5 else "train"
                              for i in range(400)]  # fmt: skip
    return rows.EmbeddingMap(rows=tuple(f"offer-{i:05d}" for i in range(400)), kinds=tuple(kinds), of=4180,
                             x=tuple(0.5 + 0.5 * far * math.cos(turn) for far, turn in turns),
                             y=tuple(0.5 + 0.5 * far * math.sin(turn) for far, turn in turns))  # fmt: skip


def errors() -> r.Errors:
    """Return confusions with examples in several languages."""
    branches = ("Apparel & Accessories", "Electronics", "Hardware", "Health & Beauty", "Home & Garden", "Media",
                "Sporting Goods", "Toys & Games")  # fmt: skip
    wrong = {(1, 2): 3, (2, 4): 4, (4, 2): 2, (0, 6): 3, (6, 0): 1, (7, 6): 2}
    counts = tuple(
        tuple(48 + 3 * (i % 3) if i == j else wrong.get((i, j), 0) for j in range(8)) for i in range(8)
    )
    examples = (
        ("Electronics > Accessories > Cables", "Electronics > Audio > Headphone Accessories", 5, 14,
         ("AUX Kabel 3.5mm Klinke 1m vergoldet - kompatibel mit Kopfhörer", "Cavo jack 3,5 mm M/M 2mt nero")),
        ("Hardware > Tools > Drills", "Home & Garden > Lawn & Garden > Power Tools", 4, 11,
         ("MAKITA DF333DSAE 12Vmax Akku-Bohrschrauber 2x2.0Ah NEU!!", "<b>Drill</b> 500W SKU 88213-A")),
        ("Apparel & Accessories > Shoes > Sandals", "Sporting Goods > Outdoor > Hiking Shoes", 3, 9,
         ("حذاء صيفي رجالي مقاس ٤٢ بني", "サンダル レディース 24.5cm")),
    )  # fmt: skip
    return r.Errors(
        title="Linear: word and character TF-IDF + embeddings", split="holdout", rows=412, wrong=48,
        confusions=tuple(r.Confusion(gold=g, answer=a, count=c, gold_rows=n, examples=e) for g, a, c, n, e in examples)
        + tuple(r.Confusion(gold=f"Media > Books > Genre {i}", answer="", count=1) for i in range(12)),
        branches=r.BranchMatrix(labels=branches, counts=counts, unanswered=(0, 0, 1, 0, 0, 0, 2, 0)),
    )  # fmt: skip


def trust() -> tuple[r.Calibration, r.Coverage]:
    """Return calibration bins and a coverage curve."""
    points = (
        (0.22, 0.31, 18),
        (0.41, 0.39, 24),
        (0.58, 0.62, 37),
        (0.74, 0.71, 52),
        (0.87, 0.9, 91),
        (0.97, 0.981, 190),
    )
    bins = tuple(r.ReliabilityBin(mean_confidence=c, accuracy=share(a, n), rows=n) for c, a, n in points)
    curve = tuple(
        r.CoveragePoint(
            threshold=i / 40,
            coverage_ratio=1 - (i / 40) ** 2.2,
            accuracy=share(0.883 + 0.11 * (i / 40), 412 - 8 * i),
        )
        for i in range(39)
    )
    title = "Linear: word and character TF-IDF + embeddings"
    return (
        r.Calibration(bins=bins, error=r.Estimate(value=0.021, low=0.014, high=0.039), split="holdout", title=title),
        r.Coverage(points=curve, split="holdout", title=title, suggested_threshold=0.55, reference=share(0.886),
                   reference_title="frontier-large API (simulated)"),
    )  # fmt: skip


def rich() -> ReportData:
    """Return a product-category task with everything there is."""
    slices = tuple(
        bar(metric="accuracy", mean=0.88 + 0.01 * i, reference=0.9 - 0.005 * i, spread=(-0.09 + 0.02 * i, 0.05 + 0.02 * i),
            where=name, n=60 - 7 * i)
        for i, name in enumerate(("branch: Electronics", "branch: Hardware", "language: de", "description missing"))
    )  # fmt: skip
    body = VerdictBody(
        outcome="ready",
        sentence="ready: −0.3 pt [−1.6, +0.9] against a margin of 2 pt, power 0.86, 98 % cheaper",
        bars=(
            bar(metric="accuracy", mean=0.883, reference=0.886, spread=(-0.0162, 0.0091)),
            bar(metric="hierarchical_f1", mean=0.937, reference=0.939, spread=(-0.0114, 0.0083)),
        ),
        slices=slices,
        failed_answers=0,
    )
    calibration, coverage = trust()
    return ReportData(
        task=r.TaskFacts(name="Product category", labels=138, levels=3, level_names=("Department", "Category", "Leaf"),
                         inputs=("title", "description", "brand")),
        generated_at=WHEN, version="0.1.0",
        summary="4,180 product offers as merchants write them, in five languages, sampled from the logs of September and October.",
        verdict=body, candidate_title="the linear model", reference_title="frontier-large API (simulated)",
        reference_simulated=True,
        cost_sentence="Switching would cost $31 a month instead of $1,912: 98 % less at 250,000 requests.",
        candidates=candidates(), calibration=calibration, coverage=coverage, errors=errors(), cost=cost(),
        curation=curation(),
        ladder=r.Ladder(
            target=0.88, stopped_because="The linear model holds on validation, so the encoder was fitted for comparison only.",
            steps=(
                r.LadderStep(title="Majority label", rung=0, climbed=True, validation=share(0.024), tuning_s=0.04, usd_per_month=0),
                r.LadderStep(title="k nearest neighbours", rung=0, climbed=True, validation=share(0.793), tuning_s=4.1,
                             usd_per_month=31, note="9 pt below what is wanted"),
                r.LadderStep(title="Linear: word and character TF-IDF + embeddings", rung=1, climbed=True, chosen=True,
                             validation=share(0.887), tuning_s=38.2, usd_per_month=31, note="Holds"),
                r.LadderStep(title="Encoder: LoRA on MiniLM-L6", rung=2, climbed=True, validation=share(0.895), tuning_s=341,
                             usd_per_month=62, note="+0.8 pt for twice the cost"),
                r.LadderStep(title="Decoder with LoRA, 0.6B", rung=4, climbed=False, usd_per_month=480, note="Not needed"),
            ),
        ),
        split_checks=(
            r.Check(title="No row is in two splits", found="0 shared ids", passed=True),
            r.Check(title="No near-duplicate crosses the splits", found="highest cosine across splits 0.942, limit 0.95", passed=True),
            r.Check(title="Labels in the holdout that training never saw", found="2 of 131 labels, 3 rows"),
        ),
        holdout_uses=(r.HoldoutUse(when=WHEN, claim="Accuracy not worse than the incumbent by more than 2 pt",
                                   candidate="linear", outcome="ready"),),
        failures=(r.Failure(what="frontier-large API, recorded", count=3, message="finish_reason=length, no answer"),),
        reproduce=r.Reproduce(
            commands=("offramp init demo --from offers.jsonl --input title,description,brand --target category",
                      "offramp run --seed 7", "offramp report"),
            seed=7, dataset_hash="sha256-" + "9f1c04be" * 8, machine="2 cores, x86-64, 8 GB, Linux 6.1",
            versions={"offramp": "0.1.0", "python": "3.12.4", "scikit-learn": "1.9.0", "torch": "2.13.0"},
            records={"dataset": "dataset-sha256-1f0c9a7be2d04415c0aa", "candidate": "candidate-sha256-77ab0c2e9911d3f0aa21"},
        ),
        caveats=("The rows are from two months; nothing is known about other seasons.",
                 "Throughput was measured on a machine with other work on it."),
    )  # fmt: skip


def flat() -> ReportData:
    """Return a flat task without incumbent or price, judged against a level, with too few rows."""
    found = bar(metric="accuracy", mean=0.912, reference=None, spread=(0.874, 0.941), n=171).model_copy(
        update={"outcome": "not enough data", "more_rows": 640, "discordance": None}
    )
    return ReportData(
        task=r.TaskFacts(name="Support intent", labels=12, inputs=("text",)),
        generated_at=WHEN, version="0.1.0",
        verdict=VerdictBody(outcome="not enough data", sentence="not enough data: 91.2 % [87.4, 94.1] against 90 %", bars=(found,)),
        candidate_title="Linear model",
        candidates=(
            r.CandidateResult(name="zero", title="Zero-shot", role="untuned", split="holdout", accuracy=share(0.566, 171)),
            r.CandidateResult(name="linear", title="Linear model", role="tuned", split="holdout", chosen=True, rung=1,
                              accuracy=share(0.912, 171), tuning_s=3.4, rows_per_s=5200.0),
        ),
        curation=rows.Curation(rows_in=1700, rows_kept=1700, splits={"train": 1360, "validation": 169, "holdout": 171}),
    )  # fmt: skip


def minimal() -> ReportData:
    """Return a report about which next to nothing is known."""
    return ReportData(task=r.TaskFacts(name="Untitled"), generated_at=WHEN, version="0.1.0")


def main(folder: Path) -> None:
    """Write the reports into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in (("rich", rich), ("flat", flat), ("minimal", minimal)):
        (folder / f"{name}.html").write_text(render(make()), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
