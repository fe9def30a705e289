"""Write the evidence pack: one HTML file that a manager understands and an auditor can check.

The page needs nothing but itself: no network, no font, no library; its security policy allows only the one style and
the one script that are written into it, by hash. All text is untrusted: jinja2 escapes everything, a `finalize`
hook cleans and cuts every string first, and charts escape by construction (`svg.tag`). Trap: a template may
never use `|safe`, and nothing here may compute a statistic; figures come in `ReportData` or are not shown.
"""

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from offramp.report.data import ReportData

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["ReportData", "page", "render"]


_FILTERS = (
    *("clean", "number", "percent", "estimate", "ends", "points", "usd"),
    *("duration", "rate", "size", "p_value", "day", "metric"),
)


def render(data: ReportData) -> str:
    """Return the whole report as one HTML document; sections whose data is missing are left out."""
    from offramp.report.views import build

    return page("report.html", d=data, view=build(data))


def page(template: str, **parts: Any) -> str:
    """Return a template as one HTML document with the style and the script that its policy allows by hash."""
    from markupsafe import Markup

    style, script = _part("style.css"), _part("script.js")
    return _environment().get_template(template).render(
        **parts,
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )  # fmt: skip


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _part(name: str) -> str:
    return files("offramp.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    from offramp.report import lanes, scales, text

    made = Environment(
        loader=FunctionLoader(lambda name: _part(f"templates/{name}")),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in _FILTERS:
        made.filters[name] = getattr(text, name)
    for name in ("amount", "change", "limits", "mean"):
        made.filters[name] = getattr(scales, name)
    made.filters["bare"] = lanes.bare
    made.filters["capfirst"] = lambda words: words[:1].upper() + words[1:]
    return made


def _finalize(value: Any) -> Any:
    """Clean every string on its way into the page; `Markup` was made by our own code and passes."""
    from markupsafe import Markup

    from offramp.report.text import NOTHING, clean

    if value is None:
        return NOTHING
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return clean(value, 1500)
