"""The command line with bad input: a clear message, exit code 2, nothing lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from offramp.cli import main; main()"]
GOOD = "text,label\n" + "".join(f"{word} {i},{word}\n" for i in range(40) for word in ("card", "loan"))


def offramp(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, cwd=cwd)


def _bad(files: dict[str, bytes], tmp_path: Path, *arguments: str) -> str:
    """Run `init` on files and return the one error line it must end with."""
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    done = offramp("init", "ws", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    message = next(line for line in done.stderr.splitlines() if line.startswith("error: "))
    return message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "there is no" in _bad({}, tmp_path, "--from", "nothing.csv")


def test_an_empty_file(tmp_path: Path) -> None:
    assert "empty" in _bad({"a.csv": b""}, tmp_path, "--from", "a.csv")


def test_binary_garbage(tmp_path: Path) -> None:
    assert "a.csv" in _bad({"a.csv": bytes(range(256)) * 40}, tmp_path, "--from", "a.csv")


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    message = _bad(
        {"a.csv": GOOD.encode()}, tmp_path, "--from", "a.csv", "--input", "texx", "--target", "label"
    )

    assert "texx" in message
    assert "'text'" in message


def test_a_failed_init_leaves_no_workspace_and_can_be_repeated(tmp_path: Path) -> None:
    _bad({"a.csv": b""}, tmp_path, "--from", "a.csv")
    (tmp_path / "a.csv").write_text(GOOD)

    assert offramp("init", "ws", "--from", "a.csv", cwd=tmp_path).returncode == 0


def test_one_class_only(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"card number {i},card\n" for i in range(30)))
    assert offramp("init", "ws", "--from", "a.csv", cwd=tmp_path).returncode == 0

    done = offramp("run", "--dir", "ws", cwd=tmp_path)

    assert done.returncode == 2
    assert "two different labels" in done.stderr


def test_a_folder_that_is_no_workspace(tmp_path: Path) -> None:
    done = offramp("run", cwd=tmp_path)

    assert done.returncode == 2
    assert "offramp init" in done.stderr


@pytest.mark.parametrize("arguments", [["walk"], ["run", "--quick"], ["init"]])
def test_a_wrong_command_or_option_shows_the_usage(arguments: list[str], tmp_path: Path) -> None:
    done = offramp(*arguments, cwd=tmp_path)

    assert done.returncode == 2
    assert "Usage: " in done.stderr
    assert "Traceback" not in done.stderr


def test_json_is_all_that_stands_on_standard_output(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD)

    done = offramp("init", "ws", "--from", "a.csv", "--json", cwd=tmp_path)

    assert json.loads(done.stdout)["stage"] == "raw"
    assert offramp("show", "--dir", "ws", "--json", cwd=tmp_path).stdout.startswith("[")
    assert "raw" in offramp("show", "raw", "--dir", "ws", "--json", cwd=tmp_path).stdout


def test_guesses_are_shown(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD)

    done = offramp("init", "ws", "--from", "a.csv", cwd=tmp_path)

    assert "guessed" in done.stdout


def test_the_demo_needs_rows_enough_for_its_classes(tmp_path: Path) -> None:
    done = offramp("demo", "d", "--size", "10", cwd=tmp_path)

    assert done.returncode == 2
    assert "at least 1000 rows" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_is_told_and_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)], check=False
    ).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        rows = "".join(f'"{os.urandom(300).hex()} {i}",{i % 2}\n' for i in range(2000))
        (tmp_path / "a.csv").write_text("text,label\n" + rows)
        arguments = ["init", str(disk / "ws"), "--from", "a.csv", "--input", "text", "--target", "label"]

        done = offramp(*arguments, cwd=tmp_path)

        assert done.returncode == 2
        assert "error: " in done.stderr
        assert "Traceback" not in done.stderr
        assert (tmp_path / "a.csv").read_text().startswith("text,label")
        subprocess.run(["mount", "-o", "remount,size=40m", str(disk)], check=True)
        assert offramp(*arguments, cwd=tmp_path).returncode == 0
    finally:
        subprocess.run(["umount", str(disk)], check=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="root ignores permissions; a read-only mount needs root")
def test_a_read_only_folder_is_told(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro,size=400k", "tmpfs", str(disk)], check=False
    ).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        (tmp_path / "a.csv").write_text(GOOD)

        done = offramp("init", str(disk / "ws"), "--from", "a.csv", cwd=tmp_path)

        assert done.returncode == 2
        assert "may write" in done.stderr
    finally:
        subprocess.run(["umount", str(disk)], check=False)
