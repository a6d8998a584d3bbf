"""What each node says no to, in its own words: the orders that it obeys, and what its own Pods serve no more.

In:  NodeReports: orders of a node's own socket are among them, and one that it has not heard is not.
Out: Orders, and (address, Service) that ended, by node, for select(); an order in words.
Elsewhere: the list of orders is orders.py.
"""

from collections.abc import Iterable, Mapping

from metalbgp.model.orders import DRAIN, HOLD, RELEASE, SHUT, Order, Orders, obeyed
from metalbgp.model.report import NodeReport, OrderReport


def obeyed_by(reports: Iterable[NodeReport]) -> Mapping[str, Orders]:
    reports = tuple(reports)
    drains = [order_of(one) for report in reports for one in report.orders if one.action == DRAIN]
    return {report.node: obeyed([*map(order_of, report.orders), *drains], report.node) for report in reports}


def ended_by(reports: Iterable[NodeReport]) -> Mapping[str, frozenset[tuple[str, str]]]:
    return {
        report.node: frozenset((one.address, one.service) for one in report.unserved) for report in reports
    }


def order_of(one: OrderReport) -> Order:
    return Order(
        name=one.name,
        action=one.action,
        node=one.node,
        address=one.target if one.action == HOLD else "",
        peer=one.target if one.action in (SHUT, RELEASE) else "",
        reason=one.reason,
        author=one.author,
        expires=one.expires,
        created=one.created,
        local=one.local,
    )


def order_words(one: OrderReport, node: str) -> str:
    """hold 10.0.0.1 by eve until …: fibre work."""
    only = node if one.local else "" if one.action == DRAIN else one.node
    where = f" on {only}" if only else ""
    by = f" by {one.author}" if one.author else ""
    until = f" until {one.expires}" if one.expires else ""
    return f"{one.action.lower()} {one.target}{where}{by}{until}{f': {one.reason}' if one.reason else ''}"
