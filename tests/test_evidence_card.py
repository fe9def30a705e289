"""The cards of a workspace: what rows and settings say, what the owner adds, and the same bytes from the same pack."""

import json
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from offramp.curate.card import CardFacts, missing
from offramp.errors import ConfigError
from offramp.evidence.card import facts_of, given, pack_cards
from tickets import workspace


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    ws = workspace(
        tmp_path_factory.mktemp("card"), provenance={"origin": {"writer": "model", "model": "gpt-4o"}}
    )
    data = ws.curate()
    yield ws, data
    ws.close()


def test_rows_and_settings_say_language_writer_and_terms(made):
    ws, data = made

    facts = facts_of(ws.roster, data)

    assert facts.title == "tickets"
    assert facts.languages == ("en",)
    ((origin, rows),) = facts.origins
    assert (origin.writer, origin.model, origin.provider, rows) == ("model", "gpt-4o", "openai", data.rows)
    assert origin.terms_url.startswith("https://")
    assert facts.personal_data == ""


def test_without_inputs_nothing_read_from_inputs_is_in_the_cards(made):
    ws, data = made

    assert facts_of(ws.roster, data, texts=False).languages == ()


def test_what_the_owner_says_comes_first(made):
    ws, data = made

    facts = facts_of(ws.roster, data, said=CardFacts(languages=("de",), licence="cc0-1.0"))

    assert (facts.languages, facts.licence, facts.title) == (("de",), "cc0-1.0", "tickets")


def test_a_pack_describes_its_table_of_rows(made):
    ws, data = made
    sink = BytesIO()
    pq.write_table(pa.table({"id": ["a"], "split": ["train"], "cluster": pa.array([1], pa.int64())}), sink)

    first, second = (pack_cards(ws.roster, data, sink.getvalue()) for _ in range(2))

    assert first == second
    found = json.loads(first["croissant.json"])
    assert missing(found) == ("license", "url", "creator")
    assert [item["name"] for item in found["recordSet"][0]["field"]] == [
        "rows/id",
        "rows/split",
        "rows/cluster",
    ]
    front = yaml.safe_load(first["card.md"].decode().split("---\n")[1])
    assert front["pretty_name"] == "tickets"


def test_the_owner_writes_a_card_in_the_workspace(tmp_path):
    assert given(tmp_path) == CardFacts()

    (tmp_path / "card.yml").write_text("licence: cc-by-4.0\nlanguages: [en, de]\n")

    assert given(tmp_path) == CardFacts(licence="cc-by-4.0", languages=("en", "de"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("license: mit", "says \\['license'\\]; a card knows biases"),
        ("- a list", "says \\['list'\\]"),
        ("languages: 7", "`languages`"),
        ("a: [", "reading"),
        ("files: []", "says \\['files'\\]"),
    ],
)
def test_a_card_that_says_something_unknown_is_refused(tmp_path, text, said):
    (tmp_path / "card.yml").write_text(text)

    with pytest.raises(ConfigError, match=said):
        given(tmp_path)
