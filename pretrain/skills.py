"""Small tasks in chat form that teach what tuning builds on: copy, find, extract, list, label, count, sort, refuse.

The idea: what is to be answered stands in the prompt, in words that were never seen together, so that the only way to
low loss is to look it up. Each task is a function of `Prose`; `TASKS` gives its share. Guarantee: answers follow from
the prompt by construction. Trap: phrasings are few; this teaches attention to the prompt, not understanding of it.
"""

import json
from collections.abc import Callable
from typing import Any

from prose import Prose, joined, past, third, upper_first

Messages = list[dict[str, str]]
_FIRMS = ("Ltd", "Inc", "Sdn Bhd", "GmbH", "Co.", "Stores")
_KINDS = ("food", "tool", "thing", "animal", "complaint", "drug", "product")


def chat(p: Prose, instruction: str, text: str, answer: str) -> Messages:
    """Return one exchange; the instruction is the system prompt, or stands before or after the text."""
    share = p.rng.random()
    if share < 0.45:
        turns = [("system", instruction), ("user", text)]
    else:
        line = p.rng.choice(("\n", "\n\n", " "))
        user = f"{instruction}{line}{text}" if share < 0.85 else f"{text}\n\n{instruction}"
        system = p.system()
        turns = [("system", system)] * bool(system) + [("user", user)]
    return [{"role": role, "content": content} for role, content in (*turns, ("assistant", answer))]


def symbols(p: Prose, low: int, high: int) -> list[str]:
    """Return words that follow no grammar: random, made up, names, codes, or all of them."""
    count, kind = p.rng.randint(low, high), p.rng.randrange(6)
    makers: list[Callable[[], str]] = [
        p.made_up,
        lambda: p.noun().partition("/")[0],
        p.code,
        p.given,
        lambda: p.pick(p.rng.choice(("adjective", "product", "job", "department", "drug", "disease"))),
        p.money,
    ]
    make = [makers[kind]] if p.rng.random() < 0.6 else makers
    found = [p.rng.choice(make)() for _ in range(count)]
    return [word.upper() for word in found] if p.rng.random() < 0.2 else found


def copy(p: Prose) -> Messages:
    """Repeat the text as it is."""
    kind = p.rng.random()
    text = " ".join(symbols(p, 3, 20)) if kind < 0.6 else p.paragraph(1, 3) if kind < 0.8 else lines(p)
    how = p.rng.choice(
        (
            "Repeat:",
            "Copy this exactly:",
            "Repeat the text.",
            "Say this again:",
            "Echo the input.",
            "Write the same:",
        )
    )
    answer = text
    if p.rng.random() < 0.15:
        how, answer = p.rng.choice(
            (("Write in capitals:", text.upper()), ("Write in small letters:", text.lower()))
        )
    return chat(p, how, text, answer)


def lines(p: Prose) -> str:
    """Return some short lines."""
    return "\n".join(" ".join(symbols(p, 1, 4)) for _ in range(p.rng.randint(2, 6)))


def span(p: Prose) -> Messages:
    """Say what stands at a place: after a word, between two, first, last, on a line."""
    found = list(dict.fromkeys(symbols(p, 5, 16)))
    if len(found) < 4:
        return copy(p)
    at, kind = p.rng.randrange(1, len(found) - 2), p.rng.randrange(6)
    text, tag = " | ".join(found), found[at]
    if kind == 0:
        return chat(p, f"What comes right after {tag}?", text, found[at + 1])
    if kind == 1:
        return chat(p, f"What comes right before {tag}?", text, found[at - 1])
    if kind == 2:
        return chat(p, "What is the first item?", text, found[0])
    if kind == 3:
        return chat(p, "What is the last item?", text, found[-1])
    if kind == 4:
        return chat(p, f"Repeat everything from {tag} on.", text, " | ".join(found[at:]))
    return chat(p, f"Repeat everything before {tag}.", text, " | ".join(found[:at]))


