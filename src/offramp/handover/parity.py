"""Train-serve parity: does the served model say what the trained one says, token by token.

The training side answers a number of prompts greedily, in float32, with the prompts it was trained on; so does a
subject: the same weights merged, rounded, converted, or behind a server. Compared are the identity of the template,
the token ids of every prompt, the log-probabilities of the first token, where an answer ends, and the answers.

Guarantee: a subject passes only where every threshold was measured and met; what was not measured is a problem, not a
pass. Traps: rounded weights (bfloat16, quantised) rightly change some answers, and need thresholds of their own; few
prompts show little, so shares come with their interval.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from offramp.errors import DataError
from offramp.handover.subjects import Prompt, Seen, Subject
from offramp.stats.paired import paired_sample, score_interval
from offramp.stats.proportion import wilson_interval
from offramp.types import Progress, silent

Scorer = Callable[[Sequence[str]], Sequence[float | None]]
"""Scores the answers to all prompts, in their order; `None` = not scored."""
Kind = Literal["prompt", "logprobs", "end", "answer"]
"""What differs first: the tokens read, the first token's chances, where the answer ends, its tokens."""
ALPHA = 0.025
"""Each end of an interval; both together are 95 %."""
_WINDOW = 6
_SHOWN = 3


@dataclass(frozen=True)
class Thresholds:
    """What a subject must meet; the defaults are for the same weights in float32."""

    identical_ratio: float = 0.99
    """Share of prompts with the same answer, token by token, at least."""
    logprob: float | None = 0.01
    """Largest difference of a log-probability among the likeliest first tokens; `None`: not looked at."""
    prompt_ratio: float = 1.0
    """Share of prompts whose token ids are the same, at least."""
    end_ratio: float = 0.99
    """Share of prompts where the answer does not go on after the trained one's end, nor ends before it, at least."""
    score_loss: float | None = None
    """Largest loss of mean score that its interval may reach; `None`: shown, not judged."""
    prompts: int = 50
    """Fewest prompts; fewer prove nothing."""


ROUNDED = Thresholds(identical_ratio=0.9, logprob=0.5, end_ratio=0.97)
"""For bfloat16 and quantised weights: rounding may change near ties, prompts and ends may not change."""


@dataclass(frozen=True)
class Difference:
    """One prompt on which the two sides differ."""

    index: int
    """Which prompt, from 0."""
    kind: Kind
    """What differs first; what follows from it is not told again."""
    place: int
    """Token at which it begins."""
    reference: str
    """Tokens of the training side around that place."""
    subject: str
    """Tokens of the subject around that place."""
    gap: float | None
    """Largest difference among the first token's log-probabilities."""


@dataclass(frozen=True)
class ScoreChange:
    """What the differences do to the task's score."""

    reference: float
    """Mean score of the training side."""
    subject: float
    """Mean score of the subject."""
    low: float
    """Lower end of the 95 % interval of subject minus training side."""
    high: float
    """Upper end."""
    scored: int
    """Prompts scored on both sides."""


