"""A vLLM server as a managed child process: started, waited for, and never left behind.

The server stands behind a small keeper process that ends it, and all of its workers, when the keeper's input closes:
on `stop`, at the end of a `with`, and also when Offramp itself is killed. What it serves is told by one `VllmSettings`;
`arguments` writes them as the server's own flags, so that a command shown to a person is the one that is run.

Guarantee: tokenizer, chat template and stop tokens come from the renderer's folder where one is given, so that a base
with an adapter is served with the prompts it was trained on. Traps: vLLM reads an adapter's weights and nothing else
of its folder; ranks above 16 and kinds of adapter it does not know are refused at start, which `adapter_problems`
says before.
Source: vLLM 0.32, `vllm/lora/peft_helper.py` and `vllm/config/lora.py` (read 2026-11-21).
"""

import contextlib
import json
import math
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from offramp.engines.environment import has_cuda
from offramp.errors import ConfigError, ModelError, boundary
from offramp.types import Frozen, Progress, silent

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that `--max-lora-rank` takes."""
HARMLESS_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""Ways to start an adapter that leave the base's weights alone."""
START_S = 600.0
"""How long a start may take; a large model is read for minutes."""
_REFUSED = {
    "use_dora": "DoRA",
    "lora_bias": "a bias inside the adapter",
    "alora_invocation_tokens": "activated LoRA",
    "layer_replication": "replicated layers",
    "use_bdlora": "block-diagonal LoRA",
    "use_qalora": "QALoRA",
}
_MOST_AT_ONCE = 8
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
_LOG_LINES = 25
_COMPACT = '{"backend": "guidance", "disable_any_whitespace": true}'
"""The grammar engine that also answers in process, and JSON without white space between its parts: where any is legal,
a model may write blanks until it is cut off."""
_KEEPER = """
import os, signal, subprocess, sys, threading, time

child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, process_group=0)

def watch():
    sys.stdin.buffer.read()
    child.terminate()
    try:
        child.wait(10)
    except subprocess.TimeoutExpired:
        child.kill()

threading.Thread(target=watch, daemon=True).start()
print("the server ended with exit code", child.wait(), flush=True)
try:
    os.killpg(child.pid, signal.SIGTERM)
    for _ in range(100):
        os.killpg(child.pid, 0)
        time.sleep(0.1)
    os.killpg(child.pid, signal.SIGKILL)
except ProcessLookupError:
    pass
"""
"""Ends the server when its input closes, then its workers; what cleans up shared memory after them ignores SIGTERM and
is waited for."""


class VllmSettings(Frozen):
    """What one server serves."""

    model: Path
    """Folder of the base or merged model."""
    name: str = "base"
    """Name under which requests ask for the model itself."""
    adapters: Mapping[str, Path] = Field(default_factory=dict)
    """Folders of adapters by the name under which requests ask for them."""
    renderer: Path | None = None
    """Folder with the tokenizer, template and generation config that prompts were made with; default `model`."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the weights; `auto` takes the model's own."""
    context_tokens: int | None = Field(default=None, ge=16)
    """Longest prompt with answer; default what the model allows."""
    cache_gib: int = Field(default=1, ge=1)
    """Memory for keys and values on a machine without GPU."""
    flags: tuple[str, ...] = ()
    """Further arguments of the server."""


def arguments(settings: VllmSettings) -> list[str]:
    """Return the server's arguments, without address and port.

    Raises:
        ConfigError: an adapter that vLLM does not load, or no model in the folder.
    """
    if not (settings.model / "config.json").exists():
        raise ConfigError(f"a model folder was expected at {str(settings.model)!r}; it has no config.json")
    found = ["--model", str(settings.model), "--served-model-name", settings.name, "--dtype", settings.dtype]
    if settings.context_tokens is not None:
        found += ["--max-model-len", str(settings.context_tokens)]
    found += ["--structured-outputs-config", _COMPACT]
    if settings.renderer is not None:
        found += _renderer_arguments(settings.renderer)
    if settings.adapters:
        ranks = [adapter_rank(folder) for folder in settings.adapters.values()]
        found += ["--enable-lora", "--max-lora-rank", str(served_rank(max(ranks)))]
        found += ["--max-loras", str(min(len(ranks), _MOST_AT_ONCE)), "--lora-modules"]
        found += [f"{name}={folder.resolve()}" for name, folder in settings.adapters.items()]
    return [*found, *settings.flags]


def _renderer_arguments(folder: Path) -> list[str]:
    """Hand over tokenizer, template and stop tokens.

    Raises:
        ConfigError: the folder is not one that `Renderer.save` wrote.
    """
    missing = [
        name for name in ("chat_template.jinja", "generation_config.json") if not (folder / name).exists()
    ]
    if missing:
        raise ConfigError(
            f"a renderer's folder was expected at {str(folder)!r}; it lacks {', '.join(missing)}"
        )
    words = ["--tokenizer", str(folder), "--chat-template", str(folder / "chat_template.jinja")]
    return [*words, "--generation-config", str(folder)]


def adapter_config(folder: Path) -> dict[str, Any]:
    """Read `adapter_config.json`.

    Raises:
        ConfigError: it is not there or not JSON.
    """
    file = folder / "adapter_config.json"
    with boundary(
        ConfigError, f"an adapter in PEFT's format was expected in {str(folder)!r}", OSError, ValueError
    ):
        return dict(json.loads(file.read_text(encoding="utf-8")))


