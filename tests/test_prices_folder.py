"""A folder `prices` of one's own, seen through the commands: advice goes by it, and it is updated by word or option."""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

from advise_fixture import spam
from offramp import prices
from offramp.advising import Basis, Known, advise_on
from offramp.cost import CostSettings

DAY = date(2026, 11, 21)
OWN = """
shutdowns:
- {provider: openai, models: [gpt-6-luna], gone_on: 2026-12-24, source: 'https://example.org/gone', checked: 2026-11-20}
"""


def log(path: Path) -> Path:
    lines = [spam(n, time=1_790_000_000 + 3600 * n) for n in range(300)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_advice_goes_by_the_shutdowns_and_prices_of_the_folder(tmp_path):
    calls = log(tmp_path / "calls.jsonl")
    folder = tmp_path / "ws"
    (folder / "prices").mkdir(parents=True)
    basis = Basis(cost=CostSettings(as_of=DAY))

    before, _ = advise_on([calls], folder, basis=basis, known=Known())
    (folder / "prices" / "prices.yml").write_text(OWN)
    after, _ = advise_on([calls], folder, basis=basis, known=Known())

    assert "2026-12-24" not in before.model_dump_json()
    assert "2026-12-24" in after.model_dump_json()
    assert prices.shutdown("gpt-6-luna", "openai") is None


def test_update_may_be_asked_for_by_word(tmp_path):
    # An address that is no web address is refused, and that is the update speaking, not a model that nobody knows.
    said = [
        subprocess.run(
            [
                sys.executable,
                "-c",
                "from offramp.cli import main; main()",
                "prices",
                how,
                "--from",
                "file:///x",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={"PATH": "", "http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"},
        )
        for how in ("update", "--update")
    ]

    assert [one.returncode for one in said] == [2, 2]
    assert said[0].stderr == said[1].stderr
    assert "prices were asked for at" in said[0].stderr
