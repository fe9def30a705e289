"""Capacity: from how fast one replica serves to how many some traffic needs, with queueing and not with averages.

`Speed` (`Workers`, `Batching`) says how a replica serves, `Shape` what traffic looks like, `predict` what replicas go
through under it, `replay` the same for a trace of which every arrival is known, `plan` how many it takes.
"""

from offramp.capacity.load import Load
from offramp.capacity.plan import Plan, plan
from offramp.capacity.predict import predict
from offramp.capacity.replay import replay
from offramp.capacity.shape import Shape
from offramp.capacity.speed import Batching, Speed, Workers, published

__all__ = ["Batching", "Load", "Plan", "Shape", "Speed", "Workers", "plan", "predict", "published", "replay"]
