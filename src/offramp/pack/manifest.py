"""What a pack says about itself: every file with size, checksum and SHA-256, in the order they lie in the zip.

Guarantee: from the manifest alone follows where each byte of the pack's zip must lie and what its zip headers must
hold, so no byte of the file is outside of what is checked. The manifest's own SHA-256 stands in the zip comment.
Trap: whoever can write the pack can write both; only a SHA-256 that reached you on another way proves who wrote it.
"""

import re
from typing import Any

from pydantic import Field, ValidationError, model_validator

from offramp.errors import DataError
from offramp.types import Frozen, canonical_json

FORMAT = 1
"""Raised when a reader of older packs would misread a new one."""
NAME = "manifest.json"
"""The manifest's own name; always the first file."""
COMMENT = "offramp-pack 1 sha256:"
"""The zip comment is this and the manifest's SHA-256 in hexadecimal digits."""
MAX_BYTES = 1 << 30
"""Largest pack, packed and unpacked, that is written or read: 1 GiB."""
MAX_FILES = 20_000
"""Most files in a pack; a zip without extensions holds 65,535."""

_PART = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
_SAFE = re.compile(rf"{_PART}(/{_PART}){{0,3}}")


def safe(name: str) -> bool:
    """Say whether a file name may stand in a pack: relative, plain ASCII, no part that starts with a dot."""
    return _SAFE.fullmatch(name) is not None


class FileEntry(Frozen):
    """One file of the pack."""

    name: str
    """Path inside the pack."""
    size_bytes: int = Field(ge=0, le=MAX_BYTES)
    """Bytes of its content."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of its content."""
    crc32: int = Field(ge=0, lt=1 << 32)
    """The checksum that its zip headers must hold."""


class Manifest(Frozen):
    """Every file of a pack but the manifest, and what made it."""

    format: int
    """Version of the pack format."""
    offramp: str = Field(pattern=r"^[ -~]{1,40}$")
    """Version of Offramp that wrote the pack."""
    texts: bool
    """False when the inputs of the rows were left out."""
    files: tuple[FileEntry, ...] = Field(max_length=MAX_FILES)
    """Every other file, sorted by name."""

    @model_validator(mode="after")
    def _plain(self) -> "Manifest":
        names = [file.name for file in self.files]
        unsafe = [name for name in names if not safe(name) or name == NAME]
        if unsafe or names != sorted(set(names)):
            raise ValueError(f"names must be plain, sorted and different; found {unsafe[:3]!r}")
        if sum(file.size_bytes for file in self.files) > MAX_BYTES:
            raise ValueError(f"a pack holds {MAX_BYTES:,} bytes at most")
        return self

    def content(self) -> bytes:
        """Return the bytes of `manifest.json`: one line of ASCII, so that its end is found in a damaged pack."""
        return canonical_json(self.model_dump(mode="json")).encode("ascii") + b"\n"

    @classmethod
    def read(cls, content: bytes) -> "Manifest":
        """Read `manifest.json`.

        Raises:
            DataError: it is no manifest, or of a newer format.
        """
        try:
            found = cls.model_validate_json(content)
        except (ValidationError, RecursionError) as failure:
            raise DataError(
                f"{NAME} of the pack was to be read; it is no manifest: {_first(failure)}; get the pack again"
            ) from None
        if found.format != FORMAT:
            raise DataError(
                f"a pack of format {FORMAT} was expected; this one has format {found.format}, written by Offramp "
                f"{found.offramp}; verify it with that version"
            )
        return found


def _first(failure: Any) -> str:
    return failure.errors()[0]["msg"] if isinstance(failure, ValidationError) else type(failure).__name__