@dataclass(frozen=True)
class Parity:
    """What a parity test found."""

    reference: str
    """Name of the training side."""
    subject: str
    """Name of the subject."""
    prompts: int
    """Prompts asked."""
    max_tokens: int
    """Longest answer that was waited for."""
    same_prompts: int
    """Prompts with the same token ids."""
    same_ends: int
    """Prompts where neither side goes on where the other ended."""
    identical: int
    """Prompts with the same answer, token by token, ended alike."""
    identical_low: float
    """Lower end of the 95 % interval of that share."""
    identical_high: float
    """Upper end."""
    logprob_gap: float | None
    """Largest difference of a first token's log-probability; `None` where the subject told none."""
    identity: Mapping[str, tuple[Any, Any]]
    """What both say of how they make prompts, where it differs: (training side, subject)."""
    differences: tuple[Difference, ...]
    """Every prompt that differs in prompt, end or answer, or beyond the threshold in log-probabilities."""
    score: ScoreChange | None
    """What it does to the score, where a scorer was given."""
    thresholds: Thresholds
    """What was asked."""
    problems: tuple[str, ...]
    """Every threshold that is not met, in words; empty = passed."""
    reference_seen: tuple[Seen, ...] = field(default=(), repr=False)
    """What the training side read and said, so that the next subject need not wait for it again."""

    @property
    def passed(self) -> bool:
        """True where every threshold is met."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the answers as plain JSON."""
        found = asdict(self)
        del found["reference_seen"]
        return found | {"passed": self.passed}

    def __str__(self) -> str:
        low, high = self.identical_low, self.identical_high
        gap = "not told" if self.logprob_gap is None else f"{self.logprob_gap:.2g}"
        lines = [
            f"{self.subject} against {self.reference}: {'passed' if self.passed else 'FAILED'}",
            f"  answers: {self.identical} of {self.prompts} identical token by token "
            f"(95 % interval {low:.1%} to {high:.1%})",
            f"  prompts: {self.same_prompts} of {self.prompts} have the same tokens; "
            f"ends: {self.same_ends} of {self.prompts} alike; first token: log-probabilities differ by {gap} at most",
        ]
        if self.score is not None:
            change = self.score.subject - self.score.reference
            lines.append(
                f"  score: {self.score.reference:.4g} to {self.score.subject:.4g}, {change:+.4g} "
                f"[{self.score.low:+.4g}, {self.score.high:+.4g}]"
            )
        lines += [f"  problem: {problem}" for problem in self.problems]
        for item in self.differences[:_SHOWN]:
            lines.append(f"  prompt {item.index}, {_KINDS[item.kind]} at token {item.place}:")
            lines += [f"    trained {item.reference}", f"    served  {item.subject}"]
        return "\n".join(lines)


_KINDS: Mapping[Kind, str] = {
    "prompt": "the prompt differs",
    "logprobs": "the first token's chances differ",
    "end": "the end differs",
    "answer": "the answer differs",
}


def parity(
    reference: Subject,
    subject: Subject,
    prompts: Sequence[Prompt],
    *,
    max_tokens: int = 64,
    options: "Options | None" = None,
    progress: Progress = silent,
) -> Parity:
    """Ask both sides every prompt and compare.

    Raises:
        DataError: no prompts.
        ModelError: a side cannot answer.
    """
    if not prompts:
        raise DataError(
            "a parity test was asked for; it needs prompts, such as those of the holdout; found none"
        )
    options = options or Options()
    trained = list(options.reference_seen) or reference.ask(
        prompts, max_tokens=max_tokens, top=options.top, progress=progress
    )
    if len(trained) != len(prompts):
        raise DataError(
            f"answers of the training side to {len(prompts)} prompts were expected; found {len(trained)}"
        )
    # The subject tells more of its likeliest tokens, so that a token that fell some ranks is still found.
    served = subject.ask(prompts, max_tokens=max_tokens, top=4 * options.top, progress=progress)
    pairs = [_Pair(index, a, b) for index, (a, b) in enumerate(zip(trained, served, strict=True))]
    thresholds = options.thresholds
    identical = sum(pair.kind is None for pair in pairs)
    low, high = wilson_interval(identical, len(pairs), ALPHA)
    gaps = [pair.gap for pair in pairs]
    found = Parity(
        reference=reference.name,
        subject=subject.name,
        prompts=len(pairs),
        max_tokens=max_tokens,
        same_prompts=sum(pair.kind != "prompt" for pair in pairs),
        same_ends=sum(not pair.ends_apart for pair in pairs),
        identical=identical,
        identical_low=float(low),
        identical_high=float(high),
        logprob_gap=None if None in gaps else max(gap for gap in gaps if gap is not None),
        identity=_apart(reference.identity, subject.identity),
        differences=tuple(d for pair in pairs if (d := pair.difference(options, thresholds.logprob))),
        score=_score(trained, served, options),
        thresholds=thresholds,
        problems=(),
        reference_seen=tuple(trained),
    )
    ended = sum(seen.finish == "stop" for seen in trained)
    return replace(found, problems=tuple(_problems(found, ended)))


