"""Keep every call that goes through the gateway, without ever slowing or failing one.

`Recorder.put` hands a `Call` to a thread and returns; the thread prices, masks and writes in batches to `Calls`.
Guarantee: what `is_written` confirms survives SIGKILL; what cannot be written is dropped and counted, never waited
for. Trap: while the disk is dead only the queue remembers; when that is full, calls are lost.
"""

from offramp.capture.call import Call, new_id
from offramp.capture.calls import Calls, Traffic
from offramp.capture.export import Exported, write_log
from offramp.capture.pricing import pricer
from offramp.capture.recorder import Recorder
from offramp.capture.settings import CaptureSettings
from offramp.capture.texts import Redact, masking

__all__ = [
    "Call",
    "Calls",
    "CaptureSettings",
    "Exported",
    "Recorder",
    "Redact",
    "Traffic",
    "masking",
    "new_id",
    "pricer",
    "write_log",
]
