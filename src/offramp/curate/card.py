"""A data card from what is recorded: Hugging Face README (front matter and Markdown) and Croissant JSON-LD with RAI.

Both say the same facts: rows by fate, splits, how well the splits are separated, who wrote the answers and under which
terms. Guarantee: nothing is invented; what is not known is left out of the JSON and named as not known in the text.
The trap is personal data: a card says what was *done* about it; no card can say there is none.
Source: https://huggingface.co/docs/hub/datasets-cards, http://mlcommons.org/croissant/1.0 and
http://mlcommons.org/croissant/RAI/1.0 (property names from docs/croissant_rai.ttl of mlcommons/croissant).
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from offramp.curate.provenance import Origin
from offramp.curate.settings import Certificate
from offramp.curate.terms import NO_VERDICT
from offramp.types import Dataset, Frozen, Kind

TASK_CATEGORIES: Mapping[Kind, str] = {
    "classify": "text-classification",
    "extract": "text-generation",
    "generate": "text-generation",
    "chat": "text-generation",
}
"""Task kinds as the Hugging Face hub names them."""
_SIZES = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
)
_SPLITS = ("train", "validation", "holdout")
_HUB_SPLITS = {"train": "train", "validation": "validation", "holdout": "test"}
_FATES = ("in", "synthetic", "kept", "removed", "merged", "quarantined", "edited")
_CROISSANT_TYPES = {"string": "sc:Text", "int64": "sc:Integer", "double": "sc:Float", "bool": "sc:Boolean"}
_TERMS = (
    "citeAs column containedIn equivalentProperty extract field fileProperty fileObject fileSet format includes "
    "isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate "
    "separator source subField transform"
)
"""Names of the Croissant vocabulary that the context maps. Source: http://mlcommons.org/croissant/1.0."""
REQUIRED = (
    *("@context", "@type", "conformsTo", "description", "license", "name", "url", "creator", "datePublished"),
    "distribution",
)
"""Properties that every Croissant dataset must have. Source: docs/croissant-spec.md of mlcommons/croissant (version
1.0, commit 02ddc5b), sections "Required" and "Modified and Added Properties"."""
REQUIRED_WITHIN: Mapping[str, tuple[str, ...]] = {
    "cr:FileObject": ("@id", "name", "contentUrl", "encodingFormat", "sha256"),
    "cr:RecordSet": ("@id", "name", "field"),
    "cr:Field": ("@id", "name", "dataType", "source"),
}
"""What their parts must have: the checks of the reference reader, python/mlcroissant of the same repository."""


class FileFact(Frozen):
    """One file that the card describes."""

    name: str
    """Name relative to the card."""
    sha256: str
    """Of its bytes."""
    size_bytes: int
    """Its size."""
    split: str = ""
    """`train`, `validation`, `holdout`, or "" for all rows."""
    encoding: str = "application/x-parquet"
    """Media type; this one is the only name for Parquet that the reference reader (mlcroissant 1.1.1) loads."""


class CardFacts(Frozen):
    """What a record cannot know; every field may stay empty and is then told as not known."""

    title: str = ""
    """Name for people; the task's name when empty."""
    description: str = ""
    """What the rows are, in a sentence or two."""
    licence: str = ""
    """SPDX name in lower case, `other`, or an address."""
    languages: tuple[str, ...] = ()
    """ISO 639 codes."""
    url: str = ""
    """Where the data is published."""
    publisher: str = ""
    """Who publishes it."""
    collected: str = ""
    """How and where the raw rows came about."""
    collected_from_to: str = ""
    """ISO 8601 interval, such as `2026-01/2026-03`."""
    personal_data: str = ""
    """What was done about personal data."""
    biases: str = ""
    """Known skews."""
    limitations: tuple[str, ...] = ()
    """What the data should not be used for; the dataset's notes are added."""
    columns: Mapping[str, str] = Field(default_factory=dict)
    """Columns of the files and their Arrow types (`string`, `int64`, `double`, `bool`)."""
    files: tuple[FileFact, ...] = ()
    """Files in the folder of the card."""
    coverage: tuple[str, ...] = ()
    """How well the training rows cover the traffic, in sentences."""
    origins: tuple[tuple[Origin, int], ...] = ()
    """Who wrote the answers and how many rows, from `provenance.origins`."""


