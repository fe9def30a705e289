"""Read text files of unknown encoding line by line, never failing on a stray byte.

UTF-8 is tried first; bytes that are not UTF-8 are read as Windows-1252, run by run, so that a file with mixed
encodings keeps every line that was right. The trap: binary files also decode somehow, so the head is looked at
first and anything that is not text is refused by name. Gzip is unpacked while reading.
"""

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TextIO, cast

from offramp.errors import DataError, boundary

_HEAD_BYTES = 65_536
_CONTROL_LIMIT_RATIO = 0.005
_MAGIC = {
    b"PK\x03\x04": "a zip archive (or Excel workbook)",
    b"PAR1": "a Parquet file",
    b"%PDF": "a PDF document",
    b"SQLite format 3": "an SQLite database",
    b"ARROW1": "an Arrow file",
    b"\xd0\xcf\x11\xe0": "an old Office document",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"BZh": "a bzip2 file",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
}
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_GZIP = b"\x1f\x8b"
_ESCAPED = re.compile("[\udc80-\udcff]+")
_CONTROLS = bytes(c for c in range(32) if c not in b"\t\n\r\f\x1b")


class TextLines:
    """Physical lines of a text file, with their line ends; counts what had to be repaired."""

    def __init__(self, path: Path, encoding: str) -> None:
        """Keep the path; the file is opened when iterated."""
        self.path = path
        self.encoding = encoding
        """What Python decodes the file with."""
        self.repaired = 0
        """Lines that held bytes of another encoding."""

    def __iter__(self) -> Iterator[str]:
        """Yield each line; UTF-16 damage becomes U+FFFD, other stray bytes are read as Windows-1252."""
        with _reading(self.path), self._open() as stream:
            for line in stream:
                yield line if line.isascii() else self._repair(line)

    def chunks(self, size: int) -> Iterator[str]:
        """Yield the text in parts of at most `size` characters, for files that may be one long line."""
        with _reading(self.path), self._open() as stream:
            while part := stream.read(size):
                yield part if part.isascii() else self._repair(part)

    def notes(self) -> list[str]:
        """Say what was repaired, after iterating."""
        found = []
        if self.encoding.startswith("utf-16"):
            found.append("the file is UTF-16")
        if self.repaired:
            found.append(f"{self.repaired} lines are not UTF-8 and were read as Windows-1252")
        return found

    def _open(self) -> TextIO:
        errors = "replace" if self.encoding.startswith("utf-16") else "surrogateescape"
        return io.TextIOWrapper(unpacked(self.path), encoding=self.encoding, errors=errors, newline="")

    def _repair(self, line: str) -> str:
        fixed = _ESCAPED.sub(_as_windows_1252, line)
        if fixed != line:
            self.repaired += 1
        return fixed


def open_text(path: Path) -> TextLines:
    """Look at the head of `path` and choose how to decode it.

    Raises:
        DataError: the file is missing, a folder, empty, or not text; the message names what was found.
    """
    head = head_of(path)
    for bom, encoding in _BOMS:
        if head.startswith(bom):
            return TextLines(path, encoding)
    encoding = _utf16_without_bom(head)
    if encoding:
        return TextLines(path, encoding)
    controls = sum(head.count(bytes([c])) for c in _CONTROLS)
    if head[:4096].count(b"\x00") or controls > _CONTROL_LIMIT_RATIO * len(head):
        raise DataError(
            f"a text file was expected; {str(path)!r} is binary ({controls} control bytes in the first {len(head)}). "
            "Export the data as CSV, JSONL or Parquet"
        )
    return TextLines(path, "utf-8")


def head_of(path: Path) -> bytes:
    """Return the first bytes of a file that is there and holds something.

    Raises:
        DataError: no such file, a folder, unreadable, empty, or a known binary format.
    """
    if not path.exists():
        raise DataError(f"the data file {str(path)!r} does not exist; check the path")
    if path.is_dir():
        raise DataError(f"a file was expected; {str(path)!r} is a folder")
    with _reading(path), unpacked(path) as stream:
        head = stream.read(_HEAD_BYTES)
    if not head.strip():
        raise DataError(f"the data file {str(path)!r} is empty")
    for magic, name in _MAGIC.items():
        if head.startswith(magic):
            raise DataError(
                f"a text file was expected; {str(path)!r} is {name}. Unpack it, or export CSV, JSONL or Parquet"
            )
    return head


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    damaged = f"{str(path)!r} is a gzip file that is cut off or damaged"
    with (
        boundary(DataError, f"{str(path)!r} could not be read"),
        boundary(DataError, damaged, EOFError, zlib.error, gzip.BadGzipFile),
    ):
        yield


def unpacked(path: Path) -> IO[bytes]:
    """Open a file for reading bytes, unpacked when it is gzip."""
    with path.open("rb") as stream:
        packed = stream.read(2) == _GZIP
    return cast(IO[bytes], gzip.open(path, "rb")) if packed else path.open("rb")


def _utf16_without_bom(head: bytes) -> str:
    even, odd = head[0::2], head[1::2]
    if len(head) < 4:
        return ""
    if odd.count(0) > 0.4 * len(odd) and even.count(0) < 0.05 * len(even):
        return "utf-16-le"
    if even.count(0) > 0.4 * len(even) and odd.count(0) < 0.05 * len(odd):
        return "utf-16-be"
    return ""


def _as_windows_1252(match: re.Match[str]) -> str:
    raw = match.group().encode("utf-8", "surrogateescape")
    return "".join(_one_byte(b) for b in raw)


def _one_byte(value: int) -> str:
    # Five byte values are undefined in Windows-1252; Latin-1 defines all.
    try:
        return bytes([value]).decode("cp1252")
    except UnicodeDecodeError:
        return bytes([value]).decode("latin-1")
