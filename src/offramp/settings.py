"""All settings of a workspace, one `offramp.toml`, unknown keys are errors.

Order: argument, then environment (`OFFRAMP_VERDICT__MARGIN=0.03`), then file, then default. Each stage declares
its own section next to the code that uses it; this module only puts them together, reads and writes them.
Secrets never stand here: they come from the environment and are not kept.
"""

import os
import tomllib
from collections.abc import Mapping as MappingABC
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import tomlkit
import yaml
from pydantic import Field, ValidationError

from offramp.advise.settings import AdviseSettings
from offramp.cost import CostSettings
from offramp.curate import CurateSettings
from offramp.curate.provenance import ProvenanceSettings
from offramp.errors import ConfigError, NotFoundError
from offramp.ingest import Mapping, Only
from offramp.ladder import LadderSettings
from offramp.models.endpoint import Endpoint
from offramp.models.prompted import NamedPrompt
from offramp.monitor.settings import MonitorSettings
from offramp.notify import NotifySettings
from offramp.renew.settings import RenewSettings
from offramp.route.settings import GatewaySettings
from offramp.store import write_text
from offramp.types import Bar, Frozen, Kind

S = TypeVar("S", bound=Frozen)
FILE = "offramp.toml"
PREFIX = "OFFRAMP_"
_RESERVED = {"OFFRAMP_DATA", "OFFRAMP_VENV", "OFFRAMP_SLOW_CI"}


class DataSettings(Frozen):
    """Where the rows come from and what their columns mean."""

    kind: Kind = "classify"
    """What is answered: `classify` labels, `extract` JSON, `generate` text, `chat` the next message."""
    instruction: str = ""
    """What a prompted model is told to do, in words; empty: made from the kind and the labels."""
    answer_schema: MappingABC[str, Any] | None = None
    """JSON schema of the answers of an extract task; field types are guessed from the targets without it."""
    sources: tuple[str, ...] = ()
    """Files or folders with calls or rows, relative to the workspace."""
    format: Literal["promptfoo", "openai-evals", "inspect"] | None = None
    """Whose results the sources are, when they are another tool's; `None` for logs and tables."""
    holdout: str | None = None
    """A file whose rows are the holdout, instead of a random tenth."""
    mapping: Mapping | None = None
    """What the columns mean; guessed and shown when not given."""
    simulated: tuple[str, ...] = ()
    """Answerers that are simulated (`incumbent`, `human_1`); called so wherever they are shown."""
    labels: tuple[str, ...] = ()
    """The label set; learned from the data when empty."""
    only: Only | None = None
    """Which calls of a log to read, by column, e.g. `{model = "gpt-4o"}`; several tasks often share one log."""


DEFAULT_METRICS: dict[str, str] = {"classify": "accuracy", "extract": "json_fields"}
"""What a verdict is about when the user names no bar."""


class VerdictSettings(Frozen):
    """What counts as proven."""

    margin: float = Field(default=0.02, gt=0, lt=1)
    """How much worse than the incumbent is still as good, in accuracy (0.02 = 2 points)."""
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    """One-sided chance to certify a model that is worse by the margin."""
    power: float = Field(default=0.8, gt=0, lt=1)
    """Wanted chance to certify a model that is truly equal; sets how many more rows are asked for."""
    bars: tuple[Bar, ...] = ()
    """All lines to meet; empty = accuracy (`json_fields` for extract) against the incumbent within `margin`."""

    run_user_code: bool = False
    """Allow metrics named `file.py:function`, whose file is then run. Only for files you wrote or read."""

    def resolved(self, kind: Kind = "classify") -> tuple[Bar, ...]:
        """Return the bars, the default one when none were given.

        Raises:
            ConfigError: free text has no default metric, so the user must say what counts.
        """
        if not self.bars and kind not in DEFAULT_METRICS:
            raise ConfigError(
                f"a bar was asked for on a task of kind {kind!r}; free text has no metric that suits all; name one "
                'under [[verdict.bars]], e.g. metric = "likert_relevance", margin = 0.2'
            )
        return self.bars or (Bar(metric=DEFAULT_METRICS[kind], margin=self.margin, alpha=self.alpha),)


