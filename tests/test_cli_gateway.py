"""The commands of production, as processes: they listen, end cleanly, and refuse what makes no sense."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from fake_upstream import FakeUpstream, says
from offramp.capture import Calls
from offramp.cli import main
from offramp.settings import Settings
from offramp.workspace import init

ASK = {"model": "triage", "messages": [{"role": "user", "content": "where is my parcel"}]}


def run(*words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", "from offramp.cli import main; main()", *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )


def post(url: str, body: Any) -> Any:
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(asked, timeout=10) as response:
        return json.loads(response.read())


def test_a_gateway_begins_in_an_empty_folder_and_keeps_what_it_answered_when_it_is_stopped(tmp_path: Path):
    folder = tmp_path / "shop"

    async def go() -> tuple[int, Any, str]:
        async with FakeUpstream(says("in the post")) as big:
            process = run("gateway", "-C", str(folder), "--upstream", big.url, "--port", "0")
            assert process.stdout is not None and process.stderr is not None
            line = await asyncio.to_thread(process.stdout.readline)
            url = line.removeprefix("listening on ").strip()
            answer = await asyncio.to_thread(post, f"{url}/chat/completions", ASK)
            process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(process.wait, 20)
            errors = process.stderr.read()
            process.stdout.close()
            process.stderr.close()
            return code, answer, errors

    code, answer, errors = asyncio.run(go())
    assert (code, errors) == (0, "")
    assert answer["choices"][0]["message"]["content"] == "in the post"
    calls = Calls.of(folder)
    [call] = list(calls.each())
    calls.close()
    assert (call.alias, call.status, call.answered_by) == ("triage", 200, "incumbent")


def made(folder: Path) -> Path:
    init(folder, Settings(name="shop")).close()
    return folder


def told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["offramp", *words])
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    out = capsys.readouterr()
    return code, out.out, out.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("gateway",), "an upstream was expected"),
        (("gateway", "--port", "99999"), "`port`"),
        (("rollback",), "nothing was ever deployed"),
        (("deploy", "--share", "3"), "`share`"),
        (("deploy", "linear", "--cascade", "1.5"), "`max_error`"),
        (("deploy", "--share", "0.1"), "names no file"),
        (("keys", "shout"), "there are `list`, `add NAME` and `revoke NAME`"),
        (("keys", "revoke", "nobody"), "nobody"),
        (("serve", "linear", "--with", "frob=1"), "`frob`"),
    ],
)
def test_what_makes_no_sense_is_refused_with_code_2(tmp_path, capsys, monkeypatch, words, said):
    code, _, errors = told(capsys, monkeypatch, words[0], *words[1:], "-C", str(made(tmp_path / "shop")))

    assert code == 2
    assert said in errors


def test_a_key_is_shown_once_and_listed_without_itself(tmp_path, capsys, monkeypatch):
    folder = str(made(tmp_path / "shop"))
    code, added, _ = told(capsys, monkeypatch, "keys", "add", "web", "--per-minute", "60", "-C", folder)
    key = added.splitlines()[0]

    _, listed, _ = told(capsys, monkeypatch, "keys", "list", "-C", folder)

    assert code == 0 and key.startswith("ofr-")
    assert "web" in listed and "60" in listed and key not in listed
    assert key not in Path(folder, "keys.json").read_text()


def test_traffic_shows_what_was_answered_and_writes_it_as_a_log(tmp_path, capsys, monkeypatch):
    folder = made(tmp_path / "shop")
    calls = Calls.of(folder)
    from offramp.capture import Call, new_id

    answer = {
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "parcel"}, "finish_reason": "stop"}
        ]
    }
    for route, who in (("record", "incumbent"), ("canary", "candidate")):
        call = Call(
            new_id(), 1.8e9, "shop", "chat", route, 200, json.dumps({**ASK, "model": "shop"}).encode()
        )
        call.answer, call.answered_by = json.dumps(answer).encode(), who
        calls.insert([call])
    calls.close()

    _, shown, _ = told(capsys, monkeypatch, "traffic", "--days", "99999", "-C", str(folder))
    _, wrote, _ = told(
        capsys,
        monkeypatch,
        "traffic",
        "--days",
        "99999",
        "--to",
        str(tmp_path / "log.jsonl"),
        "-C",
        str(folder),
    )

    assert "incumbent" in shown and "candidate" in shown
    assert "1 calls written" in wrote and "1 answered by somebody else" in wrote
    [line] = [json.loads(text) for text in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert line["response"]["choices"][0]["message"]["content"] == "parcel"
