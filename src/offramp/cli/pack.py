"""What `offramp report --pack` and `offramp verify` print."""

from pathlib import Path
from typing import TYPE_CHECKING

from offramp.cli.tables import as_json, as_table

if TYPE_CHECKING:
    from offramp.pack import VerifyReport

_WORDS = {True: "ok", False: "WRONG", None: "not checked"}
_SHOWN_CHARACTERS = 160


def show_packed(path: Path, *, json: bool) -> None:
    """Print where a pack was written and the digest to hand over on another way."""
    from offramp.pack import seal

    digest, size = seal(path), path.stat().st_size
    if json:
        return as_json({"path": str(path), "sha256": digest, "size_bytes": size})
    print(f"written: {path} ({size / 1e6:,.1f} MB)")
    print(f"sha256 of its manifest: {digest}")
    print(f"check it with: offramp verify {path} --sha256 {digest}")
    return None


def show_verified(report: "VerifyReport", *, json: bool) -> None:
    """Print every check of a pack; the caller ends with code 1 when `report.ok` is false."""
    if json:
        return as_json({**report.model_dump(mode="json"), "ok": report.ok})
    rows = [
        (_WORDS[check.ok], check.name, check.file, _short(check.asked), _short(check.found))
        for check in report.checks
    ]
    as_table(f"{report.path}", ("", "check", "file", "asked", "found"), rows)
    skipped = sum(check.ok is None for check in report.checks)
    left = f"; {skipped} could not be checked" if skipped else ""
    if report.ok:
        print(f"everything that was checked holds{left}")
    else:
        print(f"{len(report.failed)} check(s) failed{left}; do not rely on this pack")
    print(f"sha256 of its manifest: {report.sha256 or 'none'}; compare it with the one you were given")
    return None


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
