"""The pack's zip, written so plainly that every byte of it follows from its manifest and its files.

Nothing is compressed (tables are Parquet, which is), no field is left to chance: fixed times, sorted names, the
manifest first. So reading never inflates anything, any zip program opens a pack, and a changed byte is found wherever
it lies: in a file, in a header before it, in the directory behind them, or in the comment.
Trap: a pack that another program unpacked and zipped again has other headers; its files are still read, by name and
within limits, and the pack is reported as written again.
"""

import hashlib
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from offramp.errors import DataError
from offramp.pack.manifest import COMMENT, MAX_BYTES, MAX_FILES, NAME, FileEntry, Manifest, safe

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION, _DATE, _MODE = 20, 0x21, 0o100644 << 16  # zip 2.0; 1980-01-01, the earliest; a plain file
_FIRST = _LOCAL.size + len(NAME)
_TAIL = len(COMMENT) + 64


@dataclass(frozen=True)
class Fault:
    """Something that is not as it was written."""

    file: str
    """The file it lies in; empty for the zip's own records."""
    found: str
    """What is wrong with it."""
    content: bool = True
    """False when only the zip's own bytes are concerned and the file's content is as it was."""


@dataclass(frozen=True)
class Contents:
    """What a pack holds, and what is wrong with it as a file."""

    sha256: str
    """SHA-256 of the manifest as it lies in the pack; empty when there is none."""
    manifest: Manifest | None
    """The manifest; `None` when it cannot be read."""
    files: Mapping[str, bytes]
    """Content by name, the manifest left out; damaged files are here too."""
    faults: tuple[Fault, ...] = field(default=())
    """Everything that differs from what was written."""


def entry(name: str, content: bytes) -> FileEntry:
    """Describe a file for the manifest."""
    digest = hashlib.sha256(content).hexdigest()
    return FileEntry(name=name, size_bytes=len(content), sha256=digest, crc32=zlib.crc32(content))


def write(manifest: Manifest, files: Mapping[str, bytes]) -> tuple[bytes, str]:
    """Return the bytes of a pack and the SHA-256 of its manifest.

    Raises:
        DataError: the pack would be larger than `MAX_BYTES`.
    """
    content = manifest.content()
    digest = hashlib.sha256(content).hexdigest()
    contents = {NAME: content, **files}
    parts = [part for _, kind, part in _layout(manifest, content, digest) if kind != "content"]
    # Headers stand before the files they belong to; the directory and the end come behind all.
    heads, tail = parts[: len(contents)], parts[len(contents) :]
    names = [NAME, *(file.name for file in manifest.files)]
    data = b"".join(part for head, name in zip(heads, names, strict=True) for part in (head, contents[name]))
    data += b"".join(tail)
    if len(data) > MAX_BYTES:
        raise DataError(
            f"a pack of at most {MAX_BYTES:,} bytes was expected; this one has {len(data):,}; leave the texts out"
        )
    return data, digest


def _layout(manifest: Manifest, content: bytes, digest: str) -> Iterator[tuple[str, str, bytes]]:
    """Yield (file, kind, bytes) of the zip from its first byte to its last; contents of files are left empty."""
    entries = (entry(NAME, content), *manifest.files)
    offset, directory = 0, []
    for file in entries:
        name = file.name.encode()
        same = (0, 0, 0, _DATE, file.crc32, file.size_bytes, file.size_bytes, len(name), 0)
        head = _LOCAL.pack(b"PK\3\4", _VERSION, *same) + name
        yield file.name, "header", head
        yield file.name, "content", b""
        made_by = 3 << 8 | _VERSION
        central = _CENTRAL.pack(b"PK\1\2", made_by, _VERSION, *same, 0, 0, 0, _MODE, offset) + name
        directory.append((file.name, central))
        offset += len(head) + file.size_bytes
    size = 0
    for name_, central in directory:
        yield name_, "entry", central
        size += len(central)
    comment = (COMMENT + digest).encode()
    count = len(entries)
    yield "", "end", _END.pack(b"PK\5\6", 0, 0, count, count, size, offset, len(comment)) + comment


def read(data: bytes) -> Contents:
    """Read a pack and say where its bytes are not as they were written.

    Raises:
        DataError: it is no zip, or too damaged to find any file in it.
    """
    if len(data) > MAX_BYTES:
        raise DataError(f"a pack of at most {MAX_BYTES:,} bytes was expected; found {len(data):,} bytes")
    wanted = _wanted(data)
    content = _manifest_bytes(data, wanted)
    if content is None:
        return _read_any(data, wanted)
    digest = hashlib.sha256(content).hexdigest()
    trusted = digest == wanted
    # With a damaged comment the manifest's own checksum says which of the two was changed.
    by_checksum = not trusted and _checksum_holds(data, content) and (wanted is None or _near(wanted, digest))
    if not (trusted or by_checksum):
        return _read_any(data, wanted)
    manifest = Manifest.read(content)
    size = sum(len(part) for _, _, part in _layout(manifest, content, digest))
    if len(data) != size + len(content) + sum(file.size_bytes for file in manifest.files):
        return _read_any(data, wanted)
    files, faults = _compare(data, manifest, content, digest)
    return Contents(digest, manifest, files, faults)


