"""How a serving process listens, batches and holds back."""

from pathlib import Path

from pydantic import Field

from offramp.types import Frozen

LARGEST_BODY_BYTES = 16 * 2**20
"""A request with more is refused; long chats with tools have a few hundred kilobytes."""


class ServeSettings(Frozen):
    """What can be set about `offramp serve`."""

    host: str = "127.0.0.1"
    """Address to listen on; nothing but this machine by default, because there are no keys here."""
    port: int = Field(default=8081, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    unix_socket: Path | None = None
    """Listen on this socket instead of host and port."""
    max_batch: int = Field(default=32, ge=1, le=4096)
    """Most requests that one call of a model answers."""
    wait_s: float = Field(default=0.002, ge=0, le=1)
    """How long a batch waits for those who were answered last to ask again; an idle process never waits."""
    queue: int = Field(default=256, ge=1)
    """Most requests that may wait; one more is told 429 with Retry-After."""
    drain_s: float = Field(default=30.0, ge=0)
    """How long requests under way may take after SIGTERM."""
    ood: bool = False
    """Say of every input how unusual it is beside the training rows; costs an embedding where the model makes none."""
    threads: int | None = Field(default=None, ge=1)
    """Threads of the model's arithmetic; default what torch chooses."""
