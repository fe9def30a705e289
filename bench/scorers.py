"""How well do the scorers that need no language model agree with people?

SummEval: 100 news articles x 16 summarisers, each rated 1-5 by three experts on four dimensions. The scorers'
constants were chosen on the articles with an even index (calibration half); figures are reported on the other 50
and on all 100. Levels: `row` = all rows pooled, `within` = mean over articles of the correlation across the 16
systems, `system` = means per system. Peers see the same rows: ROUGE-L and embedding similarity with the reference.
The ceiling is what one expert has with the mean of the other two. Intervals: bootstrap over articles.
MTS-Dialog: 400 machine notes of 100 visits with people's fact counts; nothing was chosen on them.

`BENCH_SMALL=1` takes 12 articles and 12 visits.
"""

import csv
import json
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata

from _common import SMALL, data_dir, emit, table
from offramp.embed import Embedder
from offramp.metrics.base import Batch
from offramp.metrics.likert import LIKERT, completeness, faithfulness, relevance
from offramp.metrics.likert.scale import Vectors, blend
from offramp.metrics.likert.source import source_of
from offramp.metrics.likert.text import sentences
from offramp.metrics.text import rouge_l
from offramp.types import Task

DIMENSIONS = ("coherence", "consistency", "fluency", "relevance")
OURS = {"relevance": "relevance", "consistency": "faithfulness"}
"""Which scorer is meant for which dimension."""
DRAWS = 100 if SMALL else 1_000
ARTICLES = 12 if SMALL else 100
SEED = 20261121

Floats = NDArray[np.float64]
Rows = list[dict[str, Any]]


class Memory:
    """The embedded encoder; each text is paid for once in the whole run."""

    def __init__(self) -> None:
        self._encoder = Embedder.load("minilm")
        self._known: dict[str, NDArray[np.float32]] = {}
        self.cpu_s = 0.0

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return unit vectors."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        start = time.process_time()
        self._known |= dict(zip(new, self._encoder.encode(new), strict=True))
        self.cpu_s += time.process_time() - start
        return np.stack([self._known[text] for text in texts])


def batch_of(
    rows: Rows, embed: Callable[[Sequence[str]], NDArray[np.float32]], *, reference: bool = True
) -> Batch:
    """Return the rows as a batch, without the reference when asked."""
    return Batch(
        answers=[row["candidate"] for row in rows],
        targets=[row["reference"] if reference else "" for row in rows],
        task=Task(name="summaries", kind="generate", inputs=("source",), target="reference"),
        rows=pa.table(
            {"id": [str(i) for i in range(len(rows))], "field.source": [row["source"] for row in rows]}
        ),
        embed=embed,
    )


def all_scores(rows: Rows, embed: Memory) -> dict[str, Floats]:
    """Return every scorer and peer on these rows."""
    batch = batch_of(rows, embed)
    found = {name: metric.score(batch) for name, metric in LIKERT.items()}
    found["relevance, no reference"] = LIKERT["relevance"].score(batch_of(rows, embed, reference=False))
    found["ROUGE-L"] = np.array([rouge_l(row["candidate"], row["reference"]) for row in rows])
    texts = [[row[key] for row in rows] for key in ("candidate", "reference", "source")]
    answer, reference, source = (embed(part) for part in texts)
    found["embedding, reference"] = (answer * reference).sum(axis=1).astype(float)
    found["embedding, input"] = (answer * source).sum(axis=1).astype(float)
    return found


# ---------------------------------------------------------------- correlations


def pearson(x: Floats, y: Floats) -> float:
    """Return Pearson's r, 0 when one side is constant."""
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 1e-12 else 0.0


def spearman(x: Floats, y: Floats) -> float:
    """Return Spearman's rho, 0 when one side is constant."""
    return pearson(rankdata(x), rankdata(y))


def kendall(x: Floats, y: Floats) -> float:
    """Return Kendall's tau b."""
    return float(kendalltau(x, y).statistic)


def per_system(values: Floats, rows: Sequence[int], systems: NDArray[np.int64]) -> Floats:
    """Return the mean of each system over these rows."""
    return np.bincount(systems[rows], values[rows]) / np.bincount(systems[rows])


