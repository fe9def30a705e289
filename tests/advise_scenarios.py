"""Twelve situations that a domain reader can check: what the traffic looks like, and what should be advised, and why.

Each is a made-up log of a few hundred calls over four weeks, which stands for a much larger traffic (`sample_ratio`),
priced on 2026-11-21. The logs go the whole way: calls, tasks, profiles, readiness, options, words.
"""

import dataclasses
import functools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from offramp.advise.advice import Advice
from offramp.advise.calls import table_of
from offramp.advise.profile import Eyes
from offramp.advise.settings import AdviseSettings
from offramp.advising import Basis, advise, basis_of
from offramp.cost import CostSettings, Measured
from offramp.settings import Settings

DAY = date(2026, 11, 21)
DAYS = 28
FIRST = datetime(2026, 10, 20, tzinfo=UTC).timestamp()
_MONTHS = DAYS * 24 / 730
TICKETS = (
    (
        "", "hello,", "hi there,", "good morning,",
        "quick question:", "urgent!", "dear team,", "sorry to bother you,",
        "second mail about this,", "I am a bit lost.", "still waiting...", "thanks for your help last time,",
    ),
    (
        "my {thing} has not arrived", "please cancel the {thing} I ordered", "the {thing} came with a broken {part}",
        "I moved, so the address in my account is wrong", "the app logs me out on the {thing} page",
        "you charged me twice for the {thing}", "tracking says the {thing} was handed over on {day}, nobody was home",
        "the {part} of the {thing} is missing", "password reset for my account never reaches me",
        "invoice of {day} shows the wrong sum",
        "checkout freezes when I add a {thing}", "I ordered two, one {thing} is enough",
    ),
    (
        "since {day}.", "and I leave on {day}.",
        "can somebody look at it?", "what do I do now?", "the photo is attached.",
        "my neighbour saw it happen.", "I want my money back.", "this is the third time.", "please call me.",
        "otherwise send a new {part}.", "I need it before {day}.", "no hurry.",
    ),
)  # fmt: skip
NOTES = (
    tuple("mild strong dull burning stabbing sudden slow new old odd constant rare".split()),
    tuple(
        "pain swelling numbness rash stiffness itching weakness bleeding cramp heat bruise twitching".split()
    ),
    tuple("left right lower upper inner outer".split()),
    tuple("knee shoulder wrist ankle hip elbow neck back foot thumb chest jaw".split()),
    tuple("since after before around until from".split()),
    tuple("Monday Tuesday Friday breakfast work training lunch midnight sunrise Easter June 2019".split()),
    tuple("worse better same gone back again".split()),
    tuple(
        "resting walking lifting sleeping eating sitting bending coughing climbing reading driving stress".split()
    ),
    tuple("takes refuses wants stopped forgot asks".split()),
    tuple(
        "ibuprofen insulin aspirin tea vitamins cortisone antibiotics nothing drops ointment iron zinc".split()
    ),
    tuple("smokes works drinks runs lives travels swims studies".split()),
    tuple("alone daily nights abroad much little rarely again".split()),
)
EVERYTHING = (
    (
        "write a poem about", "what is the history of",
        "translate into German:", "debug this loop over", "plan a trip for",
        "solve the equation behind", "is it safe to eat",
        "summarise", "draft an angry email about", "should I invest in",
        "a recipe with", "explain to a child", "who invented",
        "compare two kinds of", "make a quiz on", "name ten facts on",
    ),
    (
        "the sea", "lentils and carrots", "a python dictionary",
        "my landlord", "Lisbon", "transformer networks", "Hamlet",
        "ibuprofen and wine", "interest rates", "the {thing}",
        "a broken {part}", "quadratic forms", "Peru", "jazz chords",
        "wills and heirs", "black holes", "sourdough",
        "marathon training", "tax on dividends", "the French revolution",
    ),
    (
        "in four lines", "before {day}", "as a table", "with every step", "for two children", "and cite sources",
        "but keep it short", "in the voice of a pirate", "with pros and cons", "without jargon", "please", "thanks",
    ),
)  # fmt: skip
THINGS = ("kettle", "bicycle", "lamp", "laptop", "sofa", "camera", "jacket", "printer", "phone", "router")
PARTS = ("knee", "shoulder", "handle", "back", "hip", "wheel", "hand", "cable", "neck", "foot")
WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LABELS = ("delivery", "cancel", "refund", "account", "bug", "billing")


