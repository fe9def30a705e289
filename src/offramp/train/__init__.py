"""Fits, one file per rung of the ladder; each reads straight down the page.

`fit` is the one door from a rung's name to a fitted model in a folder. A fit that was killed goes on in the same
folder. With `first`, the choices of an earlier fit are kept and all labelled rows are used.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from offramp.bases import Base, located
from offramp.errors import NotFoundError
from offramp.models.base import Model
from offramp.types import Frozen, Progress, Task, silent

MEMBERS: dict[str, tuple[str, ...]] = {"blend": ("linear", "encoder")}
"""Rungs made of other rungs."""
WITH_EMBEDDER = ("zero-shot", "knn", "linear")
"""Rungs that need the text encoder beside their own files."""


Rate = Callable[[Sequence[str | None], pa.Table], np.ndarray]
"""Says how good each answer to these rows is, float64 (rows,), 0-1, NaN = not scored."""


@dataclass(frozen=True)
class Job:
    """What a fit needs."""

    task: Task
    """Labels and fields."""
    train: pa.Table
    """Rows to learn from."""
    validation: pa.Table
    """Rows to choose on."""
    folder: Path
    """Where the model goes."""
    embedder: Any
    """The text encoder, with its cache."""
    settings: Mapping[str, Frozen]
    """Settings by rung."""
    seed: int
    """Seed of every random choice."""
    first: Path | None = None
    """Folder of the fit whose choices are kept; then train and validation are both learned from."""
    members: Mapping[str, Model] = field(default_factory=dict)
    """Fitted members of a combination, by name."""
    base: Base | None = None
    """The decoder to start from."""
    shots: int = 0
    """Examples shown per request by what is only prompted."""
    rate: Rate | None = None
    """How good answers are by the metric that counts, for choices on validation."""
    progress: Progress = silent
    """Told about long steps."""

    @property
    def learned(self) -> pa.Table:
        """The rows to learn from: train, or train and validation when the choices were made before."""
        return self.train if self.first is None else pa.concat_tables([self.train, self.validation])

    @property
    def chosen_on(self) -> pa.Table | None:
        """The rows to choose on: validation, or none when the choices were made before."""
        return self.validation if self.first is None else None


@dataclass(frozen=True)
class Fitted:
    """What a fit left."""

    size_bytes: int
    """Size of the model's own files."""
    duration_s: float
    """Wall-clock seconds."""
    details: Mapping[str, Any]
    """Choices, losses and validation figures."""


def _majority(job: Job) -> dict[str, Any]:
    from offramp.models.simple import MajorityModel

    MajorityModel.fit(job.learned, task=job.task).save(job.folder)
    return {}


def _zero_shot(job: Job) -> dict[str, Any]:
    from offramp.models.simple import ZeroShotModel

    ZeroShotModel.fit(job.validation, task=job.task, embedder=job.embedder).save(job.folder)
    return {}


def _knn(job: Job) -> dict[str, Any]:
    from offramp.models.simple import NeighbourModel

    model = NeighbourModel.fit(job.learned, job.chosen_on, task=job.task, embedder=job.embedder)
    if job.first is not None:
        chosen = NeighbourModel.load(job.first, embedder=job.embedder)
        model = replace(model, neighbours=chosen.neighbours, pool=chosen.pool)
    model.save(job.folder)
    return {"neighbours": model.neighbours}


def _linear(job: Job) -> dict[str, Any]:
    from offramp.train.linear import LinearJob, LinearSettings, fit_linear

    settings = job.settings["linear"]
    assert isinstance(settings, LinearSettings)
    return asdict(fit_linear(job.learned, job.chosen_on, LinearJob(settings=settings, **_shared(job))))


def _encoder(job: Job) -> dict[str, Any]:
    from offramp.train.encoder import EncoderJob, EncoderSettings, fit_encoder

    settings = job.settings["encoder"]
    assert isinstance(settings, EncoderSettings)
    return asdict(fit_encoder(job.learned, job.chosen_on, EncoderJob(settings=settings, **_shared(job))))


def _shared(job: Job) -> dict[str, Any]:
    """What every tuned rung's own job takes over."""
    names = ("task", "embedder", "seed", "first", "progress")
    return {"out": job.folder, **{name: getattr(job, name) for name in names}}


def _blend(job: Job) -> dict[str, Any]:
    from offramp.models.base import Classifier
    from offramp.models.blend import BlendModel

    members = [(name, member) for name, member in job.members.items() if isinstance(member, Classifier)]
    if job.first is None:
        model = BlendModel.fit(members, job.validation)
    else:
        model = BlendModel.load(job.first, members=members)
    model.save(job.folder)
    return {"weights": dict(zip((name for name, _ in members), model.pool.weights, strict=True))}


def _prompted(job: Job) -> dict[str, Any]:
    from offramp.models.decoder import Untuned, fit_untuned

    assert job.base is not None
    how = Untuned(
        base=job.base,
        task=job.task,
        out=job.folder,
        shots=job.shots,
        embedder=lambda: job.embedder,
        right=_right(job),
    )
    fit_untuned(job.train, job.validation, how)
    return {"size_bytes": _size(located(job.base))}


def _decoder(job: Job) -> dict[str, Any]:
    from offramp.models.decoder import DecoderModel
    from offramp.render import Renderer
    from offramp.train.decoder import DecoderJob, fit_decoder
    from offramp.train.decoder_settings import DecoderSettings

    assert job.base is not None
    settings, folder, rate = job.settings["decoder"], located(job.base), job.rate
    assert isinstance(settings, DecoderSettings)
    how = DecoderJob(
        base=folder,
        renderer=Renderer.load(folder),
        settings=settings.model_copy(update={"base": job.base.name}),
        score=None if rate is None else lambda answers, rows: float(np.nanmean(rate(answers, rows))),
        instruction=job.task.instruction,
        **{name: value for name, value in _shared(job).items() if name != "embedder"},
    )
    done = asdict(fit_decoder(job.learned, job.chosen_on, how))
    model = DecoderModel.load(job.folder, task=job.task, base=job.base)
    if job.first is None:
        model.calibrated(job.validation, right=_right(job))
    # What was shown of rows stays out of records, which travel.
    del done["samples"]
    # The base is deployed with its adapter.
    return done | {"size_bytes": model.size_bytes + _size(folder)}


def _right(job: Job) -> Callable[[Sequence[str | None], pa.Table], Sequence[float]] | None:
    rate = job.rate
    return None if rate is None else lambda answers, rows: rate(answers, rows).tolist()


FITS: dict[str, Callable[[Job], dict[str, Any]]] = {
    "majority": _majority,
    "zero-shot": _zero_shot,
    "knn": _knn,
    "linear": _linear,
    "encoder": _encoder,
    "blend": _blend,
    "prompted": _prompted,
    "decoder": _decoder,
}
"""Every rung: how it is fitted into `job.folder`."""


def fit(rung: str, job: Job) -> Fitted:
    """Fit a rung into `job.folder`.

    Raises:
        NotFoundError: no such rung.
        DataError: the rows cannot support a fit.
        TrainingError: the fit failed.
    """
    if rung not in FITS:
        raise NotFoundError(f"rung {rung!r} was asked for; there are {sorted(FITS)!r}")
    began = time.perf_counter()
    details = FITS[rung](job)
    return Fitted(
        size_bytes=(int(details.pop("size_bytes", 0)) or _size(job.folder))
        + (_size(job.embedder.backbone.path) if rung in WITH_EMBEDDER else 0),
        duration_s=time.perf_counter() - began,
        details={name: value for name, value in details.items() if name != "duration_s"},
    )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