def within(x: Floats, y: Floats, groups: Sequence[NDArray[np.int64]]) -> float:
    """Return the mean correlation within an article; articles whose ratings are all equal are left out."""
    found = [spearman(x[g], y[g]) for g in groups if np.ptp(y[g]) > 0]
    return float(np.mean(found))


def levels(
    x: Floats, y: Floats, groups: Sequence[NDArray[np.int64]], systems: NDArray[np.int64]
) -> dict[str, float]:
    """Return every correlation of a scorer with people."""
    rows = np.concatenate(groups)
    mine, theirs = per_system(x, rows, systems), per_system(y, rows, systems)
    return {
        "row spearman": spearman(x[rows], y[rows]),
        "row kendall": kendall(x[rows], y[rows]),
        "row pearson": pearson(x[rows], y[rows]),
        "within spearman": within(x, y, groups),
        "system spearman": spearman(mine, theirs),
        "system kendall": kendall(mine, theirs),
        "system pearson": pearson(mine, theirs),
    }


def intervals(
    scores: dict[str, Floats], human: Floats, groups: Sequence[NDArray[np.int64]], systems: NDArray[np.int64]
) -> dict[str, dict[str, list[float]]]:
    """Return 95 % intervals of row and system Spearman, drawing articles: each, and the first less each."""
    random = np.random.default_rng(SEED)
    drawn: dict[str, list[list[float]]] = {name: [] for name in scores}
    for _ in range(DRAWS):
        rows = np.concatenate([groups[i] for i in random.integers(len(groups), size=len(groups))])
        ranked, means = rankdata(human[rows]), rankdata(per_system(human, rows, systems))
        for name, values in scores.items():
            row = pearson(rankdata(values[rows]), ranked)
            drawn[name].append([row, pearson(rankdata(per_system(values, rows, systems)), means)])
    table_ = {name: np.array(pairs) for name, pairs in drawn.items()}
    first = next(iter(table_))
    table_ |= {f"{first} minus {name}": table_[first] - table_[name] for name in list(table_)[1:]}
    return {
        name: {
            level: np.quantile(values[:, i], [0.025, 0.975]).round(3).tolist()
            for i, level in enumerate(("row", "system"))
        }
        for name, values in table_.items()
    }


# ---------------------------------------------------------------- SummEval


@cache
def summeval_rows() -> tuple[dict[str, Any], ...]:
    """Return the rows of the articles used, with the article's index."""
    path = data_dir() / "judge_summeval" / "summeval_mean_1600.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    index = {doc: i for i, doc in enumerate(dict.fromkeys(row["doc_id"] for row in rows))}
    return tuple(row | {"article": index[row["doc_id"]]} for row in rows if index[row["doc_id"]] < ARTICLES)


def expert_ratings() -> dict[tuple[str, str], dict[str, list[int]]]:
    """Return the three experts' ratings by (article, system)."""
    found = {}
    for path in sorted((data_dir() / "judge_summeval" / "per_annotator").glob("*.jsonl")):
        system = path.name.split("_", 1)[0]
        for line in path.read_text().splitlines():
            row = json.loads(line)
            experts = row["expert_annotations"]
            found[row["id"], system] = {d: [expert[d] for expert in experts] for d in DIMENSIONS}
    return found


def ceiling(rows: Rows) -> dict[str, Any]:
    """Return how one expert agrees with the mean of the two others, and whether the two files say the same."""
    experts = expert_ratings()
    kept = [row for row in rows if (row["doc_id"], row["system"]) in experts]
    names = sorted({row["system"] for row in kept})
    systems = np.array([names.index(row["system"]) for row in kept])
    articles = np.array([row["article"] for row in kept])
    groups = [np.flatnonzero(articles == a) for a in np.unique(articles)]
    figures: dict[str, Any] = {"rows": len(kept), "systems": len(names)}
    for dimension in DIMENSIONS:
        ratings = np.array(
            [experts[row["doc_id"], row["system"]][dimension] for row in kept], float
        )  # (rows, 3)
        means = np.array([row["human"][dimension] for row in kept])
        each = [
            levels(ratings[:, i], ratings[:, [j for j in range(3) if j != i]].mean(axis=1), groups, systems)
            for i in range(3)
        ]
        figures[dimension] = {key: float(np.mean([e[key] for e in each])) for key in each[0]}
        figures[dimension]["largest gap to the kept means"] = float(
            np.abs(ratings.mean(axis=1) - means).max()
        )
    return figures


