"""Rubrics: what a judge looks at, one dimension each, with words for every point of the scale.

A rubric is a YAML file; its content is hashed, so that scores say exactly which wording they came from.
Guarantee: a rubric without words for each of the points 1 to 5 cannot be loaded. Trap: two rubrics with the same
name and version but other words are other rubrics; compare `sha256`, never names.
"""

import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from offramp.errors import ConfigError, NotFoundError, boundary
from offramp.types import Frozen, canonical_json

POINTS = (1, 2, 3, 4, 5)
"""The scale, worst to best."""
_FOLDER = "rubrics"


class Rubric(Frozen):
    """One dimension of quality."""

    name: str = Field(min_length=1)
    """Short name, e.g. `relevance`."""
    version: str = Field(min_length=1)
    """Version of the wording; raise it when a word changes."""
    question: str = Field(min_length=1)
    """What is asked about one answer."""
    anchors: dict[int, str]
    """What an answer is like at each point, 1 to 5."""
    pairwise: str = Field(min_length=1)
    """What is asked about two answers."""
    uses_reference: bool = False
    """True when a reference answer, where there is one, is shown to the judge."""

    @field_validator("version", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @field_validator("anchors")
    @classmethod
    def _complete(cls, value: dict[int, str]) -> dict[int, str]:
        missing = [point for point in POINTS if not str(value.get(point) or "").strip()]
        extra = sorted(set(value) - set(POINTS))
        if missing or extra:
            what = f"no words for {missing!r}" if missing else f"points {extra!r} that are not on it"
            raise ValueError(f"words for each of the points 1 to 5 were expected; found {what}")
        return {point: value[point].strip() for point in POINTS}

    @property
    def sha256(self) -> str:
        """Hash of the whole content, hexadecimal."""
        return hashlib.sha256(canonical_json(self.model_dump(mode="json")).encode()).hexdigest()

    @property
    def title(self) -> str:
        """Name, version and the start of the hash, e.g. `relevance 1 (3fa9c2…)`."""
        return f"{self.name} {self.version} ({self.sha256[:6]}…)"


def rubrics() -> tuple[str, ...]:
    """Return the names of the rubrics that come with Offramp."""
    folder = resources.files("offramp.judge").joinpath(_FOLDER)
    return tuple(
        sorted(file.name.removesuffix(".yml") for file in folder.iterdir() if file.name.endswith(".yml"))
    )


def load_rubric(name: str | Path) -> Rubric:
    """Read a rubric: the name of one that comes with Offramp, or the path of your own YAML file.

    Raises:
        NotFoundError: there is neither.
        ConfigError: the file is no rubric; the message names what is missing.
    """
    own = Path(name)
    if own.suffix in (".yml", ".yaml"):
        if not own.is_file():
            raise NotFoundError(
                f"rubric {str(name)!r} was asked for; there is no such file; correct the path"
            )
        with boundary(ConfigError, f"reading rubric {str(name)!r}", OSError, UnicodeDecodeError):
            return parse_rubric(own.read_text(encoding="utf-8"), where=str(own))
    if str(name) not in rubrics():
        raise NotFoundError(
            f"rubric {str(name)!r} was asked for; there are {list(rubrics())!r}; name one, or the path of your own .yml"
        )
    text = resources.files("offramp.judge").joinpath(_FOLDER, f"{name}.yml").read_text(encoding="utf-8")
    return parse_rubric(text, where=str(name))


def parse_rubric(text: str, *, where: str) -> Rubric:
    """Read a rubric from YAML text.

    Raises:
        ConfigError: it is no rubric; the message names what is missing.
    """
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as failure:
        raise ConfigError(f"rubric {where!r} is not valid YAML: {failure}") from None
    if not isinstance(content, dict):
        raise ConfigError(
            f"rubric {where!r}: a mapping with `name`, `anchors` … was expected; found {content!r:.80}"
        )
    try:
        return Rubric.model_validate(content)
    except ValidationError as failure:
        lines = [f"`{'.'.join(str(p) for p in e['loc'])}`: {e['msg']}" for e in failure.errors()]
        raise ConfigError(f"rubric {where!r}:\n  " + "\n  ".join(lines)) from None
