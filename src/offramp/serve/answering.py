"""One candidate, ready: questions in, what the model says out.

Classifiers and models that write text stand behind the same two methods. Guarantee: what is told is the answer of
`Model.answer` on the row that the request was read as; a form, a stop text or a limit only shorten or wrap it.
Trap: everything here runs on the models' thread, one batch at a time.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from offramp.models.base import Classifier, Model
from offramp.models.chat import conversations, json_of, tools_of
from offramp.serve.gate import Gate
from offramp.serve.inputs import Reader
from offramp.serve.near import Near
from offramp.serve.questions import Form, Question
from offramp.serve.replies import Told, chosen, cut_at, written

if TYPE_CHECKING:
    from offramp.models.decoder import DecoderModel


@dataclass(frozen=True)
class Served:
    """A loaded candidate."""

    name: str
    """Name under which requests ask for it."""
    candidate: str
    """Its id."""
    model: Model = field(repr=False)
    """What answers."""
    reader: Reader = field(repr=False)
    """What finds its inputs in a request."""
    form: Form | None = None
    """How answers of this task are written where a request does not say; `None`: the bare label."""
    near: Near | None = field(default=None, repr=False)
    """What tells how unusual an input is."""

    @property
    def classifies(self) -> bool:
        """True when probabilities over labels are known."""
        return isinstance(self.model, Classifier)

    @property
    def streams(self) -> bool:
        """True when an answer can be told while it is written."""
        decoder = self._decoder
        return decoder is not None and decoder.config.tuned and self.reader.task.kind != "classify"

    def told(self, questions: Sequence[Question]) -> list[Told]:
        """Answer all questions in one call of the model, same order."""
        table = self.reader.rows([question.given for question in questions])
        unusual: list[float | None] = [None] * len(questions)
        if self.near is not None:
            unusual = [*self.near.shares(table)]
        read = self._tokens_read(table)
        if isinstance(self.model, Classifier):
            found = self._labels(self.model, table, questions)
        else:
            found = self._texts(table, questions)
        return [
            Told(**{**one, "input_tokens": tokens, "ood": far})
            for one, tokens, far in zip(found, read, unusual, strict=True)
        ]

    def stream(self, question: Question) -> Iterator[str | Told]:
        """Answer one question piece by piece; the last thing told is the end, its text empty.

        Raises:
            DataError: the conversation does not fit the model.
        """
        decoder = self._decoder
        assert decoder is not None
        table = self.reader.rows([question.given])
        messages = conversations(table, instruction=decoder.config.instruction)[0]
        ask = decoder.ask(messages, tools=tools_of(table)[0])
        gate, count, finish = Gate(question.stop, calls=self.reader.task.kind == "chat"), 0, "stop"
        for _, text in decoder.generator.stream(ask):
            count += 1
            if piece := gate.add(text):
                yield piece
            if gate.closed:
                break
            if count >= (question.max_tokens or ask.max_tokens):
                finish = "length"
                break
        rest, calls = gate.end()
        if rest:
            yield rest
        yield Told("", None, None, None, len(ask.ids), count, "tool_calls" if calls else finish, calls)

    @property
    def _decoder(self) -> "DecoderModel | None":
        from offramp.models.decoder import DecoderModel

        return self.model if isinstance(self.model, DecoderModel) else None

    def _labels(
        self, model: Classifier, table: pa.Table, questions: Sequence[Question]
    ) -> list[dict[str, Any]]:
        found = []
        for chances, question in zip(model.probabilities(table), questions, strict=True):
            best, alternatives = chosen(model.labels, chances, question)
            sure = float(chances[best])
            text = cut_at(written(model.labels[best], sure, question.form), question.stop)
            found.append({"text": text, "confidence": sure, "alternatives": alternatives})
        return found

    def _texts(self, table: pa.Table, questions: Sequence[Question]) -> list[dict[str, Any]]:
        answers = self.model.answer(table).to_pylist()
        return [self._text(answer, question) for answer, question in zip(answers, questions, strict=True)]

    def _text(self, answer: dict[str, Any], question: Question) -> dict[str, Any]:
        text, sure = answer["text"], answer["confidence"]
        if text is None:
            return {"text": None, "error": answer["error"] or "the model gave no answer", "confidence": sure}
        message = json_of(text) if self.reader.task.kind == "chat" and text.startswith("{") else None
        if isinstance(message, dict) and message.get("tool_calls"):
            calls = tuple(with_id(call) for call in message["tool_calls"])
            said = {"text": message.get("content"), "tool_calls": calls, "finish": "tool_calls"}
            return {**said, "confidence": sure, "output_tokens": self._count(text)}
        if self.reader.task.kind == "classify":
            allowed = question.form.labels if question.form else None
            if allowed is not None and text not in allowed:
                return {"text": None, "error": f"the answer {text!r} is not in the enum of the schema"}
            text = written(text, sure, question.form)
        text, finish, count = self._shortened(cut_at(text, question.stop), question.max_tokens)
        return {"text": text, "confidence": sure, "finish": finish, "output_tokens": count}

    def _shortened(self, text: str, longest: int | None) -> tuple[str, str, int]:
        """Cut a text to so many tokens; a greedy answer is the beginning of the longer one."""
        count = self._count(text)
        decoder = self._decoder
        if longest is None or count <= longest or decoder is None or self.reader.task.kind == "classify":
            return text, "stop", count
        tokenizer = decoder.generator.renderer.tokenizer
        ids = tokenizer(text, add_special_tokens=False).input_ids[:longest]
        return tokenizer.decode(ids), "length", longest

    def _count(self, text: str) -> int:
        decoder = self._decoder
        if decoder is None:
            return max(len(text.split()), 1)
        return len(decoder.generator.renderer.tokenizer(text, add_special_tokens=False).input_ids)

    def _tokens_read(self, table: pa.Table) -> list[int]:
        """Count what is read: by the tokenizer of an encoder or decoder, else words."""
        from offramp.models.encoder import EncoderModel, tokenize

        if isinstance(self.model, EncoderModel):
            counted = tokenize(self.model.backbone, table, max_tokens=self.model.config["max_tokens"])
            lengths: list[int] = counted.lengths.tolist()
            return lengths
        from offramp import rows as _rows

        decoder = self._decoder
        if decoder is None:
            return [len(text.split()) for text in _rows.texts(table)]
        if decoder.asker is not None:
            talks = [asked.messages for asked in decoder.asker.ask(table)]
        else:
            talks = list(conversations(table, instruction=decoder.config.instruction))
        # Where a conversation is cut to fit, what it had before is counted, as it was sent.
        render = decoder.generator.renderer.prompt
        return [
            _length(lambda talk=talk, tools=tools: render(talk, tools=tools))
            for talk, tools in zip(talks, tools_of(table), strict=True)
        ]


def with_id(call: Any) -> dict[str, Any]:
    """Return a tool call with an id, which a model does not write."""
    return {"id": f"call_{uuid.uuid4().hex[:24]}", **call}


def _length(render: Any) -> int:
    from offramp.errors import DataError

    try:
        return len(render())
    except DataError:
        return 0