def fields(p: Prose) -> dict[str, Any]:
    """Return a record: names of fields and their values."""
    makers: dict[str, Callable[[], Any]] = {
        "name": p.full,
        "date": p.day,
        "time": p.clock,
        "city": p.place,
        "address": p.street,
        "order": p.code,
        "product": lambda: p.pick("product"),
        "colour": lambda: p.pick("colour"),
        "total": p.money,
        "quantity": lambda: p.rng.randint(1, 40),
        "job": lambda: p.pick("job"),
        "drug": lambda: p.pick("drug"),
        "complaint": lambda: p.pick("complaint"),
        "department": lambda: p.pick("department"),
        "code": p.code,
        "company": lambda: f"{upper_first(p.made_up())} {p.rng.choice(_FIRMS)}",
        "age": lambda: p.rng.randint(1, 95),
        "problem": lambda: p.pick("fault"),
        "animal": lambda: p.pick("animal"),
        "doctor": lambda: "Dr. " + p.full().rpartition(" ")[2],
        p.made_up(): p.made_up,
        p.pick("thing"): p.code,
    }
    names = p.rng.sample(list(makers), p.rng.randint(3, 7))
    return {name: makers[name]() for name in names}


def shown(p: Prose, record: dict[str, Any]) -> str:
    """Write a record as people do: lines, one line, a table row, sentences, with things in between."""
    form = p.rng.randrange(6)
    if form == 0:
        return "\n".join(f"{upper_first(name)}: {value}" for name, value in record.items())
    if form == 1:
        return "; ".join(f"{name} = {value}" for name, value in record.items())
    if form == 2:
        rows = [f"{name.upper()} : {str(value).upper()}" for name, value in record.items()]
        return "\n".join(rows)
    if form == 3:
        return " ".join(f"The {name} is {value}." for name, value in record.items())
    if form == 4:
        said = [f"{p.sentence()} The {name} was {value}." for name, value in record.items()]
        return " ".join(said)
    return ", ".join(f"{name} {value}" for name, value in record.items())


def extract(p: Prose) -> Messages:
    """Write the asked fields of a text as JSON; a field that is missing is null."""
    record = fields(p)
    text = shown(p, record)
    upper = text.isupper()
    asked = p.rng.sample(list(record), p.rng.randint(1, len(record)))
    wanted: dict[str, Any] = {name: _cased(record[name], upper) for name in asked}
    if p.rng.random() < 0.2:
        absent = p.rng.choice([n for n in ("email", "fax", "title", "country") if n not in record])
        wanted[absent] = None
    names = ", ".join(wanted)
    how = p.rng.choice(
        (
            f"Extract {names} as JSON.",
            f"Return a JSON object with the fields {names}.",
            f"Read the text and answer in JSON with the keys: {names}.",
            f"JSON fields: {names}",
        )
    )
    return chat(p, how, text, json.dumps(wanted, ensure_ascii=False))


def _cased(value: Any, upper: bool) -> Any:
    return value.upper() if upper and isinstance(value, str) else value


def field(p: Prose) -> Messages:
    """Answer with the value of one field."""
    record = fields(p)
    text = shown(p, record)
    name = p.rng.choice(list(record))
    how = p.rng.choice(
        (f"What is the {name}?", f"Give only the {name}.", f"{upper_first(name)}?", f"Find the {name}.")
    )
    return chat(p, how, text, str(_cased(record[name], text.isupper())))


def from_json(p: Prose) -> Messages:
    """Write JSON as lines, or lines as JSON."""
    record = fields(p)
    text = json.dumps(record, ensure_ascii=False)
    plain = "\n".join(f"{name}: {value}" for name, value in record.items())
    if p.rng.random() < 0.5:
        return chat(p, "Write this JSON as lines of text.", text, plain)
    return chat(p, "Write this as JSON.", plain, text)


def listing(p: Prose) -> Messages:
    """List the things that a sentence names, as bullets, numbers or a comma list."""
    things = p.sample(p.rng.choice(_KINDS), p.rng.randint(2, 6))
    text = p.rng.choice(
        (
            f"{upper_first(p.person())} {past(p.raw('transitive'))} {joined(things)} {p.pick('when')}.",
            f"We need {joined(things)}. {p.sentence()}",
            f"{p.sentence()} On the list were {joined(things)}.",
            f"There were {joined(things)}, but no {p.pick('idea')}.",
        )
    )
    form = p.rng.randrange(3)
    if form == 0:
        return chat(
            p, "List the things that are named, one bullet each.", text, "\n".join(f"- {t}" for t in things)
        )
    if form == 1:
        rows = "\n".join(f"{i}. {t}" for i, t in enumerate(things, start=1))
        return chat(p, "Number the things that are named.", text, rows)
    return chat(p, "Give the things that are named, separated by commas.", text, ", ".join(things))


