"""A node begins to announce an address a moment after it could, and ends a moment after another could. Pure.

In:  a VirtualIP, the node's view, `now` (seconds, monotonic); nothing here reads a clock.
Out: select()'s plan, as far as it is in force now; `deadline`, when to judge an address again.
Elsewhere: what the node could announce is select/; who calls is announcer.py, who has the timer loop.py.

Beginning: kube-proxy may need a moment after an endpoint became ready (BGPAdvertisement, annotation
metalbgp.io/announce-delay). What stands stays: a start of the speaker delays nothing, for a router that keeps
routes over it does so for a limited time, and no change of attributes, peers or advertisements does.

Ending: a withdrawal is never delayed, but for one reason: under Local the last endpoint here terminates,
still answers, and the node that serves instead has only just begun. Ours stays until that one's can be there.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from metalbgp.model.configuration import Configuration
from metalbgp.model.reasons import EndpointsTerminate
from metalbgp.model.routes import NodePlan
from metalbgp.model.virtualips import VirtualIP
from metalbgp.select.select import BGP, NodeView

OVERLAP = 2.0  # seconds that both nodes announce: watches, speakers and routers differ by less
LONG_AGO = float("-inf")


class Patience:
    def __init__(self) -> None:
        self.started = False  # from now on there are beginnings; what was there before is of long ago
        self._standing: set[str] = set()  # addresses that are announced
        self._could: dict[str, float] = {}  # since when one could be that is not
        self._ready: dict[str, dict[str, float]] = {}  # address → node with ready endpoints → since when
        self._until: dict[str, float] = {}  # when an address is to be judged again

    @property
    def deadline(self) -> float | None:
        return min(self._until.values(), default=None)

    def due(self, now: float) -> list[str]:
        return [address for address, until in self._until.items() if until <= now]

    def forget(self, address: str) -> None:
        self._ready.pop(address, None)
        self._silent(address)

    def judge(self, vip: VirtualIP, view: NodeView, now: float) -> NodePlan:
        began = self._other_began(vip, now)
        self._until.pop(vip.address, None)
        plan = view.select(vip)
        if vip.address in plan.undecided:
            return plan
        if plan.routes:
            return self._begin(vip.address, view.configuration, plan, now)
        if vip.address in self._standing and _terminates(plan):
            names = {name for holder in vip.holders.values() for name in holder.bgp}
            until = began + OVERLAP + _delay(view.configuration, names)
            if now < until:
                self._until[vip.address] = until
                return view.select(_as_last_resort(vip))
        self._silent(vip.address)
        return plan

    def _begin(self, address: str, configuration: Configuration, plan: NodePlan, now: float) -> NodePlan:
        if self.started and address not in self._standing:
            names = {name for _, why in plan.routes for name in why.advertisements}
            until = self._could.setdefault(address, now) + _delay(configuration, names)
            if now < until:
                self._until[address] = until
                return replace(plan, routes=())
        self._could.pop(address, None)
        self._standing.add(address)
        return plan

    def _other_began(self, vip: VirtualIP, now: float) -> float:
        """Since when a node has ready endpoints; of several the first: it has had its time."""
        names = {node for holder in vip.holders.values() for node in holder.nodes}
        known = self._ready.pop(vip.address, {})
        if not names:
            return LONG_AGO
        found = {name: known.get(name, now if self.started else LONG_AGO) for name in names}
        self._ready[vip.address] = found
        return min(found.values())

    def _silent(self, address: str) -> None:
        self._standing.discard(address)
        self._could.pop(address, None)
        self._until.pop(address, None)


def _terminates(plan: NodePlan) -> bool:
    return any(isinstance(one.reason, EndpointsTerminate) and one.protocol == BGP for one in plan.refused)


def _delay(configuration: Configuration, names: Iterable[str]) -> float:
    """Seconds. Of several advertisements the longest counts: a data path is ready or is not."""
    found = (one.announce_delay for one in configuration.bgp_advertisements if one.name in names)
    return max(found, default=0) / 1000


def _as_last_resort(vip: VirtualIP) -> VirtualIP:
    holders = {key: replace(one, last_resort=True) for key, one in vip.holders.items()}
    return replace(vip, holders=holders)
