"""A managed server process, against a small program that looks like vLLM from outside.

Against a real vLLM (minutes): VLLM_PYTHON=/path/to/python python -m pytest tests/test_engines_vllm.py -m slow -s
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from offramp.engines import environment, vllm
from offramp.engines.vllm import Vllm, VllmSettings
from offramp.errors import ConfigError, ModelError, NotFoundError

# What a server does from outside: a worker process, /health, /v1/models. `--fail` and `--deaf` misbehave.
LIKE_VLLM = """#!{python}
import http.server, json, subprocess, sys
words = sys.argv[1:]
value = lambda name: words[words.index(name) + 1]
names = [value("--served-model-name")]
if "--lora-modules" in words:
    rest = words[words.index("--lora-modules") + 1:]
    names += [word.split("=")[0] for word in rest[:next(i for i, w in enumerate(rest) if w.startswith("--"))]]
print("loading weights", flush=True)
if "--fail" in words:
    sys.exit("RuntimeError: no kernel for this machine")
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open("worker.pid", "w").write(str(worker.pid))
if "--deaf" in words:
    worker.wait()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({{"data": [{{"id": name}} for name in names]}}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(value("--port"))), Handler).serve_forever()
"""


@pytest.fixture
def python(tmp_path):
    program = tmp_path / "python"
    program.write_text(LIKE_VLLM.format(python=sys.executable))
    program.chmod(0o755)
    return program


@pytest.fixture
def model(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    return tmp_path / "model"


def adapter(folder: Path, **config) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 16, **config}))
    return folder


def gone(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False


def test_a_server_answers_and_leaves_no_process_behind(python, model, tmp_path):
    steps = []
    settings = VllmSettings(model=model, name="tiny")
    with Vllm.start(python, settings, log=tmp_path / "log", progress=lambda *s: steps.append(s)) as server:
        with urllib.request.urlopen(server.base_url + "/models", timeout=5) as reply:
            names = json.load(reply)["data"]
        worker = int((tmp_path / "worker.pid").read_text())
        assert server.alive

    server.stop()  # again is fine

    assert names == [{"id": "tiny"}]
    assert not server.alive
    assert gone(worker)
    assert steps[0] == ("vllm: starting", 0, 600)
    assert server.start_s < 60


def test_a_server_that_ends_while_it_starts_tells_why(python, model, tmp_path):
    settings = VllmSettings(model=model, flags=("--fail",))

    with pytest.raises(
        ModelError, match=r"(?s)ended while it started.*no kernel for this machine.*exit code 1"
    ):
        Vllm.start(python, settings, log=tmp_path / "log")


def test_a_server_that_never_answers_is_ended(python, model, tmp_path):
    settings = VllmSettings(model=model, flags=("--deaf",))

    with pytest.raises(ModelError, match=r"(?s)within 3 s.*loading weights"):
        Vllm.start(python, settings, log=tmp_path / "log", timeout_s=3)

    assert gone(int((tmp_path / "worker.pid").read_text()))


def test_another_server_on_the_port_is_not_taken_for_ours(python, model, tmp_path):
    (tmp_path / "second").mkdir()
    with Vllm.start(python, VllmSettings(model=model, name="first"), log=tmp_path / "log") as first:
        settings = VllmSettings(model=model, name="second")
        with pytest.raises(ModelError, match=r"ended while it started|has \['first'\]"):
            Vllm.start(python, settings, log=tmp_path / "second" / "log", port=first.port)


KILLED = """
import os, signal, sys
from pathlib import Path
from offramp.engines.vllm import Vllm, VllmSettings
python, model, log = map(Path, sys.argv[1:])
Vllm.start(python, VllmSettings(model=model), log=log)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_offramp_leaves_no_server_behind(python, model, tmp_path):
    words = [sys.executable, "-c", KILLED, str(python), str(model), str(tmp_path / "log")]

    done = subprocess.run(words, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})

    assert done.returncode == -signal.SIGKILL
    assert gone(int((tmp_path / "worker.pid").read_text()))


def test_a_base_with_adapters_is_served_with_the_renderers_prompts(model, tmp_path):
    renderer = tmp_path / "renderer"
    renderer.mkdir()
    for name in ("chat_template.jinja", "generation_config.json"):
        (renderer / name).write_text("{}")
    small, large = adapter(tmp_path / "a", r=8), adapter(tmp_path / "b", r=20, rank_pattern={"q_proj": 33})
    settings = VllmSettings(
        model=model, name="b", adapters={"one": small, "two": large}, renderer=renderer, context_tokens=512
    )

    found = vllm.arguments(settings)

    assert found == [
        *("--model", str(model), "--served-model-name", "b", "--dtype", "auto", "--max-model-len", "512"),
        *("--structured-outputs-config", '{"backend": "guidance", "disable_any_whitespace": true}'),
        *("--tokenizer", str(renderer), "--chat-template", str(renderer / "chat_template.jinja")),
        *("--generation-config", str(renderer)),
        *("--enable-lora", "--max-lora-rank", "64", "--max-loras", "2"),
        *("--lora-modules", f"one={small}", f"two={large}"),
    ]
    assert vllm.shown(vllm.command(settings)).startswith(f"vllm serve {model} \\\n  --served-model-name b")


