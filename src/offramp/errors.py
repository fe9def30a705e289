"""Every error a caller may act on, one tree.

    OfframpError            base; the message says what was asked, what was found, what to do
    ├── ConfigError         a setting, flag or file name is wrong; fix it and run again
    ├── NotFoundError       a record, file, label or model that was named does not exist
    ├── DataError           the data cannot support what was asked
    ├── ModelError          a model failed to load or to answer
    ├── TrainingError       a fit failed or its result is unusable
    ├── MismatchError       two things that must agree do not (a reloaded model, two runs, a hash)
    └── StoreError          the workspace cannot be read or written

Command-line faces print the message and exit with code 2. Anything else that reaches them is a bug.
"""

from collections.abc import Iterator
from contextlib import contextmanager


class OfframpError(Exception):
    """Base of every error that Offramp raises on purpose."""


class ConfigError(OfframpError):
    """A setting, flag or name is wrong."""


class NotFoundError(OfframpError):
    """Something that was asked for by name does not exist."""


class DataError(OfframpError):
    """The data cannot support what was asked."""


class ModelError(OfframpError):
    """A model failed to load or to answer."""


class TrainingError(OfframpError):
    """A fit failed or made something unusable."""


class MismatchError(OfframpError):
    """Two things that must agree do not."""


class StoreError(OfframpError):
    """The workspace cannot be read or written."""


@contextmanager
def boundary(error: type[OfframpError], what: str, *catch: type[Exception]) -> Iterator[None]:
    """Turn `catch` (default: `OSError`) raised inside the block into `error`, saying `what` was being done."""
    try:
        yield
    except OfframpError:
        raise
    except catch or (OSError,) as failure:
        raise error(f"{what}: {type(failure).__name__}: {failure}") from failure
