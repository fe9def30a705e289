"""The embedded sample task `intake`: a patient-intake chat that ends with a physician note and a specialty.

`generate` makes the log in memory, `write` puts it on disk, `prepare` writes it and returns the settings that fit;
`corpus` yields other conversations of the kind, for pretraining. Guarantee: no network, no randomness beyond the seed.
Trap: the patients are invented and the incumbent is simulated, and both are to be called so wherever they are shown.
"""

from offramp.sample.generate import SampleData
from offramp.sample.intake.corpus import corpus
from offramp.sample.intake.generate import ROWS, TITLES, generate, prepare, sample_config, write
from offramp.sample.intake.talk import Message

__all__ = [
    "ROWS",
    "TITLES",
    "Message",
    "SampleData",
    "corpus",
    "generate",
    "prepare",
    "sample_config",
    "write",
]
