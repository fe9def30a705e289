"""What curation sees in texts, lent to advice: refusals, personal data, and the dated policy on answers.

Stages do not import each other, so advice takes these eyes as an argument and this module opens them. Trap: opening
them loads the recognizers of personal data, which takes seconds.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from offramp.advise.profile import Eyes, RightsState
from offramp.errors import NotFoundError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Finder(Protocol):
    """What finds personal data, such as a `curate.personal.Redactor`."""

    def find_all(self, texts: Sequence[str]) -> Sequence[Sequence[Any]]:
        """Return the spans of each text, each with its `type`."""


def eyes(
    *,
    redactor: Finder | None = None,
    terms: Path | None = None,
    encode: "Callable[[Sequence[str]], NDArray[np.float32]] | None" = None,
) -> Eyes:
    """Lend the profile what curation can see: refusals, personal data, and the dated policy on answers.

    Without a `redactor` only personal data that has a form (numbers, addresses, keys) is found, no names; where its
    recognizers are not installed nobody looks. `terms` is the user's own policy file. `encode` embeds texts, to tell
    how alike the inputs are; without it nobody looks.

    Raises:
        ConfigError: the policy file cannot be read.
    """
    from offramp.curate.personal import Redactor
    from offramp.curate.quality.refusals import kind
    from offramp.curate.terms import policy

    finder: Finder = redactor or Redactor(None)
    book = policy(terms)
    states: dict[str, RightsState] = {"allow": "allowed", "forbid": "forbidden", "ask": "unknown"}

    can_look = True
    try:
        finder.find_all(["nobody, 12 May"])
    except NotFoundError:
        can_look = False

    def personal(texts: Sequence[str]) -> list[list[str]]:
        return [[span.type for span in spans] for spans in finder.find_all(texts)]

    def rights_of(model: str, provider: str | None) -> tuple[RightsState, str]:
        known = provider if provider and book.term(provider) else book.provider_of(model)
        term = book.term(known) if known else None
        if term is None:
            return (
                "unknown",
                "no terms of its vendor are on record; read them before its answers train anything",
            )
        said = f"{term.note} ({term.terms_url}, read {term.checked.isoformat()}; a policy, not legal advice)"
        return states[term.decision("train")], said

    return Eyes(
        refuses=lambda text: kind(text) == "refusal",
        personal=personal if can_look else None,
        terms=rights_of,
        likeness=None if encode is None else lambda texts: _likeness(encode(texts)),
    )


def _likeness(vectors: "NDArray[np.float32]") -> float:
    """Return the mean cosine of all pairs of rows: the length of their mean direction, without each with itself."""
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = (vectors / np.maximum(lengths, 1e-9))[lengths[:, 0] > 0].astype(np.float64)
    n = len(unit)
    return float((np.square(unit.sum(axis=0)).sum() - n) / (n * (n - 1))) if n > 1 else 1.0