def readme(data: Dataset, facts: CardFacts | None = None) -> str:
    """Return the card as the README of a Hugging Face dataset: YAML front matter, then Markdown."""
    import yaml

    facts = facts or CardFacts()
    front = yaml.safe_dump(_front_matter(data, facts), sort_keys=False, allow_unicode=True, width=100)
    sections = [
        f"# {_line(_title(data, facts))}",
        facts.description or "No description was given.",
        *_rows_section(data),
        *_splits_section(data),
        *_origins_section(facts),
        *(["## Coverage of the traffic", _bullets(facts.coverage)] if facts.coverage else []),
        "## Personal data",
        facts.personal_data or "Not known: nothing was recorded about personal data.",
        "## Limits",
        _bullets([*facts.limitations, *data.notes, *filter(None, [facts.biases])]) or "None were recorded.",
        "## How it was made",
        _bullets(
            [
                f"record `{data.id}`, made from {', '.join(f'`{item}`' for item in data.parents) or 'nothing earlier'}",
                f"Offramp {data.made_by.version}, seed {data.made_by.seed}, {data.created_at.date().isoformat()}",
                f"SHA-256 of the rows: `{data.data_hash}`",
            ]
        ),
    ]
    return f"---\n{front}---\n\n" + "\n\n".join(sections) + "\n"


def croissant(data: Dataset, facts: CardFacts | None = None) -> dict[str, Any]:
    """Return Croissant 1.0 JSON-LD with the RAI 1.0 fields that are known; every value is plain JSON."""
    facts = facts or CardFacts()
    found: dict[str, Any] = {
        "@context": _context(),
        "@type": "sc:Dataset",
        "name": re.sub(r"[^\w.-]+", "-", _title(data, facts)).strip("-") or data.id,
        "description": facts.description or f"{data.rows} rows of the task {data.task.name!r}",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "identifier": data.id,
        "version": "1.0.0",
        "datePublished": data.created_at.date().isoformat(),
        "license": facts.licence,
        "url": facts.url,
        "inLanguage": list(facts.languages),
        "creator": {"@type": "sc:Organization", "name": facts.publisher} if facts.publisher else None,
        "keywords": [data.task.kind, *data.task.labels[:20]],
        "distribution": [_file_object(item) for item in facts.files],
        "recordSet": _record_sets(facts),
        **_rai(data, facts),
    }
    return {key: value for key, value in found.items() if value not in ("", [], None)}


def croissant_text(data: Dataset, facts: CardFacts | None = None) -> str:
    """Return `croissant` as the text of a `croissant.json`."""
    return json.dumps(croissant(data, facts), indent=2, ensure_ascii=False) + "\n"