class Settings(Frozen):
    """Everything that can be set in a workspace."""

    name: str = "task"
    """Short name of the task."""
    seed: int = 0
    """Seed of every random choice."""
    encoder: str = "minilm"
    """Text encoder for embeddings and for rung 2: `minilm` (embedded), a local folder, or a hub id."""
    data: DataSettings = DataSettings()
    """Sources and columns."""
    curate: CurateSettings = CurateSettings()
    """Cleaning and splitting."""
    provenance: ProvenanceSettings = ProvenanceSettings()
    """Who wrote the answers, and the policy for using them."""
    ladder: LadderSettings = LadderSettings()
    """Which models to try."""
    verdict: VerdictSettings = VerdictSettings()
    """What counts as proven."""
    cost: CostSettings = CostSettings()
    """Traffic and prices."""
    advise: AdviseSettings = AdviseSettings()
    """What answers must keep to, and from when on advice is more than a guess."""
    candidates: tuple[NamedPrompt, ...] = ()
    """Models behind endpoints to try as they are, zero-shot or with examples; each is sent the rows it answers."""
    gateway: GatewaySettings = GatewaySettings()
    """Who is asked, routed and recorded in production."""
    renew: RenewSettings = RenewSettings()
    """When the model is tuned again, and who may put it to work."""
    monitor: MonitorSettings = MonitorSettings()
    """What is watched, and how often a false alarm may come."""
    notify: NotifySettings = NotifySettings()
    """Who is told about findings; the log alone when nothing is named."""
    judge: Endpoint | None = None
    """Who judges answers by rubrics (`offramp judge`); nobody is asked when not given."""


def load(folder: Path, *, overrides: MappingABC[str, Any] | None = None) -> Settings:
    """Read the settings of a workspace.

    Raises:
        NotFoundError: the folder has no `offramp.toml`.
        ConfigError: the file is no TOML, or a key or value is wrong.
    """
    path = folder / FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotFoundError(
            f"a workspace was expected in {str(folder)!r}; there is no {FILE}; run `offramp init {folder} --from FILE`"
        ) from None
    except (OSError, UnicodeDecodeError) as failure:
        raise ConfigError(f"reading {str(path)!r}: {failure}") from failure
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as failure:
        raise ConfigError(f"{str(path)!r} is not valid TOML: {failure}") from failure
    return resolve(content, overrides=overrides, where=str(path))


def resolve(content: MappingABC[str, Any], *, overrides: MappingABC[str, Any] | None, where: str) -> Settings:
    """Merge file content, environment and arguments into settings.

    Raises:
        ConfigError: a key or value is wrong; the message names each.
    """
    content = merged(merged(content, _from_environment(os.environ)), overrides or {})
    return checked(Settings, content, where=where)


def checked(kind: type[S], content: MappingABC[str, Any], *, where: str) -> S:
    """Read settings of a kind.

    Raises:
        ConfigError: a key or value is wrong; the message names each.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as failure:
        from offramp.web.allow import redacted

        # A wrong value may be a URL with a password in it, under a mistyped name.
        lines = [
            f"`{'.'.join(str(part) for part in problem['loc'])}`: {problem['msg']}, "
            f"found {redacted(repr(problem['input'])):.80}"
            for problem in failure.errors()
        ]
        raise ConfigError(f"settings of {where}:\n  " + "\n  ".join(lines)) from None


def dump(settings: Settings) -> str:
    """Write settings as TOML; what equals the default is left out."""
    return tomlkit.dumps(settings.model_dump(mode="json", exclude_defaults=True, exclude_none=True))


def append(folder: Path, section: str, additions: MappingABC[str, Sequence[str]]) -> None:
    """Add values to lists of a section of the file; comments and layout stay.

    Raises:
        NotFoundError: there is no file.
        ConfigError: the result would not be valid; the file is left as it was.
    """
    load(folder)
    path = folder / FILE
    document = tomlkit.parse(path.read_text(encoding="utf-8"))
    table = document.setdefault(section, tomlkit.table())
    for key, values in additions.items():
        known = list(table.get(key, []))
        table[key] = [*known, *(value for value in values if value not in known)]
    resolve(document.unwrap(), overrides=None, where=str(path))
    write_text(tomlkit.dumps(document), path)


def merged(base: MappingABC[str, Any], over: MappingABC[str, Any]) -> dict[str, Any]:
    """Lay nested `over` upon `base`; neither is changed."""
    result = dict(base)
    for key, value in over.items():
        inner = result.get(key)
        if isinstance(inner, MappingABC) and isinstance(value, MappingABC):
            value = merged(inner, value)
        result[key] = value
    return result


def put(content: dict[str, Any], keys: Sequence[str], text: str, *, where: str) -> None:
    """Put a value written as text (YAML) into nested content.

    Raises:
        ConfigError: the text is not a value, or a key on the way is not a section.
    """
    *sections, key = keys
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise ConfigError(f"{where}: {section!r} was set to a value before and cannot hold {key!r}")
    try:
        content[key] = yaml.safe_load(text)
    except yaml.YAMLError as failure:
        raise ConfigError(f"{where}: the value is not readable: {failure}") from failure


def _from_environment(environment: MappingABC[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in environment.items():
        if name.startswith(PREFIX) and name not in _RESERVED:
            keys = name.removeprefix(PREFIX).lower().split("__")
            put(found, keys, text, where=f"environment variable {name}={text!r}")
    return found
