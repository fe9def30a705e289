"""Write one product offer the way its merchant would, and say how much of its category can be read from it.

The idea: the category is drawn first, then words for it. A share of the offers uses only a noun that several
categories share, or a model name with no noun at all; where the description does not help either, nobody can know,
and that is the irreducible error of the task. Guarantee: same random state, same offer.
"""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from offramp.sample.catalog import SEPARATOR, Catalog, Leaf
from offramp.sample.merchants import Merchant

_LINES = (
    "Aria",
    "Nordic",
    "X2",
    "Pro 500",
    "Lite",
    "Cosmo",
    "Urban",
    "Studio",
    "No. 7",
    "Alba",
    "Zen",
    "2.0",
    "Max",
)
_CLOTHING_SIZES = ("S", "M", "L", "XL", "XXL", "38", "40", "42", "Gr. 44", "one size", "S-XXL", "12-18M")
_UNITS = {
    "Food, Beverages & Tobacco": ("250g", "500 g", "1 kg", "12 x 40 g", "6 x 100 g", "2 x 1 kg", "75 g"),
    "Health & Beauty": ("50 ml", "100ml", "250 ml", "60 pcs", "set of 3", "travel size", "200g"),
    "Vehicles & Parts": ("12V", "universal", "left", "set of 4", "2005-2012", "1.9 TDI", "XL"),
    "Electronics": ("2-pack", "black edition", "v2", "2025 model", "MK II", "compact", "bulk"),
    "Cameras & Optics": ("set", "2-pack", "MK II", "compact", "v3", "kit"),
}
_MEASURES = ("40x60cm", "30 cm", "Ø 24", "120 x 80 cm", "200x30", "25 x 18 cm", "XL", "2 pcs")
_MEASURED = ("Furniture", "Decor", "Bathroom Accessories", "Linens & Bedding", "Lighting", "Lawn & Garden")
_COUNTS = ("set of 2", "4-pack", "large", "small", "10 pcs", "1 pc", "M", "value pack", "mini", "2er", "set")
_SINGULAR = re.compile(
    r"\b(a|an|this|one|little|your new|new|good|value|of|The \{b\}|everyday) \{n\}", re.IGNORECASE
)


@dataclass(frozen=True)
class Difficulty:
    """How hard the task is; shares of offers, 0-1."""

    shared_ratio: float = 0.18
    """Offers named only by a noun that several categories share."""
    coded_ratio: float = 0.06
    """Offers named by brand and model, with no noun in the title."""
    cue_ratio: float = 0.72
    """Of those two: offers whose description or shelf still gives the category away."""
    host_ratio: float = 0.3
    """Offers in accessory categories that name the thing they fit."""
    bundle_ratio: float = 0.05
    """Offers with something of another category thrown in."""
    term_ratio: float = 0.45
    """Titles that also say what kind of thing it is."""
    kin_ratio: float = 0.8
    """Descriptions that name the range or other products of it."""
    stuffed_ratio: float = 0.07
    """Titles with nouns of neighbouring categories as search words."""


@dataclass(frozen=True)
class Offer:
    """The words of one offer, its category, and how ambiguous it is."""

    title: str
    """Title."""
    description: str
    """Description, "" when missing."""
    merchant_category: str
    """The merchant's own shelf name, "" when missing."""
    brand: str
    """Brand field, "" when missing."""
    category: str
    """Reference label."""
    ambiguity: float
    """0 = the text says it plainly, 1 = nobody can know."""
    rivals: tuple[str, ...]
    """Categories that the words could also mean."""
    merchant: str
    """Id of the merchant."""
    traits: tuple[str, ...] = ()
    """`html` and `boilerplate` where the description carries them."""


@dataclass(frozen=True)
class _Plan:
    noun: str
    kind: str
    cued: bool
    ambiguity: float
    rivals: tuple[str, ...] = ()

    @property
    def hidden(self) -> bool:
        """True when nothing in the offer may give the category away."""
        return self.kind in ("coded", "shared") and not self.cued


