"""Answers that cannot be illegal: labels, JSON by a schema, or a regular expression.

A `Grammar` says what may be answered; a `Cursor` walks it beside one answer and tells which tokens may come next.
llguidance does the work; the engine gives every other token no chance.
Guarantee: what was walked to its end is legal. JSON is compact: at most one space, after a comma or a colon, so that
a model cannot fill its answer with whitespace.
Trap: where tokens run out, an answer is closed the shortest way that is known (`Cursor.ending`); legal is not right.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from offramp.errors import ConfigError, boundary

_SPACED = {"whitespace_flexible": False, "item_separator": ",\\x20?", "key_separator": ":\\x20?"}
_KEYWORDS = (
    ("Unknown format", "format"),
    ("Invalid type", "type"),
    ("Pointer", "$ref"),
    ("regex", "pattern"),
)
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$#&\-~/]")
_CLOSERS = ("}", "]", ",", '"', "0", "1", "null", "false", "{", "[")
_RESERVED = 64


@dataclass(frozen=True)
class Grammar:
    """What may be answered."""

    kind: Literal["labels", "schema", "regex"]
    """How it was given."""
    text: str
    """The grammar as llguidance reads it."""
    longest: int | None = None
    """Bytes of the longest legal answer, `None` where there is no longest; a token is at least one byte."""
    reserve: int = _RESERVED
    """Tokens at the end of an answer in which it is made sure that the answer can still be closed."""

    @classmethod
    def of_labels(cls, labels: Sequence[str]) -> "Grammar":
        """Allow exactly these labels, thousands of taxonomy paths included.

        Raises:
            ConfigError: there are none, or one is empty.
        """
        if not labels or not all(labels):
            raise ConfigError(
                f"labels to choose from were asked for; found {len(labels)}, an empty one included"
            )
        found = "|".join(_SPECIAL.sub(r"\\\g<0>", label) for label in sorted(set(labels)))
        longest = max(len(label.encode()) for label in labels)
        return cls("labels", _checked(_matcher().grammar_from_regex(found), "the labels"), longest)

    @classmethod
    def of_schema(cls, schema: Mapping[str, Any]) -> "Grammar":
        """Allow JSON that meets a schema, with properties in the schema's order.

        Raises:
            ConfigError: a keyword that cannot be guaranteed, named in the message.
        """
        with boundary(ConfigError, f"reading the JSON schema {dict(schema)!r}", ValueError, TypeError):
            text = _matcher().grammar_from_json_schema(json.dumps(schema), overrides=_SPACED)
        return cls("schema", _checked(text, "the JSON schema"), reserve=_skeleton(schema, schema, 0))

    @classmethod
    def of_regex(cls, pattern: str) -> "Grammar":
        """Allow what matches a regular expression from end to end (Rust's syntax: no look-around).

        Raises:
            ConfigError: the expression cannot be read.
        """
        return cls("regex", _checked(_matcher().grammar_from_regex(pattern), f"the pattern {pattern!r}"))


class Vocabulary:
    """A tokenizer's tokens as llguidance needs them, with the grammars compiled for it."""

    def __init__(self, tokenizer_json: str, *, size: int, stop_ids: Sequence[int]) -> None:
        """Read a tokenizer's `tokenizer.json`; `size` is the width of the model's logits."""
        from llguidance import LLTokenizer

        with boundary(ConfigError, "reading the tokenizer for constrained answers", Exception):
            self._tokens = LLTokenizer(tokenizer_json, n_vocab=size, eos_token=list(stop_ids))
        self.size = size
        self._compiled: dict[Grammar, Any] = {}
        closers = [self._tokens.greedy_tokenize(text) for text in _CLOSERS]
        self.closers = tuple(ids[0] for ids in closers if len(ids) == 1)
        self.quote, self.letter = (self._tokens.greedy_tokenize(text)[0] for text in ('"', "q"))

    def cursor(self, grammar: Grammar) -> "Cursor":
        """Return a walk at the start of `grammar`.

        Raises:
            ConfigError: the grammar is too large.
        """
        if grammar not in self._compiled:
            found = _matcher()(self._tokens, grammar.text, log_level=0)
            if found.is_error():
                raise ConfigError(
                    f"compiling {grammar.kind} for constrained answers: {found.get_error()[:300]}"
                )
            self._compiled[grammar] = found
        return Cursor(self, self._compiled[grammar].deep_copy())


class Cursor:
    """One answer's walk through a grammar."""

    def __init__(self, vocabulary: Vocabulary, matcher: Any) -> None:
        """Walk with `matcher`, which nobody else uses."""
        self._vocabulary = vocabulary
        self._matcher = matcher

    @property
    def ended(self) -> bool:
        """True when nothing but the end can follow."""
        return bool(self._matcher.is_stopped())

    @property
    def complete(self) -> bool:
        """True when the answer so far is legal as it is."""
        return bool(self._matcher.is_accepting())

    def allowed(self) -> np.ndarray:
        """Return which tokens may come next, bool (vocabulary,); stop tokens where the answer may end."""
        return _bits(self._matcher, self._vocabulary.size)

    def take(self, token: int) -> None:
        """Walk on with an allowed token.

        Raises:
            ConfigError: the grammar became too complex on the way.
        """
        if not self._matcher.consume_token(token):
            raise ConfigError(f"a constrained answer could not go on: {self._matcher.get_error()[:300]}")

    def back(self) -> None:
        """Undo the last token."""
        self._matcher.rollback(1)

    def ending(self, limit: int) -> list[int] | None:
        """Return at most `limit` tokens that make the answer legal, a short way; `None` when none is found."""
        trial = self._matcher.deep_copy()
        said: list[int] = []
        while not trial.is_accepting():
            forced = trial.compute_ff_tokens() or [self._shortest(trial)]
            said += forced
            if len(said) > limit or not trial.consume_tokens(forced):
                return None
        return said

    def _shortest(self, matcher: Any) -> int:
        """Return the token that leads to the end soonest: a quote inside a string, else a closing bracket."""
        allowed, words = _bits(matcher, self._vocabulary.size), self._vocabulary
        if allowed[words.letter] and allowed[words.quote]:
            return words.quote
        closing = [token for token in words.closers if allowed[token]]
        return closing[0] if closing and not allowed[words.letter] else int(allowed.argmax())


def schema_of(targets: Sequence[str]) -> dict[str, Any] | None:
    """Return a JSON schema that all these answers meet, `None` unless each is a JSON object.

    A field is required when every answer has it, and other fields are not allowed.
    """
    with_values: list[Any] = []
    for text in targets:
        try:
            with_values.append(json.loads(text))
        except (ValueError, RecursionError):
            return None
    if not with_values or not all(isinstance(value, dict) for value in with_values):
        return None
    return _schema(with_values)


def _schema(values: Sequence[Any]) -> dict[str, Any]:
    kinds = sorted({_kind(value) for value in values})
    if "number" in kinds and "integer" in kinds:
        kinds.remove("integer")
    found: dict[str, Any] = {"type": kinds[0] if len(kinds) == 1 else kinds} if kinds else {}
    objects = [value for value in values if isinstance(value, dict)]
    if objects:
        names = list(dict.fromkeys(name for value in objects for name in value))
        found["properties"] = {name: _schema([v[name] for v in objects if name in v]) for name in names}
        found["required"] = [name for name in names if all(name in value for value in objects)]
        found["additionalProperties"] = False
    items = [item for value in values if isinstance(value, list) for item in value]
    return found | ({"items": _schema(items)} if items else {})


def _kind(value: Any) -> str:
    kinds = ((bool, "boolean"), (dict, "object"), (list, "array"), (str, "string"), (int, "integer"))
    found = next((name for kind, name in kinds if isinstance(value, kind)), None)
    return found or ("number" if isinstance(value, float) else "null")


def _skeleton(schema: Any, root: Mapping[str, Any], depth: int) -> int:
    """Return how many bytes the shortest answer takes about, each nested object once: what closing may need."""
    if not isinstance(schema, Mapping) or depth > 8:
        return 8
    inner = [part for name in ("anyOf", "oneOf", "allOf", "prefixItems") for part in schema.get(name, ())]
    inner += [schema["items"]] if "items" in schema else []
    reference = str(schema.get("$ref", ""))
    inner += [part for part in [_pointed(root, reference)] if reference and part is not None]
    named = schema.get("properties", {})
    shortest = min((len(json.dumps(value)) for value in schema.get("enum", ())), default=0)
    return (
        8
        + int(schema.get("minLength", 0))
        + max(shortest, len(json.dumps(schema.get("const", ""))))
        + sum(len(json.dumps(name)) + 3 + _skeleton(part, root, depth + 1) for name, part in named.items())
        + sum(_skeleton(part, root, depth + 1) for part in inner) * max(1, int(schema.get("minItems", 1)))
    )


def _pointed(root: Mapping[str, Any], reference: str) -> Any:
    found: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _matcher() -> Any:
    with boundary(ConfigError, "constrained answers need llguidance: pip install llguidance", ImportError):
        from llguidance import LLMatcher

        return LLMatcher


def _checked(text: str, what: str) -> str:
    failed, messages = _matcher().validate_grammar_with_warnings(text)
    if failed:
        said = messages[0]
        named = re.findall(r'"([^"]+)"', said) if said.startswith("Unimplemented") else []
        named = named or [word for hint, word in _KEYWORDS if hint in said]
        keyword = f"keyword `{named[0]}`: " if named and what == "the JSON schema" else ""
        raise ConfigError(
            f"{what} cannot be guaranteed in answers: {keyword}{said[:300]}; take it out or say it in another way"
        )
    return text


def _bits(matcher: Any, size: int) -> np.ndarray:
    packed = np.frombuffer(matcher.compute_bitmask(), np.uint8)
    found = np.zeros(size, bool)
    bits = np.unpackbits(packed, bitorder="little")[:size]
    found[: len(bits)] = bits
    return found
