"""Dialogues with the note, form, ticket or JSON that follows from them; the next question; receipts; product offers.

The idea: a form is drawn (which items, in which order, under which headings), somebody answers its questions in
passing, and the answer is the form filled in. Guarantee: every value of an answer was said in its dialogue, corrections
included. Trap: the clinic here is generic on purpose; the sample task `intake` has words and ways of its own.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

from offramp.sample.catalog import Catalog, catalog
from offramp.sample.merchants import Merchant, merchants
from offramp.sample.offers import Difficulty, Writer
from prose import Prose, article, joined, upper_first
from skills import Messages, chat


@dataclass(frozen=True)
class Slot:
    """One item of a form: how it is asked, how it is answered, what its value is."""

    questions: tuple[str, ...]
    """Ways to ask."""
    answers: tuple[str, ...]
    """Ways to answer; {v} is the value."""
    value: Callable[[Prose], str]
    """Draws a value."""
    none: tuple[str, ...] = ()
    """Ways to say that there is nothing; empty = never nothing."""
    noted: tuple[str, ...] = ()
    """Ways to say it in a sentence about {who}; empty = under its heading."""


def _some(name: str, most: int = 2) -> Callable[[Prose], str]:
    return lambda p: joined(p.sample(name, p.rng.randint(1, most)))


def _span(p: Prose) -> str:
    return f"{p.number()} {p.rng.choice(('days', 'weeks', 'months', 'hours', 'years'))}"


def _dose(p: Prose) -> str:
    drugs = p.sample("drug", p.rng.randint(1, 2))
    strengths = (5, 10, 20, 25, 40, 50, 100, 250, 500)
    return joined([f"{d} {p.rng.choice(strengths)} mg" if p.rng.random() < 0.5 else d for d in drugs])


CLINIC = {
    "complaint": Slot(
        (
            "What brings you in today?",
            "How can I help you?",
            "What seems to be the problem?",
            "What is bothering you?",
        ),
        (
            "I have {v}.",
            "It's my {v}.",
            "I've been having {v}.",
            "Well, {v}, mostly.",
            "{v}",
            "I came because of {v}.",
        ),
        _some("complaint"),
        noted=("{who} presents with {v}.", "{who} reports {v}.", "Complains of {v}."),
    ),
    "onset": Slot(
        (
            "When did it start?",
            "How long have you had this?",
            "Since when?",
            "How long has this been going on?",
        ),
        (
            "About {v}.",
            "It started {v} ago.",
            "For {v} now.",
            "{v}",
            "{wrong}, no wait, {v}.",
            "I think {v}.",
        ),
        _span,
        noted=("It began {v} ago.", "Symptoms for {v}.", "Present for {v}."),
    ),
    "severity": Slot(
        ("How bad is it from 1 to 10?", "How would you rate it, out of ten?", "How strong is it?"),
        ("I'd say {v}.", "About {v}.", "{v}", "Maybe {v}, it is annoying.", "{v} at its worst."),
        lambda p: f"{p.rng.randint(1, 10)}{p.rng.choice(('', '', '/10', ' out of 10'))}",
        noted=("Severity {v}.", "Rated {v}."),
    ),
    "medication": Slot(
        (
            "Do you take any medicine?",
            "What medication are you on?",
            "Any tablets?",
            "Are you taking anything for it?",
        ),
        ("I take {v}.", "Just {v}.", "Yes, {v}.", "{v}, every day.", "{v}"),
        _dose,
        ("No, nothing.", "No medicine.", "I don't take anything.", "None."),
        ("{who} takes {v}.", "Medication: {v}."),
    ),
    "allergies": Slot(
        ("Any allergies?", "Are you allergic to anything?", "Do you have allergies?"),
        ("I'm allergic to {v}.", "Yes, {v}.", "{v} gives me a rash.", "Only {v}.", "{v}"),
        _some("allergen"),
        ("No.", "None that I know of.", "No allergies.", "Not that I know."),
        ("Allergic to {v}.", "{who} is allergic to {v}."),
    ),
    "history": Slot(
        (
            "Any other illness?",
            "What about your medical history?",
            "Have you been ill before?",
            "Any past problems?",
        ),
        ("I have {v}.", "I had {v} years ago.", "Yes, {v}.", "{v}", "Only {v}."),
        _some("disease"),
        ("No, I was always healthy.", "Nothing.", "No.", "Nothing worth naming."),
        ("History of {v}.", "Past history: {v}."),
    ),
    "family": Slot(
        ("Does anything run in the family?", "Any illness in your family?", "What about your parents?"),
        ("My father has {v}.", "There is {v} in the family.", "{v}, on my mother's side."),
        _some("disease", 1),
        ("No, nothing.", "Not that I know.", "They are all healthy."),
        ("Family history of {v}.",),
    ),
}
DESK = {
    "name": Slot(
        ("What is your name?", "Who am I speaking to?", "Your name, please?"),
        ("{v}", "It's {v}.", "My name is {v}.", "This is {v}."),
        Prose.full,
    ),
    "product": Slot(
        ("Which product is it?", "What did you buy?", "What is it about?"),
        ("The {v}.", "It's my {v}.", "A {v}.", "I bought a {v}."),
        lambda p: p.pick("product"),
        noted=("It is about the {v}.",),
    ),
    "problem": Slot(
        ("What is wrong with it?", "What happened?", "What is the problem?"),
        ("It {v}.", "Since yesterday it {v}.", "Well, it {v}."),
        lambda p: p.pick("fault"),
        noted=("It {v}.",),
    ),
    "order": Slot(
        ("What is the order number?", "Do you have the number?", "Order number?"),
        ("{v}", "It is {v}.", "{wrong}, sorry, {v}.", "Number {v}."),
        Prose.code,
        ("I don't have it.", "I lost it."),
        ("Order {v}.",),
    ),
    "date": Slot(
        ("When was that?", "On which day?", "What date?"),
        ("On {v}.", "{v}", "It was {v}.", "{wrong}, no, {v}."),
        Prose.day,
        noted=("On {v}.",),
    ),
    "address": Slot(
        ("Where do you live?", "What is the address?", "Where should it go?"),
        ("{v}", "To {v}.", "It's {v}."),
        Prose.street,
        noted=("Send to {v}.",),
    ),
    "city": Slot(("Which city?", "Where is that?"), ("{v}", "In {v}.", "{v}, I think."), Prose.place),
    "time": Slot(
        ("What time?", "When shall we come?"),
        ("At {v}.", "{v}", "{wrong}, or rather {v}."),
        Prose.clock,
        noted=("At {v}.",),
    ),
    "people": Slot(
        ("For how many people?", "How many of you?"),
        ("{v}", "For {v}.", "We are {v}.", "{wrong}, no, {v}."),
        lambda p: p.number(),
    ),
    "amount": Slot(
        ("How much was it?", "What did you pay?"),
        ("{v}", "{v} in all.", "I paid {v}."),
        Prose.money,
        ("I don't know.",),
        ("Paid {v}.",),
    ),
    "wish": Slot(
        ("What would you like?", "What do you need?"),
        ("I'd like {v}.", "{v}, please.", "I need {v}."),
        lambda p: article(p.pick("specialthing")),
        noted=("Wants {v}.",),
    ),
}
HEADINGS = {
    "complaint": ("Chief complaint", "Complaint", "Reason for visit", "CC"),
    "onset": ("Onset", "Duration", "Since"),
    "severity": ("Severity", "Pain score"),
    "medication": ("Medications", "Drugs", "Medication"),
    "allergies": ("Allergies", "Allergy"),
    "history": ("Past history", "Past medical history", "History"),
    "family": ("Family history", "Family"),
}
NOTHING = ("none", "None", "none reported", "not known", "-")


@dataclass(frozen=True)
class Talk:
    """A dialogue and what it said."""

    turns: list[tuple[str, str]]
    """Question and answer, in order."""
    values: dict[str, str]
    """Item: value, "" where there is nothing."""
    slots: dict[str, Slot]
    """The form."""
    clinic: bool
    """Whether it is a medical one."""


def talk(p: Prose) -> Talk:
    """Draw a form and let somebody answer it."""
    rng, clinic = p.rng, p.rng.random() < 0.6
    slots = CLINIC if clinic else DESK
    names = [name for name in slots if rng.random() < 0.6] or ["complaint" if clinic else "name"]
    if rng.random() < 0.3:
        rng.shuffle(names)
    turns, values = [], {}
    for name in names:
        slot, question = slots[name], rng.choice(slots[name].questions)
        if slot.none and rng.random() < 0.3:
            values[name], answer = "", rng.choice(slot.none)
        else:
            values[name] = slot.value(p)
            answer = rng.choice(slot.answers).format(v=values[name], wrong=slot.value(p))
        if rng.random() < 0.12:
            answer += f"{'' if answer[-1] in '.?' else '.'} {p.sentence()}"
        turns.append((question, upper_first(answer) if rng.random() < 0.8 else answer.lower()))
        if turns[-1][1].islower():
            values[name] = values[name].lower()
    return Talk(turns, values, slots, clinic)


def script(p: Prose, said: Talk) -> str:
    """Write a dialogue with the names of its speakers."""
    clinic = (("Doctor", "Patient"), ("Nurse", "Patient"), ("Clinician", "Guest"))
    one, other = p.rng.choice(clinic if said.clinic else (("Agent", "Customer"), ("Clerk", "Caller")))
    return "\n".join(f"{one}: {question}\n{other}: {answer}" for question, answer in said.turns)


def form(p: Prose, said: Talk) -> tuple[str, str]:
    """Return an instruction with the wanted format, and the dialogue's values in it."""
    rng, kind = p.rng, p.rng.randrange(4)
    nothing = rng.choice(NOTHING)
    names = {name: rng.choice(HEADINGS.get(name, (upper_first(name),))) for name in said.values}
    noun = (
        rng.choice(("note", "summary", "record"))
        if said.clinic
        else rng.choice(("ticket", "form", "summary"))
    )
    if kind == 0:
        who = rng.choice(("The patient", "Patient", "She", "He", "Pt")) if said.clinic else "The customer"
        phrases = {n: said.slots[n].noted or (names[n] + ": {v}.",) for n in names}
        parts = [rng.choice(phrases[n]).format(v=v, who=who) for n, v in said.values.items() if v]
        missing = [f"No {names[n].lower()}." for n, v in said.values.items() if not v]
        return f"Write a short {noun} in sentences.", " ".join([*map(upper_first, parts), *missing])
    if kind == 1:
        keys = ", ".join(said.values)
        answer = json.dumps({n: v or None for n, v in said.values.items()}, ensure_ascii=False)
        return f"Write the {noun} as JSON with the keys {keys}.", answer
    bullet = "- " if kind == 2 and rng.random() < 0.4 else ""
    rows = [f"{bullet}{names[n]}: {v or nothing}" for n, v in said.values.items()]
    told = rng.choice(
        (
            f"Write the {noun} with the {'bullets' if bullet else 'lines'}: {'; '.join(names.values())}. "
            f"Write {nothing} where there is nothing.",
            f"Fill in this {noun}:\n"
            + "\n".join(f"{bullet}{n}:" for n in names.values())
            + f"\n(nothing = {nothing})",
        )
    )
    return told, "\n".join(rows)