@dataclass(frozen=True)
class Writer:
    """Writes offers for merchants from one catalog."""

    catalog: Catalog
    """Words."""
    difficulty: Difficulty
    """Knobs."""

    def write(self, rng: Random, merchant: Merchant, leaf: Leaf) -> Offer:
        """Write one offer of `leaf` in the merchant's way."""
        language = merchant.language if rng.random() < 0.8 else "en"
        plan = self._plan(rng, leaf, language)
        brand = rng.choice(merchant.brands)
        words = self._words(rng, merchant, leaf, plan, brand)
        title = self._title(rng, merchant, leaf, plan, words)
        shelf, helps = self._shelf(rng, merchant, leaf, plan)
        description, traits = self._describe(rng, merchant, plan, {**words, "t": title})
        if plan.kind == "coded" and not plan.cued and not helps and not description:
            plan = replace(plan, ambiguity=1.0)
        if helps:
            plan = replace(plan, ambiguity=plan.ambiguity * 0.6)
        if rng.random() < merchant.typo_ratio:
            title = _typo(rng, title)
        if rng.random() < merchant.caps_ratio:
            title = title.upper()
        if rng.random() < merchant.emoji_ratio:
            title = f"{rng.choice(self.catalog.frames['emojis'])} {title}"
        shown = brand if rng.random() < merchant.brand_column_ratio else ""
        ambiguity = min(plan.ambiguity, 1.0)
        return Offer(title, description, shelf, shown, leaf.path, ambiguity, plan.rivals, merchant.id, traits)

    def _plan(self, rng: Random, leaf: Leaf, language: str) -> _Plan:
        knobs = self.difficulty
        cued = rng.random() < knobs.cue_ratio
        if language != "en" and language in leaf.foreign:
            return _Plan(rng.choice(leaf.foreign[language]), "foreign", cued, 0.14)
        kind = rng.random()
        if kind < knobs.shared_ratio and leaf.path in self.catalog.shared:
            options = self.catalog.shared[leaf.path]
            noun = rng.choices(options, [dict(option.shares)[leaf.path] for option in options])[0]
            share = dict(noun.shares)[leaf.path]
            rivals = tuple(path for path, _ in noun.shares if path != leaf.path)
            return _Plan(noun.noun, "shared", cued, (1 - share) * (0.35 if cued else 1.1), rivals)
        if kind < knobs.shared_ratio + knobs.coded_ratio:
            return _Plan(rng.choice(leaf.nouns), "coded", cued, 0.2 if cued else 0.75)
        if leaf.hosts and rng.random() < knobs.host_ratio:
            return _Plan(f"{rng.choice(leaf.fits)} for {rng.choice(leaf.hosts)}", "host", cued, 0.2)
        return _Plan(rng.choice(leaf.nouns), "plain", cued, 0.05)

    def _words(self, rng: Random, merchant: Merchant, leaf: Leaf, plan: _Plan, brand: str) -> dict[str, str]:
        frames = self.catalog.frames
        foreign = plan.kind == "foreign"
        language = merchant.language if foreign else "en"
        generic = plan.hidden or (foreign and rng.random() < 0.4)
        says = frames["features"][language] if generic else leaf.says
        facts = rng.sample(says, min(4, len(says)))
        noun = "article" if plan.kind == "coded" and not plan.cued else plan.noun
        code = f"{merchant.code}{rng.choice(('-', '', ' ', '/'))}{rng.randrange(100, 99999)}"
        others = rng.sample([other for other in leaf.nouns if other != plan.noun], 2)
        extras = rng.sample(frames["titles_extra"], 2)
        return {
            "n": noun,
            "N": noun[:1].upper() + noun[1:] if rng.random() < 0.6 else noun.title(),
            "b": brand,
            "c": _colour(rng, leaf, language, frames=frames),
            "language": language,
            "top": leaf.top,
            "y": str(rng.randint(1988, 2025)),
            "w": rng.choice(frames["towns"]),
            "z": _size(rng, leaf),
            "k": code,
            "l": rng.choice(_LINES),
            "s": facts[0],
            "s2": facts[1],
            "facts": "|".join(facts),
            "x": extras[0],
            "x2": extras[1],
            "e": rng.choice(frames["emojis"]) if rng.random() < 0.3 else "",
            "j": rng.choice(frames["joiners"]),
            "g": rng.choice(leaf.terms),
            "o": others[0],
            "p": others[1],
            "key": "Kind" if leaf.top.startswith(("Food", "Health")) else "Colour",
            "buy": " ".join(frames["buy"][language]),
            "m": merchant.name,
        }

    def _title(self, rng: Random, merchant: Merchant, leaf: Leaf, plan: _Plan, words: dict[str, str]) -> str:
        if plan.kind == "coded":
            form = rng.choice(
                ("{b} {l} {c} {z}", "{b} {k}", "{b} {l} - {c}", "{l} {z} {c} {b}", "{k} {c} {z}")
            )
            return _tidy(form.format(**words))
        text = _tidy(rng.choice(merchant.titles).format(**words))
        if not plan.hidden and rng.random() < self.difficulty.term_ratio * (
            0.4 if plan.kind == "foreign" else 1
        ):
            text = rng.choice(("{t} {g}", "{t} - {g}", "{g} {t}", "{t} | {g}", "{t}, {g}")).format(
                t=text, g=words["g"]
            )
        if rng.random() < self.difficulty.bundle_ratio:
            other = rng.choice(
                [o for o in self.catalog.leaves.values() if o.top == leaf.top and o != leaf] or [leaf]
            )
            gift = rng.choice(other.nouns)
            text += rng.choice(
                (f" + free {gift}", f" incl. {gift}", f" & {gift} bundle", f" ({gift} as a gift)")
            )
        if rng.random() < self.difficulty.stuffed_ratio:
            near = [o for o in self.catalog.leaves.values() if o.branch == leaf.branch]
            text += " " + " ".join(
                rng.choice(rng.choice(near).nouns).split()[-1] for _ in range(rng.randint(2, 4))
            )
        return text

    def _shelf(self, rng: Random, merchant: Merchant, leaf: Leaf, plan: _Plan) -> tuple[str, bool]:
        """Return the merchant's own category and whether it helps a reader."""
        style = merchant.shelf
        if style == "mixed":
            style = rng.choice(("own", "generic", "top", "missing"))
        if plan.hidden and style in ("own", "path"):
            style = rng.choice(("generic", "missing", "top"))
        own = rng.choice(leaf.shelves)
        if rng.random() < 0.03:  # Feeds are filled in by hand: now and then the shelf is plainly wrong.
            wrong = rng.choice(list(self.catalog.leaves.values()))
            return rng.choice(wrong.shelves), False
        if style == "own":
            return own, True
        if style == "path":
            return (
                f"{rng.choice(('Shop', 'Home', 'Start', leaf.top.split(' ')[0]))} {rng.choice('>/|')} {own}",
                True,
            )
        if style == "top":
            return leaf.shelves[-1] if rng.random() < 0.5 else leaf.top.split(SEPARATOR)[0].split(",")[
                0
            ], False
        return ("", False) if style == "missing" else (rng.choice(self.catalog.frames["shelves"]), False)

    def _describe(
        self, rng: Random, merchant: Merchant, plan: _Plan, words: dict[str, str]
    ) -> tuple[str, tuple[str, ...]]:
        """Return the description and its traits."""
        style = rng.choice(merchant.description_style)
        if style == "missing":
            return "", ()
        frames = self.catalog.frames
        language, top = words["language"], words["top"]
        bare = plan.hidden or _plural(plan.noun)
        pool = [
            text
            for text in frames["intros"][language]
            if not (plan.hidden and ("{n}" in text or "{N}" in text))
            and not (bare and _SINGULAR.search(text))
            and self._suits(text, top)
        ]
        intros = [text.format(**words) for text in rng.sample(pool, min(len(pool), rng.choice((1, 1, 2, 3))))]
        intros = [text[:1].upper() + text[1:] for text in intros]
        facts = words["facts"].split("|")[: rng.choice((1, 2, 3, 4))]
        if plan.kind == "coded" and plan.cued:
            facts.insert(0, plan.noun)
        ends = [text for text in frames["closers"][language] if self._suits(text, top)]
        closers = rng.sample(ends, rng.choice((0, 0, 1, 1, 2)))
        if not plan.hidden and rng.random() < self.difficulty.kin_ratio:
            kin = rng.choice(frames["kin"]).format(**words)
            closers.insert(0, kin[:1].upper() + kin[1:])
        text = _layout(rng, style, _Parts(intros, facts, closers, words))
        traits = ["html"] if style == "html_list" else []
        if rng.random() < merchant.boilerplate_ratio:
            text += "\n" + " ".join(line.format(m=merchant.name) for line in merchant.boilerplate)
            traits.append("boilerplate")
        if rng.random() < merchant.html_ratio and style != "html_list":
            text = _to_html(rng, text)
            traits.append("html")
        if rng.random() < 0.06:  # Feeds cut long descriptions without looking.
            return text[: rng.choice((90, 160))] + "...", tuple(trait for trait in traits if trait == "html")
        return text, tuple(traits)

    def _suits(self, text: str, top: str) -> bool:
        """False where a sentence makes no sense for the kind of goods."""
        limits: dict[str, list[str]] = self.catalog.frames["only"]
        return all(part not in text or top in tops for part, tops in limits.items())


