"""Evidence packs: everything a report rests on in one zip, and the check that needs nothing else.

`write_pack` gathers records, answers, row scores, settings, prices and the page; `verify_pack` looks at every byte,
then recomputes every number from the answers, without workspace or network. `seal` is the digest to hand over on
another way. Trap: without such a digest a pack proves that it is consistent, not who wrote it.
"""

from offramp.pack.checks import Check
from offramp.pack.verify import VerifyReport, verify_pack
from offramp.pack.write import seal, write_pack

__all__ = ["Check", "VerifyReport", "seal", "verify_pack", "write_pack"]
