"""GGUF for llama.cpp and Ollama, made by llama.cpp's own converter, which the user has.

Offramp does not ship a converter: llama.cpp's is the only one that knows each tokenizer it will meet, and it changes
with the runtime. It is found by path, by `LLAMA_CPP`, or on `PATH`.
Guarantee: a file counts only when the converter ended well and wrote GGUF. Trap: the converter knows tokenizers by a
hash of what they make of a test text, so one with added tokens or a vocabulary of its own, such as the tiny base's,
is refused (`BPE pre-tokenizer was not recognized`, or a search for SentencePiece files).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

from offramp.errors import ConfigError, ModelError, NotFoundError, boundary

SCRIPT = "convert_hf_to_gguf.py"
VARIABLE = "LLAMA_CPP"
"""Environment variable that names a checkout of llama.cpp."""
Precision = Literal["f32", "f16", "bf16", "q8_0"]
_MAGIC = b"GGUF"
_TAIL = 15
_LONGEST_S = 6 * 3600


def converter(given: Path | None = None) -> Path:
    """Find llama.cpp's converter: the file or checkout given, else `LLAMA_CPP`, else `PATH`.

    Raises:
        NotFoundError: it is nowhere; says how to get it.
    """
    named = os.environ.get(VARIABLE, "")
    for place in filter(None, [given, Path(named) if named else None]):
        script = place / SCRIPT if place.is_dir() else place
        if script.is_file():
            return script
        raise NotFoundError(
            f"llama.cpp's {SCRIPT} was expected at {str(place)!r}; there is none; correct the path"
        )
    on_path = shutil.which(SCRIPT)
    if on_path is None:
        raise NotFoundError(
            f"GGUF was asked for; llama.cpp's converter {SCRIPT} was not found; clone "
            f"https://github.com/ggml-org/llama.cpp, install its requirements, and set {VARIABLE} to the checkout"
        )
    return Path(on_path)


def to_gguf(
    model: Path,
    out: Path,
    *,
    precision: Precision = "f16",
    script: Path | None = None,
    python: Path | None = None,
) -> Path:
    """Convert a merged model folder into one GGUF file and return it; `python` runs the converter.

    Raises:
        NotFoundError: no converter.
        ConfigError: no merged model in the folder.
        ModelError: the converter failed; the message ends with what it said.
    """
    found = converter(script)
    if not (model / "config.json").exists():
        raise ConfigError(
            f"a merged model was expected in {str(model)!r}; merge the adapter into its base first"
        )
    part = out.with_name(f".{out.name}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    words = [
        str(python or sys.executable),
        str(found),
        str(model),
        "--outfile",
        str(part),
        "--outtype",
        precision,
    ]
    with boundary(ModelError, f"running {str(found)!r}", OSError, subprocess.TimeoutExpired):
        done = subprocess.run(words, capture_output=True, text=True, timeout=_LONGEST_S, check=False)
    if done.returncode != 0 or not _is_gguf(part):
        part.unlink(missing_ok=True)
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-_TAIL:])
        raise ModelError(
            f"{str(found)!r} ended with exit code {done.returncode} and no GGUF file; it said:\n{tail}"
        )
    part.rename(out)
    return out


def _is_gguf(file: Path) -> bool:
    if not file.exists():
        return False
    with file.open("rb") as stream:
        return stream.read(len(_MAGIC)) == _MAGIC