def noted(p: Prose) -> Messages:
    """Write the note of a dialogue that is one text."""
    said = talk(p)
    how, answer = form(p, said)
    return chat(p, how, script(p, said), answer)


def interview(p: Prose) -> Messages:
    """Ask item by item in turns, then write the note."""
    said = talk(p)
    how, answer = form(p, said)
    role = "You collect a patient's history." if said.clinic else "You work at a service desk."
    turns = [("system", f"{role} Ask one question at a time. {how}")]
    opening = p.rng.choice(("Hello", "Hi", "Good morning", "Hello, I need help", "Hi there"))
    turns.append(("user", opening))
    for question, reply in said.turns:
        turns += [("assistant", question), ("user", reply)]
    turns.append(("assistant", answer))
    return [{"role": role, "content": content} for role, content in turns]


def section(p: Prose) -> Messages:
    """Choose the heading that a piece of a dialogue belongs under."""
    slots = CLINIC if p.rng.random() < 0.7 else DESK
    names = p.rng.sample(list(slots), p.rng.randint(2, min(7, len(slots))))
    name = p.rng.choice(names)
    slot = slots[name]
    answer = p.rng.choice(slot.answers).format(v=slot.value(p), wrong=slot.value(p))
    text = f"{p.rng.choice(slot.questions)} {upper_first(answer)}"
    shown = {n: p.rng.choice(HEADINGS.get(n, (n,))) for n in names}
    return chat(p, f"Which section is this? One of: {', '.join(shown.values())}.", text, shown[name])


