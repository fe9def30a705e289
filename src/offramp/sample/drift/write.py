"""How people write to the service desk of an invented railway: a topic in, a message out.

A message is what somebody asks, a detail or two, and what stands around it; some mix in the words of another topic and
a few say nothing that tells the topic, so that no model is always right. Guarantee: the same draws give the same
messages. Trap: railway, cities and people are invented.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from random import Random
from typing import Any

import yaml

_MIXED_RATIO = 0.08
_VAGUE_RATIO = 0.03
_HOURS = tuple(f"{hour}:{minute:02d}" for hour in range(5, 24) for minute in range(3, 60, 11))


@dataclass(frozen=True)
class Words:
    """Everything that people of the sample write with."""

    topics: Mapping[str, Mapping[str, Sequence[str]]]
    """What is asked from the first day on, by label."""
    new: Mapping[str, Mapping[str, Sequence[str]]]
    """What comes later."""
    around: Mapping[str, Any]
    """Openings, contexts, closings, vague messages and values of slots."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the first day, sorted."""
        return tuple(sorted(self.topics))

    @property
    def new_label(self) -> str:
        """The label that the first day does not have."""
        return next(iter(self.new))


@cache
def words() -> Words:
    """Read the words once."""
    content = yaml.safe_load((resources.files("offramp.sample.drift") / "words.yaml").read_text("utf-8"))
    return Words(content.pop("topics"), content.pop("new"), content)


def message(rng: Random, topic: str) -> str:
    """Write one message about a topic."""
    known = words()
    every = {**known.topics, **known.new}
    around, own = known.around, every[topic]
    if rng.random() < _VAGUE_RATIO:
        parts = [rng.choice(around["vague"]), *_some(rng, around["contexts"], 1)]
    else:
        other = rng.choice(known.labels) if rng.random() < _MIXED_RATIO else topic
        mixed = every[other]["details"]
        asked = rng.choice(own["asks"])
        parts = [f"{asked}{'?' if _asks(asked) else '.'}", *_some(rng, mixed, rng.choice((0, 1, 1)))]
        parts += _some(rng, around["contexts"], rng.choice((0, 1, 1, 2)))
        head, tail = parts[:1], parts[1:]
        rng.shuffle(tail)
        parts = head + tail
    opening, closing = rng.choice(around["openings"]), rng.choice(around["closings"])
    text = " ".join(part for part in (opening, *parts, closing) if part)
    return _filled(rng, text if opening else text[:1].upper() + text[1:])


def _asks(asked: str) -> bool:
    first = asked.split(" ", 1)[0].lower()
    return first in {
        *("how", "is", "are", "can", "may", "where", "when", "which", "what", "who", "why"),
        *("do", "does", "did"),
    }


def _some(rng: Random, lines: Sequence[str], count: int) -> list[str]:
    return rng.sample(list(lines), count)


def _filled(rng: Random, text: str) -> str:
    slots = words().around["slots"]
    first, second = rng.sample(slots["city"], 2)
    values = {
        "city": first,
        "other": second,
        "train": f"{rng.choice(('RE', 'IC', 'N', 'S'))} {rng.randint(10, 999)}",
        "code": "".join(rng.choices("ABCDEFGHKLMNPRSTUVWXYZ23456789", k=6)),
        "amount": f"{rng.randint(9, 289)}.{rng.choice(('00', '50', '90', '95'))}",
        "hour": rng.choice(_HOURS),
        "minutes": str(rng.randint(6, 180)),
        "count": str(rng.randint(2, 40)),
        **{name: rng.choice(slots[name]) for name in ("day", "month", "relative")},
    }
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text
