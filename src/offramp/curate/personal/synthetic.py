"""Sentences with known personal data, without end: templates filled with values that are put together anew each time.

Guarantee: the same seed gives the same texts and spans everywhere. Nothing is taken from a data set. Trap: a tagger
is only as wide as these templates; what it does on other text is measured in `bench/_curate_personal.py`.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from random import Random

PERSON, PLACE, ADDRESS = "PERSON", "PLACE", "ADDRESS"
"""What the tagger finds."""
Marked = tuple[str, list[tuple[int, int, str]]]
"""A text and its spans: start, end, type."""

_SLOT = re.compile(r"\{([A-Za-z]+)\}")
_KINDS = {
    **dict.fromkeys(("person", "full", "given", "family", "lastfirst"), PERSON),
    "place": PLACE,
    **dict.fromkeys(("address", "street", "zip", "unit", "number"), ADDRESS),
}
_SPEAKERS = (
    ("Doctor", "Patient"),
    ("Doctor", "Patient"),
    ("Doctor", "Guest_family"),
    ("Doctor", "Guest_clinician"),
    ("Nurse", "Patient"),
    ("DR", "PT"),
    ("Provider", "Mother"),
    ("Clinician", "Caregiver"),
)
_CHAT = (("Agent", "Customer"), ("Bot", "User"), ("Assistant", "User"), ("Support", "Client"))


@cache
def _sections() -> dict[str, tuple[str, ...]]:
    """Read the lists beside this file: `## NAME: what it is`, then lines."""
    found: dict[str, list[str]] = {}
    folder = files("offramp.curate.personal")
    for file in ("values.txt", "negatives.txt", "sentences.txt"):
        for line in (folder / file).read_text(encoding="utf-8").splitlines():
            if line.startswith("## "):
                name = line[3:].partition(":")[0]
                found[name] = []
            elif line and not line.startswith("# "):
                found[name].append(line)
    return {name: tuple(lines) for name, lines in found.items()}


def fingerprint() -> str:
    """Name the lists by their content."""
    return hashlib.sha256(repr(_sections()).encode()).hexdigest()[:16]


@cache
def _listed(name: str) -> tuple[str, ...]:
    """Return a list of values; those with blanks inside are parted by |."""
    text = " ".join(_sections()[name])
    return tuple(part.strip() for part in (text.split("|") if "|" in text else text.split()) if part.strip())


@cache
def _cultures() -> tuple[str, ...]:
    return tuple(name.split()[1] for name in _sections() if name.startswith("GIVEN "))


@cache
def _lines(name: str) -> tuple[str, ...]:
    return tuple(line.replace("\\n", "\n") for line in _sections()[name])


class Maker:
    """Fills templates; everything random comes from one generator."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)

    def texts(self, count: int) -> Iterator[Marked]:
        """Yield texts of all kinds: single sentences, notes, and dialogues that are mostly clean."""
        for _ in range(count):
            share = self._rng.random()
            if share < 0.46:
                marked = self._joined([self._filled("PERSONAL") for _ in range(self._few())])
            elif share < 0.58:
                marked = self._joined([self._filled("CLEAN") for _ in range(self._few())])
            elif share < 0.70:
                marked = self._joined(
                    [self._filled(self._rng.choice(("CLEAN", "PERSONAL"))) for _ in range(3)]
                )
            elif share < 0.93:
                marked = self._dialogue(self._pick(_SPEAKERS), "ASKS", "REPLIES")
            else:
                marked = self._dialogue(self._pick(_CHAT), "SERVICE", "SERVICE")
            yield self._cased(marked)

    def name(self) -> tuple[str, str]:
        """Return a given and a family name."""
        culture = self._culture()
        return self._slot_given(culture), self._slot_family(culture)

    def place(self) -> str:
        """Return a place."""
        return self._word("CITIES")

    def street(self) -> str:
        """Return a street with a number."""
        return f"{self._slot_number()} {self._word('STREET_ROOTS')} {self._word('STREET_KINDS')}"

    def _pick(self, options: tuple) -> "str | tuple":
        return options[self._rng.randrange(len(options))]

    def _word(self, name: str) -> str:
        return str(self._pick(_listed(name)))

    def _few(self) -> int:
        return self._rng.choice((1, 1, 1, 1, 2, 3))

    def _chance(self, ratio: float) -> bool:
        return self._rng.random() < ratio

    # ---- texts ---------------------------------------------------------------------------------------------

    def _filled(self, name: str) -> Marked:
        return self._fill(str(self._pick(_lines(name))))

    def _fill(self, template: str) -> Marked:
        text, spans, at = "", [], 0
        for slot in _SLOT.finditer(template):
            text += template[at : slot.start()]
            value = self._value(slot[1])
            if slot[1] in _KINDS:
                spans.append((len(text), len(text) + len(value), _KINDS[slot[1]]))
            text += value
            at = slot.end()
        return text + template[at:], spans

    def _joined(self, parts: list[Marked], between: str | None = None) -> Marked:
        text, spans = "", []
        for part, found in parts:
            if text:
                text += self._rng.choice((" ", " ", "\n", "\n\n")) if between is None else between
            spans += [(start + len(text), end + len(text), kind) for start, end, kind in found]
            text += part
        return text, spans

    def _dialogue(self, speakers: "str | tuple", asks: str, replies: str) -> Marked:
        """Make turns; about one in eight says something personal, in a third of the dialogues none does."""
        personal = 0.0 if self._chance(0.35) else 0.18
        turns = []
        for turn in range(self._rng.randrange(2, 9)):
            if self._chance(personal):
                said = self._filled("PERSONAL")
                if said[0].startswith(("Doctor:", "Patient:", "Guest_family:", "Nurse:")):
                    turns.append(said)
                    continue
            else:
                name = asks if turn % 2 == 0 else replies
                said = self._joined([self._filled(name) for _ in range(self._rng.choice((1, 1, 2)))], " ")
            turns.append(self._joined([(f"{speakers[turn % 2]}:", []), said], " "))
        return self._joined(turns, self._rng.choice(("\n", "\n", "\n", " ", "\n\n")))

    def _cased(self, marked: Marked) -> Marked:
        """Write some texts small, in capitals or without accents, as people do."""
        text, spans = marked
        share = self._rng.random()
        if share < 0.10:
            changed = text.lower()
        elif share < 0.125:
            changed = text.upper()
        elif share < 0.18:
            changed = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
        else:
            changed = text
        # Some letters change their length (ß, İ): then the spans would be wrong, and the text stays as it is.
        return (changed, spans) if len(changed) == len(text) else (text, spans)

    # ---- personal values -----------------------------------------------------------------------------------

    def _value(self, slot: str) -> str:
        made = getattr(self, f"_slot_{slot.lower()}", None)
        if made is not None:
            return str(made())
        return self._word(
            {
                "JOB": "JOBS",
                "WORD": "WORDS",
                "WORK": "WORKS",
                "QUOTE": "QUOTES",
                "REL": "RELATIVES",
                "TITLE": "TITLES",
                "STATE": "STATE_CODES",
                "NRP": "NATIONAL",
                "PROC": "PROCEDURES",
                "SPEC": "SPECIALISTS",
                "MONTH": "MONTHS",
                "DAY": "DAYS",
                "ORGKIND": "ORGANISED",
                "SPELL": "SPELLED",
                "LEVEL": "LEVELS",
            }[slot]
        )

    def _culture(self) -> str:
        return "english" if self._chance(0.3) else str(self._pick(_cultures()))

    def _made_up(self) -> str:
        parts = [self._word("SYLLABLES") for _ in range(self._rng.choice((2, 2, 3)))]
        return "".join(parts).capitalize()

    def _slot_given(self, culture: str | None = None) -> str:
        if self._chance(0.1):
            return self._made_up()
        if self._chance(0.01):
            return self._word("SCRIPT_NAMES")
        return str(self._pick(_listed(f"GIVEN {culture or self._culture()}")))

    def _slot_family(self, culture: str | None = None) -> str:
        if self._chance(0.12):
            ends = (
                "",
                "son",
                "sen",
                "ov",
                "ova",
                "ski",
                "ez",
                "ian",
                "idis",
                "nen",
                "ić",
                "shvili",
                "man",
                "eau",
                "ini",
                "uk",
            )
            return self._made_up() + str(self._pick(ends))
        name = str(self._pick(_listed(f"FAMILY {culture or self._culture()}")))
        if self._chance(0.05):
            name += self._rng.choice(("-", " ")) + str(
                self._pick(_listed(f"FAMILY {culture or self._culture()}"))
            )
        return name

    def _slot_full(self) -> str:
        culture = self._culture() if self._chance(0.85) else None
        given, family = self._slot_given(culture), self._slot_family(culture)
        share = self._rng.random()
        if share < 0.66:
            return f"{given} {family}"
        if share < 0.80:
            return f"{given} {chr(65 + self._rng.randrange(26))}{self._rng.choice(('.', '.', ''))} {family}"
        if share < 0.86:
            return f"{given} {self._slot_given(culture)} {family}"
        if share < 0.91:
            return f"{given} {family} {self._slot_family(culture)}"
        if share < 0.94:
            return f"{given} {self._word('PARTICLES')} {family}"
        if share < 0.96:
            return f"{given[0]}. {family}"
        if share < 0.975:
            return f"{given} {family}{self._rng.choice((' Jr.', ', Jr.', ' III', ' Sr.'))}"
        return f"{given} {family}".lower() if share < 0.99 else f"{given} {family}".upper()

    def _slot_person(self) -> str:
        share = self._rng.random()
        if share < 0.5:
            return self._slot_full()
        return self._slot_given() if share < 0.75 else self._slot_family()

    def _slot_lastfirst(self) -> str:
        return f"{self._slot_family()}, {self._slot_given()}"

    def _town(self) -> str:
        share = self._rng.random()
        if share < 0.12:
            return self._made_up()
        town = self._word("TOWN_ROOTS") + self._word("TOWN_ENDS")
        if share < 0.3:
            return f"{self._word('TOWN_STARTS')} {town}"
        if share < 0.36:
            return f"{self._word('TOWN_STARTS')} {self._slot_given()}"
        if share < 0.42:
            return f"{town} {self._word('TOWN_SECONDS')}"
        if share < 0.45:
            between = self._rng.choice(("-sur-", " am ", " upon ", " de ", " nad "))
            return f"{town}{between}{self._word('TOWN_ROOTS')}{self._word('TOWN_ENDS')}"
        return town

    def _slot_place(self) -> str:
        share = self._rng.random()
        if share < 0.42:
            place = self._town()
        elif share < 0.66:
            place = self._word("CITIES")
        elif share < 0.90:
            place = self._word("COUNTRIES")
        elif share < 0.97:
            place = self._word("STATES")
        else:
            place = self._word("SCRIPTS")
        return place.upper() if self._chance(0.12) else place

    def _slot_zip(self) -> str:
        digits = "".join(str(self._rng.randrange(10)) for _ in range(9))
        letters = [chr(65 + self._rng.randrange(26)) for _ in range(4)]
        return str(
            self._rng.choice(
                (
                    digits[:5],
                    digits[:5],
                    digits[:4],
                    f"{digits[:5]}-{digits[5:]}",
                    f"{digits[:2]}-{digits[2:5]}",
                    f"{digits[:3]} {digits[3:5]}",
                    f"{digits[:4]}-{digits[4:7]}",
                    f"{letters[0]}{digits[0]}{letters[1]} {digits[1]}{letters[2]}{digits[2]}",
                    f"{letters[0]}{letters[1]}{digits[0]} {digits[1]}{letters[2]}{letters[3]}",
                    f"{letters[0]}{letters[1]}-{digits[:4]}",
                    digits[:6],
                )
            )
        )

    def _slot_number(self) -> str:
        return str(self._rng.randrange(1, 10 ** self._rng.choice((1, 2, 3, 3, 4, 4, 5))))

    def _slot_unit(self) -> str:
        kind = self._rng.choice(
            ("Suite", "Apt.", "Apt", "Unit", "Suite", "Apt.", "Floor", "Flat", "#", "Room")
        )
        return f"{kind} {self._rng.randrange(1, 999)}{self._rng.choice(('', '', '', 'B', 'A'))}"

    def _slot_street(self) -> str:
        share = self._rng.random()
        if share < 0.40:
            root = self._rng.choice(
                (self._word("STREET_ROOTS"), self._slot_family(), self._slot_given(), self._town())
            )
            return f"{root} {self._word('STREET_KINDS')}"
        if share < 0.45:
            rank = self._rng.choice(("th", "st", "nd", "rd"))
            return f"{self._rng.randrange(1, 130)}{rank} {self._word('STREET_KINDS')}"
        if share < 0.69:
            second = f" {self._slot_family()}" if self._chance(0.3) else ""
            first = self._rng.choice((self._slot_given(), self._slot_family(), self._town()))
            return f"{self._word('STREET_STARTS')} {first}{second}"
        if share < 0.88:
            root = self._rng.choice(
                (self._word("TOWN_ROOTS"), self._slot_family(), self._made_up(), self._town())
            )
            return root + self._rng.choice(("", "", " ", "s")) + self._word("STREET_ENDS")
        return self._rng.choice((self._town(), f"{self._slot_given()} {self._word('STREET_KINDS')}"))

    def _slot_address(self) -> str:
        share = self._rng.random()
        if share < 0.05:
            return self._boxed()
        if share < 0.09:
            return f"the corner of {self._slot_street()} and {self._slot_street()}"
        street, number = self._slot_street(), self._slot_number()
        if share < 0.5:
            line = f"{number} {street}"
        elif share < 0.85:
            line = f"{street} {number}{self._rng.choice(('', '', '', 'a', ' B', '/2'))}"
        else:
            line = f"{number} {street} {self._slot_number()}"
        if self._chance(0.3):
            line += self._rng.choice((" ", ", ", "\n", " ")) + self._slot_unit()
        if self._chance(0.35):
            line += self._rng.choice((", ", "\n", "\n ", " ", "\n\n")) + self._slot_place()
            if self._chance(0.6):
                region = self._rng.choice((self._word("STATE_CODES"), self._word("STATES"), ""))
                line += (
                    self._rng.choice((", ", "\n, ", " "))
                    + region
                    + self._rng.choice((" ", "\n "))
                    + self._slot_zip()
                )
            if self._chance(0.4):
                country = self._word("COUNTRIES")
                line += self._rng.choice((", ", "\n", "\n ", " ")) + country
                line += f" {self._slot_zip()}" if self._chance(0.4) else ""
        return line

    def _boxed(self) -> str:
        number, state = self._rng.randrange(10, 9999), self._rng.choice(("AE", "AP", "AA"))
        kind = self._rng.choice(("P.O. Box", "PO Box", "Postbox", "Postfach", "Apartado", "PSC", "USS"))
        if kind not in ("PSC", "USS"):
            return f"{kind} {number}"
        place = self._rng.choice(("APO", "FPO", "DPO"))
        unit = f"PSC {number}, Box {number // 3}" if kind == "PSC" else f"USS {self._slot_family()}"
        return f"{unit}\n{place} {state} {self._rng.randrange(9000, 99999):05d}"

    # ---- hard negatives ------------------------------------------------------------------------------------

    def _slot_drug(self) -> str:
        if self._chance(0.35):
            return self._word("DRUG_STARTS") + self._word("DRUG_ENDS")
        return self._word("DRUGS").replace("-D", " D")

    def _slot_cond(self) -> str:
        condition = self._word("CONDITIONS")
        return condition[0].upper() + condition[1:] if self._chance(0.1) else condition

    def _slot_sign(self) -> str:
        return self._word("EPONYMS")

    def _slot_body(self) -> str:
        return self._word("BODY").replace("-", " ")

    def _slot_product(self) -> str:
        name = self._word("PRODUCTS")
        return (
            f"{name} {self._rng.choice(('Pro', 'Max', '2', '12', 'Air', 'Mini'))}"
            if self._chance(0.3)
            else name
        )

    def _slot_org(self) -> str:
        share = self._rng.random()
        if share < 0.4:
            return self._word("COMPANIES")
        made = (
            self._word("COMPANY_PARTS")
            + self._rng.choice(("", " "))
            + self._word("COMPANY_ENDS").capitalize()
        )
        return f"{made} {self._pick(('', *_listed('COMPANY_FORMS')))}".strip()

    def _slot_num(self) -> str:
        return str(self._rng.randrange(1, 10 ** self._rng.choice((1, 2, 2, 3, 4, 6))))

    def _slot_year(self) -> str:
        return str(self._rng.randrange(1940, 2030))

    def _slot_age(self) -> str:
        return str(self._rng.randrange(1, 95))

    def _slot_time(self) -> str:
        minutes, half = self._rng.choice((":30", ":00", "")), self._rng.choice(("am", "pm", "PM"))
        return f"{self._rng.randrange(1, 13)}{minutes} {half}"

    def _slot_date(self) -> str:
        day, month, year = self._rng.randrange(1, 29), self._rng.randrange(1, 13), self._slot_year()
        name = self._word("MONTHS")
        return self._rng.choice(
            (
                f"{month}/{day}/{year}",
                f"{name} {day}, {year}",
                f"{year}-{month:02d}-{day:02d}",
                f"{day} {name}",
                year,
            )
        )

    def _slot_phone(self) -> str:
        shape = self._rng.choice(
            ("(###) ###-####", "###-###-####", "+## ### ### ###", "0### ######", "## ## ## ##")
        )
        return "".join(str(self._rng.randrange(10)) if c == "#" else c for c in shape)

    def _slot_email(self) -> str:
        return f"{self._slot_given()}{self._slot_family()}@{self._made_up()}.com".lower().replace(" ", "")

    def _slot_url(self) -> str:
        return f"www.{self._made_up()}.com".lower()
