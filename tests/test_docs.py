"""What the documentation shows must work: code blocks run, commands and keys exist, links lead somewhere."""

import importlib
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    page
    for page in [ROOT / "README.md", ROOT / "AGENTS.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if page.exists()
]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
# A block that cannot run here has `<!-- not run: reason -->` on the line above it.
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+) -->\n+)?^```(?P<kind>\w+)\n(?P<body>.*?)^```", re.S | re.M
)


def blocks(page: Path, *kinds: str) -> Iterator[tuple[int, str]]:
    """Find the code blocks of a page that claim to work, with their line."""
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        if found["kind"] in kinds and not found["reason"]:
            yield text.count("\n", 0, found.start("body")) + 1, found["body"]


def shown_commands(body: str) -> Iterator[list[str]]:
    """Read the `offramp …` lines of a shell block, without prompts, comments and continued lines."""
    for line in body.replace("\\\n", " ").splitlines():
        words = shlex.split(line.strip().removeprefix("$ "), comments=True)
        if words and words[0] == "offramp":
            yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_docs_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Blocks of one page share names and an empty folder, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "docs"}

    for line, body in blocks(page, "python"):
        # Blank lines in front make a traceback point at the page's own line.
        exec(compile("\n" * (line - 1) + body, str(page), "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_docs_show_only_commands_and_options_that_exist(page: Path):
    typer_main = importlib.import_module("typer.main")
    root = typer_main.get_command(importlib.import_module("offramp.cli").app)
    wrong = []

    for line, body in blocks(page, "bash", "sh", "console", "shell"):
        for words in shown_commands(body):
            command, rest = root, list(words)
            while rest and rest[0] in getattr(command, "commands", {}):
                command = command.commands[rest.pop(0)]
            options = {name for param in command.params for name in [*param.opts, *param.secondary_opts]}
            used = {word.partition("=")[0] for word in rest if re.match(r"-{1,2}[a-zA-Z]", word)}
            unknown_command = command is root and rest and not rest[0].startswith("-")
            if unknown_command or used - options - {"--help"}:
                wrong.append(f"line {line}: offramp {shlex.join(words)}")

    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_docs_settings_blocks_are_valid(page: Path):
    settings = importlib.import_module("offramp.settings")

    for _, body in blocks(page, "toml"):
        settings.Settings.model_validate(tomllib.loads(body))


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_docs_links_lead_somewhere(page: Path):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]

    missing = [t for t in targets if t and "://" not in t and not (page.parent / t).exists()]

    assert missing == []


def test_docs_settings_page_is_what_the_settings_say():
    made = subprocess.run(
        [sys.executable, ROOT / "docs" / "settings_page.py"], capture_output=True, text=True, check=True
    ).stdout

    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == made, "run `make docs`"


def test_docs_readme_figures_are_those_that_were_measured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    figures = importlib.import_module("_figures")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert figures.rewritten(readme) == readme, "run `python bench/_figures.py`"
    assert figures.page() == (ROOT / "docs" / "figures.md").read_text(), "run `python bench/_figures.py`"
