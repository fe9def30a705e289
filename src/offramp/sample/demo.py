"""The demo: the sample task written into a folder, with settings that fit it.

The holdout is the audited part: rows of merchants that are nowhere else, with labels that were all checked.

Made again in the same folder it goes on where it was interrupted: the same size and seed give the same files.
"""

from pathlib import Path
from typing import Any

from offramp.errors import ConfigError
from offramp.sample.generate import generate, sample_config, write

ROWS = 7000
"""Rows of the demo, about 1,050 of them in the audited holdout."""


def prepare(folder: Path, *, size: int = ROWS, seed: int = 7) -> dict[str, Any]:
    """Write the sample log under `folder`/sample and return the settings for it.

    Raises:
        ConfigError: too few rows for all classes.
        StoreError: the folder cannot be written.
    """
    if size < 1000:
        raise ConfigError(
            f"at least 1000 rows are needed for the sample task; {size} asked for; use --size 1000 or more"
        )
    paths = write(folder / "sample", generate(seed=seed, size=size), audited_apart=True)
    config = sample_config()
    files = {"sources": ["sample/" + paths["calls"].name], "holdout": "sample/" + paths["holdout"].name}
    return {**config, "data": {**config["data"], **files}}
