"""Predict how busy replicas are and how long requests take, from a shape of traffic and a speed alone.

Guarantee: the same answer for the same question, in about a second; traffic is followed through its windows, and what
one window cannot serve is left for the next.
Trap: nothing is known of arrivals inside a window but how bursty they are.
"""

from offramp.capacity.engine import predict_engine
from offramp.capacity.load import Load
from offramp.capacity.shape import Shape
from offramp.capacity.speed import Batching, Speed, Workers
from offramp.capacity.workers import predict_workers
from offramp.errors import DataError


def predict(shape: Shape, speed: Speed, replicas: int) -> Load:
    """Return what that many replicas go through under this traffic, which starts with nobody waiting.

    Raises:
        DataError: fewer than one replica, or a speed that is neither of workers nor of an engine.
    """
    if replicas < 1 or not isinstance(speed, Workers | Batching):
        raise DataError(
            f"at least one replica with a speed of `Workers` or `Batching` was expected; found {replicas!r} and "
            f"{type(speed).__name__}"
        )
    if isinstance(speed, Workers):
        return predict_workers(shape, speed, replicas)
    return predict_engine(shape, speed, replicas)