@dataclass(frozen=True)
class Options:
    """How the two sides are compared."""

    thresholds: Thresholds = field(default_factory=Thresholds)
    """What the subject must meet."""
    top: int = 5
    """How many of the likeliest first tokens are compared."""
    decode: Callable[[Sequence[int]], str] | None = None
    """Makes text of token ids, for scores and for showing; `Renderer.decode`."""
    piece: Callable[[int], str] | None = None
    """Names a token that has no text, such as a control token; `Renderer.tokenizer.convert_ids_to_tokens`."""
    score: Scorer | None = None
    """The task's metric; needs `decode`."""
    reference_seen: Sequence[Seen] = field(default=(), repr=False)
    """What the training side answered to the same prompts before (`Parity.reference_seen`); asked when empty."""


@dataclass(frozen=True)
class _Pair:
    """Both sides' answer to one prompt."""

    index: int
    trained: Seen
    served: Seen

    @property
    def kind(self) -> Kind | None:
        """What differs first of prompt, end and answer; `None` where nothing does."""
        if self.trained.prompt != self.served.prompt:
            return "prompt"
        if self.ends_apart:
            return "end"
        return None if self.trained.answer == self.served.answer else "answer"

    @property
    def ends_apart(self) -> bool:
        """True where one side goes on where the other ended."""
        a, b = self.trained, self.served
        shared = min(len(a.answer), len(b.answer))
        if a.answer[:shared] != b.answer[:shared]:
            return False
        return len(a.answer) != len(b.answer) or a.finish != b.finish

    @property
    def gap(self) -> float | None:
        """Largest difference among the training side's likeliest first tokens.

        A token that the subject did not tell is at most as likely as the least likely one it told.
        """
        a, b = self.trained.first, self.served.first
        if not a or not b:
            return None
        floor = min(b.values())
        return max(abs(value - b.get(token, floor)) for token, value in a.items())

    def difference(self, options: Options, most: float | None) -> Difference | None:
        """Return what differs, with the tokens around it."""
        kind, gap = self.kind, self.gap
        if kind is None and most is not None and gap is not None and gap > most:
            kind = "logprobs"
        if kind is None:
            return None
        if kind == "logprobs":
            sides = [_chances(side.first, options) for side in (self.trained, self.served)]
            return Difference(self.index, kind, 0, sides[0], sides[1], gap)
        read = kind == "prompt"
        a, b = ((s.prompt if read else (*s.answer, _end(s))) for s in (self.trained, self.served))
        place = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        shown = [_tokens(ids, place, options) for ids in (a, b)]
        return Difference(self.index, kind, place, shown[0], shown[1], gap)


_STOP, _CUT = -1, -2


def _end(seen: Seen) -> int:
    return _STOP if seen.finish == "stop" else _CUT


def _piece(token: int, options: Options) -> str:
    """Write one token: its text, or its number where it has none of its own."""
    if token < 0:
        return "<end>" if token == _STOP else "<cut off>"
    text = options.decode([token]) if options.decode else ""
    if text:
        return repr(text)
    return options.piece(token) if options.piece else f"<{token}>"


