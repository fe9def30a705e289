"""False values in place of placeholders, for text that must still read like text.

The same seed gives the same value, so one person keeps one false name in a conversation. Trap: false values look
real, so nobody sees afterwards what was missed; a single name becomes a given name even where it was a family name.
"""

import string
from random import Random

from offramp.curate.personal.synthetic import ADDRESS, PERSON, PLACE, Maker


def surrogate(kind: str, value: str, seed: int) -> str:
    """Return a false value of the same kind; what has a form keeps it, digit for digit and letter for letter."""
    maker = Maker(seed)
    if kind == PERSON:
        given, family = maker.name()
        return f"{given} {family}" if len(value.split()) > 1 else given
    if kind in (PLACE, ADDRESS):
        return maker.place() if kind == PLACE else maker.street()
    rng = Random(seed)
    if kind == "EMAIL_ADDRESS":
        return f"{''.join(rng.choices(string.ascii_lowercase, k=8))}@example.com"
    if kind == "URL":
        return f"https://example.com/{rng.randrange(10**6)}"
    if kind == "DATE_OF_BIRTH":
        return f"{rng.randrange(1, 13)}/{rng.randrange(1, 29)}/{rng.randrange(1930, 2010)}"
    return "".join(_like(sign, rng) for sign in value)


def _like(sign: str, rng: Random) -> str:
    if sign.isdigit():
        return rng.choice(string.digits)
    if sign.isalpha():
        return rng.choice(string.ascii_uppercase if sign.isupper() else string.ascii_lowercase)
    return sign
