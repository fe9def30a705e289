"""Write docs/settings.md from the settings themselves, so that the page cannot drift from the code.

    python docs/settings_page.py > docs/settings.md

`tests/test_docs.py` checks that the page is what this prints.
"""

import sys
import types
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from offramp.settings import Settings

HEAD = """# Settings

<!-- written by docs/settings_page.py; edit the docstrings in the code instead -->

One `offramp.toml` per workspace. What is set where wins in this order: argument (`--set verdict.margin=0.03`, or
`offramp.open(folder, verdict={"margin": 0.03})`), environment (`OFFRAMP_VERDICT__MARGIN=0.03`), file, default. An
unknown key is an error. Secrets never stand in the file. A change makes new records from the first stage it touches;
what was made before stays.

```toml
name = "product-category"

[data]
sources = ["calls.jsonl"]

[data.mapping]
inputs = ["title", "description"]
target = ["category"]
incumbent = "gpt4o_answer"

[verdict]
margin = 0.02

[cost]
requests_per_month = 1000000
incumbent_model = "gpt-4o"
```
"""


def sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """Find the models inside an annotation such as `tuple[Bar, ...]` or `Mapping | None`."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
    else:
        for part in get_args(annotation):
            yield from sections(part)


def lines(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Return (key, default, meaning) of every setting below a model."""
    for name, field in model.model_fields.items():
        inner = list(sections(field.annotation))
        key = f"{prefix}{name}"
        default = field.get_default(call_default_factory=True)
        shown = (
            "" if field.is_required() else "section" if isinstance(default, BaseModel) else f"`{default!r}`"
        )
        yield key, shown, " ".join((field.description or "").split())
        for one in inner:
            yield from lines(one, f"{key}.")


def page() -> str:
    """Return the page."""
    rows = [
        f"| `{key}` | {default} | {meaning.replace('|', '/')} |" for key, default, meaning in lines(Settings)
    ]
    return "\n".join([HEAD, "| key | default | meaning |", "|---|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