def _tokens(ids: Sequence[int], place: int, options: Options) -> str:
    start = max(0, place - _WINDOW // 2)
    shown = " ".join(_piece(token, options) for token in ids[start : place + _WINDOW])
    return f"{'… ' if start else ''}{shown}{' …' if place + _WINDOW < len(ids) else ''}" or "(nothing)"


def _chances(first: Mapping[int, float], options: Options) -> str:
    best = sorted(first.items(), key=lambda item: -item[1])[: options.top]
    return ", ".join(f"{_piece(token, options)} {value:.3f}" for token, value in best)


def _apart(reference: Mapping[str, Any], subject: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    shared = reference.keys() & subject.keys()
    return {key: (reference[key], subject[key]) for key in sorted(shared) if reference[key] != subject[key]}


def _score(trained: Sequence[Seen], served: Sequence[Seen], options: Options) -> ScoreChange | None:
    if options.score is None:
        return None
    if options.decode is None:
        raise DataError(
            "a score of the answers was asked for; it needs `decode`, which makes text of token ids"
        )
    sides = [options.score([options.decode(seen.answer) for seen in side]) for side in (trained, served)]
    both = [(a, b) for a, b in zip(*sides, strict=True) if a is not None and b is not None]
    if not both:
        return None
    span = max(1.0, *(abs(b - a) for a, b in both))
    low, high = score_interval(paired_sample([b - a for a, b in both], span=span), ALPHA)
    means = [math.fsum(column) / len(both) for column in zip(*both, strict=True)]
    return ScoreChange(means[0], means[1], low, high, len(both))


def _problems(found: Parity, ended: int) -> list[str]:
    """Say every threshold that is not met; `ended` answers of the training side were not cut off."""
    asked, n = found.thresholds, found.prompts
    problems = []
    if n < asked.prompts:
        problems.append(f"{asked.prompts} prompts were expected, {n} were asked: too few to show anything")
    for key, (ours, theirs) in found.identity.items():
        problems.append(
            f"`{key}` of the prompts is not the same: {_short(ours)} in training, {_short(theirs)} served"
        )
    if found.same_prompts < asked.prompt_ratio * n:
        # Whatever else differs follows from this.
        problems.append(
            f"the server reads other tokens than the model was trained on in {n - found.same_prompts} of {n} prompts: "
            f"{_why_prompt(found)}"
        )
    else:
        problems += [*_end_problems(found, ended), *_logprob_problems(found)]
    if found.identical < asked.identical_ratio * n:
        problems.append(
            f"{found.identical} of {n} answers are identical; {asked.identical_ratio:.1%} were expected"
        )
    if asked.score_loss is not None and (found.score is None or found.score.low < -asked.score_loss):
        problems.append(f"a loss of more than {asked.score_loss:g} in mean score cannot be ruled out")
    return problems


def _end_problems(found: Parity, ended: int) -> list[str]:
    asked, n = found.thresholds, found.prompts
    if ended == 0 and asked.end_ratio > 0:
        return [
            f"no answer of the trained model ended within {found.max_tokens} tokens, so ends could not be compared; "
            "raise `max_tokens`"
        ]
    if found.same_ends >= asked.end_ratio * n:
        return []
    return [
        f"{n - found.same_ends} of {n} answers go on after the trained model's end, or end before it: compare the "
        "stop tokens (`generation_config.json`)"
    ]


def _logprob_problems(found: Parity) -> list[str]:
    most, gap = found.thresholds.logprob, found.logprob_gap
    if most is None:
        return []
    if gap is None:
        return ["the subject tells no log-probabilities of the first token, so they could not be compared"]
    if gap <= most:
        return []
    return [
        f"log-probabilities of the first token differ by up to {gap:.2g}; {most:g} is the most that the same weights "
        "explain: compare weights, adapter scaling and precision"
    ]


def _why_prompt(found: Parity) -> str:
    """Name the usual cause of the first difference in a prompt."""
    first = next((item for item in found.differences if item.kind == "prompt"), None)
    if first is None:
        return "compare the chat templates"
    words = first.subject.split()
    if first.place <= 1 and len(words) > 1 and words[0] == words[1]:
        return "the start token is there twice (double BOS)"
    return f"compare the chat templates; the first difference is at token {first.place}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:16] + "…"
