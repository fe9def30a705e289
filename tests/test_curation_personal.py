"""Personal data in a workspace: the rows are masked, people see it, and serving masks the same text the same way."""

import json
from pathlib import Path

import pyarrow.compute as pc
import pytest

from classical import WordEmbedder
from offramp import rows as _rows
from offramp.cli.check import entries
from offramp.cli.findings import findings as show
from offramp.curate import clean_text
from offramp.curate.personal import RULE, Redactor
from offramp.curate.personal.tagger import TaggerSettings, load_tagger
from offramp.embed.static import shared_folder
from offramp.settings import resolve
from offramp.store import read_table
from offramp.workspace import Workspace, init

NAMES = ("Maria Gonzalez", "Peter Hoffmann", "Aisha Khan", "John Whitfield", "Laura Rossi", "Daniel Novak")
SAYS = {
    "billing": "my name is {} and invoice {} has a wrong amount on it",
    "login": "hello, this is {}, I could not sign in on day {} of the month",
    "delivery": "the parcel number {1} for {0} has not arrived",
}


def _workspace(folder: Path, redactor: Redactor) -> Workspace:
    lines = []
    for i in range(90):
        label = list(SAYS)[i % 3]
        text = SAYS[label].format(NAMES[i % len(NAMES)], 1000 + i * 7919)
        lines.append({"text": f"{text}, write to user{i}@example.com", "label": label})
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    content = {
        "name": "inbox",
        "data": {
            "sources": [str(folder / "rows.jsonl")],
            "mapping": {"inputs": ["text"], "target": ["label"]},
        },
        "curate": {"personal": "mask"},
    }
    made = init(folder / "ws", resolve(content, overrides=None, where="a test"))
    made.roster.__dict__ |= {"embedder": WordEmbedder(), "static": None, "redactor": redactor}
    return made


def _served_alike(ws: Workspace, serving: Redactor) -> list[str]:
    """Check every row against the redactor of another process, and return the masked texts."""
    data = ws.curate()
    raw = ws.rows(ws.ingest())
    came = dict(zip(_rows.ids(raw), _rows.field(raw, "text"), strict=True))
    view = ws.rows(data)
    texts = _rows.field(view, "text")
    for row, text in zip(_rows.ids(view), texts, strict=True):
        read = clean_text(came[row], data.details["boilerplate"])
        assert serving.redact(read, conversation=row).text == text
    return texts


def test_what_is_masked_in_the_rows_is_masked_alike_in_serving_and_shown_to_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # So little training finds no names, and is only sure that there are none: what has a form is left.
    tagger = load_tagger(tmp_path / "tagger", settings=TaggerSettings(texts=6, batch_texts=3))
    with _workspace(tmp_path, Redactor(tagger, threshold=0.9)) as ws:
        texts = _served_alike(ws, Redactor(tagger, threshold=0.9))
        data = ws.curate()
        folder = ws.store.folder(data.id)
        findings, ledger, splits = (
            read_table(folder / f"{name}.parquet") for name in ("findings", "ledger", "splits")
        )
        asked = entries(findings, ledger, splits, ws.rows(ws.ingest()))
        show(ws, rule=None, at=None, limit=20, json=True)
        said = json.loads(capsys.readouterr().out)

    assert all("@example.com" not in text and "[EMAIL_ADDRESS_1]" in text for text in texts)
    assert said[RULE]["acted on"] >= len(texts)
    masked = [one for one in asked if one.rule == RULE]
    assert masked and all(one.acted and one.action == "edit" for one in masked)
    # What people read about it are types and counts; the values stand in the text itself only.
    assert not pc.any(pc.match_substring(findings.column("evidence"), "@example.com")).as_py()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_names_are_masked_in_a_workspace_and_in_serving(tmp_path: Path) -> None:
    tagger = load_tagger(shared_folder(tmp_path / "cache"))
    with _workspace(tmp_path, Redactor(tagger)) as ws:
        texts = _served_alike(ws, Redactor(tagger))

    leaks = [text for text in texts for name in NAMES for part in name.split() if part in text]
    assert leaks == []
    assert all("[PERSON_1]" in text for text in texts)
    assert sum("invoice" in text or "parcel" in text or "sign in" in text for text in texts) == len(texts)