def receipt(p: Prose) -> Messages:
    """Read a receipt: company, date, address and total as JSON."""
    rng = p.rng
    firm = rng.choice(("sdn bhd", "ltd", "trading", "store", "& co", "market"))
    truth = {
        "company": f"{p.made_up()} {p.pick('place')} {firm}".upper(),
        "date": p.day(),
        "address": f"{p.street()}, {p.place()}".upper(),
        "total": p.money(),
    }
    total = (
        rng.choice(("TOTAL", "Total", "GRAND TOTAL", "TOTAL RM")) + rng.choice((" ", ": ")) + truth["total"]
    )
    head = [truth["company"], truth["address"], f"TEL: {rng.randrange(10**7, 10**9)}"]
    head.append(f"{rng.choice(('DATE', 'Date'))}: {truth['date']} {p.clock()}")
    goods = [
        f"{rng.randint(1, 9)} {p.pick(rng.choice(('food', 'tool', 'thing'))).upper()} {p.money()}"
        for _ in range(rng.randint(1, 6))
    ]
    end = rng.choice(("THANK YOU", "PLEASE COME AGAIN", f"INVOICE NO {p.code()}"))
    tail = [f"SUBTOTAL {p.money()}", total, f"CASH {p.money()}", end]
    if rng.random() < 0.3:
        head.insert(rng.randrange(2, 5), f"CASHIER: {p.given().upper()}")
    keys = rng.sample(list(truth), rng.randint(1, 4))
    how = rng.choice((f"Return {joined(keys)} of the receipt as JSON.", f"Extract {', '.join(keys)}."))
    answer = json.dumps({key: truth[key] for key in keys}, ensure_ascii=False)
    return chat(p, how, "\n".join([*head, *goods, *tail[rng.randrange(2) :]]), answer)


