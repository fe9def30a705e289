"""What everything that speaks HTTP shares: error bodies, event streams, exact JSON, keys, limits, counters.

Imports only `offramp.errors` and `offramp.types`; the gateway and the model server both stand on it.
"""
