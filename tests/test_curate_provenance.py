"""Who wrote each answer, and the policy that lets it through, asks or forbids."""

from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from offramp.curate import provenance, terms
from offramp.curate.provenance import Origin
from offramp.errors import ConfigError, DataError

TODAY = date(2026, 11, 21)
ROWS = pa.table(
    {
        "id": ["a", "b", "c", "d"],
        "field.text": ["one", "two", "three", "four"],
        "model": pa.array(["gpt-4o-2024-08-06", "gpt-4o-2024-08-06", "claude-haiku-5-5", None], pa.string()),
    }
)
OWN_POLICY = """
providers:
- provider: OpenAI
  models: [gpt]
  uses: {train: allow, export: forbid}
  terms_url: https://openai.com/policies/services-agreement/
  source: our contract of May, clause 7
  checked: 2026-05-02
"""


@pytest.fixture
def own(tmp_path: Path) -> terms.Policy:
    path = tmp_path / "terms.yml"
    path.write_text(OWN_POLICY, encoding="utf-8")
    return terms.policy(path)


def written(policy: terms.Policy, **overrides: Origin) -> pa.Table:
    return provenance.of_rows(ROWS, Origin(), policy=policy, overrides=overrides)


def test_every_shipped_entry_has_a_page_a_source_and_a_day() -> None:
    for term in terms.shipped().terms:
        assert term.terms_url and term.source and term.checked <= TODAY
        assert term.provider in ("own", "people") or term.source.startswith("https://")
        assert set(term.uses) == {"train", "distribute", "export"}


def test_the_shipped_policy_allows_no_providers_answers_unasked() -> None:
    policy = terms.shipped()

    assert {item.decision("train") for item in policy.terms if item.provider not in ("own", "people")} == {
        "ask"
    }
    assert policy.decision("own", "train") == "allow"
    assert policy.decision("never heard of", "train") == "ask"


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o-mini", "openai"),
        ("claude-haiku-5-5", "anthropic"),
        ("google/gemini-2.5-flash", "google"),
        ("openrouter/mistral-small", "mistral"),
        ("Llama-3.3-70B-Instruct", "meta"),
        ("our-own-model", ""),
        ("", ""),
    ],
)
def test_a_models_name_tells_its_provider(model: str, provider: str) -> None:
    assert terms.shipped().provider_of(model) == provider


def test_each_row_knows_model_provider_and_dated_terms() -> None:
    found = written(terms.shipped()).to_pylist()

    assert found[0] == {
        "id": "a",
        "writer": "model",
        "model": "gpt-4o-2024-08-06",
        "provider": "openai",
        "terms_url": "https://openai.com/policies/services-agreement/",
        "terms_date": date(2025, 5, 31),
        "intended_use": "",
        "approved_by": "",
        "approved_on": None,
    }
    assert [line["provider"] for line in found] == ["openai", "openai", "anthropic", ""]
    assert found[3]["writer"] == "unknown"


def test_a_persons_correction_is_the_persons() -> None:
    found = written(terms.shipped(), a=Origin(writer="person", model="ann", provider="people"))

    assert provenance.origins(found)[0][1] == 1
    assert found.to_pylist()[0]["provider"] == "people"
    assert found.to_pylist()[1]["provider"] == "openai"


def test_training_without_an_approval_is_blocked_with_a_clear_message() -> None:
    policy = terms.shipped()

    with pytest.raises(DataError) as error:
        provenance.require(written(policy), "train", policy)

    message = str(error.value)
    assert message.startswith(
        "training on 4 answers was asked for; found 4 that the policy does not let through: 2 by openai"
    )
    assert "https://openai.com/policies/services-agreement/, read 2026-11-21" in message
    assert "nobody knows whose terms hold" in message
    assert message.endswith("(this is your policy, not legal advice)")


def test_an_approval_counts_for_its_use_only() -> None:
    policy = terms.shipped()
    origin = provenance.approved(Origin(writer="model", model="gpt-4o"), use="train", by="Ann", on=TODAY)
    rows = provenance.of_rows(ROWS, origin, policy=policy, model_column=None)

    provenance.require(rows, "train", policy)
    with pytest.raises(DataError, match="'Ann' approved 'train', not 'export'"):
        provenance.require(rows, "export", policy)
    with pytest.raises(DataError, match="the name of who approves"):
        provenance.approved(origin, use="train", by=" ", on=TODAY)


def test_the_users_own_policy_overrides_one_provider_and_can_forbid(own: terms.Policy) -> None:
    rows = written(own)
    origin = provenance.approved(Origin(model="gpt-4o"), use="export", by="Ann", on=TODAY)

    assert own.decision("openai", "train") == "allow"
    assert own.decision("openai", "distribute") == "ask"
    assert own.decision("anthropic", "train") == "ask"
    assert [item.rows for item in provenance.check(rows, "train", own)] == [1, 1]
    forbidden = provenance.check(
        provenance.of_rows(ROWS, origin, policy=own, model_column=None), "export", own
    )
    assert [(item.decision, item.reason[:26]) for item in forbidden] == [
        ("forbid", "the policy forbids it (htt")
    ]


def test_rows_that_may_go_are_named(own: terms.Policy) -> None:
    assert provenance.allowed_ids(written(own), "train", own) == ["a", "b"]
    assert provenance.notes(provenance.check(written(own), "train", own), "train")[0].startswith(
        "1 answers by anthropic claude-haiku-5-5 are not for train: "
    )


def test_old_terms_are_named(own: terms.Policy) -> None:
    assert own.stale(TODAY) == (
        "terms of 'openai' were read on 2026-05-02; read https://openai.com/policies/services-agreement/ again",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("providers: [", "was expected to be YAML"),
        ("[]", "a policy was expected in"),
        ("providers: []\nmore: 1", "a policy was expected in"),
        (OWN_POLICY.replace("train: allow", "train: maybe"), "wrong entry at `uses.train`"),
        (OWN_POLICY.replace("source:", "origin:"), "wrong entry at"),
        (OWN_POLICY.replace("2026-05-02", "soon"), "wrong entry at `checked`"),
        (OWN_POLICY + OWN_POLICY.replace("\nproviders:", ""), "names 'openai' twice"),
    ],
)
def test_a_wrong_policy_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "own.yml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match=said):
        terms.policy(path)


def test_a_missing_policy_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="reading the policy"):
        terms.policy(tmp_path / "none.yml")


def test_the_shipped_file_is_what_yaml_says() -> None:
    path = Path(terms.__file__).with_name("terms.yml")

    assert len(yaml.safe_load(path.read_text(encoding="utf-8"))["providers"]) == len(terms.shipped().terms)
