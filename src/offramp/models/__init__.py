"""Things that can answer, one file each, all behind `offramp.models.base.Model`.

`load` is the one door from a candidate's engine name to what answers for it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offramp.bases import Base
from offramp.errors import NotFoundError
from offramp.types import Task

if TYPE_CHECKING:
    from offramp.models.base import Model


@dataclass(frozen=True)
class Parts:
    """What an engine may need to load a candidate."""

    folder: Path
    """The candidate's files."""
    task: Task
    """The task it answers."""
    who: str
    """Whose recorded answers, for the recorded engine."""
    members: "Mapping[str, Model]"
    """Loaded members of a combination, by name."""
    embedder: Callable[[], Any]
    """Gives the text encoder; called only by engines that embed."""
    cache: Path | None = None
    """Folder where paid answers are kept, so that none is paid twice."""
    base: Base | None = None
    """The decoder it was tuned from."""


def _recorded(parts: Parts) -> "Model":
    from offramp.models.recorded import RecordedModel

    return RecordedModel(parts.who, parts.task.labels, separator=parts.task.separator)


def _majority(parts: Parts) -> "Model":
    from offramp.models.simple import MajorityModel

    return MajorityModel.load(parts.folder)


def _zero_shot(parts: Parts) -> "Model":
    from offramp.models.simple import ZeroShotModel

    return ZeroShotModel.load(parts.folder, embedder=parts.embedder())


def _knn(parts: Parts) -> "Model":
    from offramp.models.simple import NeighbourModel

    return NeighbourModel.load(parts.folder, embedder=parts.embedder())


def _linear(parts: Parts) -> "Model":
    from offramp.models.linear import LinearModel

    return LinearModel.load(parts.folder, embedder=parts.embedder())


def _encoder(parts: Parts) -> "Model":
    from offramp.models.encoder import EncoderModel

    return EncoderModel.load(parts.folder)


def _blend(parts: Parts) -> "Model":
    from offramp.models.base import Classifier
    from offramp.models.blend import BlendModel

    members = [(name, member) for name, member in parts.members.items() if isinstance(member, Classifier)]
    return BlendModel.load(parts.folder, members=members)


def _endpoint(parts: Parts) -> "Model":
    from offramp.models.prompted import EndpointModel

    return EndpointModel.load(parts.folder, task=parts.task, embedder=parts.embedder, cache=parts.cache)


def _decoder(parts: Parts) -> "Model":
    from offramp.models.decoder import DecoderModel

    return DecoderModel.load(parts.folder, task=parts.task, base=parts.base, embedder=parts.embedder)


ENGINES: "dict[str, Callable[[Parts], Model]]" = {
    "recorded": _recorded,
    "majority": _majority,
    "zero-shot": _zero_shot,
    "knn": _knn,
    "linear": _linear,
    "encoder": _encoder,
    "blend": _blend,
    "endpoint": _endpoint,
    "decoder": _decoder,
}
"""Every engine: how a candidate of it is loaded."""


def load(engine: str, parts: Parts) -> "Model":
    """Load what answers for a candidate.

    Raises:
        NotFoundError: no such engine.
    """
    if engine not in ENGINES:
        raise NotFoundError(
            f"engine {engine!r} was asked for; there are {sorted(ENGINES)!r}; upgrade Offramp?"
        )
    return ENGINES[engine](parts)
