"""How likely a test of parity is to succeed, and how many rows it takes.

Guarantee: within 2 points of the true power of the score test (`bench/verdict.py`).
Trap: power "if the two are truly equal" says whether the holdout was large enough to be fair; it is not the chance
that this candidate passes.
"""

import math

from scipy.special import ndtr, stdtrit

from offramp.stats.paired import loss_rate

LARGEST_SAMPLE = 10**8
"""Sample sizes beyond this are no plan."""


def power(
    discordance: float,
    margin: float,
    n: float,
    *,
    alpha: float = 0.05,
    difference: float = 0.0,
    df: float = math.inf,
) -> float:
    """Return the chance to certify `difference` > -margin from `n` rows of which a share `discordance` differs.

    `n` are effective rows where rows are clustered. Without discordance it is 0 or 1 by the rule of three.

    Source: Nam (1997), Establishing equivalence of two treatments and sample size requirements in matched-pairs
    design, Biometrics 53:1422-1430: the standard error under the hypothesis from the constrained estimate at the
    expected table, under the alternative discordance - difference^2.
    """
    discordance = max(discordance, abs(difference))
    truth = math.sqrt(max(discordance - difference**2, 0.0))
    if truth == 0:
        return float((1 - margin) ** n <= alpha and difference > -margin)
    gain, loss = (discordance + difference) / 2, (discordance - difference) / 2
    null = math.sqrt(max(2 * float(loss_rate(gain, loss, 1.0, -margin)) - margin - margin**2, 0.0))
    critical = -float(stdtrit(df, alpha))
    return float(ndtr((math.sqrt(n) * (difference + margin) - critical * null) / truth))


def sample_size(
    discordance: float,
    margin: float,
    *,
    alpha: float = 0.05,
    target: float = 0.8,
    difference: float = 0.0,
    df: float = math.inf,
) -> int | None:
    """Return the fewest rows with power `target`; `None` when no number is enough.

    None is enough when the difference itself eats the margin (difference <= -margin).
    """
    if difference <= -margin:
        return None
    low, high = 1, 2
    while power(discordance, margin, high, alpha=alpha, difference=difference, df=df) < target:
        low, high = high, high * 2
        if high > LARGEST_SAMPLE:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        enough = power(discordance, margin, middle, alpha=alpha, difference=difference, df=df) >= target
        low, high = (low, middle) if enough else (middle, high)
    # Below the rule of three not even a perfect sample certifies.
    return max(high, math.ceil(math.log(alpha) / math.log1p(-margin)))
