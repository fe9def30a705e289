"""Ask again, of the other side, what a client was answered: off the request's path, and never more than allowed.

In shadow mode the candidate is asked what the incumbent answered. Later, where the candidate answers users, a part of
it can be asked of the incumbent (`incumbent_ratio`), so that the comparison does not end with the switch.

Guarantee: a shadow request begins when the client's answer is out, and is left out, and counted, when too many are
under way or the day's budget is spent; so it can slow nothing but itself. Trap: an answer left out says nothing about
whom it was asked of, so what is left out is decided before anything is known about the request.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from offramp.capture import Call, new_id
from offramp.gateway.turn import Outcome, Turn
from offramp.route import Plan, Target, place
from offramp.route.settings import ShadowSettings

_DAY_S = 86_400


class Shadow:
    """Unseen answers."""

    def __init__(self, settings: ShadowSettings, keep: Callable[[Call], None]) -> None:
        """Hand each unseen call to `keep`."""
        self.left_out = 0
        self._settings = settings
        self._keep = keep
        self._under_way: set[asyncio.Task[None]] = set()
        self._day = 0
        self._today = 0
        self.both_ways = settings.incumbent_ratio > 0
        """Whether the incumbent may be asked, too."""

    def offer(self, turn: Turn, call: Call) -> bool:
        """Let the other side answer too, if it may; says whether it will."""
        target = self._target(turn, call)
        if target is None:
            return False
        day = int(call.at // _DAY_S)
        if day != self._day:
            self._day, self._today = day, 0
        most = self._settings.per_day
        spent = most is not None and self._today >= most
        if turn.upstreams.get(target) is None or spent or len(self._under_way) >= self._settings.at_once:
            self.left_out += 1
            return False
        self._today += 1
        task = asyncio.create_task(self._ask(turn, call, target))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return True

    async def stop(self) -> None:
        """Give those under way up."""
        for task in tuple(self._under_way):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _target(self, turn: Turn, call: Call) -> Target | None:
        """Return who is asked, `None` for nobody."""
        if turn.plan.shadow:
            return "candidate"
        one, ours, theirs = turn.deployment, turn.upstreams.get("candidate"), turn.upstreams.get("incumbent")
        if one is None or one.private or ours is None or theirs is None or theirs.private:
            return None
        # What the incumbent answered after all, as a fall-back, needs no other answer of it.
        drawn = call.answered_by == ours.name and place("incumbent", call.id) < self._settings.incumbent_ratio
        return "incumbent" if drawn else None

    async def _ask(self, seen: Turn, call: Call, target: Target) -> None:
        began, at = time.perf_counter(), time.time()
        asked = replace(seen.asked, stream=False)
        turn = replace(
            seen,
            asked=asked,
            plan=Plan((target,), "shadow"),
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