TOPICS = {
    "animals": "animal", "food": "food", "tools": "tool", "health": "complaint", "medicine": "drug", "nature": "nature",
    "jobs": "job", "family": "kin", "places": "place", "body": "body", "colours": "colour", "allergies": "allergen",
    "illness": "disease", "household": "thing", "electronics": "product", "faults": "fault", "orders": "specialthing",
}  # fmt: skip


def about(p: Prose, topic: str) -> str:
    """Return a sentence or two about one topic."""
    name = TOPICS[topic]
    found = p.sample(name, 2)
    if name == "fault":
        return f"My {p.pick('product')} {found[0]}."
    return p.rng.choice(
        (
            f"I {past(p.raw('transitive'))} the {found[0]} {p.pick('when')}.",
            f"{upper_first(p.person())} asked about {found[0]} and {found[1]}.",
            f"Is this about the {found[0]}?",
            f"{p.given()} has trouble with the {found[0]} {p.pick('cause')}.",
            f"{upper_first(found[0])}, {found[1]} and so on.",
            f"Please tell me more about {found[0]}.",
        )
    )


def label(p: Prose) -> Messages:
    """Choose one label of a list; labels are topics, or made-up names that the prompt explains or shows."""
    topics = p.rng.sample(list(TOPICS), p.rng.randint(2, 6))
    topic = p.rng.choice(topics)
    text, kind = about(p, topic), p.rng.randrange(3)
    if kind == 0:
        how = p.rng.choice(
            (
                f"Choose one label: {', '.join(topics)}.",
                f"Which of these fits: {joined(topics, 'or')}? Answer with the label only.",
                "Classify the text. Labels:\n" + "\n".join(f"- {t}" for t in topics),
            )
        )
        return chat(p, how, text, topic)
    names = {t: p.rng.choice((p.made_up().upper(), p.code(), p.made_up())) for t in topics}
    if kind == 1:
        rows = "; ".join(f"{names[t]} for {t}" for t in topics)
        return chat(p, f"Answer with one label: {rows}.", text, names[topic])
    shots = [(about(p, t), names[t]) for t in topics for _ in range(p.rng.choice((1, 2)))]
    p.rng.shuffle(shots)
    rows = "\n".join(f"Text: {said}\nLabel: {name}" for said, name in shots)
    return chat(p, f"Label the text like the examples.\n{rows}", f"Text: {text}", names[topic])


def question(p: Prose) -> Messages:
    """Answer a question about a given paragraph in a few words."""
    people = list(dict.fromkeys(p.given() for _ in range(p.rng.randint(2, 4))))
    facts = [(who, p.raw("transitive"), p.thing(), f"{p.where()}", p.pick("when")) for who in people]
    said = [f"{who} {past(verb)} {what} {where} {when}." for who, verb, what, where, when in facts]
    for _ in range(p.rng.randint(0, 2)):
        said.insert(p.rng.randrange(len(said) + 1), p.sentence())
    who, verb, what, where, when = p.rng.choice(facts)
    base = verb.partition("/")[0]
    asked, answer = p.rng.choice(
        (
            (f"What did {who} {base}?", upper_first(what) + "."),
            (f"Who {past(verb)} {what}?", who),
            (f"Where was {who}?", upper_first(where) + "."),
            (f"When did {who} {base} {what}?", upper_first(when) + "."),
        )
    )
    return chat(p, asked, " ".join(said), answer)


def yes_no(p: Prose) -> Messages:
    """Say whether a text names something."""
    text = p.paragraph(1, 3)
    if p.rng.random() < 0.5:
        word = p.rng.choice([w.strip('.,?"') for w in text.split() if len(w) > 3] or ["the"])
    else:
        word = p.noun().partition("/")[0]
    how = p.rng.choice(
        (f'Does the text contain the word "{word}"?', f"Is {word} mentioned? Answer yes or no.")
    )
    return chat(p, how, text, "Yes" if word.lower() in text.lower() else "No")


