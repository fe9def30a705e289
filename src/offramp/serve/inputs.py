"""From a chat request to the row that a model was trained on: which text is which field, cleaned as in training.

A request may carry its fields in four ways: `{"offramp": {"inputs": {...}}}` beside the messages; a last user message
that is a JSON object of fields; one of `name: value` lines, as prompted models are shown rows; and, for a task of one
field, the message as it is. Rows that came from chat logs are read as ingest reads logs: `prompt` is the last user
message, `transcript` the conversation, anything else stands in `metadata`.
Guarantee: cleaning and masking are those of the dataset that the model was trained on (`curate.traffic.as_served`).
Trap: a value with a line that begins with a later field's name and a colon is cut there; send JSON instead.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from offramp import rows as _rows
from offramp.models.chat import MESSAGES, TOOLS, content_text, transcript
from offramp.types import Task
from offramp.web.errors import Refusal

EXTENSION = "offramp"
"""Key of what is ours in requests and answers."""
LOGGED = ("prompt", "transcript")
"""Fields that ingest makes from a logged conversation."""

Message = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Given:
    """What one request gives a model to read."""

    fields: Mapping[str, str]
    """Text of every input field."""
    messages: str | None = None
    """The conversation as JSON, where the model reads conversations."""
    tools: str | None = None
    """The offered tools as JSON."""


@dataclass(frozen=True)
class Reader:
    """Reads requests for one task."""

    task: Task
    """Whose fields are looked for."""
    logged: bool = False
    """Whether the rows came from chat logs, and their conversations with them."""
    cleaned: bool = True
    """Whether the inputs of the training rows were cleaned."""
    boilerplate: tuple[str, ...] = ()
    """Sentences that were taken out of the training rows, in normal form."""
    mask: Callable[[str, str], str] | None = field(default=None, repr=False, compare=False)
    """Puts placeholders in place of personal data in a text of a row, where training rows have them."""

    def given(self, body: Mapping[str, Any], messages: Sequence[Message]) -> Given:
        """Find the fields in a request whose messages were checked.

        Raises:
            Refusal: they are not there.
        """
        named = _object(_object(body.get(EXTENSION), EXTENSION).get("inputs"), f"{EXTENSION}.inputs")
        if named:
            return Given(self._named(named))
        users = [message for message in messages if message.get("role") == "user"]
        if not users:
            raise Refusal(400, "a message of the user was expected; found none", param="messages")
        text = content_text(users[-1].get("content"))
        if self.logged:
            tools = body.get("tools")
            return Given(
                self._of_log(text, messages, body),
                _compact(list(messages)),
                _compact(tools) if tools else None,
            )
        return Given(self._of_text(text))

    def rows(self, given: Sequence[Given]) -> pa.Table:
        """Return the rows as training saw them, cleaned and masked; ids are their places."""
        columns: dict[str, Any] = {"id": pa.array([str(i) for i in range(len(given))], pa.string())}
        for name in self.task.inputs:
            columns[_rows.FIELD + name] = pa.array([_legal(one.fields[name]) for one in given], pa.string())
        if self.logged:
            columns[MESSAGES] = pa.array(
                [one.messages and _legal(one.messages) for one in given], pa.string()
            )
            columns[TOOLS] = pa.array([one.tools and _legal(one.tools) for one in given], pa.string())
        table = pa.table(columns)
        if not self.cleaned and self.mask is None:
            return table
        from offramp.curate.traffic import as_served

        if self.cleaned:
            return as_served(table, self.boilerplate, self.mask)
        for name in self.task.inputs:
            column = _rows.FIELD + name
            texts = [
                self.mask(text, row)  # type: ignore[misc]
                for text, row in zip(_rows.field(table, name), _rows.ids(table), strict=True)
            ]
            table = table.set_column(table.column_names.index(column), column, pa.array(texts, pa.string()))
        return table

    def _of_text(self, text: str) -> dict[str, str]:
        from offramp.ingest.mapping import fields_said

        found = fields_said(text, self.task.inputs)
        if found is None:
            names = ", ".join(self.task.inputs)
            raise Refusal(
                400,
                f"the fields {names} were expected in the last user message, as a JSON object or as `name: value` "
                f'lines, or in `"{EXTENSION}": {{"inputs": {{...}}}}`; found none of them',
                param="messages",
            )
        return found

    def _of_log(self, text: str, messages: Sequence[Message], body: Mapping[str, Any]) -> dict[str, str]:
        if not set(self.task.inputs) & set(LOGGED) and "metadata" not in body:
            return self._of_text(text)
        made = {"prompt": text, "transcript": transcript(messages)} | {
            name: _text(value) for name, value in _object(body.get("metadata"), "metadata").items()
        }
        return {name: made.get(name, "") for name in self.task.inputs}

    def _named(self, values: Mapping[str, Any]) -> dict[str, str]:
        if unknown := sorted(set(values) - set(self.task.inputs)):
            raise Refusal(
                400,
                f"the fields are {', '.join(self.task.inputs)}; found {unknown[0]!r}",
                param=f"{EXTENSION}.inputs",
            )
        return {name: _text(values.get(name)) for name in self.task.inputs}


def _object(value: Any, param: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Refusal(400, f"an object was expected in `{param}`; found {type(value).__name__}", param=param)
    return value


def _text(value: Any) -> str:
    """Write a value as ingest writes a cell."""
    from offramp.ingest.mapping import text_of

    return text_of(value)


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _legal(text: str) -> str:
    """Replace lone surrogates, which a table cannot hold, as ingest does."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
