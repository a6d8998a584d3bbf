"""What the controller would answer for one Service now: its own function, asked with what the cluster holds.

In:  VirtualIPs, Configuration, Namespaces, Services. Out: Allocation or Refusal, whether a Service is ours.
Elsewhere: allocate/ decides; the controller asks it the same way (controller/reconcile.py).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from metalbgp.allocate.allocate import allocate, objection
from metalbgp.allocate.losses import losses
from metalbgp.allocate.request import request_of
from metalbgp.allocate.taken import Taken, use_of
from metalbgp.cli.pods import Workload, argument
from metalbgp.inventory.networks import occupied
from metalbgp.model.addresses import family
from metalbgp.model.allocation import Allocation, Refusal
from metalbgp.model.configuration import Configuration
from metalbgp.model.reasons import NoAddress, WouldLose
from metalbgp.model.services import Namespace, Node, Service
from metalbgp.model.virtualips import VirtualIP


class Judge:
    def __init__(
        self,
        configuration: Configuration,
        claims: Iterable[VirtualIP],
        namespaces: Mapping[str, Namespace],
        lb_class: str | None = None,
        nodes: Iterable[Node] = (),
        *,
        networks: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self.configuration = configuration
        self._namespaces = namespaces
        self._class = lb_class
        self._taken = Taken()
        self._taken.reserve(configuration.reservations)
        self._taken.occupy(occupied(nodes, networks or {}))
        self._of: dict[str, list[VirtualIP]] = {}
        for vip in claims:
            if vip.installation == configuration.installation:
                self._taken.learn(vip.address, vip)
                for key in vip.holders:
                    self._of.setdefault(key, []).append(vip)
            else:
                self._taken.close(vip.address, by=f"installation {vip.installation}")

    def ours(self, service: Service) -> bool:
        return (
            service.type == "LoadBalancer"
            and service.load_balancer_class == self._class
            and not service.deleting
        )

    def claims(self, service: str) -> tuple[VirtualIP, ...]:
        return tuple(sorted(self._of.get(service, ()), key=lambda vip: (family(vip.address), vip.address)))

    def result(self, service: Service) -> Allocation | Refusal:
        held = [vip.address for vip in self.claims(service.key)]
        request = request_of(service, held, self.configuration.reservations)
        return allocate(request, self.configuration, self._taken, self._namespaces)

    def losses(self, service: Service) -> Iterator[WouldLose]:
        """What it holds and could not keep."""
        held = tuple(vip.address for vip in self.claims(service.key))
        return losses(((service, held),), self.configuration, self._taken, self._namespaces)

    def barred(self, address: str) -> NoAddress | None:
        """Why a Service that nothing connects with the address cannot have it, whoever may use its pool."""
        pools = tuple(replace(pool, allocation=None) for pool in self.configuration.pools)
        anybody = request_of(Service(namespace="-", name="-", uid="-", resource_version="", created=""))
        return objection(address, anybody, replace(self.configuration, pools=pools), self._taken, {})

    def give(self, service: Service) -> Allocation | Refusal:
        """The same, and what it gets is taken for those who ask after it."""
        found = self.result(service)
        if isinstance(found, Allocation):
            for address in found.addresses:
                self._taken.hold(address, use_of(service))
        return found


def mine(claims: Sequence[VirtualIP], configuration: Configuration) -> tuple[VirtualIP, ...]:
    return tuple(vip for vip in claims if vip.installation == configuration.installation)


def lb_class(controller: Workload | None) -> str | None:
    """The class that the controller serves, from its own command line."""
    return argument(controller.arguments, "--lb-class") if controller else None
