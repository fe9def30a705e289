"""The embedded sample task `drift`: a service desk whose customers begin to write about something new.

`requests` makes the days, `prepare` writes the log to tune on and returns the settings that fit; `offramp.rehearsal`
runs them through the product. Guarantee: no network, no randomness beyond the seed. Trap: customers, incumbent and
the people who label are simulated, and are to be called so wherever they are shown.
"""

from offramp.sample.drift.days import Request, Scenario, begin_of, day_of, prepare, requests
from offramp.sample.drift.write import words

__all__ = ["Request", "Scenario", "begin_of", "day_of", "prepare", "requests", "words"]
