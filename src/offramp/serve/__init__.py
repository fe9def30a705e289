"""Serve candidates behind an OpenAI-compatible address: `offramp serve CANDIDATE`.

One process, one event loop that speaks HTTP, one worker thread that runs the models on batches of whatever waits.
Guarantee: what is served is what was judged; an input is read and cleaned as the training rows were, and an answer is
the one that `Model.answer` gives. What an engine cannot do is refused with 400 and never ignored silently.
Trap: it has no keys and no limits per client; it listens on this machine alone and stands behind the gateway.
"""

from offramp.serve.answering import Served
from offramp.serve.app import Serving, app
from offramp.serve.process import listening, run
from offramp.serve.settings import ServeSettings

__all__ = ["ServeSettings", "Served", "Serving", "app", "listening", "run"]
