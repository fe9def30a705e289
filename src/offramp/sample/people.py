"""The simulated incumbent and the simulated human labelers: what they answer to an offer.

Both err more where the text is ambiguous, and they often fall for the same wrong category, so that a paired test
meets the discordance of real answers. Source of the levels aimed at: product categorisation in practice, people
about 76 % right on a deep leaf and 90 % on the top level; an expensive LLM about 91 %. They are targets that we
set, not measurements of anybody. Guarantee: they never see more than the offer's ambiguity, rivals and category.
"""

from dataclasses import dataclass
from random import Random

from offramp.sample.catalog import Catalog, Leaf
from offramp.sample.offers import Offer


@dataclass(frozen=True)
class Answerer:
    """Someone who answers with a category; ratios are 0-1."""

    name: str
    """Column of the answers."""
    floor: float
    """Error rate on a plain offer."""
    slope: float
    """Added error rate on an offer that nobody can know."""
    near_ratio: float
    """Of the errors: those that stay in the same second level."""
    top_ratio: float
    """Of the errors: those that stay in the same first level only."""
    decoy_ratio: float
    """Of the errors: those that fall for the offer's own decoy."""


INCUMBENT = Answerer("incumbent", 0.03, 0.65, near_ratio=0.4, top_ratio=0.25, decoy_ratio=0.6)
"""Stands for an expensive LLM. Simulated."""
HUMANS = (
    Answerer("human_1", 0.175, 0.6, near_ratio=0.4, top_ratio=0.22, decoy_ratio=0.45),
    Answerer("human_2", 0.185, 0.56, near_ratio=0.4, top_ratio=0.22, decoy_ratio=0.45),
    Answerer("human_3", 0.165, 0.64, near_ratio=0.4, top_ratio=0.22, decoy_ratio=0.45),
)
"""Stand for three labelers of a crowd. Simulated."""


_KIN = (
    ("Animals & Pet Supplies", "Toys & Games", "Home & Garden"),
    ("Apparel & Accessories", "Sporting Goods", "Luggage & Bags"),
    ("Arts & Entertainment", "Toys & Games", "Office Supplies", "Home & Garden"),
    ("Baby & Toddler", "Toys & Games", "Home & Garden"),
    ("Business & Industrial", "Home & Garden", "Hardware", "Health & Beauty"),
    ("Cameras & Optics", "Electronics"),
    ("Electronics", "Vehicles & Parts", "Office Supplies"),
    ("Food, Beverages & Tobacco", "Health & Beauty", "Home & Garden"),
    ("Furniture", "Home & Garden", "Office Supplies"),
    ("Hardware", "Home & Garden", "Vehicles & Parts"),
    ("Health & Beauty", "Home & Garden", "Sporting Goods"),
    ("Luggage & Bags", "Home & Garden"),
)
"""First levels that people mix up."""


@dataclass(frozen=True)
class Confusions:
    """Which categories are mistaken for which."""

    near: dict[str, tuple[Leaf, ...]]
    """Same first and second level."""
    top: dict[str, tuple[Leaf, ...]]
    """Same first level, another second level."""
    far: dict[str, tuple[Leaf, ...]]
    """Another first level: those that share a noun with it, or those of related first levels."""


def confusions(catalog: Catalog) -> Confusions:
    """Work out the neighbours of each category."""
    near: dict[str, tuple[Leaf, ...]] = {}
    top: dict[str, tuple[Leaf, ...]] = {}
    far: dict[str, tuple[Leaf, ...]] = {}
    everyone = tuple(catalog.leaves.values())
    for leaf in everyone:
        near[leaf.path] = tuple(o for o in everyone if o.branch == leaf.branch and o.path != leaf.path)
        top[leaf.path] = tuple(o for o in everyone if o.top == leaf.top and o.branch != leaf.branch)
        linked = {path for noun in catalog.shared.get(leaf.path, ()) for path, _ in noun.shares}
        others = tuple(o for o in everyone if o.path in linked and o.top != leaf.top)
        kin = {name for family in _KIN if leaf.top in family for name in family}
        far[leaf.path] = others or tuple(o for o in everyone if o.top in kin and o.top != leaf.top)
    return Confusions(near, top, far)


def decoy(
    rng: Random, offer: Offer, table: Confusions, *, near_ratio: float = 0.4, top_ratio: float = 0.24
) -> str:
    """Draw the wrong category that this offer tempts people to."""
    if offer.rivals and rng.random() < 0.7:
        return rng.choice(offer.rivals)
    draw = rng.random()
    kinds = ((near_ratio, table.near), (near_ratio + top_ratio, table.top), (1.0, table.far))
    for limit, places in kinds:
        options = places[offer.category]
        if draw < limit and options:
            return rng.choices(options, [leaf.weight for leaf in options])[0].path
    return rng.choice(table.far[offer.category]).path


@dataclass(frozen=True)
class Puzzle:
    """An offer as everybody who must answer meets it."""

    offer: Offer
    """The offer."""
    tempting: str
    """The wrong category it tempts people to."""
    hardness: float
    """Factor on everybody's error rate, for reasons that no text shows; 1 on average."""


def hardness(rng: Random) -> float:
    """Draw how hard an offer is: a quarter is hard for everybody, so that errors of different answerers agree."""
    return 2.2 if rng.random() < 0.25 else 0.6


def answer(rng: Random, who: Answerer, puzzle: Puzzle, *, table: Confusions) -> str:
    """Answer one offer."""
    offer = puzzle.offer
    if rng.random() >= (who.floor + who.slope * offer.ambiguity) * puzzle.hardness:
        return offer.category
    if rng.random() < who.decoy_ratio:
        return puzzle.tempting
    return decoy(rng, offer, table, near_ratio=who.near_ratio, top_ratio=who.top_ratio)