def anchors(rows: Rows, embed: Memory) -> dict[str, dict[str, float]]:
    """Return the raw values that floor and ceiling stand for, on the calibration half."""
    half = [row for row in rows if row["article"] % 2 == 0]
    articles = sorted({row["article"] for row in half})
    one = {row["article"]: row for row in half}
    # Each answer against the next article of the half.
    after = {a: one[b] for a, b in zip(articles, [*articles[1:], articles[0]], strict=True)}
    sources = [
        part for row in one.values() for part in (source_of(row["source"]), source_of(row["reference"]))
    ]
    texts = [text for source in sources for text in (source.text, *source.windows, *source.pairs)]
    for row in half:
        said = source_of(row["candidate"])
        texts += [row["candidate"], *sentences(row["candidate"]), *said.windows, *said.pairs]
    vectors = Vectors(embed, texts)

    def raw(row: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
        source, reference = source_of(other["source"]), source_of(other["reference"])
        text = row["candidate"]
        kinds = {"both": (source, reference), "input": (source, None), "reference": (None, reference)}
        return {
            "faithfulness": blend(faithfulness.parts(text, source, vectors), faithfulness.WEIGHTS),
            "completeness": completeness.prose_recall(reference.windows, source_of(text), vectors),
        } | {
            f"relevance, {kind}": blend(relevance.parts(text, *pair, vectors=vectors), relevance.WEIGHTS)
            for kind, pair in kinds.items()
        }

    own, unrelated = [raw(row, row) for row in half], [raw(row, after[row["article"]]) for row in half]
    found = {}
    for name in own[0]:
        dimension = "consistency" if name == "faithfulness" else "relevance"
        top = [mine[name] for mine, row in zip(own, half, strict=True) if row["human"][dimension] >= 4.5]
        found[name] = {
            "floor": float(np.median([values[name] for values in unrelated])),
            "ceiling": float(np.quantile(top, 0.95)) if top else float("nan"),
        }
    return found


def summeval(embed: Memory) -> dict[str, Any]:
    """Return everything measured on SummEval."""
    rows = list(summeval_rows())
    start, before = time.process_time(), embed.cpu_s
    scores = all_scores(rows, embed)
    spent = {"scoring_cpu_s": time.process_time() - start, "embedding_cpu_s": embed.cpu_s - before}
    names = sorted({row["system"] for row in rows})
    systems = np.array([names.index(row["system"]) for row in rows])
    articles = np.array([row["article"] for row in rows])
    groups = [np.flatnonzero(articles == a) for a in np.unique(articles)]
    halves = {"reported": groups[1::2], "all": groups}
    human = {d: np.array([row["human"][d] for row in rows]) for d in DIMENSIONS}
    found: dict[str, Any] = {"rows": len(rows), "articles": len(groups), "systems": len(names), **spent}
    found["correlation"] = {
        half: {
            d: {name: levels(values, human[d], picked, systems) for name, values in scores.items()}
            for d in DIMENSIONS
        }
        for half, picked in halves.items()
    }
    peers = ("ROUGE-L", "embedding, reference", "embedding, input")
    found["interval"] = {
        half: {
            d: intervals({name: scores[name] for name in (ours, *peers)}, human[d], picked, systems)
            for d, ours in OURS.items()
        }
        for half, picked in halves.items()
    }
    found["mean score"] = {name: float(np.nanmean(values)) for name, values in scores.items()}
    found["mean rating"] = {d: float(values.mean()) for d, values in human.items()}
    found["experts"] = ceiling(rows)
    found["anchors"] = anchors(rows, embed)
    return found


# ---------------------------------------------------------------- MTS-Dialog


def _table_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def mts(embed: Memory) -> dict[str, Any]:
    """Return how the scorers go with people's fact counts on machine-written notes."""
    folder = data_dir() / "mts_dialog"
    notes = _table_of(folder / "MTS-Dialog-Automatic-Summaries-ValidationSet.csv")
    counts = _table_of(folder / "MTS-Dialog-Manual-Scores4CorrelationStudy.csv")
    rows = [
        {
            "source": note["Dialogue"],
            "reference": note["Reference Summary"],
            "candidate": note["Automatic Summary"],
            "visit": int(note["ID"]),
            **{key: float(count[key]) for key in count},
        }
        for note, count in zip(notes, counts, strict=True)
        if int(note["ID"]) < ARTICLES
    ]
    scores = all_scores(rows, embed)
    visits = np.array([row["visit"] for row in rows])
    groups = [np.flatnonzero(visits == v) for v in np.unique(visits)]
    random = np.random.default_rng(SEED)
    draws = [
        np.concatenate([groups[i] for i in random.integers(len(groups), size=len(groups))])
        for _ in range(DRAWS)
    ]
    found: dict[str, Any] = {"rows": len(rows), "visits": len(groups)}
    for fact in ("FactualPrecision", "FactualRecall", "FactualF1", "HallucinationRate", "OmissionRate"):
        human = np.array([row[fact] for row in rows])
        found[fact] = {
            name: {
                "spearman": spearman(values, human),
                "kendall": kendall(values, human),
                "pearson": pearson(values, human),
                "interval": np.quantile([spearman(values[d], human[d]) for d in draws], [0.025, 0.975])
                .round(3)
                .tolist(),
            }
            for name, values in scores.items()
        }
    found["rows with a hallucination"] = int(sum(row["HallucinationRate"] > 0 for row in rows))
    return found


# ---------------------------------------------------------------- report


def show(figures: dict[str, Any]) -> None:
    """Print the tables."""
    news, notes = figures["summeval"], figures["mts"]
    for half, label in (("reported", "articles not used for choosing"), ("all", "all articles")):
        for dimension in DIMENSIONS:
            rows = [[name, *found.values()] for name, found in news["correlation"][half][dimension].items()]
            print(f"\nSummEval, {label}: {dimension}")
            table(rows, ["scorer", *next(iter(news["correlation"][half][dimension].values()))])
    print("\nOne expert with the mean of the two others (12 systems)")
    table(
        [[d, *(news["experts"][d].values())] for d in DIMENSIONS],
        ["dimension", *news["experts"][DIMENSIONS[0]]],
    )
    print("\n95 % intervals of Spearman, bootstrap over articles")
    table(
        [
            [half, d, name, found["row"], found["system"]]
            for half, dims in news["interval"].items()
            for d, names in dims.items()
            for name, found in names.items()
        ],
        ["half", "dimension", "scorer", "row", "system"],
    )
    print("\nRaw values behind 1 and 5, calibration half")
    table(
        [[name, a["floor"], a["ceiling"]] for name, a in news["anchors"].items()],
        ["scorer", "floor", "ceiling"],
    )
    print(f"\nMTS-Dialog, Spearman with people's fact counts ({notes['rows']} notes)")
    facts = [key for key in notes if isinstance(notes[key], dict)]
    table(
        [[name, *(notes[f][name]["spearman"] for f in facts)] for name in notes[facts[0]]],
        ["scorer", *facts],
    )


def main() -> None:
    """Measure and report."""
    embed = Memory()
    start = time.process_time()
    figures: dict[str, Any] = {"summeval": summeval(embed), "mts": mts(embed)}
    figures["cpu_s"] = time.process_time() - start
    show(figures)
    goals = {}
    for half in ("reported", "all"):
        for dimension, ours in OURS.items():
            found = figures["summeval"]["correlation"][half][dimension]
            for level in ("row spearman", "system spearman"):
                mine, rouge = found[ours][level], found["ROUGE-L"][level]
                goals[f"{ours} on {dimension}, {level}, {half}"] = (
                    round(mine, 3),
                    f"> ROUGE-L's {rouge:.3f}",
                    mine > rouge,
                )
    emit("scorers", figures, goals)


if __name__ == "__main__":
    main()
