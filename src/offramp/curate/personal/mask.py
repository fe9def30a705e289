"""Put typed, consistent placeholders in the place of personal data, at capture time or in a data set.

`[PERSON_1]` is one person within a conversation, also when only the first name follows the full one. What a redactor
remembers to stay consistent are salted digests, never values. Values live in one place only: a vault, a JSON-lines
file that only its owner may read, kept apart from the data; without a vault a redaction cannot be taken back.
A plain file and not a cipher of our own: whoever needs it encrypted keeps it where the disk is.

Guarantee: threads may share a redactor. Text that already looks like a placeholder is masked too, so that `restore`
puts nothing where it was not. Trap: two people of one conversation who share a first name become one when only that
name is said; and a redactor that has forgotten a conversation (`REMEMBERED`) counts from 1 again.
"""

import hashlib
import hmac
import json
import os
import re
import secrets
import threading
import unicodedata
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from offramp.curate.personal import patterns
from offramp.curate.personal.spans import Span, merged
from offramp.curate.personal.synthetic import PERSON
from offramp.errors import ConfigError, MismatchError, NotFoundError

if TYPE_CHECKING:
    from offramp.curate.personal.tagger import Tagger

REMEMBERED = 10_000
"""Conversations whose numbers a redactor keeps."""
THRESHOLD = 0.2
"""From which chance on a word is a name or a place. Source: chosen on half of the templates of presidio_pii and on
the training part of MTS-Dialog, see `bench/_curate_personal.py`."""
_SALT_BYTES = 16
_PLACEHOLDER = re.compile(r"\[[A-Z][A-Z_]{1,40}_\d{1,9}\]")
_LITERAL = "LITERAL"


@dataclass(frozen=True)
class Redacted:
    """A text without its personal data."""

    text: str
    """The text with placeholders."""
    spans: tuple[Span, ...]
    """What was replaced, as places in the text before."""
    values: tuple[tuple[str, str], ...] = field(repr=False)
    """(placeholder, value) in order; only in memory and in a vault."""

    @property
    def counts(self) -> dict[str, int]:
        """How many spans of each type were replaced; says nothing about who."""
        return dict(sorted(Counter(span.type for span in self.spans).items()))


