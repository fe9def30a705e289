"""What replicas go through under some traffic: how busy they are and how long requests take."""

from pydantic import Field

from offramp.types import Frozen


class Load(Frozen):
    """Replicas under traffic, predicted or replayed."""

    replicas: int = Field(ge=1)
    """Replicas that serve."""
    load_ratio: float = Field(ge=0)
    """Work that is asked for, as a share of the most that they can do; above 1 the queue grows without end."""
    utilisation_ratio: float = Field(ge=0)
    """Workers: share of the time that they are busy. Batching: share of the places for running requests in use."""
    latency_mean_s: float
    """Mean time from a request's arrival to the end of its answer."""
    latency_p50_s: float
    """Median of it."""
    latency_p95_s: float
    """Time within which 95 % of the requests are answered."""
    latency_p99_s: float
    """Time within which 99 % of the requests are answered."""
    wait_mean_s: float
    """Mean time before anything is done about a request."""
    wait_p95_s: float
    """95 % of the requests wait at most so long."""
    stable: bool
    """False when more is asked for than they can do; latencies then only say what happened until the traffic ended."""
