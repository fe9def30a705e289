"""The shape of traffic: how many requests in which window, how bursty inside the windows, and how large.

Guarantee: a shape of measured traffic has the requests and tokens of every window as they were, chance included.
Trap: no arrival time is kept; inside a window only the texture of arrivals. Traffic longer than `MOST_WINDOWS` seconds
has windows longer than a second; how far predictions are then off is in `docs/capacity.md`.
"""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from offramp.capacity import texture
from offramp.errors import DataError
from offramp.types import Frozen

Floats = NDArray[np.float64]

MOST_WINDOWS = 2_000
"""More are never made of measured traffic."""
LEAST_WINDOW_S = 1.0
"""No window is shorter: inside a second the texture does."""
SIZES = 400
"""Requests kept as a sample of all sizes."""
HOUR_S, MONTH_S = 3600.0, 730 * 3600.0
LEAST_ARRIVALS, LEAST_SPAN_S = 200, 24 * HOUR_S
"""Fewer requests, or less than a day of them, say nothing about a month."""


class Shape(Frozen):
    """Arrivals per window, burstiness inside windows, and sizes."""

    window_s: float = Field(gt=0)
    """Length of a window."""
    rates: tuple[float, ...] = Field(min_length=1)
    """Requests per second, one number per window, in the order of time."""
    token_rates: tuple[tuple[float, float], ...] = ()
    """Prompt and answer tokens asked for per second, per window; empty: rate times the mean size everywhere."""
    counted: bool = False
    """The windows have as many requests as their rates say, chance included; else arrivals are random around them."""
    halvings: tuple[tuple[float, float], ...] = ()
    """How uneven the halves of a window are, then its quarters, and so on, and how far they lean to what is beside
    them; none: random at a steady rate. See `texture`."""
    sizes: tuple[tuple[float, float], ...] = Field(min_length=1)
    """Prompt and answer tokens of a sample of requests."""
    origin: str = "given"
    """Where the shape comes from, in words."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if min(self.rates) < 0 or not max(self.rates):
            raise DataError(
                f"rates of at least 0 and one above 0 were expected; found {self.rates[:5]!r} ..."
            )
        if self.token_rates and len(self.token_rates) != len(self.rates):
            raise DataError(
                f"token rates of every window were expected, {len(self.rates)}; found {len(self.token_rates)}"
            )
        return self

    @classmethod
    def of(
        cls, times: ArrayLike, inputs: ArrayLike, outputs: ArrayLike, *, window_s: float | None = None
    ) -> Self:
        """Describe measured traffic; `times` in seconds, any order.

        Raises:
            DataError: fewer than 2 requests, all at one moment, or numbers that are not finite.
        """
        at, read, wrote = (np.asarray(column, np.float64) for column in (times, inputs, outputs))
        if len(at) < 2 or not (len(at) == len(read) == len(wrote)) or not np.ptp(at) > 0:
            raise DataError(
                "arrival times and sizes of at least two requests at different moments were expected; found "
                f"{len(at)} times, {len(read)} prompt sizes and {len(wrote)} answer sizes"
            )
        if not all(np.isfinite(column).all() for column in (at, read, wrote)):
            raise DataError(
                "finite times and token counts were expected; found NaN or infinity; leave them out"
            )
        order = np.argsort(at, kind="stable")
        at, read, wrote = at[order] - at[order[0]], read[order], wrote[order]
        span = at[-1] * len(at) / (len(at) - 1)
        least = max(span / MOST_WINDOWS, LEAST_WINDOW_S, texture.tick_s(at))
        count = max(int(span / (window_s or least)), 1)
        width = span / count
        place = np.minimum((at / width).astype(np.int64), count - 1)
        counts = np.bincount(place, minlength=count).astype(np.float64)
        return cls(
            window_s=width,
            rates=tuple((counts / width).tolist()),
            token_rates=tuple(
                zip(
                    *((np.bincount(place, tokens, count) / width).tolist() for tokens in (read, wrote)),
                    strict=True,
                )
            ),
            counted=True,
            halvings=texture.measured(at, width),
            sizes=_sample(read, wrote),
            origin=f"{len(at):,} measured requests over {span / HOUR_S:,.2f} h in windows of {width:,.3g} s",
        )

    @classmethod
    def of_month(
        cls, times: ArrayLike, inputs: ArrayLike, outputs: ArrayLike, *, requests: float
    ) -> Self | None:
        """Describe measured traffic, brought to so many requests a month; `None` when it is too little to tell.

        Raises:
            DataError: as `of`.
        """
        at = np.asarray(times, np.float64)
        if len(at) < LEAST_ARRIVALS or np.ptp(at) < LEAST_SPAN_S:
            return None
        shape = cls.of(at, inputs, outputs)
        return shape.scaled(requests / (shape.mean_rate * MONTH_S))

    @classmethod
    def typical(
        cls,
        requests_per_month: float,
        *,
        input_tokens: float,
        output_tokens: float,
        peak_ratio: float = 3.0,
    ) -> Self:
        """Make up the week of an office's users where only a monthly volume is known, busiest hour `peak_ratio` x mean.

        See `profile` for the hours; bursts inside the hours are those of `TYPICAL_BURST_RATIO`; answers and prompts
        are spread around their means as an exponential distribution (both Azure services together: cv 1.04 and 1.06).

        Raises:
            DataError: a volume or size that is not above 0.
        """
        if not (requests_per_month > 0 and input_tokens > 0 and output_tokens > 0 and peak_ratio >= 1):
            raise DataError(
                "requests per month and tokens above 0 and a peak of at least the mean were expected; found "
                f"{requests_per_month!r}, {input_tokens!r}, {output_tokens!r} and {peak_ratio!r}"
            )
        mean = requests_per_month / MONTH_S
        return cls(
            window_s=HOUR_S,
            rates=tuple((mean * profile(peak_ratio)).tolist()),
            halvings=texture.of_bursts(TYPICAL_BURST_RATIO, TYPICAL_BURST_S, HOUR_S),
            sizes=_spread(input_tokens, output_tokens),
            origin="assumed: office hours of one time zone, Monday to Friday, bursts as in the Azure trace of 2023",
        )

    @property
    def duration_s(self) -> float:
        """Length of all windows."""
        return self.window_s * len(self.rates)

    @property
    def mean_rate(self) -> float:
        """Requests per second over all windows."""
        return float(np.mean(self.rates))

    def halvings_of(self, window_s: float) -> tuple[tuple[float, float], ...]:
        """Return the halvings of windows of that length, which is at most `window_s`: without the longest bursts."""
        return self.halvings[max(round(np.log2(self.window_s / window_s)), 0) :]

    def tokens(self) -> tuple[Floats, Floats]:
        """Return prompt and answer tokens of the sample."""
        sizes = np.asarray(self.sizes, np.float64)
        return sizes[:, 0], sizes[:, 1]

    def asked(self) -> tuple[Floats, Floats, Floats]:
        """Return requests, prompt tokens and answer tokens per second of each window."""
        rates = np.asarray(self.rates, np.float64)
        if self.token_rates:
            tokens = np.asarray(self.token_rates, np.float64)
            return rates, tokens[:, 0], tokens[:, 1]
        read, wrote = self.tokens()
        return rates, rates * read.mean(), rates * wrote.mean()

    def scaled(self, factor: float) -> Self:
        """Return the same traffic with `factor` times the requests.

        What is chance in measured windows grows with the root of the factor only, as counts do.

        Raises:
            DataError: a factor that is not above 0.
        """
        if not factor > 0:
            raise DataError(f"a factor above 0 was expected; found {factor!r}")
        if self.counted:
            return self._regrown(factor)
        return self._with(
            rates=tuple(rate * factor for rate in self.rates),
            token_rates=tuple((read * factor, wrote * factor) for read, wrote in self.token_rates),
        )

    def _regrown(self, factor: float) -> Self:
        asked = []
        each = (np.ones(1), *self.tokens())
        for seen, size in zip(self.asked(), each, strict=True):
            sums = seen * self.window_s
            # A sum of random counts of requests has that variance.
            steady = _steadied(sums, float(sums.mean() * (size**2).mean() / max(size.mean(), 1e-300)))
            grown = (factor * steady + np.sqrt(factor) * (sums - steady)).clip(0)
            asked.append(grown * (factor * sums.sum() / max(grown.sum(), 1e-300) / self.window_s))
        rates, read, wrote = (column.tolist() for column in asked)
        return self._with(rates=tuple(rates), token_rates=tuple(zip(read, wrote, strict=True)))

    def busiest(self, seconds: float = HOUR_S) -> Self:
        """Return the windows of the busiest stretch of that length; all of them when there is less."""
        wide = max(round(seconds / self.window_s), 1)
        if wide >= len(self.rates):
            return self
        sums = np.convolve(self.rates, np.ones(wide), "valid")
        start = int(np.argmax(sums))
        return self._with(
            rates=self.rates[start : start + wide], token_rates=self.token_rates[start : start + wide]
        )

    def _with(self, **changed: Any) -> Self:
        return self.model_copy(update=changed)


# ---- measured traffic ----------------------------------------------------------------------------------------------


def _steadied(sums: Floats, chance: float) -> Floats:
    """Shrink what windows have until chance on top of it, of that variance per window, gives the variance seen.

    Done at each time scale apart (Haar's wavelets): a slow trend stays whole while second-to-second noise goes.
    """
    count = len(sums)
    approx = np.pad(sums, (0, 2 ** int(np.ceil(np.log2(count))) - count), mode="symmetric")
    details = []
    while len(approx) > 1:
        detail = (approx[::2] - approx[1::2]) / np.sqrt(2)
        variance = float((detail**2).mean())
        # Two standard errors above chance are still chance: what is left of it would be taken for a trend.
        clear = variance > chance * (1 + 2 * np.sqrt(2 / len(detail)))
        details.append(detail * np.sqrt(1 - chance / variance) if clear else detail * 0.0)
        approx = (approx[::2] + approx[1::2]) / np.sqrt(2)
    for detail in reversed(details):
        approx = np.stack([approx + detail, approx - detail], axis=1).reshape(-1) / np.sqrt(2)
    smooth = approx[:count].clip(0)
    return np.asarray(smooth * (sums.sum() / max(smooth.sum(), 1e-300)), np.float64)


def _sample(read: Floats, wrote: Floats) -> tuple[tuple[float, float], ...]:
    """Return a sample even along the answers' lengths and, for each, the prompts'; its means are those of all."""
    order = np.lexsort((read, wrote))
    if len(order) > SIZES:
        each = 4
        blocks = np.array_split(order, SIZES // each)
        places = (np.arange(each) + 0.5) / each
        order = np.concatenate(
            [
                block[np.argsort(read[block], kind="stable")][(places * len(block)).astype(int)]
                for block in blocks
            ]
        )
    kept = [
        tokens[order] * (tokens.sum() / len(tokens) / max(tokens[order].mean(), 1e-300))
        for tokens in (read, wrote)
    ]
    return tuple(zip(kept[0].tolist(), kept[1].tolist(), strict=True))


# ---- traffic that is made up ---------------------------------------------------------------------------------------

TYPICAL_BURST_RATIO, TYPICAL_BURST_S = 0.31, 20.0
"""Bursts inside an hour.

Source: the Azure LLM inference trace 2023, both services together: counts in 10 s vary 25.6 times as much as their
mean of 80, so the rate varies by (25.6 - 1) / 80 = .31 of its squared mean; such counts correlate by .55 after 10 s
and by .24 after 20 s.
"""


def profile(peak_ratio: float) -> Floats:
    """Return 168 hours from Monday 0:00: requests of the hour over the mean hour, the busiest `peak_ratio`.

    A bell over each day around 13:30 that is about nine hours wide, a quarter of it on Saturday and Sunday, plus an
    even floor (or, above a peak of about 4, a narrower bell) that gives the peak. An assumption, not a measurement.
    """
    hours = np.arange(24)
    day = np.exp(-0.5 * ((hours - 13.5) / 3.8) ** 2)
    week = np.concatenate([day * share for share in (1, 1, 1, 1, 1, 0.25, 0.25)])
    power = 1.0
    while (week**power / (week**power).mean()).max() < peak_ratio and power < 64:
        power *= 1.25
    week = week**power / (week**power).mean()
    return np.asarray(1 + (peak_ratio - 1) / (week.max() - 1) * (week - 1), np.float64)


def _spread(input_tokens: float, output_tokens: float) -> tuple[tuple[float, float], ...]:
    """Return 20 x 20 sizes, prompts and answers each exponential around their mean and independent."""
    places = -np.log1p(-(np.arange(20) + 0.5) / 20)
    places = places / places.mean()
    return tuple((float(a * input_tokens), float(b * output_tokens)) for a in places for b in places)
