"""Packs of a workspace in which people judged what curation found."""

import io
import zipfile

import pytest

from offramp import rows as _rows
from offramp.curate.verdicts import Journal, Verdict
from offramp.pack import verify_pack, write_pack
from tickets import workspace


@pytest.mark.parametrize("texts", [True, False])
def test_a_judged_workspace_packs_and_verifies_and_bare_packs_quote_nothing(tmp_path, texts):
    with workspace(tmp_path) as ws:
        row = _rows.ids(ws.rows(ws.curate(), "train"))[0]
        said = Verdict(
            row, "near_duplicate", "edit", "ann", "field.text", "money", "secret words", note="see secret"
        )
        Journal.of(ws.path).add(said)
        Journal.of(ws.path).add(Verdict(row, "label_error", "drop", "ann"))
        with Journal.of(ws.path).path.open("ab") as file:
            file.write(b'{"row": "torn')
        ws.curate()
        packed = write_pack(ws, tmp_path / "pack.zip", texts=texts)

    found = verify_pack(packed)

    assert found.ok, found.failed
    whole = b"".join(zipfile.ZipFile(io.BytesIO(packed.read_bytes())).read(name)
                     for name in ("curation.jsonl", "report.html", "report.json"))  # fmt: skip
    assert (b"secret" in whole) is texts
