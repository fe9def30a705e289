"""The invented shops of the sample task: each has a language, an assortment and habits of writing.

Rows of one merchant share style, as in a real feed, which is why they are a group that a split keeps together.
Guarantee: names of shops and brands are made of syllables; any likeness is chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from offramp.sample.catalog import Catalog

_HEADS = (
    "Vel Kor Lum Nor Bra Tre Sil Mar Hol Fen Ost Cal Ri Dex Zan Pol Gre Ami Tov Ulm Wes Jor Quin Bex".split()
)
_TAILS = "mora dane ix vik ella tano berg sson ano wood line tex ora fit ny lux ket mont ero haus".split()
_SHOP_ENDS = (
    "Shop",
    "Store",
    "24",
    "Direct",
    "& Sons",
    "Outlet",
    "GmbH",
    "Trading",
    "Online",
    "Market",
    "Ltd",
)
_SIZE_TAIL = 0.75
"""Merchant k has a share of traffic that falls as (k+8)^-0.75: long-tailed, none above about 2 %."""
_TITLES = (
    "{b} {N} {c} {z}",
    "{N} - {c} - {z}",
    "{b} | {N} | {k}",
    "{N} {s}, {c}",
    "{k} {b} {n}",
    "{b} {l} {N}",
    "{N} ({c}, {z})",
    "{e} {N} {x}",
    "{b} {N} {j} {s}",
    "{z} {N} {c}",
    "1x {N} {c}",
    "{N} by {b} {x}",
    "{N}",
    "{b} {l} {c} {n} {k}",
    "{x} {N} {s} {z}",
    "{N}, {s}, {s2}",
    "{c} {n} {b}",
    "{N} {l} {z} {k}",
    "{b}® {l} - {N} / {c}",
    "{N} {x} {x2} {c} {s}",
)


@dataclass(frozen=True)
class Merchant:
    """One shop and its habits; ratios are 0-1."""

    id: str
    """Group of its rows."""
    name: str
    """What stands in its legal lines."""
    language: str
    """Language it mostly writes."""
    weight: float
    """Share of traffic."""
    tops: tuple[str, ...]
    """Top-level categories it mainly sells; empty for a general store."""
    titles: tuple[str, ...]
    """Title plans it uses."""
    brands: tuple[str, ...]
    """Brands it carries."""
    description_style: tuple[str, ...]
    """Kinds of description it writes, see `offers.describe`."""
    boilerplate: tuple[str, ...]
    """Sentences it adds to descriptions."""
    boilerplate_ratio: float
    """How many of its descriptions carry them."""
    html_ratio: float
    """How many descriptions are HTML."""
    caps_ratio: float
    """How many titles are all capitals."""
    emoji_ratio: float
    """How many offers carry emojis."""
    typo_ratio: float
    """How many offers have a typing error."""
    brand_column_ratio: float
    """How often the brand field is filled."""
    shelf: str
    """What it writes as its own category: `own`, `generic`, `top`, `path`, `missing` or `mixed`."""
    code: str
    """Prefix of its SKUs."""


def brands(rng: Random, count: int = 170) -> list[str]:
    """Invent brand names, all different."""
    names: list[str] = []
    while len(names) < count:
        name = rng.choice(_HEADS) + rng.choice(_TAILS)
        if rng.random() < 0.15:
            name += rng.choice((" Home", " & Co", " Pro", " Living", " Kids", " Tech"))
        if rng.random() < 0.1:
            name = name.upper()
        if name not in names:
            names.append(name)
    return names


def merchants(rng: Random, count: int, *, catalog: Catalog) -> list[Merchant]:
    """Invent shops; larger ones first."""
    tops = sorted({leaf.top for leaf in catalog.leaves.values()})
    pool = brands(rng)
    homes = {name: rng.sample(tops, rng.choice((1, 1, 2, 3))) for name in pool}
    return [_merchant(rng, number, catalog, tops, homes) for number in range(count)]


def _merchant(
    rng: Random, number: int, catalog: Catalog, tops: Sequence[str], homes: dict[str, list[str]]
) -> Merchant:
    language = rng.choices(("en", "de", "fr", "es", "it", "nl"), (84, 5, 3, 3, 2, 3))[0]
    focus = tuple(rng.sample(tops, rng.choice((1, 2, 2, 3)))) if rng.random() < 0.6 else ()
    carried = [name for name, home in homes.items() if not focus or set(home) & set(focus)] or list(homes)
    lines = catalog.frames["boilerplate"]
    name = f"{rng.choice(_HEADS)}{rng.choice(_TAILS)} {rng.choice(_SHOP_ENDS)}"
    styles = (
        "prose",
        "bullets",
        "table",
        "fragment",
        "copy",
        "dump",
        "html_list",
        "stuffed",
        "story",
        "missing",
    )
    return Merchant(
        id=f"m{number:03d}",
        name=name,
        language=language,
        weight=(number + 8) ** -_SIZE_TAIL,
        tops=focus,
        titles=tuple(rng.sample(_TITLES, rng.choice((2, 3, 4, 5)))),
        brands=tuple(rng.sample(carried, min(len(carried), rng.choice((1, 3, 6, 12))))),
        description_style=tuple(
            rng.choices(styles, (10, 8, 5, 3, 1, 2, 7, 3, 8, 2), k=rng.choice((2, 3, 4)))
        ),
        boilerplate=tuple(
            rng.sample(lines["en"] if language == "en" else lines[language] + lines["en"][:2], 2)
        ),
        boilerplate_ratio=rng.choice((0.0, 0.0, 0.2, 0.6, 0.9)),
        html_ratio=rng.choice((0.0, 0.0, 0.1, 0.5, 0.9)),
        caps_ratio=rng.choice((0.0, 0.0, 0.0, 0.05, 0.3, 0.9)),
        emoji_ratio=rng.choice((0.0, 0.0, 0.0, 0.05, 0.5)),
        typo_ratio=rng.choice((0.0, 0.02, 0.05, 0.15)),
        brand_column_ratio=rng.choice((0.0, 0.5, 0.9, 1.0)),
        shelf=rng.choices(("own", "generic", "top", "path", "missing", "mixed"), (30, 12, 10, 16, 14, 18))[0],
        code="".join(rng.choices("BCDFGHKLMNPRTVWXZ", k=rng.choice((1, 2, 3)))),
    )
