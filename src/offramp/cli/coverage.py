"""How well the training rows cover the traffic, for people: `offramp coverage`."""

from typing import TYPE_CHECKING

from offramp.cli import tables
from offramp.cli.review import printable

if TYPE_CHECKING:
    from offramp.curate.traffic import AreaShare, Traffic


def coverage(found: "Traffic", *, json: bool) -> None:
    """Print areas by group with their shares, thin labels, and whether the training rows differ."""
    if json:
        return tables.as_json(found)
    title = f"{found.train_rows:,} training rows against {found.rows:,} {found.source or 'rows that came in'}"
    heads = ("rows", "of train", "of traffic", "wanted", "why")
    cells = [(printable(one.group), printable(one.name), *_shares(one)) for one in found.of("cluster")]
    tables.as_table(printable(title), ("group", "area", *heads), cells)
    thin = [(printable(one.name), *_shares(one)) for one in found.of("label") if one.quota]
    if thin:
        tables.as_table("labels that lack training rows", ("label", *heads), thin)
    if found.every > 1:
        print(f"- areas were looked for in every {found.every:,}th row; their counts are estimates")
    for one in found.sentences():
        print(f"- {printable(one)}")
    return None


def _shares(one: "AreaShare") -> tuple[int, str, str, int, str]:
    shares = (tables.percent(one.train_ratio), tables.percent(one.traffic_ratio))
    return (one.rows, *shares, one.quota, one.reason)