def missing(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a Croissant description lacks, as paths; empty when it is complete."""
    lacks = [name for name in REQUIRED if not found.get(name)]
    parts = [(item["@id"], item) for key in ("distribution", "recordSet") for item in found.get(key, ())]
    parts += [(field["@id"], field) for item in found.get("recordSet", ()) for field in item["field"]]
    for name, part in parts:
        lacks += [f"{name}: {key}" for key in REQUIRED_WITHIN[part["@type"]] if not part.get(key)]
    return tuple(lacks)


def _title(data: Dataset, facts: CardFacts) -> str:
    return facts.title or data.task.name


def _front_matter(data: Dataset, facts: CardFacts) -> dict[str, Any]:
    by_split = [
        {"split": _HUB_SPLITS[item.split], "path": item.name}
        for item in facts.files
        if item.split in _HUB_SPLITS
    ]
    writers = {origin.writer for origin, _ in facts.origins}
    creators = [
        name
        for writer, name in (("model", "machine-generated"), ("person", "expert-generated"))
        if writer in writers
    ]
    front: dict[str, Any] = {
        "pretty_name": _title(data, facts),
        "license": facts.licence or "unknown",
        "language": list(facts.languages),
        "task_categories": [TASK_CATEGORIES[data.task.kind]],
        "size_categories": [next((name for most, name in _SIZES if data.rows < most), "n>10M")],
        "annotations_creators": creators,
        "tags": ["offramp", data.task.kind],
        "configs": [{"config_name": "default", "data_files": by_split}] if by_split else [],
    }
    return {key: value for key, value in front.items() if value != []}


def _rows_section(data: Dataset) -> list[str]:
    counts = [(fate, data.counts[fate]) for fate in _FATES if fate in data.counts]
    rules = [
        (name.removeprefix("rule."), n) for name, n in sorted(data.counts.items()) if name.startswith("rule.")
    ]
    found = ["## Rows", f"{data.rows} rows. Task: {data.task.kind}, {_inputs(data)}."]
    if counts:
        found.append(_table(("fate", "rows"), counts))
    if rules:
        found += ["What each rule decided (lines of the ledger):", _table(("rule", "lines"), rules)]
    return found


def _inputs(data: Dataset) -> str:
    fields = ", ".join(f"`{name}`" for name in data.task.inputs)
    labels = f"; {len(data.task.labels)} labels" if data.task.labels else ""
    return f"inputs {fields}; target {data.task.target!r}{labels}"


def _certificate(data: Dataset) -> Certificate | None:
    found = data.details.get("certificate")
    return Certificate.model_validate(found) if found else None


def _splits_section(data: Dataset) -> list[str]:
    splits = [(name, data.counts[name]) for name in _SPLITS if name in data.counts]
    certificate = _certificate(data)
    if not splits and certificate is None:
        return ["## Splits", "The rows are not split."]
    found = ["## Splits", _table(("split", "rows"), splits)] if splits else ["## Splits"]
    if certificate is None:
        return [*found, "No split certificate was recorded."]
    facts = (
        ("families of similar rows", certificate.families),
        ("families in more than one split", certificate.straddling),
        ("pairs across splits near enough for one family", certificate.near_pairs),
        ("largest cosine across splits", certificate.largest_cosine),
        ("largest share of common pieces across splits", certificate.largest_likeness),
        ("labels of test data without a training row", len(certificate.unseen_labels)),
    )
    return [*found, "Split certificate, measured after splitting:", _table(("measure", "value"), facts)]


def _origins_section(facts: CardFacts) -> list[str]:
    if not facts.origins:
        return ["## Who wrote the answers", "Not known: no provenance was recorded."]
    lines = [
        (
            origin.writer,
            f"{origin.provider} {origin.model}".strip() or "not known",
            rows,
            f"{origin.terms_url} {origin.terms_date or ''}".strip() or "not known",
            f"{origin.intended_use}, {origin.approved_by}" if origin.approved_by else "nobody",
        )
        for origin, rows in facts.origins
    ]
    table = _table(("writer", "who", "rows", "terms", "use approved by"), lines)
    return ["## Who wrote the answers", table, f"What may be done with them: {NO_VERDICT}."]


def _rai(data: Dataset, facts: CardFacts) -> dict[str, Any]:
    certificate = _certificate(data)
    separated = (
        f"Splits keep families of similar rows together: {certificate.straddling} families in more than one split, "
        f"{certificate.near_pairs} near pairs across splits, largest cosine {certificate.largest_cosine}."
        if certificate
        else ""
    )
    models = sorted({f"{o.provider} {o.model}".strip() for o, _ in facts.origins if o.writer == "model"})
    written = "; ".join(
        f"{rows} answers by {origin.writer} {origin.provider} {origin.model}".strip()
        for origin, rows in facts.origins
    )
    decided = [
        f"{name.removeprefix('rule.')}: {n}"
        for name, n in sorted(data.counts.items())
        if name.startswith("rule.")
    ]
    fates = ", ".join(f"{data.counts[name]} {name}" for name in _FATES if name in data.counts)
    return {
        "rai:dataCollection": facts.collected,
        "rai:dataCollectionTimeframe": facts.collected_from_to,
        "rai:dataPreprocessingProtocol": list(filter(None, [f"Rows: {fates}." if fates else "", separated])),
        "rai:dataManipulationProtocol": decided,
        "rai:dataAnnotationProtocol": written,
        "rai:machineAnnotationTools": [name for name in models if name],
        "rai:personalSensitiveInformation": facts.personal_data,
        "rai:dataBiases": " ".join(filter(None, [facts.biases, *facts.coverage])),
        "rai:dataLimitations": [*facts.limitations, *data.notes],
        "rai:dataUseCases": f"Training, validation and testing of models for the task {data.task.name!r}.",
    }


def _context() -> dict[str, Any]:
    plain = {name: f"cr:{name}" for name in _TERMS.split()}
    return {
        "@language": "en",
        "@vocab": "https://schema.org/",
        **plain,
        "conformsTo": "dct:conformsTo",
        "cr": "http://mlcommons.org/croissant/",
        "rai": "http://mlcommons.org/croissant/RAI/",
        "sc": "https://schema.org/",
        "dct": "http://purl.org/dc/terms/",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "examples": {"@id": "cr:examples", "@type": "@json"},
    }


def _file_object(item: FileFact) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": item.name,
        "name": item.name,
        "contentUrl": item.name,
        "contentSize": f"{item.size_bytes} B",
        "encodingFormat": item.encoding,
        "sha256": item.sha256,
    }


def _record_sets(facts: CardFacts) -> list[dict[str, Any]]:
    """Return one record set per file, its fields the columns."""
    return [
        {
            "@type": "cr:RecordSet",
            "@id": item.split or "rows",
            "name": item.split or "rows",
            "field": [_field(item, column, kind) for column, kind in facts.columns.items()],
        }
        for item in facts.files
        if facts.columns
    ]


def _field(item: FileFact, column: str, kind: str) -> dict[str, Any]:
    name = f"{item.split or 'rows'}/{column}"
    return {
        "@type": "cr:Field",
        "@id": name,
        "name": name,
        "dataType": _CROISSANT_TYPES.get(kind, "sc:Text"),
        "source": {"fileObject": {"@id": item.name}, "extract": {"column": column}},
    }


def _table(head: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(
        "| " + " | ".join(_line(str(cell)).replace("|", "\\|") for cell in row) + " |" for row in rows
    )


def _bullets(items: Sequence[str]) -> str:
    return "\n".join(f"- {_line(item)}" for item in items if item)


def _line(text: str) -> str:
    """Return a text on one line, so that a name with a line break cannot start a heading or a table of its own."""
    return " ".join(text.split())