@dataclass(frozen=True)
class _Parts:
    intros: Sequence[str]
    facts: Sequence[str]
    closers: Sequence[str]
    words: dict[str, str]


def _layout(rng: Random, style: str, parts: _Parts) -> str:
    intros, facts, closers, words = parts.intros, parts.facts, parts.closers, parts.words
    upper = [fact[:1].upper() + fact[1:] for fact in facts]
    specs = rng.sample(
        [
            f"{words['key']}: {words['c']}",
            f"Size: {words['z']}",
            f"Brand: {words['b']}",
            f"Art. no.: {words['k']}",
        ],
        rng.choice((2, 3, 4)),
    )
    if style == "bullets":
        mark = rng.choice(("• ", "- ", "* ", "✔ ", "+ ", "→ ", "✅ "))
        return "\n".join([*intros[:1], *(mark + fact for fact in upper), *closers])
    if style == "table":
        key = rng.choice(("Info", "Feature", "Note", "Detail", "Properties"))
        return rng.choice((" | ", "\n", "; ")).join(
            [*specs, *(f"{key}: {fact}" for fact in facts), *closers[:1]]
        )
    if style == "fragment":
        return rng.choice((", ", " ", " / ", " - ")).join([*facts[:2], *closers[:1]])
    if style == "copy":
        return words["t"] + rng.choice(("", ".", " " + words["k"]))
    if style == "dump":
        keys = ("color", "size", "vendor", "bullet_1", "bullet_2", "bullet_3")
        values = (words["c"], words["z"], words["b"], *facts)
        return " ".join(f"{key}={value!r}" for key, value in zip(keys, values, strict=False))
    if style == "html_list":
        items = "".join(f"<li>{html.escape(fact)}</li>" for fact in upper)
        ends = "".join(f"<p>{html.escape(closer)}</p>" for closer in closers)
        return f"<p><b>{html.escape(intros[0])}</b></p><ul>{items}</ul>{ends}"
    if style == "stuffed":
        noun = words["n"]
        search = ", ".join(f"{noun} {word}" for word in words["buy"].split()[:2])
        return (
            f"{noun}, {noun} {words['c']}, {words['b']} {noun}, {search}. {', '.join([*facts, *closers[:1]])}"
        )
    if style == "story":
        return " ".join([*intros, f"{'. '.join(upper)}.", *(f"{spec}." for spec in specs[:2]), *closers])
    opener = rng.choice(("", "", "", "Features: ", "Good to know: ", "In short: "))
    return " ".join(
        [*intros, f"{opener}{', '.join(facts if opener else upper[:1] + list(facts[1:]))}.", *closers]
    )


