"""What every test shares: no network, quiet libraries, and the public data where it exists."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import postgres as throw_away

# Set before any test imports a library that reads them once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OPENVINO_TELEMETRY_OPT_OUT"] = "1"

ROOT = Path(__file__).resolve().parent.parent
_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")
_network_allowed = False


def _refuse_network(event: str, args: tuple[Any, ...]) -> None:
    """Refuse what leaves this machine; an audit hook sees every library, and no socket class is replaced."""
    if _network_allowed or not event.startswith("socket."):
        return
    if event in ("socket.connect", "socket.sendto"):
        address = args[1]
        host = address[0] if isinstance(address, tuple) else None  # a string is a Unix socket
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    else:
        return
    if isinstance(host, bytes):
        host = host.decode()
    if host and not host.startswith(_LOOPBACK):
        raise RuntimeError(f"a test tried to reach {host!r} ({event}); tests run offline, mark it `live`")


sys.addaudithook(_refuse_network)


@pytest.fixture(autouse=True)
def no_network(request: pytest.FixtureRequest):
    """Let only tests marked `live` reach another machine."""
    global _network_allowed
    _network_allowed = request.node.get_closest_marker("live") is not None
    yield
    _network_allowed = False


@pytest.fixture(scope="session")
def public_data() -> Path:
    """Return the folder that holds `banking77/` and the other public data sets."""
    folder = Path(os.environ.get("OFFRAMP_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "banking77").is_dir():
        pytest.skip(f"public data was expected in {folder}; set OFFRAMP_DATA to what holds banking77/")
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[throw_away.Server]:
    """Return a PostgreSQL server that lives as long as the tests."""
    with throw_away.server() as found:
        if found is None:
            pytest.skip(throw_away.MISSING)
        yield found
