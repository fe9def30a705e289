"""How much a client may ask: requests a minute and dollars a day, checked before a request is sent on.

Requests: a token bucket that holds one minute's worth and fills steadily, kept as one whole number per client (the
"generic cell rate algorithm": the moment at which the bucket would be full again). In any stretch of `t` seconds a
client gets through at most `requests_per_minute * (1 + t / 60)` requests, to the request: the arithmetic is exact.
A refused request costs nothing, and the wait it is told is the shortest that helps.

Dollars: what answered calls cost in one UTC day. A request is refused once that has reached the limit.

Guarantee: within one process both limits are exact. With several, a client's requests are shared out evenly
(`processes`), and spending is brought together by `learn`: the sum is short by at most what the other processes
spent since the last `learn` plus what they had not yet written, and never too high.

Trap: what a call costs is known when it ends, so requests under way when the limit is reached still finish and count.

Source: ITU-T I.371 (2004), annex A, the continuous-state leaky bucket form of the generic cell rate algorithm.
"""

from offramp.web.errors import Refusal
from offramp.web.keys import Client

DAY_S = 86_400
_MINUTE_NS = 60_000_000_000


def day_of(now: float) -> int:
    """Return the UTC day, counted from 1970, of a moment in unix seconds."""
    return int(now // DAY_S)


class Limits:
    """What each client has used. Made for one event loop: no locks, no waiting."""

    def __init__(self, *, processes: int = 1) -> None:
        """Start with full buckets; `processes`: among how many gateway processes the requests spread.

        Each lets at least one request through, also where a client's limit is below the number of processes.
        """
        self._processes = processes
        self._full_at: dict[str, tuple[int, int]] = {}  # client -> (scaled moment, requests_per_minute)
        self._spending: dict[str, tuple[int, float]] = {}  # client -> (day, dollars)

    def admit(self, client: Client, now: float) -> Refusal | None:
        """Let a request through and count it (`None`), or say why not. `now`: unix seconds."""
        if client.usd_per_day is not None:
            day = day_of(now)
            if self.spending(client.name, day) >= client.usd_per_day:
                return _spent(client, (day + 1) * DAY_S - now)
        if client.requests_per_minute is not None:
            wait_s = self._take(client.name, client.requests_per_minute, now)
            if wait_s > 0:
                return _too_many(client, wait_s)
        return None

    def spent(self, client: str, usd: float, *, day: int) -> None:
        """Add what one call of this process cost, to the day on which it was admitted."""
        known_day, known = self._spending.get(client, (day, 0.0))
        if day >= known_day:
            self._spending[client] = (day, usd + (known if day == known_day else 0.0))

    def learn(self, client: str, usd_total: float, *, day: int) -> None:
        """Take over a day's sum from the store of calls, which all processes write to; call it every few seconds.

        A sum lower than what is known is ignored: calls of this process may not be written yet, and a day's
        spending never shrinks. So nothing is counted twice, whatever the store lags behind.
        """
        if usd_total > self.spending(client, day):
            known_day, _ = self._spending.get(client, (day, 0.0))
            if day >= known_day:
                self._spending[client] = (day, usd_total)

    def spending(self, client: str, day: int) -> float:
        """Return what the client's calls are known to have cost on that day, in dollars."""
        known_day, usd = self._spending.get(client, (day, 0.0))
        return usd if known_day == day else 0.0

    def _take(self, name: str, per_minute: int, now: float) -> float:
        """Take one request from the bucket and return 0, or leave it and return the seconds to wait.

        Moments are nanoseconds times `per_minute`, so that the time between two requests is a whole number.
        """
        now_scaled = int(now * 1e9) * per_minute
        each = _MINUTE_NS * self._processes
        room = max(_MINUTE_NS * per_minute, each)
        full_at, known_rate = self._full_at.get(name, (0, per_minute))
        if known_rate != per_minute:
            full_at = 0  # a changed limit begins with a full bucket
        # Above `now + room` only after the clock was set back: nobody waits for it to catch up.
        full_at = min(max(full_at, now_scaled), now_scaled + room)
        over = full_at + each - now_scaled - room
        if over > 0:
            self._full_at[name] = (full_at, per_minute)
            return over / per_minute / 1e9
        self._full_at[name] = (full_at + each, per_minute)
        return 0.0


def _too_many(client: Client, wait_s: float) -> Refusal:
    return Refusal(
        status=429,
        message=(
            f"Rate limit reached: client {client.name!r} may make {client.requests_per_minute} requests a minute. "
            f"Try again in {wait_s:.3f} s."
        ),
        kind="requests",
        code="rate_limit_exceeded",
        retry_after_s=wait_s,
    )


def _spent(client: Client, wait_s: float) -> Refusal:
    return Refusal(
        status=429,
        message=(
            f"Spend limit reached: client {client.name!r} may spend {client.usd_per_day} dollars a day (UTC). "
            "Wait for the next day or have the limit raised."
        ),
        kind="insufficient_quota",
        code="insufficient_quota",
        retry_after_s=wait_s,
    )