def _compare(
    data: bytes, manifest: Manifest, content: bytes, digest: str
) -> tuple[dict[str, bytes], tuple[Fault, ...]]:
    """Compare each byte with what follows from the manifest; the lengths agree."""
    entries = {NAME: entry(NAME, content)} | {file.name: file for file in manifest.files}
    files, faults, at = {}, [], 0
    for name, kind, part in _layout(manifest, content, digest):
        length = entries[name].size_bytes if kind == "content" else len(part)
        found, at = data[at : at + length], at + length
        if kind == "content":
            files[name] = found
            if hashlib.sha256(found).hexdigest() != entries[name].sha256:
                faults.append(Fault(name, "its content was changed"))
        elif found != part:
            where = {"header": "its zip header", "entry": "its entry in the zip directory"}
            what = where.get(kind, "the zip's last record or comment")
            faults.append(Fault(name, f"{what} was changed", content=False))
    return {name: found for name, found in files.items() if name != NAME}, tuple(faults)


def _manifest_bytes(data: bytes, wanted: str | None) -> bytes | None:
    """Return the manifest of a pack in its own layout: as long as its header says, else up to the first newline."""
    if len(data) < _FIRST:
        return None
    end = data.find(b"\n", _FIRST) + 1
    ends = (_FIRST + _LOCAL.unpack_from(data)[8], end)
    by_digest = (data[_FIRST:at] for at in ends if hashlib.sha256(data[_FIRST:at]).hexdigest() == wanted)
    return next(by_digest, data[_FIRST:end] if end else None)


def _wanted(data: bytes) -> str | None:
    """Return the SHA-256 that the comment holds, `None` when it is no comment of a pack."""
    found = re.fullmatch(re.escape(COMMENT.encode()) + rb"([0-9a-f]{64})", data[-_TAIL:])
    return found[1].decode() if found else None


def _near(one: str, other: str) -> bool:
    """Say whether two digests differ as if a byte had been damaged, and not as those of two manifests do."""
    return sum(a != b for a, b in zip(one, other, strict=True)) <= 4


def _checksum_holds(data: bytes, content: bytes) -> bool:
    return len(data) > _LOCAL.size and _LOCAL.unpack_from(data)[6] == zlib.crc32(content)


def _read_any(data: bytes, wanted: str | None) -> Contents:
    """Read a zip that is not laid out as packs are: a changed manifest, or written by another program."""
    found, faults = _unzip(data)
    content = found.pop(NAME, None)
    damaged = {fault.file for fault in faults}
    if content is None:
        faults += [] if NAME in damaged else [Fault(NAME, "it is missing")]
        return Contents("", None, found, tuple(faults))
    digest = hashlib.sha256(content).hexdigest()
    if digest != wanted:
        said = (
            "the zip comment has no SHA-256 of it"
            if wanted is None
            else "the zip comment has another SHA-256"
        )
        faults.append(Fault(NAME, f"it was changed: {said}"))
    try:
        manifest = Manifest.read(content)
    except DataError as failure:
        faults.append(Fault(NAME, str(failure)))
        return Contents(digest, None, found, tuple(faults))
    faults += _by_name(manifest, found, damaged)
    if not faults:
        faults.append(Fault("", "the zip was written again by another program; the files are as they were",
                            content=False))  # fmt: skip
    return Contents(digest, manifest, found, tuple(faults))


def _by_name(manifest: Manifest, found: Mapping[str, bytes], damaged: set[str]) -> Iterator[Fault]:
    listed = {file.name: file for file in manifest.files}
    for name, file in listed.items():
        if name not in found and name not in damaged:
            yield Fault(name, "it is missing")
        elif name in found and hashlib.sha256(found[name]).hexdigest() != file.sha256:
            yield Fault(name, "its content was changed")
    for name in found:
        if name not in listed:
            yield Fault(name, "the manifest does not list it")


def _unzip(data: bytes) -> tuple[dict[str, bytes], list[Fault]]:
    """Read every file of a zip within the limits; nothing is written anywhere."""
    found: dict[str, bytes] = {}
    faults: list[Fault] = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as zipped:
            listed = zipped.infolist()
            if len(listed) > MAX_FILES or sum(one.file_size for one in listed) > MAX_BYTES:
                raise DataError(
                    f"a pack of at most {MAX_FILES:,} files and {MAX_BYTES:,} bytes was expected; found "
                    f"{len(listed):,} files of {sum(one.file_size for one in listed):,} bytes unpacked"
                )
            for one in listed:
                if not safe(one.filename) or one.is_dir():
                    faults.append(Fault(one.filename[:100], "such a name may not stand in a pack"))
                elif one.filename in found:
                    faults.append(Fault(one.filename, "it stands in the zip twice"))
                else:
                    _read_one(zipped, one, found, faults)
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        NotImplementedError,
        OSError,
        ValueError,
        struct.error,
    ) as bad:
        raise DataError(
            f"a pack was expected; found no readable zip ({bad}); it is damaged or cut off: get it again"
        ) from None
    return found, faults


def _read_one(
    zipped: zipfile.ZipFile, one: zipfile.ZipInfo, found: dict[str, bytes], faults: list[Fault]
) -> None:
    """Read one file; its checksum and its declared size are limits, so a small file cannot become a large one."""
    if one.flag_bits & 1 or one.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        faults.append(Fault(one.filename, "it is encrypted, or compressed in an unusual way"))
        return
    try:
        with zipped.open(one) as handle:
            content = handle.read(one.file_size + 1)
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        NotImplementedError,
        ValueError,
        struct.error,
    ) as bad:
        faults.append(Fault(one.filename, f"its content was changed ({type(bad).__name__}: {str(bad)[:80]})"))
        return
    if len(content) != one.file_size:
        faults.append(Fault(one.filename, f"it has another size than the {one.file_size:,} bytes declared"))
        return
    found[one.filename] = content
