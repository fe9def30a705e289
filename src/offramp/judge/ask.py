"""Get one readable judgement per request, or the reason why there is none.

An answer that cannot be read (prose, 6 of 5, broken JSON, nothing) is shown to the judge once, with what was wrong;
a second such answer leaves the item unscored. What failed on the way (timeout, busy server) was already tried again
by the client.
Guarantee: nothing is guessed. A number inside prose is not a score, 4.5 is not rounded, an unscored item is never 0.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from offramp.judge.prompt import PROMPT_VERSION, correction, without_reason
from offramp.judge.rubric import POINTS, Rubric
from offramp.models.client import Client
from offramp.models.endpoint import Completion, Endpoint, Message, Request
from offramp.models.wire import excerpt
from offramp.types import Frozen, Progress, content_id

MAX_TOKENS = 1024
"""Room for hidden reasoning, a sentence or two and the score; `params` of the endpoint goes before it."""
_THOUGHT = re.compile(r"^\s*<think>.*?</think>", re.DOTALL)
_FENCED = re.compile(r"^```[a-zA-Z]*\s*\n(.*?)\n?```$", re.DOTALL)


class JudgeOptions(Frozen):
    """How a judge is asked."""

    explain: bool = True
    """Whether a reason is asked for before the score; without it a judgement costs about a tenth of the output."""
    sample: int = 0
    """Number of the repetition: another number asks again instead of reading the cache."""


class JudgeIdentity(Frozen):
    """Everything that makes two judgements comparable: judgements of different identities are of different judges."""

    base_url: str
    """Where it was asked."""
    model: str
    """Model as the server names it."""
    rubric: str
    """Name of the rubric."""
    rubric_version: str
    """Its version."""
    rubric_sha256: str
    """Hash of its wording."""
    form: str
    """`likert` or `pairwise`."""
    prompt_version: str
    """Version of the frame around the rubric."""
    explain: bool
    """Whether a reason was asked for."""
    params: Mapping[str, Any]
    """The endpoint's own request fields."""

    @property
    def id(self) -> str:
        """Content id of the judge."""
        return content_id("judge", self.model_dump(mode="json"))


@dataclass(frozen=True)
class Usage:
    """What one round of judging sent."""

    requests: int
    """Requests that the server answered."""
    from_cache: int
    """Requests that cost nothing."""
    input_tokens: int
    """Prompt tokens, as the server counted."""
    output_tokens: int
    """Answer tokens."""
    uncounted: int
    """Answered requests whose tokens the server did not tell."""
    lost: int = 0
    """Judgements that no server ever answered: timeouts and outages, not the judge's own failures."""


@dataclass(frozen=True)
class Reading:
    """What one judgement came to."""

    value: str | int | None
    """The score or the choice; `None` when there is none."""
    reason: str | None
    """The judge's reason, when it gave one."""
    problem: str | None
    """Why there is no value."""
    retried: bool = False
    """Whether the judge had to be asked again."""


def identity(endpoint: Endpoint, rubric: Rubric, options: JudgeOptions, *, form: str) -> JudgeIdentity:
    """Name the judge that these settings make."""
    return JudgeIdentity(
        base_url=endpoint.base_url,
        model=endpoint.model,
        rubric=rubric.name,
        rubric_version=rubric.version,
        rubric_sha256=rubric.sha256,
        form=form,
        prompt_version=PROMPT_VERSION,
        explain=options.explain,
        params=endpoint.params,
    )


def request(messages: tuple[Message, ...], schema: Mapping[str, Any], options: JudgeOptions) -> Request:
    """Build the request of one judgement."""
    return Request(
        messages=messages,
        schema=schema if options.explain else without_reason(schema),
        params={"temperature": 0, "max_tokens": MAX_TOKENS},
        sample=options.sample,
    )


Reader = Callable[[Mapping[str, Any]], "str | int"]
"""Gives the value of a judgement; raises `ValueError` with words for the judge when it has none."""


