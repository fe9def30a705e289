"""Check a pack without the workspace it came from: is it whole, and does every number follow from the answers?

Two questions, in this order. Is every byte as it was written (manifest, checksums, zip records)? Then, on the answers
in the pack, is everything recomputed by the code that first made it: row scores, means, verdicts, ids, costs, the
report and its page? Guarantee: a damaged file is named and nothing is computed from it.
Trap: a pack proves that its numbers follow from its answers, not that a model gave those answers.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from offramp import __version__
from offramp.errors import NotFoundError, StoreError, boundary
from offramp.pack import checks, container
from offramp.pack.checks import Check, Pack
from offramp.pack.manifest import MAX_BYTES, NAME
from offramp.pack.rebuild import rebuilt
from offramp.pack.strict import parsed
from offramp.types import Frozen

Rule = Callable[[Pack], Iterator[Check]]

RULES: tuple[tuple[str, Rule], ...] = (
    ("contents", checks.contents),
    ("record ids", checks.ids),
    ("rows", checks.rows),
    ("curation", checks.curation),
    ("answers", checks.answers),
    ("row scores", checks.scores),
    ("metrics", checks.summaries),
    ("verdicts", checks.verdicts),
    ("holdout ledger", checks.holdout),
    ("costs", checks.costs),
    ("report", checks.figures),
    ("page", checks.page),
)
"""What is recomputed, in the order of the table."""


class VerifyReport(Frozen):
    """What a check of a pack found."""

    path: str
    """The pack."""
    sha256: str
    """SHA-256 of its manifest; compare it with the one you were given on another way."""
    offramp: str
    """Version of Offramp that wrote it; empty when its manifest cannot be read."""
    texts: bool | None
    """Whether the inputs of the rows are in it; `None` when its manifest cannot be read."""
    checks: tuple[Check, ...]
    """Every check."""

    @property
    def ok(self) -> bool:
        """True when nothing failed; checks that could not be made are shown and do not fail."""
        return all(check.ok is not False for check in self.checks)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.ok is False)


def verify_pack(path: str | Path, *, sha256: str | None = None) -> VerifyReport:
    """Check a pack; `sha256` is the manifest's digest as its author told you.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is no zip, or too damaged to find any file in it.
        StoreError: it cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"a pack was asked for; there is no file {str(path)!r}")
    with boundary(StoreError, f"reading {str(path)!r}"), path.open("rb") as handle:
        contents = container.read(handle.read(MAX_BYTES + 1))
    found = [*_seal(contents, sha256), *_whole(contents)]
    manifest = contents.manifest
    if manifest is None or any(fault.content for fault in contents.faults):
        found.append(
            Check(name="numbers", ok=None, asked="recomputed", found="not recomputed: the pack is damaged")
        )
    else:
        found += _recomputed(contents, manifest.offramp)
    return VerifyReport(
        path=str(path),
        sha256=contents.sha256,
        offramp=manifest.offramp if manifest else "",
        texts=manifest.texts if manifest else None,
        checks=tuple(found),
    )


def _seal(contents: container.Contents, sha256: str | None) -> Iterator[Check]:
    """Compare the manifest's digest with the one that the user was given."""
    if sha256 is None:
        return
    wanted = sha256.strip().lower().removeprefix("sha256:")
    same = contents.sha256 == wanted
    yield Check(
        name="seal",
        ok=same,
        asked=wanted[:64],
        found="the same" if same else f"{contents.sha256 or 'no manifest'}: another pack, or a changed one",
        file="" if same else NAME,
    )


def _whole(contents: container.Contents) -> Iterator[Check]:
    for fault in contents.faults:
        yield Check(
            name="file", ok=False, asked="as written", found=fault.found, file=fault.file or "(the zip)"
        )
    if not contents.faults and contents.manifest is not None:
        count = len(contents.manifest.files) + 1
        yield Check(
            name="files", ok=True, asked="every byte as written", found=f"{count} files, all as written"
        )


def _recomputed(contents: container.Contents, writer: str) -> Iterator[Check]:
    assert contents.manifest is not None
    same = writer == __version__
    yield Check(
        name="version",
        ok=True if same else None,
        asked=f"written by Offramp {writer}",
        found="checked by the same"
        if same
        else f"checked by {__version__}; what differs may be the version's",
    )
    try:
        versions = parsed("environment.json", contents.files.get("environment.json", b""))["versions"]
        with rebuilt(contents.files) as ws:
            pack = Pack(ws, contents.files, contents.manifest.texts, writer, versions)
            for name, rule in RULES:
                yield from _guarded(name, rule, pack)
    except Exception as failure:
        yield _broken("numbers", failure)


def _guarded(name: str, rule: Rule, pack: Pack) -> list[Check]:
    """Return a rule's checks; a stranger's pack may hold anything, and whatever it breaks is a finding about it."""
    try:
        return list(rule(pack))
    except Exception as failure:
        return [_broken(name, failure)]


def _broken(name: str, failure: BaseException) -> Check:
    text = f"cannot be recomputed: {type(failure).__name__}: {' '.join(str(failure).split())[:300]}"
    return Check(name=name, ok=False, asked="recomputed from the answers", found=text)
