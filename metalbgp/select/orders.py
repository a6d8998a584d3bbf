"""An order as the reason of what is not announced."""

from metalbgp.model.orders import Order
from metalbgp.model.reasons import HeldByOrder, ShutByOrder


def held_by(one: Order) -> HeldByOrder:
    return HeldByOrder(one.name, one.node, one.reason, one.author, one.expires, one.address)


def shut_by(one: Order) -> ShutByOrder:
    return ShutByOrder(one.name, one.node, one.reason, one.author, one.expires, one.peer)
