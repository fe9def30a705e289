"""Adjustment for many looks at once.

Guarantee: `holm` keeps the chance of even one false claim among all at the nominal rate, whatever the dependence.
Trap: bars that must *all* hold need no adjustment; bars of which *any* may be quoted do.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return Holm-adjusted p-values (k,) in the given order; empty in, empty out.

    Source: Holm (1979), A simple sequentially rejective multiple test procedure, Scand. J. Statistics 6:65-70.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    stepped = p[order] * (len(p) - np.arange(len(p)))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0) if len(p) else stepped
    return adjusted
