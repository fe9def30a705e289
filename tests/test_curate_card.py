"""The data card: Hugging Face README and Croissant JSON-LD from a record."""

import json
from datetime import UTC, date, datetime

import yaml

from offramp.curate.card import CardFacts, FileFact, croissant, croissant_text, missing, readme
from offramp.curate.provenance import Origin
from offramp.types import Dataset, MadeBy, Task

CERTIFICATE = {
    "rows": {"train": 80, "validation": 10, "holdout": 10},
    "families": 7,
    "largest_family": 3,
    "straddling": 0,
    "largest_cosine": 0.81,
    "largest_likeness": 0.42,
    "near_pairs": 0,
    "unseen_labels": ["rare"],
}
DATA = Dataset(
    id="dataset-sha256-aa",
    created_at=datetime(2026, 11, 21, tzinfo=UTC),
    parents=("dataset-sha256-raw",),
    made_by=MadeBy(version="0.1.0", seed=3),
    stage="curated",
    task=Task(name="product category", inputs=("title",), target="path", labels=("a", "b")),
    rows=100,
    counts={
        "in": 120,
        "kept": 100,
        "removed": 15,
        "merged": 5,
        "rule.clean": 9,
        "train": 80,
        "validation": 10,
        "holdout": 10,
    },
    data_hash="beef",
    notes=("1 labels of the test data have no training row",),
    details={"certificate": CERTIFICATE},
)
FACTS = CardFacts(
    title="Products | 2026\n# not a heading",
    description="Products of one shop.",
    licence="cc-by-4.0",
    languages=("en",),
    collected="Calls of the shop's own service.",
    collected_from_to="2026-01/2026-03",
    personal_data="Names were replaced by [PERSON_n].",
    limitations=("One shop only.",),
    columns={"id": "string", "weight": "int64"},
    files=(FileFact(name="train.parquet", sha256="ab", size_bytes=12, split="train"),
           FileFact(name="holdout.parquet", sha256="cd", size_bytes=3, split="holdout")),
    origins=(
        (Origin(writer="model", model="gpt-4o", provider="openai", terms_url="https://t.example",
                terms_date=date(2025, 5, 31), intended_use="train", approved_by="Ann"), 90),
        (Origin(writer="person", provider="people"), 10),
    ),
)  # fmt: skip


def test_the_front_matter_is_what_the_hub_reads() -> None:
    _, front, _ = readme(DATA, FACTS).split("---\n", 2)

    assert yaml.safe_load(front) == {
        "pretty_name": "Products | 2026\n# not a heading",
        "license": "cc-by-4.0",
        "language": ["en"],
        "task_categories": ["text-classification"],
        "size_categories": ["n<1K"],
        "annotations_creators": ["machine-generated", "expert-generated"],
        "tags": ["offramp", "classify"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": "train", "path": "train.parquet"},
                    {"split": "test", "path": "holdout.parquet"},
                ],
            }
        ],
    }


def test_the_text_says_rows_splits_writers_and_limits() -> None:
    body = readme(DATA, FACTS).split("---\n", 2)[2]

    assert "| removed | 15 |" in body
    assert "| clean | 9 |" in body
    assert "| train | 80 |" in body
    assert "| families in more than one split | 0 |" in body
    assert "| model | openai gpt-4o | 90 | https://t.example 2025-05-31 | train, Ann |" in body
    assert "| person | people | 10 | not known | nobody |" in body
    assert "Names were replaced by [PERSON_n]." in body
    assert "- One shop only.\n- 1 labels of the test data have no training row" in body
    assert "this is your policy, not legal advice" in body


def test_a_title_cannot_break_the_page() -> None:
    headings = [
        line for line in readme(DATA, FACTS).split("---\n", 2)[2].splitlines() if line.startswith("# ")
    ]

    assert headings == ["# Products | 2026 # not a heading"]


def test_what_is_not_known_is_said_and_not_invented() -> None:
    raw = DATA.model_copy(update={"stage": "raw", "counts": {}, "details": {}, "notes": ()})

    text, found = readme(raw), croissant(raw)

    assert "Not known: nothing was recorded about personal data." in text
    assert "Not known: no provenance was recorded." in text
    assert "The rows are not split." in text
    assert "license: unknown" in text
    assert [key for key in found if key.startswith("rai:")] == ["rai:dataUseCases"]
    assert not {"license", "url", "distribution", "recordSet", "inLanguage"} & set(found)


def test_croissant_has_the_rai_fields_and_the_files() -> None:
    found = croissant(DATA, FACTS)

    assert found["conformsTo"] == [
        "http://mlcommons.org/croissant/1.0",
        "http://mlcommons.org/croissant/RAI/1.0",
    ]
    assert found["name"] == "Products-2026-not-a-heading"
    assert found["datePublished"] == "2026-11-21"
    assert found["rai:dataCollectionTimeframe"] == "2026-01/2026-03"
    assert found["rai:machineAnnotationTools"] == ["openai gpt-4o"]
    assert (
        found["rai:dataAnnotationProtocol"]
        == "90 answers by model openai gpt-4o; 10 answers by person people"
    )
    assert found["rai:dataManipulationProtocol"] == ["clean: 9"]
    assert found["rai:dataLimitations"] == [
        "One shop only.",
        "1 labels of the test data have no training row",
    ]
    assert [item["sha256"] for item in found["distribution"]] == ["ab", "cd"]
    assert [item["@id"] for item in found["recordSet"]] == ["train", "holdout"]
    assert found["recordSet"][0]["field"][1] == {
        "@type": "cr:Field",
        "@id": "train/weight",
        "name": "train/weight",
        "dataType": "sc:Integer",
        "source": {"fileObject": {"@id": "train.parquet"}, "extract": {"column": "weight"}},
    }


def test_the_json_is_the_same_for_the_same_record() -> None:
    assert json.loads(croissant_text(DATA, FACTS)) == croissant(DATA, FACTS)
    assert croissant_text(DATA, FACTS) == croissant_text(DATA, FACTS)


def test_a_croissant_description_lacks_what_nobody_said_and_says_so() -> None:
    assert missing(croissant(DATA, FACTS)) == ("url", "creator")

    told = FACTS.model_copy(update={"url": "https://data.example", "publisher": "A shop"})
    assert missing(croissant(DATA, told)) == ()

    bare = DATA.model_copy(update={"details": {}})
    assert missing(croissant(bare)) == ("license", "url", "creator", "distribution")


def test_a_file_without_its_hash_is_missed() -> None:
    hashless = FACTS.model_copy(update={"files": (FileFact(name="a.parquet", sha256="", size_bytes=1),)})

    assert "a.parquet: sha256" in missing(croissant(DATA, hashless))


def test_only_names_of_the_vocabulary_are_used() -> None:
    # Source: docs/croissant_rai.ttl of mlcommons/croissant, commit 4a5aacb.
    rai = (
        "dataCollection dataCollectionType dataCollectionMissingData dataCollectionRawData dataCollectionTimeframe "
        "dataPreprocessingProtocol dataImputationProtocol dataManipulationProtocol dataReleaseMaintenancePlan "
        "personalSensitiveInformation dataAnnotationProtocol dataAnnotationPlatform dataAnnotationAnalysis "
        "annotationsPerItem annotatorDemographics machineAnnotationTools dataSocialImpact dataBiases dataLimitations "
        "dataUseCases"
    )

    used = {name.removeprefix("rai:") for name in croissant(DATA, FACTS) if name.startswith("rai:")}

    assert len(used) > 5
    assert used <= set(rai.split())