def ask(
    client: Client, requests: Sequence[Request], *, reader: Reader, progress: Progress, stage: str
) -> tuple[list[Reading], Usage]:
    """Ask for every judgement, once more for those that cannot be read."""
    before = (
        client.spent.requests,
        client.spent.input_tokens,
        client.spent.output_tokens,
        client.spent.uncounted,
    )
    said = client.complete(requests, progress=progress, stage=stage)
    readings = [_read(completion, reader) for completion in said]
    # A completion with a finish_reason came from the model; one without never reached it.
    unreadable = [
        i for i, r in enumerate(readings) if r.problem and (said[i].error is None or said[i].finish_reason)
    ]
    again = [
        Request(
            messages=correction(requests[i].messages, said[i].text, readings[i].problem or ""),
            schema=requests[i].schema,
            params=requests[i].params,
            sample=requests[i].sample,
        )
        for i in unreadable
    ]
    second = client.complete(again, progress=progress, stage=f"{stage}: once more")
    for i, completion in zip(unreadable, second, strict=True):
        reading = _read(completion, reader)
        readings[i] = Reading(reading.value, reading.reason, reading.problem, retried=True)
    last = {**dict(enumerate(said)), **dict(zip(unreadable, second, strict=True))}
    lost = sum(one.text is None and not one.finish_reason for one in last.values())
    free = sum(completion.from_cache for completion in [*said, *second])
    sent, *tokens = (
        now - then
        for now, then in zip(
            (
                client.spent.requests,
                client.spent.input_tokens,
                client.spent.output_tokens,
                client.spent.uncounted,
            ),
            before,
            strict=True,
        )
    )
    return readings, Usage(sent, free, tokens[0], tokens[1], tokens[2], lost)


def _read(completion: Completion, reader: Reader) -> Reading:
    if completion.text is None:
        return Reading(None, None, completion.error or "no answer")
    try:
        content = parse_object(completion.text)
        value = reader(content)
    except ValueError as problem:
        cut = " (the answer was cut off)" if completion.finish_reason == "length" else ""
        return Reading(None, None, f"{problem}{cut}")
    reason = content.get("reason")
    return Reading(value, reason if isinstance(reason, str) else None, None)


def parse_object(text: str) -> dict[str, Any]:
    """Read an answer that is one JSON object; a thought before it and a code fence around it are taken off.

    Raises:
        ValueError: it is anything else; the words are meant for the judge.
    """
    bare = _THOUGHT.sub("", text).strip()
    fenced = _FENCED.match(bare)
    bare = fenced.group(1) if fenced else bare
    try:
        content = json.loads(bare)
    except (ValueError, RecursionError):
        raise ValueError(f"one JSON object was expected; found {excerpt(bare)[:80]!r}") from None
    if not isinstance(content, dict):
        raise ValueError(f"one JSON object was expected; found {excerpt(bare)[:80]!r}")
    return content


def read_score(content: Mapping[str, Any]) -> int:
    """Return the score of a judgement, 1 to 5.

    Raises:
        ValueError: there is none on the scale.
    """
    score = content.get("score")
    if isinstance(score, str) and score.strip() in map(str, POINTS):
        return int(score)
    if isinstance(score, bool) or not isinstance(score, int | float) or score not in POINTS:
        raise ValueError(f"`score` was expected to be a whole number from 1 to 5; found {score!r:.40}")
    return int(score)


def read_choice(content: Mapping[str, Any]) -> str:
    """Return the choice of a pairwise judgement: `first`, `second` or `tie`.

    Raises:
        ValueError: there is none of these.
    """
    choice = content.get("better")
    folded = choice.strip().lower() if isinstance(choice, str) else None
    if folded not in ("first", "second", "tie"):
        raise ValueError(f"`better` was expected to be `first`, `second` or `tie`; found {choice!r:.40}")
    return folded
