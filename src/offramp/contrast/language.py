"""Guess the language of a short text, cheaply: by script, then by a vote of common words.

Good enough to say "it is worse on French"; not a language detector. What the vote cannot decide is `other`, so a
slice named after a language is mostly that language, and `other` may hold anything.
Trap: a text without common words (a product title, an id) is `other` in every language.
"""

import re
from collections import Counter

OTHER = "other"
_READ_CHARACTERS = 2_000
_WORD = re.compile(r"[^\W\d_]+")

# Function words that carry a vote. A word of several languages votes for each of them, so it decides nothing alone.
_COMMON: dict[str, frozenset[str]] = {
    "en": frozenset(
        "the and of to is in it you that was for on are with as i his they be at this have from or had by but what "
        "not were we when your can said there an which she do how their if will my me would like has been who its "
        "did get why could should does am don a me need want please".split()
    ),
    "de": frozenset(
        "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er "
        "hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor "
        "zur bis mehr durch man sein wurde ich wir mir mich kann wenn was mein meine warum keine".split()
    ),
    "fr": frozenset(
        "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont elle avec je "
        "mais nous vous ou leur son cette aux ses être fait été ont comme tout mon ma mes j l d c n s qu pourquoi "
        "comment puis".split()
    ),
    "es": frozenset(
        "de la que el en y a los del se las por un para con no una su al lo como más pero sus le ya o este sí porque "
        "esta entre cuando muy sin sobre también me hasta hay donde quien desde mi yo es son está he ha qué cómo "
        "puedo tengo".split()
    ),
    "it": frozenset(
        "di e il la che in un a per è una sono con non si da come le dei del al i gli nel della alla più ma lo ha mi "
        "ho anche se o io questo questa mio mia perché cosa posso della delle degli c l dell all".split()
    ),
    "pt": frozenset(
        "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem à seu "
        "sua ou ser quando muito há nos já está eu também só pelo pela até isso ela entre meu minha por que posso "
        "estou você".split()
    ),
    "nl": frozenset(
        "de van het een en in is dat op te zijn met voor niet aan er om ook als dan maar of uit bij nog naar heeft "
        "hij ze wordt door je ik mijn wat kan hoe waarom geen deze dit was zij wij mij heb moet kunnen".split()
    ),
}
# Letters that among these languages only some write; a vote each, to break ties in short texts.
_LETTERS: dict[str, frozenset[str]] = {
    "de": frozenset("äöüß"),
    "fr": frozenset("çèêëîïœùû"),
    "es": frozenset("ñ¿¡"),
    "it": frozenset("ìò"),
    "pt": frozenset("ãõ"),
}
_SCRIPTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("ja", re.compile("[\u3040-\u30ff]")),
    ("ko", re.compile("[\uac00-\ud7af\u1100-\u11ff]")),
    ("zh", re.compile("[\u4e00-\u9fff\u3400-\u4dbf]")),
    ("Cyrillic script", re.compile("[\u0400-\u04ff]")),
    ("Greek script", re.compile("[\u0370-\u03ff]")),
    ("Arabic script", re.compile("[\u0600-\u06ff\u0750-\u077f]")),
    ("Hebrew script", re.compile("[\u0590-\u05ff]")),
    ("Devanagari script", re.compile("[\u0900-\u097f]")),
    ("Thai script", re.compile("[\u0e00-\u0e7f]")),
)
_LATIN = re.compile("[A-Za-z\u00c0-\u024f]")


def language(text: str) -> str:
    """Return `en`, `de`, `fr`, `es`, `it`, `pt`, `nl`, `ja`, `ko`, `zh`, a script such as `Greek script`, or `other`.

    Only the first 2,000 characters are read.
    """
    text = text[:_READ_CHARACTERS].lower()
    script = _script(text)
    return _vote(text) if script is None else script


def _script(text: str) -> str | None:
    """Return the script other than Latin that most letters are in, `None` when that is Latin or there are none."""
    counts = {name: len(pattern.findall(text)) for name, pattern in _SCRIPTS}
    # Japanese is written with Chinese characters too: kana decide.
    if counts["ja"]:
        counts["ja"] += counts.pop("zh")
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] > len(_LATIN.findall(text)) else None


def _vote(text: str) -> str:
    words = Counter(_WORD.findall(text))
    votes = {
        name: sum(times for word, times in words.items() if word in common)
        for name, common in _COMMON.items()
    }
    letters = set(text)
    for name, own in _LETTERS.items():
        votes[name] += len(letters & own)
    (best, most), (_, next_most) = sorted(votes.items(), key=lambda vote: (-vote[1], vote[0]))[:2]
    return best if most > next_most else OTHER
