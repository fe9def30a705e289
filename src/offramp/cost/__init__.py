"""What each way to run a task costs per month, and from which volume owning the model pays.

The idea: usage × dated prices for APIs, measured throughput × machine price for the model you own, side by side,
with a sentence that says "don't" when an API is cheaper. Guarantee: a price that nobody knows is an error or is
listed as unpriced, never zero, and every price used is frozen in the result with source and date.

Trap: an API is priced per request times volume, never a month in one call (long-context tiers). Throughput is
what was measured on one machine; the machine you rent may be faster or slower.
"""

from offramp.cost.options import CostOption, price_api
from offramp.cost.table import BreakEven, CostTable, cost_table
from offramp.cost.usage import CostSettings, Incumbent, Tuned, Usage, usage_of

__all__ = [
    "BreakEven",
    "CostOption",
    "CostSettings",
    "CostTable",
    "Incumbent",
    "Tuned",
    "Usage",
    "cost_table",
    "price_api",
    "usage_of",
]
