"""The demo: a sample task written into a folder, with settings that fit it.

The holdout is the audited part: rows of merchants (or conversations) that are nowhere else, with answers that were all
checked.

Made again in the same folder it goes on where it was interrupted: the same size and seed give the same files.
"""

from pathlib import Path
from typing import Any

from offramp.errors import ConfigError
from offramp.sample.generate import generate, sample_config, write

ROWS = 7000
"""Rows of `categorize`, about 1,050 of them in the audited holdout."""


TASKS = ("categorize", "intake")
"""The sample tasks."""


def prepare(
    folder: Path, *, task: str = "categorize", size: int | None = None, seed: int = 7
) -> dict[str, Any]:
    """Write the sample log of a task under `folder`/sample and return the settings for it.

    Raises:
        ConfigError: no such task, or too few rows for it.
        StoreError: the folder cannot be written.
    """
    if task not in TASKS:
        raise ConfigError(f"sample task {task!r} was asked for; there are {list(TASKS)!r}")
    if task == "intake":
        from offramp.sample import intake

        config = intake.prepare(folder, size=intake.ROWS if size is None else size, seed=seed)
        return {**config, "ladder": {"bases": ["tiny"]}}
    size = ROWS if size is None else size
    if size < 1000:
        raise ConfigError(
            f"at least 1000 rows are needed for the sample task; {size} asked for; use --size 1000 or more"
        )
    paths = write(folder / "sample", generate(seed=seed, size=size), audited_apart=True)
    config = sample_config()
    files = {"sources": ["sample/" + paths["calls"].name], "holdout": "sample/" + paths["holdout"].name}
    return {**config, "data": {**config["data"], **files}}
