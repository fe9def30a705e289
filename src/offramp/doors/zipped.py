"""Read the JSON members of a zip archive that somebody else made, with bounds on what it may unpack to.

Inspect writes its `.eval` archives with Zstandard (method 93), which Python's zipfile cannot read before 3.14; Arrow
brings the decoder along. Nothing is ever written to disk, and a member that is larger, longer or other than the
archive's directory says is refused.

Source: PKWARE APPNOTE.TXT 6.3.10, sections 4.3.7 (local file header) and 4.4.5 (compression methods).
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator

import pyarrow as pa

from offramp.errors import DataError

MAX_MEMBER_BYTES = 2**28
MAX_TOTAL_BYTES = 2**32
_ZSTD = 93
_HEADER = struct.Struct("<4s5H3I2H")


class Archive:
    """The members of a zip archive."""

    def __init__(self, raw: bytes, name: str) -> None:
        """Open an archive given as bytes.

        Raises:
            DataError: no zip archive, or it would unpack to more than 4 GiB.
        """
        self.name = name
        """For messages."""
        self._raw = raw
        self._total_bytes = 0
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(raw))
        except (zipfile.BadZipFile, ValueError, struct.error, EOFError) as failure:
            raise DataError(f"an archive was expected in {name!r}; it is damaged: {failure}") from failure
        self._members = {info.filename: info for info in self._zip.infolist()}

    def __contains__(self, member: str) -> bool:
        """Say whether there is such a member."""
        return member in self._members

    def names(self, start: str, end: str) -> Iterator[str]:
        """Yield the members whose names start and end so, in the order of the archive."""
        return (name for name in self._members if name.startswith(start) and name.endswith(end))

    def read(self, member: str) -> bytes:
        """Return what a member holds.

        Raises:
            DataError: damaged, encrypted, too large, or compressed in an unknown way.
        """
        info = self._members[member]
        self._total_bytes += info.file_size
        if info.file_size > MAX_MEMBER_BYTES or self._total_bytes > MAX_TOTAL_BYTES:
            raise DataError(
                f"{member!r} in {self.name!r} unpacks to {info.file_size} bytes; up to {MAX_MEMBER_BYTES} each and "
                f"{MAX_TOTAL_BYTES} in all are read"
            )
        try:
            data = self._zstd(info) if info.compress_type == _ZSTD else self._zip.read(info)
        except (
            zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, struct.error, EOFError, zlib.error,
            OSError, pa.ArrowException,
        ) as failure:  # fmt: skip
            raise DataError(f"{member!r} in {self.name!r} cannot be unpacked: {failure}") from failure
        if zlib.crc32(data) != info.CRC:
            raise DataError(f"{member!r} in {self.name!r} is damaged: its checksum does not match")
        return data

    def _zstd(self, info: zipfile.ZipInfo) -> bytes:
        if info.flag_bits & 1:
            raise ValueError("it is encrypted")
        head = self._raw[info.header_offset : info.header_offset + _HEADER.size]
        mark, *_, name_bytes, extra_bytes = _HEADER.unpack(head)
        if mark != b"PK\x03\x04":
            raise ValueError("its local header is missing")
        start = info.header_offset + _HEADER.size + name_bytes + extra_bytes
        packed = self._raw[start : start + info.compress_size]
        if not info.file_size:
            return b""
        data: bytes = pa.decompress(packed, decompressed_size=info.file_size, codec="zstd", asbytes=True)
        return data
