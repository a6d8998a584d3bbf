"""What this node still announces while it leaves: less preferred first, later not what others do. Pure.

In:  select()'s plan for an address, the node's view, what the other nodes are, `now` (seconds, monotonic).
Out: the plan as far as it is in force; `deadline`, when to judge again; why a route had to stay.
Elsewhere: whether the node leaves is select/leaving.py; looking at the others is around.py; docs/drain.md.

A route goes in two steps. At once it carries GRACEFUL_SHUTDOWN (RFC 8326) and the least local preference, in
place of what it carried: routers move to another next hop while this one still works. After the delay it is
withdrawn, but only where another node that stays announces the prefix: the last next hop is never taken
away, whatever a person ordered. Who announces is what select() says of that node, if its speaker reports the
session up, and nothing that keeps the route from it. A speaker that starts on a node which leaves already
waits for no delay: that was long ago.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from metalbgp.model.configuration import Configuration
from metalbgp.model.orders import HOLD, Order, obeyed
from metalbgp.model.reasons import Drained, LastNextHop
from metalbgp.model.report import NodeReport
from metalbgp.model.routes import NodePlan, Provenance, Refused, Route
from metalbgp.model.services import Node
from metalbgp.model.virtualips import VirtualIP
from metalbgp.select.merge import eased
from metalbgp.select.select import BGP, NodeView

UP: Final = "Established"
KEPT: Final = ("waiting", "refused")  # a route's states in which it will not be announced soon
LONG_AGO: Final = float("-inf")


class Seen(Struct, frozen=True):
    """What one look told of another node."""

    node: Node
    up: frozenset[str] = frozenset()  # peers whose sessions are established there, and take every route
    kept: frozenset[tuple[str, str]] = frozenset()  # peer and prefix that its speaker cannot announce
    holds: frozenset[str] = frozenset()  # addresses that were held on its own socket
    ended: frozenset[tuple[str, str]] = frozenset()  # address and Service that its Pods serve no more


class Other(Struct, frozen=True):
    """Another node that lives, as it would announce."""

    view: NodeView
    seen: Seen

    def announces(self, vip: VirtualIP) -> set[str]:
        """Prefixes, but for those that it is itself about to give up."""
        return {
            route.prefix
            for route, why in self.view.select(vip).routes
            if route.peer in self.seen.up
            and (route.peer, route.prefix) not in self.seen.kept
            and not all(self.view.leaves(name) for name in why.advertisements)
        }


def seen(nodes: Iterable[Node], reports: Iterable[NodeReport]) -> dict[str, Seen]:
    known = {node.name: node for node in nodes if node.ready}
    return {
        report.node: Seen(
            node=known[report.node],
            # Of a router that takes no more it is not known which routes it has not.
            up=frozenset(one.peer for one in report.sessions if one.state == UP and not one.beyond),
            kept=frozenset((one.peer, one.prefix) for one in report.unconfirmed if one.state in KEPT),
            holds=frozenset(one.target for one in report.orders if one.local and one.action == HOLD),
            ended=frozenset((one.address, one.service) for one in report.unserved),
        )
        for report in reports
        if report.ready and report.node in known
    }


def steady(before: Mapping[str, Seen], now: Mapping[str, Seen]) -> dict[str, Seen]:
    """What two looks agree on: a node that has just come back, or a session that has, is still telling its
    routers what it announces."""
    return {
        name: Seen(
            one.node,
            one.up & was.up,
            one.kept | was.kept,
            one.holds | was.holds,
            one.ended | was.ended,
        )
        for name, one in now.items()
        if (was := before.get(name)) is not None and was.node == one.node
    }


def others(
    configuration: Configuration, found: Mapping[str, Seen], orders: Iterable[Order], me: str
) -> tuple[Other, ...]:
    """`orders`: all that are in force, whomever they concern."""
    orders = tuple(orders)
    return tuple(
        Other(NodeView(configuration, one.node, obeyed((*orders, *_holds(one)), name), one.ended), one)
        for name, one in sorted(found.items())
        if name != me and one.up
    )


def _holds(one: Seen) -> Iterable[Order]:
    return (Order(name=f"local-{held}", action=HOLD, address=held, local=True) for held in one.holds)


class Draining:
    def __init__(self) -> None:
        self._since: dict[str, float] = {}  # BGPAdvertisement → since when this node leaves it
        self._why: dict[str, str] = {}
        self._until: dict[str, float] = {}  # address → when to judge it again
        self.stays: dict[str, LastNextHop] = {}  # by prefix: what had to stay, once its delay was over
        self.gone: dict[str, set[tuple[str, str]]] = {}  # address → (peer, prefix) withdrawn

    @property
    def active(self) -> bool:
        return bool(self._since)

    @property
    def why(self) -> str:
        """In words; of several signs the first advertisement's."""
        return self._why[min(self._why)] if self._why else ""

    @property
    def deadline(self) -> float | None:
        return min(self._until.values(), default=None)

    def due(self, now: float) -> list[str]:
        return [address for address, until in self._until.items() if until <= now]

    def look(self, view: NodeView, now: float, *, started: bool) -> None:
        """The node, the configuration or the orders changed."""
        self._why = {
            one.name: why for one in view.configuration.bgp_advertisements if (why := view.leaves(one.name))
        }
        self._since = {
            name: self._since.get(name, now if started else LONG_AGO) for name in sorted(self._why)
        }
        if not self._since:
            self._until.clear()
            self.stays.clear()
            self.gone.clear()

    def forget(self, address: str) -> None:
        self._until.pop(address, None)
        self.gone.pop(address, None)

    def judge(
        self, vip: VirtualIP, plan: NodePlan, view: NodeView, now: float, around: Iterable[Other]
    ) -> NodePlan:
        if not self._since or not plan.routes:
            if self._since:
                self.forget(vip.address)
            return plan
        self.forget(vip.address)
        delays = {one.name: one.leaving.delay / 1000 for one in view.configuration.bgp_advertisements}
        kept: list[tuple[Route, Provenance]] = []
        over: list[tuple[Route, Provenance]] = []
        for route, why in plan.routes:
            if not all(name in self._since for name in why.advertisements):
                kept.append((route, why))  # an advertisement that stays asks for it as well
                continue
            until = max(self._since[name] + delays[name] for name in why.advertisements)
            if now < until:
                self._until[vip.address] = min(until, self._until.get(vip.address, until))
                kept.append(eased(route, why))
            else:
                over.append((route, why))
        found = _announced(vip, {route.prefix for route, _ in over}, around)
        refused: list[Refused] = []
        for route, why in over:
            if (by := found.get(route.prefix)) is None:
                self.stays[route.prefix] = LastNextHop(node=view.node.name, prefix=route.prefix)
                kept.append(eased(route, why))
                continue
            self.stays.pop(route.prefix, None)
            self.gone.setdefault(vip.address, set()).add((route.peer, route.prefix))
            reason = Drained(node=view.node.name, why=self.why, other=by)
            refused += [
                Refused(vip.address, service, BGP, reason, route.peer, why.advertisements[0])
                for service in why.services
            ]
        return replace(plan, routes=tuple(kept), refused=(*plan.refused, *refused))


def _announced(vip: VirtualIP, prefixes: set[str], around: Iterable[Other]) -> Mapping[str, str]:
    """Prefix → the first other node that announces it."""
    found: dict[str, str] = {}
    missing = set(prefixes)
    for other in around if missing else ():
        for prefix in missing & other.announces(vip):
            found[prefix] = other.view.node.name
            missing.discard(prefix)
        if not missing:
            break
    return found
