"""Plain English without end: sentences, stories, notes and dialogues from a small grammar over `words.txt`.

The idea: width comes from parts, not from texts: names are put together from many cultures, nouns and verbs are drawn
anew for every slot. Guarantee: nothing is taken from a data set; the same `Random` gives the same text everywhere.
Trap: it is grammatical, seldom sensible. A model that reads only this learns form, copying and little of the world.
"""

from functools import cache
from pathlib import Path
from random import Random

from offramp.curate.personal import synthetic

VOWELS = "aeiou"
_ONSETS = "b br c ch cl d dr f fl g gl gr h j k kl l m n p pl pr q r s sh sk sl st t th tr v w z".split()
_CORES = "a e i o u ai ea ee io oa ou".split()
_ENDS = "l m n r s t nd rk st x ck th p v".split()
_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()
_SYSTEM = ("You are a helpful assistant.", "Answer briefly.", "You help people with their work.", "")


@cache
def words(name: str) -> tuple[str, ...]:
    """Return one list of `words.txt` as it is written there."""
    text = (Path(__file__).parent / "words.txt").read_text(encoding="utf-8")
    for part in text.split("\n## ")[1:]:
        title, _, body = part.partition("\n")
        if title == name:
            split = body.replace("\n", " ").split("|") if "|" in body else body.split()
            return tuple(word.strip() for word in split if word.strip())
    raise KeyError(name)


def plural(noun: str) -> str:
    """Return the plural of a noun as listed (`mouse/mice` or regular)."""
    one, _, many = noun.partition("/")
    if many:
        return many
    if one.endswith(("s", "x", "ch", "sh")):
        return one + "es"
    return one[:-1] + "ies" if one.endswith("y") and one[-2] not in VOWELS else one + "s"


def past(verb: str) -> str:
    """Return the past tense of a verb as listed (`go/went` or regular)."""
    base, _, irregular = verb.partition("/")
    if irregular:
        return irregular
    if base.endswith("e"):
        return base + "d"
    if base.endswith("y") and base[-2] not in VOWELS:
        return base[:-1] + "ied"
    return base + base[-1] + "ed" if _doubles(base) else base + "ed"


def third(verb: str) -> str:
    """Return the third person of a verb (`he carries`)."""
    return plural(verb.partition("/")[0])


def gerund(verb: str) -> str:
    """Return the -ing form of a verb."""
    base = verb.partition("/")[0]
    if base.endswith("e") and not base.endswith(("ee", "ye")):
        return base[:-1] + "ing"
    return base + base[-1] + "ing" if _doubles(base) else base + "ing"


def _doubles(base: str) -> bool:
    short = (
        len(base) >= 3 and base[-1] not in VOWELS + "wxyh" and base[-2] in VOWELS and base[-3] not in VOWELS
    )
    return short and len(base) <= 4


def article(phrase: str) -> str:
    """Return the phrase with `a` or `an` before it."""
    return f"{'an' if phrase[0].lower() in VOWELS else 'a'} {phrase}"


def upper_first(text: str) -> str:
    """Return the text with a capital first letter."""
    return text[:1].upper() + text[1:]