def order(p: Prose) -> Messages:
    """Sort or count a short list, or find its largest number."""
    kind = p.rng.randrange(4)
    if kind == 0:
        found = p.sample(p.rng.choice(("food", "tool", "animal", "thing")), p.rng.randint(2, 6))
        return chat(p, "Sort these words by the alphabet.", ", ".join(found), ", ".join(sorted(found)))
    if kind == 1:
        found = p.sample(p.rng.choice(("food", "tool", "animal", "thing")), p.rng.randint(1, 9))
        return chat(p, "How many items are there?", ", ".join(found), str(len(found)))
    numbers = p.rng.sample(range(1, 10 ** p.rng.choice((1, 2, 3)) + 5), p.rng.randint(2, 6))
    text = ", ".join(map(str, numbers))
    if kind == 2:
        return chat(p, "Sort these numbers.", text, ", ".join(map(str, sorted(numbers))))
    most = p.rng.random() < 0.5
    how = "Which number is the largest?" if most else "Which number is the smallest?"
    return chat(p, how, text, str(max(numbers) if most else min(numbers)))


def refuse(p: Prose) -> Messages:
    """Refuse what the system prompt forbids and help with anything else."""
    topics = p.rng.sample(list(TOPICS), 2)
    banned = topics[0]
    system = p.rng.choice(
        (
            f"Do not answer questions about {banned}.",
            f"You are a helpful assistant. Never talk about {banned}.",
            f"Refuse anything about {banned}. Everything else is fine.",
        )
    )
    if p.rng.random() < 0.6:
        word = p.pick(TOPICS[banned])
        asks = ("Can you tell me about {w}?", "What do you know about {w}?", "I have a question about {w}.")
        asked = p.rng.choice(asks).format(w=word)
        answer = f"I'm sorry, I can't help with {banned}."
    else:
        word = p.pick(TOPICS[topics[1]])
        asked = f"Can you help me with {word}?"
        answer = f"Yes, I can help you with {word}. What would you like to know?"
    turns = (("system", system), ("user", asked), ("assistant", answer))
    return [{"role": role, "content": content} for role, content in turns]


def rewrite(p: Prose) -> Messages:
    """Turn a sentence from the first person to the third, or from now to then."""
    verb, what, who = p.raw("transitive"), p.thing().replace("my ", "the "), p.given()
    base, tail = verb.partition("/")[0], p.rng.choice(("every day", p.where(), "once a week"))
    if p.rng.random() < 0.5:
        return chat(
            p, f"Rewrite it about {who}.", f"I {base} {what} {tail}.", f"{who} {third(verb)} {what} {tail}."
        )
    return chat(p, "Write it in the past.", f"I {base} {what} {tail}.", f"I {past(verb)} {what} {tail}.")


def small_talk(p: Prose) -> Messages:
    """Greet, ask, thank: a few turns without content."""
    name, word = p.given(), p.pick("specialthing")
    turns = [
        ("user", p.rng.choice(("Hello", "Hi there", f"Good morning, I am {name}.", "Hi, can you help me?"))),
        ("assistant", p.rng.choice(("Hello! How can I help you today?", "Hi! What can I do for you?"))),
        ("user", p.rng.choice((f"I have a question about my {word}.", f"It is about the {word}."))),
        ("assistant", f"Of course. What would you like to know about your {word}?"),
        ("user", p.rng.choice(("Thank you!", "Thanks, bye.", "Great, thanks."))),
        ("assistant", p.rng.choice(("You're welcome. Goodbye!", "You're welcome!"))),
    ]
    system = p.system()
    head = [("system", system)] * bool(system)
    return [{"role": role, "content": content} for role, content in head + turns[: p.rng.choice((2, 4, 6))]]


TASKS: dict[Callable[[Prose], Messages], float] = {
    copy: 4, span: 3, extract: 3, field: 2, from_json: 1, listing: 1.5, label: 2.5, question: 2.5, yes_no: 0.6,
    order: 0.8, refuse: 0.7, rewrite: 0.7, small_talk: 0.4,
}  # fmt: skip
"""Tasks and their shares."""