def adapter_problems(config: Mapping[str, Any]) -> list[str]:
    """Say why vLLM would not load an adapter; empty when it does."""
    found = [what for key, what in _REFUSED.items() if config.get(key)]
    init = config.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower() not in HARMLESS_INITS:
        found.append(f"the start {init!r}, which changes the base's weights")
    if config.get("bias", "none") != "none":
        found.append("trained biases")
    if other := sorted(set(config.get("modules_to_save") or ()) - {"classifier", "score"}):
        found.append(f"whole modules beside the adapter ({', '.join(other)})")
    if config.get("peft_type", "LORA") != "LORA":
        found.append(f"the kind {config['peft_type']!r}")
    return found


def adapter_rank(folder: Path) -> int:
    """Return the largest rank in an adapter.

    Raises:
        ConfigError: vLLM does not load it.
    """
    config = adapter_config(folder)
    if problems := adapter_problems(config):
        raise ConfigError(
            f"vLLM was asked to load the adapter in {str(folder)!r}; it has {' and '.join(problems)}, which vLLM does "
            "not take; merge it into the base (`offramp.handover.export.merge`) and serve the merged model"
        )
    return max([int(config["r"]), *(config.get("rank_pattern") or {}).values()])


def served_rank(rank: int) -> int:
    """Return the smallest `--max-lora-rank` that holds `rank`.

    Raises:
        ConfigError: none does.
    """
    if rank > RANKS[-1]:
        raise ConfigError(f"an adapter of rank {rank} was asked for; vLLM takes up to {RANKS[-1]}; merge it")
    return next(value for value in RANKS if value >= rank)


def command(settings: VllmSettings) -> list[str]:
    """Return what a person types to serve the same on a machine with vLLM."""
    words = arguments(settings)
    return ["vllm", "serve", words[1], *words[2:]]


@dataclass
class Vllm:
    """One running server; a context manager that ends it."""

    settings: VllmSettings
    """What it serves."""
    port: int
    """Where it listens, on this machine only."""
    log: Path
    """What it wrote."""
    process: "subprocess.Popen[bytes]" = field(repr=False)
    """The keeper; its input is the lifeline."""
    start_s: float = math.nan
    """Seconds until it answered."""

    @classmethod
    def start(
        cls,
        python: Path,
        settings: VllmSettings,
        *,
        log: Path,
        port: int | None = None,
        timeout_s: float = START_S,
        progress: Progress = silent,
    ) -> Self:
        """Start a server and wait until it answers; `port` defaults to a free one.

        Raises:
            ConfigError: vLLM cannot serve this.
            ModelError: it ended or did not answer in time; the message has the end of its log.
        """
        words = [str(python), "-m", "vllm.entrypoints.openai.api_server", *arguments(settings)]
        port = port or free_port()
        words += ["--host", "127.0.0.1", "--port", str(port), "--enable-tokenizer-info-endpoint"]
        environment = {**os.environ, **_ENVIRONMENT}
        if not has_cuda():
            words += ["--enforce-eager"]
            environment["VLLM_CPU_KVCACHE_SPACE"] = str(settings.cache_gib)
        with boundary(ModelError, f"starting vLLM with {str(python)!r}"), log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-I", "-c", _KEEPER, *words],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=log.parent,
                start_new_session=True,
            )
        server = cls(settings, port, log, process)
        try:
            server._wait(timeout_s, progress)
        except BaseException:
            server.stop()
            raise
        return server

    @property
    def base_url(self) -> str:
        """Address of the OpenAI-compatible API."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def alive(self) -> bool:
        """True while the server runs."""
        return self.process.poll() is None

    def log_tail(self, lines: int = _LOG_LINES) -> str:
        """Return the end of what the server wrote."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def stop(self) -> None:
        """End the server and all of its workers; does nothing when it has ended."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        self.process.wait()  # the keeper waits no longer than 20 s itself

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _wait(self, timeout_s: float, progress: Progress) -> None:
        began = time.monotonic()
        while (spent := time.monotonic() - began) < timeout_s:
            progress("vllm: starting", round(spent), round(timeout_s))
            if not self.alive:
                raise ModelError(
                    f"vLLM ended while it started; its log ({self.log}) ends:\n{self.log_tail()}"
                )
            if self._healthy():
                self.start_s = spent
                self._same_names()
                return
            time.sleep(0.5)
        raise ModelError(
            f"vLLM was expected to answer within {timeout_s:.0f} s; it does not; its log ({self.log}) ends:\n"
            f"{self.log_tail()}"
        )

    def _healthy(self) -> bool:
        try:
            with _direct().open(f"http://127.0.0.1:{self.port}/health", timeout=5) as reply:
                return bool(reply.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def _same_names(self) -> None:
        """Make sure that this server answers and not another that already had the port."""
        with _direct().open(f"{self.base_url}/models", timeout=30) as reply:
            names = [item["id"] for item in json.loads(reply.read())["data"]]
        wanted = [self.settings.name, *self.settings.adapters]
        if not self.alive or sorted(names) != sorted(wanted):
            raise ModelError(
                f"vLLM was asked to serve {wanted!r} on port {self.port}; what answers there has {names!r}; "
                f"choose another port; the log ends:\n{self.log_tail()}"
            )


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _direct() -> urllib.request.OpenerDirector:
    """Return an opener that never asks a proxy for this machine."""
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def shown(words: Sequence[str]) -> str:
    """Write a command for a shell, one argument with its values per line."""
    import shlex

    lines: list[list[str]] = [[]]
    for word in words:
        if word.startswith("--"):
            lines.append([])
        lines[-1].append(shlex.quote(word))
    return " \\\n  ".join(" ".join(line) for line in lines if line)
