"""The embedded sample task `categorize`: merchant product offers, written by this project, with planted defects.

`generate` makes it in memory, `write` puts the log and the manifest of defects on disk, `sample_config` says what
the columns mean. Guarantee: no network, no randomness beyond the seed. Trap: the incumbent and the human labelers
in it are simulated, and are to be called so wherever they are shown.
"""

from offramp.sample.generate import TITLES, SampleData, generate, sample_config, write
from offramp.sample.offers import Difficulty

__all__ = ["TITLES", "Difficulty", "SampleData", "generate", "sample_config", "write"]