class Vault:
    """The key to redactions: a file that only its owner may read. Whoever has it can restore; keep it elsewhere."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        if path.exists() and path.stat().st_mode & 0o077:
            raise ConfigError(
                f"a vault that only its owner can read was expected; {str(path)!r} has mode "
                f"{path.stat().st_mode & 0o777:o}: run `chmod 600` on it"
            )

    def write(self, conversation: str, redacted: Redacted) -> None:
        """Append what one redaction took out."""
        if not redacted.values:
            return
        said = {"conversation": conversation, "text": _fingerprint(redacted.text), "values": redacted.values}
        line = json.dumps(said) + "\n"
        with self._lock, open(self._path, "a", encoding="utf-8", opener=_private) as stream:
            stream.write(line)

    def read(self, conversation: str) -> Iterator[dict[str, Any]]:
        """Yield what was taken out of one conversation, oldest first.

        Raises:
            NotFoundError: there is no such file.
            MismatchError: a line is not one of a vault.
        """
        if not self._path.exists():
            raise NotFoundError(
                f"a vault was expected in {str(self._path)!r}; restore with the one written at redaction"
            )
        with self._path.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream, 1):
                try:
                    said = json.loads(line)
                    if said["conversation"] == conversation:
                        said["values"] = [(str(a), str(b)) for a, b in said["values"]]
                        yield said
                except (ValueError, KeyError, TypeError) as error:
                    raise MismatchError(
                        f"line {number} of {str(self._path)!r} is none of a vault: {line[:40]!r}; take it out"
                    ) from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


class Redactor:
    """Finds personal data and replaces it; one for a whole process."""

    def __init__(
        self,
        tagger: "Tagger | None",
        *,
        types: Iterable[str] | None = None,
        threshold: float = THRESHOLD,
        salt: bytes | None = None,
        surrogate: Callable[[str, str, int], str] | None = None,
        vault: Vault | None = None,
    ) -> None:
        """Take a tagger, or none for data that has a form only.

        `types` limits what is replaced; `salt` (16 bytes or more) makes surrogates the same in another process;
        `surrogate` (such as `surrogates.surrogate`) gives false values in place of placeholders.

        Raises:
            ConfigError: the salt is shorter than 16 bytes.
        """
        if salt is not None and len(salt) < _SALT_BYTES:
            raise ConfigError(f"a salt of at least {_SALT_BYTES} bytes was expected; found {len(salt)} bytes")
        self._tagger, self._threshold, self._vault, self._surrogate = tagger, threshold, vault, surrogate
        self._types = None if types is None else frozenset(types)
        self._salt = salt or secrets.token_bytes(_SALT_BYTES)
        self._books: OrderedDict[str, _Book] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, text: str) -> list[Span]:
        """Return what is personal in a text, in order, without overlaps."""
        return self.find_all([text])[0]

    def find_all(self, texts: Sequence[str]) -> list[list[Span]]:
        """Return the spans of many texts; several times faster than one by one."""
        named = self._tagger.find(texts, threshold=self._threshold) if self._tagger else [[] for _ in texts]
        return [
            merged(s for s in [*patterns.find(text), *spans] if self._types is None or s.type in self._types)
            for text, spans in zip(texts, named, strict=True)
        ]

    def redact(self, text: str, *, conversation: str = "") -> Redacted:
        """Replace what is personal; the same person has the same number in all texts of a conversation."""
        return self.replace(text, self.find(text), conversation=conversation)

    def replace(self, text: str, spans: Sequence[Span], *, conversation: str = "") -> Redacted:
        """Replace these spans, which `find` gave for this text."""
        literal = [Span(*m.span(), _LITERAL, 1.0, "placeholder") for m in _PLACEHOLDER.finditer(text)]
        spans = merged([*spans, *literal])
        parts, values, at = [], [], 0
        with self._lock:
            book = self._book(conversation)
            names = [book.number(span.type, text[span.start : span.end]) for span in spans]
        for span, number in zip(spans, names, strict=True):
            value = text[span.start : span.end]
            name = f"[{span.type}_{number}]"
            if self._surrogate and span.type != _LITERAL:
                name = self._surrogate(span.type, value, self._seed(conversation, span.type, number))
            parts += [text[at : span.start], name]
            values.append((name, value))
            at = span.end
        redacted = Redacted("".join([*parts, text[at:]]), tuple(spans), tuple(values))
        if self._vault:
            self._vault.write(conversation, redacted)
        return redacted

    def restore(self, text: str, key: Path, *, conversation: str = "") -> str:
        """Put the values back: exactly in a text that was redacted, by the fullest form of a name in another.

        Raises:
            NotFoundError: `key` is no file.
            ConfigError: others can read it.
            MismatchError: it is no vault.
        """
        said = list(Vault(key).read(conversation))
        same = {tuple(one["values"]) for one in said if one["text"] == _fingerprint(text)}
        order = list(next(iter(same))) if len(same) == 1 else []
        fullest: dict[str, str] = {}
        for name, value in (pair for one in said for pair in one["values"]):
            fullest[name] = max(fullest.get(name, ""), value, key=len)
        if not fullest:
            return text
        pattern = re.compile("|".join(re.escape(name) for name in sorted(fullest, key=len, reverse=True)))

        def back(found: "re.Match[str]") -> str:
            if order and order[0][0] == found[0]:
                return order.pop(0)[1]
            return fullest[found[0]]

        return pattern.sub(back, text)

    def _book(self, conversation: str) -> "_Book":
        book = self._books.pop(conversation, None) or _Book(self._salt)
        self._books[conversation] = book
        while len(self._books) > REMEMBERED:
            self._books.popitem(last=False)
        return book

    def _seed(self, conversation: str, kind: str, number: int) -> int:
        said = f"{conversation}\0{kind}\0{number}".encode("utf-8", "surrogatepass")
        return int.from_bytes(hmac.digest(self._salt, said, "sha256")[:8])


class _Book:
    """Numbers of one conversation, by salted digests of what they stand for."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._known: dict[tuple[str, bytes], int] = {}
        self._people: list[set[bytes]] = []
        self._last: Counter[str] = Counter()

    def number(self, kind: str, value: str) -> int:
        """Return the number of a value; a name that is part of a known one, or has it as a part, is the same."""
        words = _words(value) if kind == PERSON else []
        if words:
            return self._person({self._digest(word) for word in words})
        key = (kind, self._digest(value if kind == _LITERAL else _plain(value)))
        if key not in self._known:
            self._last[kind] += 1
            self._known[key] = self._last[kind]
        return self._known[key]

    def _person(self, words: set[bytes]) -> int:
        for number in range(len(self._people), 0, -1):
            known = self._people[number - 1]
            if words <= known or known <= words:
                known |= words
                return number
        self._people.append(words)
        return len(self._people)

    def _digest(self, text: str) -> bytes:
        return hmac.digest(self._salt, text.encode("utf-8", "surrogatepass"), "sha256")


def _plain(value: str) -> str:
    """Return what makes a value the same: its digits where it has no letters, else its text without case."""
    digits = "".join(c for c in value if c.isdigit())
    return digits if digits and not any(c.isalpha() for c in value) else " ".join(value.casefold().split())


def _words(value: str) -> list[str]:
    """Return the words of a value without case, accents and single letters."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", value) if not unicodedata.combining(c))
    words = re.findall(r"[^\W_]+", plain.casefold())
    return [word for word in words if len(word) > 1 or not word.isalpha()] or words