def test_a_folder_without_template_is_no_renderers_folder(model, tmp_path):
    with pytest.raises(ConfigError, match=r"lacks chat_template.jinja, generation_config.json"):
        vllm.arguments(VllmSettings(model=model, renderer=tmp_path))


def test_a_folder_without_model_is_said_at_once(tmp_path):
    with pytest.raises(ConfigError, match=r"no config\.json"):
        vllm.arguments(VllmSettings(model=tmp_path))


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"init_lora_weights": "pissa"}, "'pissa', which changes"),
        ({"init_lora_weights": "pissa_niter_4"}, "'pissa_niter_4', which changes"),
        ({"init_lora_weights": "olora"}, "'olora', which changes"),
        ({"lora_bias": True}, "a bias inside"),
        ({"bias": "all"}, "trained biases"),
        ({"modules_to_save": ["lm_head", "score"]}, r"beside the adapter \(lm_head\)"),
        ({"peft_type": "IA3"}, "the kind 'IA3'"),
    ],
)
def test_what_vllm_does_not_load_is_refused_with_merge_it(tmp_path, config, why):
    with pytest.raises(ConfigError, match=rf"{why}.*merge it"):
        vllm.adapter_rank(adapter(tmp_path / "a", **config))


@pytest.mark.parametrize("config", [{"use_rslora": True}, {"init_lora_weights": "gaussian"}, {}])
def test_what_vllm_loads_is_not_refused(tmp_path, config):
    assert vllm.adapter_rank(adapter(tmp_path / "a", **config)) == 16


@pytest.mark.parametrize(("rank", "served"), [(1, 1), (2, 8), (16, 16), (17, 32), (300, 320), (512, 512)])
def test_the_rank_that_is_served_is_the_next_that_vllm_takes(rank, served):
    assert vllm.served_rank(rank) == served


def test_a_rank_above_all_is_refused():
    with pytest.raises(ConfigError, match="up to 512"):
        vllm.served_rank(513)


def test_a_folder_without_adapter_is_said(tmp_path):
    with pytest.raises(ConfigError, match="PEFT's format"):
        vllm.adapter_rank(tmp_path)


def test_the_cpu_build_is_installed_without_what_text_does_not_need():
    requirements = [
        'torch==2.13.0+cpu; platform_machine == "x86_64"',
        'torchaudio; platform_machine != "s390x"',
        "torchvision",
        "torchcodec>=0.14",
        'xgrammar==0.2.8; platform_machine == "x86_64"',
        'pandas; extra == "bench"',
    ]

    assert environment.needed(requirements) == [
        'torch==2.13.0; platform_machine == "x86_64"',
        'xgrammar==0.2.8; platform_machine == "x86_64"',
    ]


def test_a_missing_environment_says_how_to_make_one(tmp_path, monkeypatch):
    monkeypatch.delenv("VLLM_PYTHON", raising=False)
    with pytest.raises(NotFoundError, match=r"offramp engines install vllm"):
        environment.python_of(tmp_path)


def test_a_python_without_vllm_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_PYTHON", sys.executable)
    with pytest.raises(NotFoundError, match="has no vLLM"):
        environment.python_of()


def test_an_environment_that_is_there_is_not_made_again(tmp_path):
    (tmp_path / environment.MARKER).write_text(json.dumps({"pin": environment.PINS["cpu"]}))

    assert environment.install(tmp_path, cuda=False) == tmp_path / "bin" / "python"
    assert sorted(path.name for path in tmp_path.iterdir()) == [environment.MARKER]


def test_a_failed_step_says_what_the_step_said(tmp_path):
    with pytest.raises(ModelError, match=r"(?s)making the environment failed.*arguments are required"):
        environment._run([sys.executable, "-m", "venv", "--nonsense"], "making the environment")


def test_a_free_port_is_free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", vllm.free_port()))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_real_vllm_says_what_base_and_adapter_say(tmp_path):
    if not os.environ.get("VLLM_PYTHON"):
        pytest.skip("a Python with vLLM was expected in VLLM_PYTHON; it is not set")
    from offramp.handover.parity import Options, Thresholds, parity
    from offramp.handover.subjects import HttpSubject, Prompt, TransformersSubject
    from offramp.render import Renderer
    from tiny_decoder import make_adapter, make_base

    base = make_base(tmp_path / "base")
    tuned, renderer = make_adapter(tmp_path / "adapter", base), Renderer.load(base)
    renderer.save(tmp_path / "renderer")
    settings = VllmSettings(
        model=base,
        adapters={"tuned": tuned},
        renderer=tmp_path / "renderer",
        dtype="float32",
        context_tokens=256,
    )
    trained = TransformersSubject.load(base, renderer, adapter=tuned)
    prompts = [Prompt(({"role": "user", "content": f"the receipt {i}"},)) for i in range(50)]
    # A random model rarely ends an answer.
    options = Options(thresholds=Thresholds(end_ratio=0))

    with Vllm.start(environment.python_of(), settings, log=tmp_path / "log") as server:
        for send in ("messages", "ids"):
            served = HttpSubject("vLLM", server.base_url, "tuned", renderer, send)
            found = parity(trained, served, prompts, max_tokens=8, options=options)
            assert found.passed, str(found)

    assert gone(server.process.pid)
