"""The command line: parse, call one verb of the workspace, print one table.

Exit codes: 0 done, 2 something a user can mend (the message says what), 130 interrupted with Ctrl-C.
Tables go to standard output, progress to standard error; `--json` prints the record instead of the table.
"""

import os
import sys
import warnings

from offramp.cli import advise as _advise  # noqa: F401
from offramp.cli import audit as _audit  # noqa: F401
from offramp.cli import gateway as _gateway  # noqa: F401  adds its commands
from offramp.cli import monitor as _monitor  # noqa: F401
from offramp.cli import renew as _renew  # noqa: F401
from offramp.cli import serving as _serving  # noqa: F401
from offramp.cli.app import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; errors a user can mend become one message and exit code 2."""
    from offramp.errors import OfframpError

    _quiet_libraries()
    try:
        app(standalone_mode=False)
    except OfframpError as failure:
        print(f"error: {failure}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
    except OSError as failure:
        print(f"error: {failure}", file=sys.stderr)
        sys.exit(2)
    except Exception as failure:
        code = _usage(failure)
        if code is None:
            raise
        sys.exit(code)


def _quiet_libraries() -> None:
    """Keep libraries' own bars and notices to their developers off the screen, and the model hub out of reach.

    A user who names an encoder on the hub sets HF_HUB_OFFLINE=0.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning)


def _usage(failure: Exception) -> int | None:
    """Show a mistake in the arguments the way Typer does; `None` when the failure is something else."""
    for kind in type(failure).__mro__:
        if kind.__name__ in ("ClickException", "Abort"):
            show = getattr(failure, "show", None)
            if show is not None:
                show()
            return 2
    return None
