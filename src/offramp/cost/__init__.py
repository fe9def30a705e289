"""What each way to run a task costs per month, and from which volume owning the model pays.

The idea: requests × dated prices for APIs, measured throughput × machine price for the model you own, side by side,
with a sentence that says "don't" when an API is cheaper. `cost_table` prices one tuned model against today's API;
`compare` prices every way to run a task over a horizon. Guarantee: a price that nobody knows is an error or is listed
as unpriced, never zero, and every price used is frozen in the result with source and date.

Trap: an API is priced per request, never a month in one call (long-context tiers). Throughput is what was measured on
one machine; the machine you rent may be faster or slower.
"""

from offramp.cost.case import Case, Measured, OtherTask
from offramp.cost.compare import Comparison, compare
from offramp.cost.options import CostOption, price_api
from offramp.cost.requests import Bill, RequestMix, bill
from offramp.cost.settings import CostSettings
from offramp.cost.table import BreakEven, CostTable, cost_table
from offramp.cost.usage import Incumbent, Tuned, Usage, usage_of
from offramp.cost.ways import Option

__all__ = [
    "Bill",
    "BreakEven",
    "Case",
    "Comparison",
    "CostOption",
    "CostSettings",
    "CostTable",
    "Incumbent",
    "Measured",
    "Option",
    "OtherTask",
    "RequestMix",
    "Tuned",
    "Usage",
    "bill",
    "compare",
    "cost_table",
    "price_api",
    "usage_of",
]
