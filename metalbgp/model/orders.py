"""What a person orders the speakers not to do, until when, and why: SpeakerOrder, or a node's own socket.

In:  made by config/orders.py from objects, by the speaker's parent from what was said on its socket.
Out: Orders, those that one node obeys at a moment. Who asks has the clock.
Elsewhere: what an order forbids is select/; the CLI's verbs are hold, shut, drain and their opposites.

Speakers can only say no with an order: whatever it names, nothing is announced that was not before.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from metalbgp.model.addresses import host_of

HOLD: Final = "Hold"  # the address is announced nowhere, or not from the node
SHUT: Final = "Shut"  # the session to the peer is down everywhere, or on the node
DRAIN: Final = "Drain"  # the node leaves: less preferred first, then silent where others announce
RELEASE: Final = "Release"  # withdrawals that a limit of the peer holds back may go
ACTIONS: Final = (HOLD, SHUT, DRAIN, RELEASE)
FOREVER: Final = float("inf")


class Order(Struct, frozen=True):
    name: str
    action: str  # of ACTIONS; a word of a later version does nothing here
    node: str = ""  # Hold, Shut, Release: "" every node
    address: str = ""  # canonical
    peer: str = ""  # BGPPeer
    reason: str = ""
    author: str = ""
    expires: str = ""  # RFC 3339; "": when somebody takes it back
    created: str = ""  # RFC 3339
    local: bool = False  # given on the node's own socket; the API server knows nothing of it

    @property
    def until(self) -> float:
        """Seconds since 1970."""
        return moment(self.expires) if self.expires else FOREVER

    @property
    def target(self) -> str:
        """What it is about, without the node."""
        return {HOLD: self.address, SHUT: self.peer, RELEASE: self.peer}.get(self.action, self.node)


def moment(text: str) -> float:
    """RFC 3339 as seconds since 1970; ValueError for what is no time."""
    found = datetime.fromisoformat(text.upper())  # the API server takes t and z as well
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


class Orders(Struct, frozen=True):
    """Those in force on one node."""

    holds: Mapping[str, Order] = {}  # by address
    shuts: Mapping[str, Order] = {}  # by peer
    releases: Mapping[str, Order] = {}  # by peer
    drains: Mapping[str, Order] = {}  # by node, all of them: who leaves must not count on others who do
    held_on: Mapping[str, frozenset[str]] = {}  # address → nodes that alone hold it: in L2 others stand in

    def hold_of(self, prefix: str) -> Order | None:
        """The order that holds the one address of the prefix."""
        return self.holds.get(host_of(prefix))


NO_ORDERS: Final = Orders()


def in_force(orders: Iterable[Order], now: float) -> tuple[Order, ...]:
    """`now`: seconds since 1970. At its time an order is over, not after it."""
    return tuple(one for one in orders if now < one.until)


def obeyed(orders: Iterable[Order], node: str) -> Orders:
    """By a node, of those that are in force. Of two that say the same the one that lasts longer is shown."""
    found: dict[str, dict[str, Order]] = {action: {} for action in ACTIONS}
    orders = sorted(orders, key=lambda one: (-one.until, one.name))
    for one in orders:
        if one.action in found and (one.action == DRAIN or one.node in ("", node)):
            found[one.action].setdefault(one.target, one)
    held_on: dict[str, set[str]] = {}
    for one in orders:
        if one.action == HOLD and one.node:
            held_on.setdefault(one.address, set()).add(one.node)
    return Orders(
        holds=found[HOLD],
        shuts=found[SHUT],
        drains=found[DRAIN],
        releases=found[RELEASE],
        held_on={address: frozenset(nodes) for address, nodes in held_on.items()},
    )


def next_end(orders: Iterable[Order], now: float) -> float | None:
    """When the next of them is over; None: never."""
    return min((one.until for one in orders if now < one.until < FOREVER), default=None)
