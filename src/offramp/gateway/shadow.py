"""Ask the candidate what the client was answered by somebody else: off the request's path, and never more than allowed.

Guarantee: a shadow request begins when the client's answer is out, and is left out, and counted, when too many are
under way or the day's budget is spent; so it can slow nothing but itself. Trap: an answer left out says nothing about
the candidate, so what is left out is decided before anything is known about the request.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from offramp.capture import Call, new_id
from offramp.gateway.turn import Outcome, Turn
from offramp.route import Plan
from offramp.route.settings import ShadowSettings

_DAY_S = 86_400


class Shadow:
    """The candidate's unseen answers."""

    def __init__(self, settings: ShadowSettings, keep: Callable[[Call], None]) -> None:
        """Hand each unseen call to `keep`."""
        self.left_out = 0
        self._settings = settings
        self._keep = keep
        self._under_way: set[asyncio.Task[None]] = set()
        self._day = 0
        self._today = 0

    def offer(self, turn: Turn, call: Call) -> bool:
        """Let the candidate answer too, if it may; says whether it will."""
        day = int(call.at // _DAY_S)
        if day != self._day:
            self._day, self._today = day, 0
        most = self._settings.per_day
        candidate = turn.upstreams.get("candidate")
        spent = most is not None and self._today >= most
        if candidate is None or spent or len(self._under_way) >= self._settings.at_once:
            self.left_out += 1
            return False
        self._today += 1
        task = asyncio.create_task(self._ask(turn, call))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return True

    async def stop(self) -> None:
        """Give those under way up."""
        for task in tuple(self._under_way):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _ask(self, seen: Turn, call: Call) -> None:
        began, at = time.perf_counter(), time.time()
        asked = replace(seen.asked, stream=False)
        turn = replace(
            seen,
            asked=asked,
            plan=Plan(("candidate",), "shadow"),
            began=began,
            reasons=[],
            attempts=0,
            spare=None,
            refused=None,
        )
        outcome: Outcome = await turn.whole()
        said = outcome.said
        self._keep(
            replace(
                call,
                id=new_id(),
                at=at,
                route="shadow",
                answered_by=outcome.answered_by,
                model=outcome.model,
                status=outcome.status,
                stream=False,
                answer=outcome.body,
                error=outcome.error,
                latency_s=time.perf_counter() - began,
                first_token_s=None,
                input_tokens=said.input_tokens if said else None,
                output_tokens=said.output_tokens if said else None,
                cached_tokens=said.cached_tokens if said else None,
                confidence=said.confidence if said else None,
                ood=said.ood if said else None,
                cost_usd=None,
                left_out=None,
                attempts=turn.attempts,
                shadow_of=call.id,
            )
        )