def joined(parts: list[str], last: str = "and") -> str:
    """Return `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} {last} {parts[-1]}"


class Prose:
    """Writes words, sentences and texts; everything random comes from `rng`."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self._maker = synthetic.Maker(rng.randrange(2**32))

    def pick(self, name: str) -> str:
        """Return the first form of a word from a list."""
        return self.rng.choice(words(name)).partition("/")[0]

    def raw(self, name: str) -> str:
        """Return a word with its irregular form."""
        return self.rng.choice(words(name))

    def sample(self, name: str, count: int) -> list[str]:
        """Return different words of a list."""
        return [word.partition("/")[0] for word in self.rng.sample(words(name), count)]

    def full(self) -> str:
        """Return a given and a family name in Latin letters."""
        while True:
            name = " ".join(self._maker.name())
            if max(name) < "\u0180":
                return name

    def given(self) -> str:
        """Return a given name."""
        return self.full().partition(" ")[0]

    def place(self) -> str:
        """Return a town."""
        return self._maker.place()

    def street(self) -> str:
        """Return a street with a number."""
        return self._maker.street()

    def made_up(self) -> str:
        """Return a word that does not exist."""
        rng = self.rng
        parts = [rng.choice(_ONSETS) + rng.choice(_CORES) for _ in range(rng.choice((1, 2, 2, 3)))]
        return "".join(parts) + rng.choice(_ENDS)

    def code(self) -> str:
        """Return an order number, a serial number or the like."""
        rng = self.rng
        letters = "".join(rng.choice("ABCDEFGHJKLMNPQRSTUVWXYZ") for _ in range(rng.choice((1, 2, 2, 3))))
        digits = str(rng.randrange(10 ** rng.choice((2, 3, 4, 5, 6))))
        return rng.choice(
            (f"{letters}-{digits}", f"{letters}{digits}", digits, f"#{digits}", f"{digits}/{letters}")
        )

    def number(self) -> str:
        """Return a small number, as a word or in digits."""
        value = self.rng.randint(2, 12)
        return _NUMBERS[value] if self.rng.random() < 0.5 else str(value)

    def money(self) -> str:
        """Return an amount."""
        rng = self.rng
        return f"{rng.choice((rng.randrange(1, 20), rng.randrange(1, 400)))}.{rng.randrange(100):02d}"

    def day(self) -> str:
        """Return a date in one of many forms."""
        rng = self.rng
        day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1995, 2029)
        name = words("month")[month - 1]
        return rng.choice(
            (
                f"{day:02d}/{month:02d}/{year}",
                f"{year}-{month:02d}-{day:02d}",
                f"{day} {name} {year}",
                f"{name} {day}, {year}",
                f"{day:02d}-{month:02d}-{year}",
                f"{day}.{month}.{year}",
                f"{day:02d} {name[:3].upper()} {year}",
                f"{name} {day}",
            )
        )

    def clock(self) -> str:
        """Return a time of day."""
        hour, minute = self.rng.randrange(24), self.rng.choice((0, 0, 15, 30, 45, self.rng.randrange(60)))
        if self.rng.random() < 0.5:
            return f"{hour:02d}:{minute:02d}"
        return f"{hour % 12 or 12}{f':{minute:02d}' if minute else ''} {'am' if hour < 12 else 'pm'}"

    def noun(self) -> str:
        """Return a thing of any kind, as listed."""
        kind = self.rng.choices(("thing", "tool", "food", "animal", "nature", "idea"), (5, 2, 3, 3, 1, 2))[0]
        return self.raw(kind)

    def thing(self) -> str:
        """Return a noun phrase for a thing: `an old red lantern`, `the keys`, `three bottles`."""
        rng, noun = self.rng, self.noun()
        one = noun.partition("/")[0]
        adjective = rng.choice(("", "", self.pick("adjective"), self.pick("colour")))
        share = rng.random()
        if share < 0.2:
            return f"{self.number()} {adjective} {plural(noun)}".replace("  ", " ")
        if share < 0.3:
            return f"the {adjective} {plural(noun)}".replace("  ", " ")
        phrase = f"{adjective} {one}".strip()
        if share < 0.6:
            return article(phrase)
        return f"{rng.choice(('the', 'the', 'his', 'her', 'my', 'their', 'this', 'that', 'every'))} {phrase}"

    def person(self) -> str:
        """Return somebody: a name, a job or a relation."""
        rng = self.rng
        share = rng.random()
        if share < 0.45:
            return self.given()
        if share < 0.75:
            adjective = rng.choice(("", "", self.pick("adjective") + " "))
            return f"the {adjective}{self.pick('job')}"
        return f"{rng.choice(('my', 'her', 'his', 'our', 'their'))} {self.pick('kin')}"

    def where(self) -> str:
        """Return a place with its preposition."""
        rng = self.rng
        if rng.random() < 0.25:
            return f"{rng.choice(('in', 'near', 'from'))} {self.place()}"
        how = rng.choice(
            ("in", "at", "near", "behind", "in front of", "outside", "on the way to", "not far from")
        )
        return f"{how} the {self.pick('place')}"

    def action(self) -> str:
        """Return a verb phrase in the past tense."""
        rng = self.rng
        share = rng.random()
        if share < 0.6:
            return f"{past(self.raw('transitive'))} {self.thing()}"
        if share < 0.75:
            return f"{past(self.raw('intransitive'))} {rng.choice((self.pick('adverb'), self.where()))}"
        if share < 0.87:
            wishes = (
                "wanted to",
                "tried to",
                "forgot to",
                "had to",
                "promised to",
                "decided to",
                "could not",
            )
            verb = rng.choice(wishes)
            return f"{verb} {self.pick('transitive')} {self.thing()}"
        verb = rng.choice(("started", "enjoyed", "stopped", "kept", "liked", "hated"))
        return f"{verb} {gerund(self.raw('transitive'))} {self.thing()}"

    def sentence(self, who: str = "") -> str:
        """Return one sentence about `who`, or about anybody."""
        rng, who = self.rng, who or self.person()
        share = rng.random()
        if share < 0.34:
            text = f"{who} {self.action()}"
            text += f" {rng.choice((self.where(), self.pick('when'), self.pick('cause'), ''))}"
        elif share < 0.44:
            text = f"{self.pick('when')}, {who} {self.action()}"
        elif share < 0.54:
            text = f"{who} {self.action()} and then {self.action()}"
        elif share < 0.62:
            how = self.pick("adjective")
            text = f"{who} was {how} {rng.choice((self.pick('cause'), 'and ' + self.pick('adjective')))}"
        elif share < 0.70:
            verb = rng.choice(("is", "was"))
            text = f"there {verb} {article(self.pick('adjective') + ' ' + self.pick('thing'))} {self.where()}"
        elif share < 0.77:
            text = f"{who} said that {self.person()} {self.action()}"
        elif share < 0.84:
            text = f"when {self.person()} {self.action()}, {who} {self.action()}"
        elif share < 0.92:
            noun, other = self.pick("thing"), self.pick("thing")
            text = f"the {noun} is {self.pick('adjective')}, but the {other} is {self.pick('adjective')}"
        else:
            text = f"{who} {third(self.raw('transitive'))} {self.thing()} "
            text += rng.choice(("every day", "once a week", "on " + self.pick("weekday")))
        return upper_first(text.strip()) + "."

    def story(self) -> str:
        """Return a few sentences that stay with one or two people."""
        rng, name, other = self.rng, self.given(), self.given()
        job, pronoun = self.pick("job"), rng.choice(("he", "she"))
        opening = rng.choice(
            (
                f"{name} was {article(job)} who lived {self.where()}.",
                f"{upper_first(self.pick('when'))}, {name} met {other} {self.where()}.",
                f"Once there was {article(self.pick('adjective') + ' ' + job)} called {name}.",
                f"{name} and {other} worked together {self.where()}.",
            )
        )
        lines = [opening]
        for _ in range(rng.randint(2, 7)):
            lines.append(self.sentence(rng.choice((pronoun, pronoun, name, other, "they"))))
        if rng.random() < 0.4:
            lines.append(f'"{upper_first(self.action())}," said {rng.choice((name, other))}.')
        return " ".join(lines)

    def note(self) -> str:
        """Return a short note, letter or list as people write them."""
        rng = self.rng
        form = rng.randrange(4)
        if form == 0:
            body = " ".join(self.sentence("I") for _ in range(rng.randint(1, 4)))
            opening = f"Dear {self.given()},\n\n{body}\n\n"
            return (
                f"{opening}{rng.choice(('Best regards', 'Thanks', 'Yours', 'See you soon'))},\n{self.given()}"
            )
        if form == 1:
            items = [f"- {self.thing()}" for _ in range(rng.randint(3, 7))]
            return f"{rng.choice(('Shopping', 'To do', 'To pack', 'Found', 'Missing'))}:\n" + "\n".join(items)
        if form == 2:
            rows = [f"{self.clock()} {self.sentence()}" for _ in range(rng.randint(2, 5))]
            return f"Log of {self.day()}\n" + "\n".join(rows)
        who = [self.given(), self.given()]
        return "\n".join(f"{who[i % 2]}: {self.remark()}" for i in range(rng.randint(3, 7)))

    def remark(self) -> str:
        """Return something that somebody says."""
        rng = self.rng
        return rng.choice(
            (
                f"Did you {self.pick('transitive')} {self.thing()}?",
                f"Yes, I {past(self.raw('transitive'))} it {self.pick('when')}.",
                f"No, I {self.action()}.",
                f"Where is the {self.pick('thing')}?",
                f"It is {self.where()}.",
                f"How much is the {self.pick('product')}?",
                f"It costs {self.money()}.",
                self.sentence("I"),
                self.sentence(),
                f"Can you help me with the {self.pick('specialthing')}?",
                f"My {self.pick('body')} hurts {self.pick('cause')}.",
            )
        )

    def paragraph(self, low: int = 1, high: int = 4) -> str:
        """Return some sentences about anybody."""
        return " ".join(self.sentence() for _ in range(self.rng.randint(low, high)))

    def system(self) -> str:
        """Return a general system prompt, often none."""
        return self.rng.choice(_SYSTEM)
