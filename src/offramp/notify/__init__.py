"""Tell people what was found: to the log, a webhook, by e-mail, to Slack or what speaks like it.

A `Message` is put into the `Outbox`, a file of the workspace, and `deliver` does one round over what is due. The caller
asks for a round whenever it likes; nothing is sent in between, and nothing starts a thread that stays.
Guarantee: a message is tried on every channel until the channel confirmed it or a day has gone by, and after a written
confirmation it is never sent again. Nothing is sent to an address that the settings do not name. `deliver` never
raises.
Trap: a process killed between a confirmation and its line in the file sends that one message twice; every copy carries
the same delivery id, by which a receiver can tell.
"""

from offramp.notify.messages import Message, message
from offramp.notify.outbox import Outbox, Round, deliver
from offramp.notify.settings import Channel, NotifySettings, problems

__all__ = ["Channel", "Message", "NotifySettings", "Outbox", "Round", "deliver", "message", "problems"]
