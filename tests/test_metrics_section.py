"""One named line of an answer: found in any dress, compared without case and marks, unscored without a target line."""

import numpy as np
import pytest

from offramp.errors import ConfigError
from offramp.metrics.base import Batch, scored
from offramp.metrics.section import section_metric, value_of
from offramp.types import Task

TASK = Task(name="intake", kind="chat", inputs=("text",), target="note")


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("Medications: none.\nSpecialty: cardiology.", 1.0),
        ("Specialty: Cardiology", 1.0),
        ("Specialty: cardiology (chest pain).", 1.0),
        ("Specialty: neurology (not cardiology).", 0.0),
        ("**Specialty:** cardiology", 1.0),
        ("- **Specialty**: cardiology.", 1.0),
        ("## specialty:   CARDIOLOGY  ", 1.0),
        ("Specialty: neurology.\nSpecialty: cardiology.", 1.0),
        ("Specialty: cardiology, or maybe neurology.", 0.0),
        ("Specialty: neurology.", 0.0),
        ("Specialty:", 0.0),
        ("Refer to cardiology.", 0.0),
        ("The specialty is cardiology.", 0.0),
        ("", 0.0),
        (None, 0.0),
    ],
)
def test_the_line_counts_and_nothing_around_it(answer: str | None, wanted: float) -> None:
    metric = section_metric("Specialty")

    found = metric.score(Batch([answer], ["Allergies: none.\nSpecialty: cardiology."], TASK))

    assert found.tolist() == [wanted]


def test_a_target_without_the_line_is_not_scored_and_says_why() -> None:
    metric = section_metric("Specialty")
    batch = Batch(["Specialty: cardiology.", "What else?"], ["What else?", "Specialty: cardiology."], TASK)

    found = scored(metric, batch)

    assert np.isnan(found.values[0]) and found.values[1] == 0.0
    assert found.reasons == {0: "the target has no line 'Specialty:'"}


def test_an_empty_line_does_not_take_the_next_one() -> None:
    assert value_of("Specialty:\ncardiology", "Specialty") is None


def test_a_heading_may_hold_characters_of_patterns() -> None:
    assert value_of("Plan (A+B): rest", "Plan (A+B)") == "rest"
    assert section_metric("Specialty: ").name == "section:Specialty"


@pytest.mark.parametrize("heading", ["", " ", ":"])
def test_no_heading_is_a_config_error(heading: str) -> None:
    with pytest.raises(ConfigError, match="section:Specialty"):
        section_metric(heading)