@dataclass(frozen=True)
class Job:
    """One call that an app makes again and again."""

    prompt: str
    texts: tuple[tuple[str, ...], ...] = TICKETS
    """Parts of the messages; one of each is taken."""
    labels: tuple[str, ...] = LABELS
    """What is answered; empty for free text."""
    per_month: int = 400_000
    calls: int = 600
    """Calls in the log."""
    inputs: int = 600
    """Different inputs."""
    model: str = "gpt-5.6-sol"
    tokens: tuple[int, int] = (300, 6)
    latency_s: float = 0.9
    reviewed: int = 0
    right: float = 1.0
    """Share of reviewed answers that are right."""

    def rows(self, rng: random.Random, name: str) -> Iterator[dict[str, Any]]:
        """Yield the calls of the job."""
        texts = [self._text(number) for number in range(self.inputs)]
        for number in range(self.calls):
            which = number % self.inputs
            answer = self.labels[which % len(self.labels)] if self.labels else self._said(texts[which])
            wrong = rng.random() >= self.right
            other = self.labels[(which + 1) % len(self.labels)] if self.labels else "something else"
            yield {
                "id": f"{name}-{number}",
                "at": FIRST + (number + rng.random()) / self.calls * DAYS * 86_400,
                "model": self.model,
                "system": self.prompt,
                "user": texts[which],
                "turns": 2,
                "answer": answer,
                "finish_reason": "stop",
                "input_tokens": self.tokens[0] + rng.randint(-20, 20),
                "output_tokens": self.tokens[1] + (0 if self.labels else rng.randint(-20, 20)),
                "prompt_chars": len(self.prompt) + len(texts[which]),
                "latency_s": self.latency_s * rng.uniform(0.6, 1.4),
                "label": (other if wrong else answer) if number < self.reviewed else None,
            }

    def _text(self, number: int) -> str:
        rng = random.Random(f"{self.prompt}{number}")
        words = {"thing": rng.choice(THINGS), "part": rng.choice(PARTS), "day": rng.choice(WEEK)}
        text = " ".join(part for part in (rng.choice(parts).format(**words) for parts in self.texts) if part)
        return f"{text} {rng.randint(1000, 99999)}"

    def _said(self, text: str) -> str:
        """Answer in the words of the instruction, as a model that follows it does."""
        rng = random.Random(f"{self.prompt}{text}")
        own = self.prompt.split()[:40]
        words = text.split()
        return " ".join([*rng.sample(own, min(12, len(own))), *rng.sample(words, len(words) // 3)]) + "."


@dataclass(frozen=True)
class Scenario:
    """One situation and the advice it calls for."""

    name: str
    story: str
    jobs: tuple[Job, ...]
    action: str
    """What should be advised about the first job."""
    because: tuple[str, ...]
    """Words that the sentence and the reasons must hold."""
    replaces: bool
    """Whether something of one's own takes over."""
    advise: Mapping[str, Any] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    pieces: bool = False
    """Whether the traffic may fall into more tasks than the app has calls."""
    measured: Measured | None = None
    """A model of one's own for the first job."""

    def table(self, seed: int = 0) -> pa.Table:
        """Return the log."""
        rng = random.Random(seed)
        return table_of([row for number, job in enumerate(self.jobs) for row in job.rows(rng, f"j{number}")])

    @property
    def sample_ratio(self) -> float:
        """Share of all calls that the log holds; the same for every job."""
        first = self.jobs[0]
        return min(1.0, first.calls / (first.per_month * _MONTHS))


SORT = (
    "You sort the messages of customers of an online shop. Answer with exactly one of: delivery, cancel, refund, "
    "account, bug, billing. Answer with the word alone."
)
NOTE = (
    "You write the history section of a physician's note from what the nurse typed. Keep every symptom, its beginning "
    "and its course, leave out what was not said, and write two to four plain sentences."
)
HANDBOOK = NOTE + " ".join(
    f"Rule {number}: {text.format(thing=THINGS[number % 10], part=PARTS[number % 7], day=WEEK[number % 7])}."
    for number, text in enumerate(TICKETS[2] * 30)
)
WRITERS = (
    NOTE,
    "As a medical coder, list billing codes for what was done, only where the text supports a code; one a line.",
    "Write a discharge letter to the patient. Greet, use simple words, and say at the end when to come back at once.",
    "Extract medication. For every drug give dose, route and frequency; write `none` when no drug is named.",
    "Draft questions for the specialist we refer to: three at most, most urgent first, each one sentence.",
    "Summarise for the night shift. Tasks with their hour, then risks, then whom to phone; telegraph style.",
)
READY = Measured(
    name="tuned encoder", rung="encoder", rows_per_s=120, machine="AMD EPYC, 2 cores", cores=2,
    latency_p95_s=0.04, quality="ready",
)  # fmt: skip
UNREADY = READY.model_copy(update={"quality": "not ready", "escalation_ratio": 0.2})

SCENARIOS = (
    Scenario(
        "a cheap API wins",
        "A frontier model sorts 400,000 tickets a month; today's small APIs cost a fiftieth of it.",
        (Job(SORT),),
        "cheaper API",
        ("Don't own a model", "evaluate it before you switch"),
        replaces=False,
    ),
    Scenario(
        "privacy forces self-hosting",
        "The same, but the texts may not leave the house any more.",
        (Job(SORT),),
        "own",
        ("must stay inside",),
        replaces=True,
        advise={"private": True},
    ),
    Scenario(
        "too little volume",
        "3,000 calls a month cost five dollars; no switch is worth an hour of work.",
        (Job(SORT, per_month=3_000),),
        "wait",
        ("too little to earn back",),
        replaces=False,
    ),
    Scenario(
        "latency decides",
        "Answers take two seconds and must take a third of one; a tuned encoder was measured at 0.04 s.",
        (Job(SORT, latency_s=2.0, model="gpt-6-luna"),),
        "own",
        ("95 % of its answers take up to",),
        replaces=True,
        advise={"latency_target_s": 0.3},
        measured=READY,
    ),
    Scenario(
        "the vendor switches the model off",
        "gpt-4o-mini stops in January 2027; a tuned encoder is proven as good.",
        (Job(SORT, model="gpt-4o-mini", per_month=60_000_000),),
        "own",
        ("stops answering on 2027-01-14",),
        replaces=True,
        measured=READY,
    ),
    Scenario(
        "too broad a task",
        "One assistant for everything: poems, code, recipes, law and medicine in one prompt.",
        (Job("You are a helpful assistant.", texts=EVERYTHING, labels=(), tokens=(200, 400)),),
        "split",
        ("Too broad",),
        replaces=False,
        pieces=True,
    ),
    Scenario(
        "caching the prompt wins",
        "A handbook of thousands of tokens goes with every short question; the vendor caches what a request marks.",
        (
            Job(
                HANDBOOK,
                texts=NOTES,
                labels=(),
                tokens=(6_500, 60),
                model="claude-haiku-4-5",
                per_month=4_000_000,
                calls=400,
                inputs=400,
            ),
        ),
        "cache",
        ("cache its prompt",),
        replaces=False,
    ),
    Scenario(
        "several adapters on one GPU win",
        "Six writing tasks that must stay inside; each alone would need a GPU, together one is enough.",
        tuple(
            Job(
                prompt, texts=NOTES, labels=(), tokens=(250, 120), per_month=60_000, calls=2_100, inputs=2_000
            )
            for prompt in WRITERS
        ),
        "share",
        ("must stay inside",),
        replaces=True,
        advise={"private": True},
    ),
    Scenario(
        "a cascade wins",
        "A tuned encoder is not as good overall, but sure and right on four of five; the API is already a cheap one.",
        (Job(SORT, model="gpt-6-luna", per_month=60_000_000),),
        "cascade",
        ("answers where it is sure",),
        replaces=True,
        measured=UNREADY,
    ),
    Scenario(
        "not enough data",
        "Large volume, but the log has only sixty different inputs.",
        (Job(SORT, model="gpt-6-luna", per_month=60_000_000, inputs=60),),
        "collect rows",
        ("60 are on hand",),
        replaces=False,
    ),
    Scenario(
        "the incumbent itself is bad",
        "Of 150 reviewed answers, 90 are right.",
        (Job(SORT, reviewed=150, right=0.6),),
        "fix first",
        ("reviewed answers were right",),
        replaces=False,
    ),
    Scenario(
        "a clear win",
        "60 million short calls a month with six labels, on the cheapest API there is; rows are plenty.",
        (Job(SORT, model="gpt-6-luna", per_month=60_000_000, reviewed=300),),
        "own",
        ("save",),
        replaces=True,
    ),
)


@functools.cache
def sight() -> Eyes:
    """Open the eyes once: they take seconds."""
    opened = basis_of(Settings()).open_eyes
    assert opened is not None
    return opened()


def advised(scenario: Scenario) -> Advice:
    """Return the advice on the log; a model of one's own is measured once its task is found."""
    table = scenario.table()
    settings = AdviseSettings(**{"sample_ratio": scenario.sample_ratio, **scenario.advise})
    basis = Basis(advise=settings, cost=CostSettings(as_of=DAY, **scenario.cost), eyes=sight())
    found, known = advise(table, basis=basis)
    if scenario.measured is not None:
        measured = {one.task.id: (scenario.measured,) for one in found.tasks}
        found, _ = advise(table, basis=dataclasses.replace(basis, measured=measured), known=known)
    return found


def mistakes(scenario: Scenario, found: Advice) -> list[str]:
    """Return what a person who knows the field would have said otherwise; empty when the advice is right."""
    wrong = []
    if not scenario.pieces and len(found.tasks) != len(scenario.jobs):
        wrong.append(f"{len(found.tasks)} tasks were found, and there are {len(scenario.jobs)}")
    first = [one for one in found.tasks if one.task.samples[0].startswith("j0-")]
    one = max(first, key=lambda one: one.task.calls)
    said = " ".join((one.sentence, *one.reasons))
    if (one.action, one.replaces) != (scenario.action, scenario.replaces):
        wrong.append(f"{one.action!r} was advised instead of {scenario.action!r}: {said}")
    wrong += [f"{words!r} was not said: {said}" for words in scenario.because if words not in said]
    if (found.first is not None) != scenario.replaces:
        wrong.append(f"the first task to replace was {found.first!r}")
    return wrong
