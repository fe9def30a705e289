"""A dated policy: may answers of this provider be used to train, to hand out a model, to hand out rows?

The shipped `terms.yml` says `ask` wherever a provider's terms restrict anything, with the page, the day it was read and
where; a user's own file overrides it, entry by entry. A provider that no file names is `ask` too: nothing is allowed
by ignorance. This is a policy that a team sets for itself, never a legal verdict, and every message says so.

The trap is a stale page: terms change. `stale` names entries that were checked too long ago.
"""

from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from offramp.errors import ConfigError, boundary
from offramp.types import Frozen

Decision = Literal["allow", "forbid", "ask"]
"""`ask`: a person must approve and is named."""
Use = Literal["train", "distribute", "export"]
"""Train a model that you run yourself; hand out such a model; hand out the rows."""

STALE_DAYS = 180
"""Terms read longer ago than this should be read again. Source: a choice; the pages read changed about yearly."""
NO_VERDICT = "this is your policy, not legal advice"


class Term(Frozen):
    """One provider's entry."""

    provider: str = Field(min_length=1)
    """Short name in lower case, e.g. `openai`."""
    models: tuple[str, ...] = ()
    """Beginnings of model names that belong to it."""
    uses: Mapping[Use, Decision]
    """What the policy says; a use that is not named is `ask`."""
    terms_url: str = Field(min_length=1)
    """The provider's own page."""
    effective: date | None = None
    """Date of the terms as read, when they have one."""
    source: str = Field(min_length=1)
    """Where the text was read, or a sentence that says why."""
    checked: date
    """Day it was read."""
    note: str = ""
    """What a person who is asked should know."""

    def decision(self, use: Use) -> Decision:
        """Return what the entry says about a use."""
        return self.uses.get(use, "ask")


class Policy(Frozen):
    """Entries by provider, each provider once."""

    terms: tuple[Term, ...]
    """The entries."""

    def term(self, provider: str) -> Term | None:
        """Return the entry of a provider, or `None`."""
        return next((item for item in self.terms if item.provider == provider.casefold()), None)

    def decision(self, provider: str, use: Use) -> Decision:
        """Return what the policy says; `ask` for a provider that it does not name."""
        found = self.term(provider)
        return found.decision(use) if found else "ask"

    def provider_of(self, model: str) -> str:
        """Return the provider by the beginning of a model's name, or "" when none fits.

        A gateway's prefix (`openai/gpt-6`) is looked at first; the longest beginning wins.
        """
        name = model.strip().casefold()
        vendor, _, rest = name.partition("/")
        if rest and self.term(vendor):
            return vendor
        fits = [
            (len(begin), item.provider)
            for item in self.terms
            for begin in item.models
            if any(part.startswith(begin.casefold()) for part in (name, rest))
        ]
        return max(fits)[1] if fits else ""

    def stale(self, today: date) -> tuple[str, ...]:
        """Return sentences about entries that should be read again."""
        return tuple(
            f"terms of {item.provider!r} were read on {item.checked.isoformat()}; read {item.terms_url} again"
            for item in self.terms
            if (today - item.checked).days > STALE_DAYS
        )


def policy(path: Path | None = None) -> Policy:
    """Return the shipped policy, overridden by the user's file where one is given.

    The file has the form of `terms.yml`; an entry replaces the shipped one of the same provider.

    Raises:
        ConfigError: the file cannot be read or says something unknown.
    """
    base = shipped()
    if path is None:
        return base
    with boundary(ConfigError, f"reading the policy {str(path)!r}", OSError, UnicodeDecodeError):
        text = path.read_text(encoding="utf-8")
    own = _parse(text, str(path))
    names = {item.provider for item in own.terms}
    return Policy(terms=(*own.terms, *(item for item in base.terms if item.provider not in names)))


@cache
def shipped() -> Policy:
    """Return the policy that comes with Offramp."""
    return _parse(
        resources.files("offramp.curate").joinpath("terms.yml").read_text(encoding="utf-8"), "terms.yml"
    )


def _parse(text: str, name: str) -> Policy:
    import yaml

    hint = "entries need `provider`, `uses`, `terms_url`, `source` and `checked`, under the key `providers`"
    with boundary(ConfigError, f"the policy {name!r} was expected to be YAML", yaml.YAMLError):
        found: Any = yaml.safe_load(text)
    if not isinstance(found, dict) or set(found) != {"providers"} or not isinstance(found["providers"], list):
        raise ConfigError(f"a policy was expected in {name!r}; found {str(found)[:80]!r}; {hint}")
    try:
        terms = tuple(Term.model_validate(item) for item in found["providers"])
    except ValidationError as wrong:
        first = wrong.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"the policy {name!r} has a wrong entry at `{place}`: {first['msg']}; {hint}"
        ) from wrong
    terms = tuple(item.model_copy(update={"provider": item.provider.casefold()}) for item in terms)
    names = [item.provider for item in terms]
    if len(set(names)) < len(names):
        twice = next(item for item in names if names.count(item) > 1)
        raise ConfigError(f"the policy {name!r} names {twice!r} twice; keep one entry per provider")
    return Policy(terms=terms)
