"""Messages to token ids and loss mask: the one renderer of training, evaluation and serving.

Idea: a chat template is *pinned* when it is loaded: the date, its switches, the BOS and the generation prompt are
written into it, so that every engine that renders it writes the same prompt without being told anything.
Guarantee: for each assistant turn, the tokens before it in training are the tokens that `Renderer.prompt` gives at
serving, and exactly its own tokens and its end-of-turn carry loss, once.
Trap: text of users that spells a control token (`<|im_end|>`) stays text here; an engine that renders messages itself
makes the control token of it. Send token ids.
"""

from offramp.render.messages import Message, checked
from offramp.render.renderer import Rendered, Renderer
from offramp.render.templates import CHATML, DATE, PLAIN

__all__ = ["CHATML", "DATE", "PLAIN", "Message", "Rendered", "Renderer", "checked"]
