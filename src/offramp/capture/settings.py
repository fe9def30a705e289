"""Section `[capture]`: what is kept of the traffic, and how much room it may take."""

from typing import Literal

from pydantic import Field

from offramp.types import Frozen


class CaptureSettings(Frozen):
    """What is recorded of the calls that go through the gateway."""

    enabled: bool = True
    """False: nothing is recorded."""
    sample_ratio: float = Field(default=1.0, ge=0, le=1)
    """Share of calls that are recorded, 0-1; a shadow call is recorded when the call it repeats is."""
    personal: Literal["off", "mask"] = "off"
    """`mask`: personal data is replaced in every text before anything is written."""
    keep_days: float | None = Field(default=None, gt=0)
    """Calls older than this are deleted, once an hour; not set: they are kept."""
    queue_calls: int = Field(default=10_000, ge=1)
    """Most calls that wait for the writer; more are dropped and counted."""
    queue_bytes: int = Field(default=32 * 2**20, ge=1024)
    """Most bytes of bodies that wait for the writer."""
    flush_s: float = Field(default=0.1, gt=0, le=60)
    """Longest time between two transactions while calls wait."""
    batch: int = Field(default=500, ge=1, le=10_000)
    """Most calls in one transaction."""
    largest_body_bytes: int = Field(default=2**20, ge=1024)
    """From a bigger request or answer the long texts are cut out, and the record says so."""