def _size(rng: Random, leaf: Leaf) -> str:
    if leaf.top == "Apparel & Accessories":
        return rng.choice(
            _CLOTHING_SIZES if leaf.branch.endswith("Clothing") else ("one size", "unisex", "adult", "")
        )
    measured = leaf.top in _MEASURED or any(leaf.branch.endswith(branch) for branch in _MEASURED)
    return rng.choice(_UNITS.get(leaf.top, _MEASURES if measured else _COUNTS))


def _colour(rng: Random, leaf: Leaf, language: str, *, frames: dict[str, Any]) -> str:
    """Food and cosmetics come in kinds rather than colours."""
    consumable = leaf.top in ("Food, Beverages & Tobacco", "Health & Beauty")
    return str(rng.choice(frames["flavours"] if consumable else frames["colours"][language]))


def _plural(noun: str) -> bool:
    """Guess whether an English noun takes no article."""
    head = re.split(r" (?:for|with|of|in|and) | \d", noun)[0]
    return (head.endswith("s") and not head.endswith("ss")) or head[-1:].isdigit()


def _tidy(text: str) -> str:
    return " ".join(text.split()).strip(" -|/,")


def _to_html(rng: Random, text: str) -> str:
    body = html.escape(text, quote=False).replace("\n", rng.choice(("<br>", "<br />\n", "</p><p>")))
    for letter, entity in (
        ("é", "&eacute;"),
        ("ü", "&uuml;"),
        ("ö", "&ouml;"),
        ("'", "&#39;"),
        ("ä", "&auml;"),
    ):
        body = body.replace(letter, entity)
    frames = ("<p>{}</p>", '<div class="desc">{}</div>', "<span style='font-size:14px'>{}</span>", "{}&nbsp;")
    return rng.choice(frames).format(body)


def _typo(rng: Random, text: str) -> str:
    """Swap, drop or double one letter."""
    if len(text) < 6:
        return text
    at = rng.randrange(1, len(text) - 2)
    return rng.choice(
        (
            text[:at] + text[at + 1] + text[at] + text[at + 2 :],
            text[:at] + text[at + 1 :],
            text[: at + 1] + text[at:],
        )
    )