@cache
def _shops() -> tuple[Catalog, tuple[Merchant, ...]]:
    words = catalog()
    return words, tuple(merchants(Random("merchants of pretraining"), 60, catalog=words))


def offer(p: Prose) -> Messages:
    """Put a product offer into one of some categories, or name its brand."""
    words, shops = _shops()
    leaves = p.rng.sample(list(words.leaves.values()), p.rng.randint(2, 6))
    leaf = p.rng.choice(leaves)
    made = Writer(words, Difficulty(shared_ratio=0.05, coded_ratio=0.0)).write(
        p.rng, p.rng.choice(shops), leaf
    )
    text = "\n".join(part for part in (made.title, made.description[:400]) if part)
    if made.brand and made.brand in text and p.rng.random() < 0.3:
        return chat(p, "Which brand is it?", text, made.brand)
    names = [other.path.rpartition(" > ")[2] for other in leaves]
    return chat(p, f"Choose the category: {'; '.join(names)}.", text, leaf.path.rpartition(" > ")[2])


def topic_letter(p: Prose) -> Messages:
    """Route a message to the department that its sender asks for."""
    names: Sequence[str] = p.sample("department", p.rng.randint(2, 6))
    name = p.rng.choice(names)
    text = p.rng.choice(
        (
            f"{p.sentence()} Please send me to {name}.",
            f"I would like to speak to {name}. {p.sentence('I')}",
            f"{p.sentence('I')} Who can help me in {name}?",
        )
    )
    return chat(p, f"Route the message to one of: {', '.join(names)}.", text, name)


RECORDS: dict[Callable[[Prose], Messages], float] = {
    noted: 4, interview: 3, section: 1.2, receipt: 1.5, offer: 1.5, topic_letter: 0.5,
}  # fmt: skip
"""Tasks and their shares."""
