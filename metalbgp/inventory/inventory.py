"""What the cluster holds, indexed, and which Services each change touches.

In:  verbs, one for each kind of change: put_… (added or modified) and drop_… (deleted), live, configure.
Out: every verb returns Touched; a repeated event returns nothing. Look-ups by the indexes.
Elsewhere: decoding is cluster/decode.py; what is done with the touched ones is controller/.
"""

from collections.abc import Collection, Mapping

from msgspec.structs import replace

from metalbgp.inventory.compare import affected_pools
from metalbgp.inventory.endpoints import fold
from metalbgp.inventory.networks import occupied
from metalbgp.inventory.touched import NOTHING, Touched, services
from metalbgp.model.addresses import Occupied, family
from metalbgp.model.configuration import Configuration
from metalbgp.model.services import Endpoints, EndpointSlice, Namespace, Node, Service
from metalbgp.model.virtualips import Holder, VirtualIP

NO_ENDPOINTS = Endpoints()
IDLE_PHASES = ("reserved", "cooling")  # nobody stands behind the address


class Inventory:
    """Everything by its key. Read the mappings freely; change them only by the verbs."""

    def __init__(self, installation: str, load_balancer_class: str | None = None) -> None:
        self._class = load_balancer_class
        self.configuration = Configuration(installation=installation)
        self.services: dict[str, Service] = {}
        self.nodes: dict[str, Node] = {}
        self.namespaces: dict[str, Namespace] = {}
        self.claims: dict[str, VirtualIP] = {}  # by address
        self.live_speakers: frozenset[str] = frozenset()
        self.pending: set[str] = set()  # ours, and no claim names them
        self.lacking: set[str] = set()  # PreferDualStack with one address so far
        self._slices: dict[str, dict[str, EndpointSlice]] = {}  # service → slice key → slice
        self._slice_owner: dict[str, str] = {}  # slice key → service
        self._endpoints: dict[str, Endpoints] = {}
        self._held: dict[str, set[str]] = {}  # service → addresses of the claims that name it
        self._in_namespace: dict[str, set[str]] = {}
        self._l2: set[str] = set()  # addresses that something announces in L2
        self._going: set[str] = set()  # addresses of claims with terminating endpoints
        self._by_pool: dict[str, set[str]] = {}  # pool that claims say they are of → their addresses
        self._idle: set[str] = set()  # addresses of claims in phase reserved or cooling
        self._reserved: frozenset[str] = frozenset()  # by the configuration
        self.service_networks: dict[str, tuple[str, ...]] = {}  # ServiceCIDR → CIDRs

    # -------------------------------------------------------------- look-ups

    def is_ours(self, service: Service) -> bool:
        """Whether we serve it at all (metallb.md 2.2): a class that is not ours is another's business."""
        return (
            service.type == "LoadBalancer"
            and service.load_balancer_class == self._class
            and not service.deleting
        )

    def endpoints(self, service: str) -> Endpoints:
        return self._endpoints.get(service, NO_ENDPOINTS)

    def held(self, service: str) -> tuple[str, ...]:
        """Addresses of the claims that name the Service, whatever their phase; IPv4 first."""
        return tuple(sorted(self._held.get(service, ()), key=lambda address: (family(address), address)))

    def holders_in(self, pool: str) -> tuple[Service, ...]:
        """Our living Services with a claim that says it is of this pool, by name."""
        names = {key for address in self._by_pool.get(pool, ()) for key in self.claims[address].holders}
        found = (self.services.get(key) for key in sorted(names))
        return tuple(one for one in found if one is not None and self.is_ours(one))

    def uid(self, service: str) -> str | None:
        """Of the living Service of that name; what claims.judge asks for."""
        found = self.services.get(service)
        return found.uid if found else None

    def orphans(self) -> tuple[str, ...]:
        """Names in claims that no living Service of ours answers to: their claims are to be released."""
        return tuple(
            sorted(
                key for key in self._held if key not in self.services or not self.is_ours(self.services[key])
            )
        )

    # -------------------------------------------------------------- Services and their endpoints

    def put_service(self, service: Service) -> Touched:
        before = self.services.get(service.key)
        self.services[service.key] = service
        self._in_namespace.setdefault(service.namespace, set()).add(service.key)
        self._recount(service.key)
        if before is not None and _same(before, service):
            return NOTHING
        if not self.is_ours(service) and (before is None or not self.is_ours(before)):
            return services((service.key,)) if service.key in self._held else NOTHING
        touched = {service.key}
        if before is not None and _sharing(before) != _sharing(service):
            touched |= self._may_join(before, service)
        return services(touched)

    def drop_service(self, key: str) -> Touched:
        before = self.services.pop(key, None)
        if before is None:
            return NOTHING
        in_namespace = self._in_namespace[before.namespace]
        in_namespace.discard(key)
        if not in_namespace:
            del self._in_namespace[before.namespace]
        self._recount(key)
        return services((key,)) if self.is_ours(before) or key in self._held else NOTHING

    def put_slice(self, piece: EndpointSlice) -> Touched:
        touched = NOTHING
        owner = self._slice_owner.get(piece.key)
        if owner is not None and owner != piece.service_key:  # its label was changed
            touched = self.drop_slice(piece.key)
        if not piece.service:
            return touched
        self._slice_owner[piece.key] = piece.service_key
        self._slices.setdefault(piece.service_key, {})[piece.key] = piece
        return touched | self._fold(piece.service_key)

    def drop_slice(self, key: str) -> Touched:
        owner = self._slice_owner.pop(key, None)
        if owner is None:
            return NOTHING
        slices = self._slices[owner]
        slices.pop(key, None)
        if not slices:
            del self._slices[owner]
        return self._fold(owner)

    def _fold(self, key: str) -> Touched:
        before = self.endpoints(key)
        after = fold(self._slices.get(key, {}).values())
        if after == NO_ENDPOINTS:
            self._endpoints.pop(key, None)
        else:
            self._endpoints[key] = after
        service = self.services.get(key)
        if service is None or not self.is_ours(service):
            return NOTHING
        if (before.serving > 0) != (after.serving > 0):
            return services((key,))
        if not service.local or _by_node(before) == _by_node(after):
            return NOTHING  # Cluster: any or none decides, and that did not change
        if [set(dict(rank)) for rank in _by_node(before)] != [set(dict(rank)) for rank in _by_node(after)]:
            return services((key,))
        return Touched(counts=frozenset((key,)))

    # -------------------------------------------------------------- Nodes, speakers, Namespaces

    def put_node(self, node: Node) -> Touched:
        before = self.nodes.get(node.name)
        self.nodes[node.name] = node
        if before is not None and self._of_node(before) == self._of_node(node):
            return NOTHING
        return self._served_on(node.name)

    def _of_node(self, node: Node) -> tuple[object, ...]:
        """What its rank may depend on; signs that it leaves only where an advertisement minds any."""
        minds = any(one.leaving.when for one in self.configuration.l2_advertisements)
        signs = (node.unschedulable, node.shutting_down, node.taints) if minds else ()
        return (node.labels, node.network_unavailable, *signs)

    def drop_node(self, name: str) -> Touched:
        return self._served_on(name) if self.nodes.pop(name, None) is not None else NOTHING

    def live(self, speakers: Collection[str]) -> Touched:
        """The nodes that a speaker lives on, all of them."""
        changed = self.live_speakers ^ frozenset(speakers)
        self.live_speakers = frozenset(speakers)
        touched = NOTHING
        for node in changed:
            touched |= self._served_on(node)
        return touched

    def _served_on(self, node: str) -> Touched:
        """Addresses whose ranking may depend on the node: under Local only those with endpoints there."""
        return Touched(
            addresses=frozenset(
                address
                for address in self._l2 | self._going
                if any(
                    (holder.l2 and holder.policy == "Cluster")
                    or node in holder.nodes
                    or node in holder.terminating
                    for holder in self.claims[address].holders.values()
                )
            )
        )

    def put_namespace(self, namespace: Namespace) -> Touched:
        before = self.namespaces.get(namespace.name)
        self.namespaces[namespace.name] = namespace
        if before is not None and before.labels == namespace.labels:
            return NOTHING
        return self._by_namespace_labels(namespace.name)

    def drop_namespace(self, name: str) -> Touched:
        return self._by_namespace_labels(name) if self.namespaces.pop(name, None) else NOTHING

    def _by_namespace_labels(self, name: str) -> Touched:
        here = self._in_namespace.get(name, set())
        if any(one.allocation and one.allocation.namespace_selectors for one in self.configuration.pools):
            return services(key for key in here if self.is_ours(self.services[key]))
        quotas = (quota for policy in self.configuration.policies for quota in policy.quotas)
        if any(quota.namespace_selectors for quota in quotas):  # what is held stays
            return services(here & (self.pending | self.lacking))
        return NOTHING

    # -------------------------------------------------------------- claims

    def put_claim(self, vip: VirtualIP) -> Touched:
        before = self.claims.get(vip.address)
        self.claims[vip.address] = vip
        old = before.holders if before else {}
        for key in old.keys() - vip.holders.keys():
            self._unhold(key, vip.address)
        for key in vip.holders:
            self._held.setdefault(key, set()).add(vip.address)
            self._recount(key)
        (self._l2.add if _in_l2(vip.holders) else self._l2.discard)(vip.address)
        going = any(holder.terminating for holder in vip.holders.values())
        (self._going.add if going else self._going.discard)(vip.address)
        (self._idle.add if vip.phase in IDLE_PHASES else self._idle.discard)(vip.address)
        if before is None or before.pool != vip.pool:
            self._unpool(before)
            self._by_pool.setdefault(vip.pool, set()).add(vip.address)
        if before is not None and _same_claim(before, vip):
            return NOTHING
        # Those it names: is this still what they shall have? Whoever waits for room: some may be free now.
        touched = services(old.keys() | vip.holders.keys())
        if old.keys() - vip.holders.keys():
            touched |= services(self._waiting_for(vip.address))
        # A sharer is judged by the holders as claimed, so it may join only now, not when the Service changed.
        keys = {
            one.sharing_key
            for key in old.keys() & vip.holders.keys()
            if _terms(old[key]) != _terms(vip.holders[key])
            for one in (old[key], vip.holders[key])
        }
        touched |= services(self._sharers(keys))
        if vip.phase in IDLE_PHASES or vip.address in self._reserved:
            touched |= Touched(idle=frozenset((vip.address,)))
        return touched

    def _unpool(self, vip: VirtualIP | None) -> None:
        if vip is not None:
            addresses = self._by_pool[vip.pool]
            addresses.discard(vip.address)
            if not addresses:
                del self._by_pool[vip.pool]

    def drop_claim(self, address: str) -> Touched:
        before = self.claims.pop(address, None)
        if before is None:
            return NOTHING
        self._l2.discard(address)
        self._going.discard(address)
        self._idle.discard(address)
        self._unpool(before)
        for key in before.holders:
            self._unhold(key, address)
        idle = frozenset((address,)) & self._reserved
        return services(before.holders.keys() | self._waiting_for(address)) | Touched(idle=idle)

    def _unhold(self, key: str, address: str) -> None:
        addresses = self._held.get(key, set())
        addresses.discard(address)
        if not addresses:
            self._held.pop(key, None)
        self._recount(key)

    def _recount(self, key: str) -> None:
        service = self.services.get(key)
        held = len(self._held.get(key, ()))
        ours = service is not None and self.is_ours(service)
        wants_two = service is not None and service.ip_family_policy == "PreferDualStack"
        (self.pending.add if ours and not held else self.pending.discard)(key)
        (self.lacking.add if ours and held == 1 and wants_two else self.lacking.discard)(key)

    def _waiting_for(self, address: str) -> set[str]:
        """Pending Services that may use the pool of an address that became free (wholly or in part)."""
        pool = self.configuration.pool_of(address)
        names = {""} | ({pool.name} if pool else set())
        for policy in self.configuration.policies:  # who asks for these pools may get its other family here
            if pool is not None and policy.second_family_from == pool.name:
                names.update(policy.pools)
        return {key for key in self.pending | self.lacking if self.services[key].requested_pool in names}

    def _may_join(self, before: Service, after: Service) -> set[str]:
        """Pending sharers that a changed key, policy or port of another may let in (metallb.md 2.5)."""
        return self._sharers({before.sharing_key, after.sharing_key})

    def _sharers(self, keys: set[str]) -> set[str]:
        keys = keys - {""}
        return {key for key in self.pending if self.services[key].sharing_key in keys} if keys else set()

    # -------------------------------------------------------------- configuration

    def configure(self, configuration: Configuration) -> Touched:
        """A new configuration: only what it means for Services counts, attributes touch none (design.md)."""
        before, self.configuration = self.configuration, configuration
        if before == configuration:
            return NOTHING
        change = affected_pools(before, configuration)
        touched_services: set[str] = set()
        for address in self._claims_of(change.services):
            touched_services |= self.claims[address].holders.keys()
        touched_addresses = {one for one in self._claims_of(change.candidates) if one in self._l2}
        touched_addresses |= self._going  # few, and who can serve instead depends on peers and nodes as well
        if before.ignore_exclude_label != configuration.ignore_exclude_label:
            touched_addresses |= self._l2
        if change.pools or change.giving:
            touched_services |= self.pending | self.lacking
        reserved_before = self._reserved
        self._reserved = frozenset(one for each in configuration.reservations for one in each.addresses)
        idle: set[str] = set()
        if change.pools or change.giving:
            idle |= self._idle | reserved_before | self._reserved
        return Touched(
            services=frozenset(touched_services),
            addresses=frozenset(touched_addresses),
            idle=frozenset(idle),
        )

    def _claims_of(self, pools: Collection[str]) -> set[str]:
        """Addresses of the claims that these pools concern, found without a look at any other.

        A claim says which pool it is of. Pools never overlap, so what one pool gains, another, which changed
        as well, has lost; only what names a pool that is gone must be looked at one by one.
        """
        if not pools:
            return set()
        known = {pool.name for pool in self.configuration.pools}
        found: set[str] = set()
        for name in self._by_pool.keys() & set(pools):
            found |= self._by_pool[name]
        for name in self._by_pool.keys() - known:
            found |= self._by_pool[name]
        return found

    # -------------------------------------------------------------- what the cluster itself uses

    def put_service_network(self, name: str, cidrs: tuple[str, ...]) -> None:
        self.service_networks[name] = cidrs

    def drop_service_network(self, name: str) -> None:
        self.service_networks.pop(name, None)

    def occupied(self) -> tuple[Occupied, ...]:
        return tuple(occupied(self.nodes.values(), self.service_networks))


def _same_claim(one: VirtualIP, other: VirtualIP) -> bool:
    """Nothing that decides who may have what."""
    return (one.phase, one.holders, one.kept_for, one.until, one.reservation) == (
        other.phase,
        other.holders,
        other.kept_for,
        other.until,
        other.reservation,
    )


def _terms(holder: Holder) -> tuple[object, ...]:
    """What a sharer of its address is judged by."""
    return holder.sharing_key, holder.policy, holder.selector, holder.ports


def _by_node(endpoints: Endpoints) -> tuple[tuple[tuple[str, int], ...], ...]:
    return endpoints.ready, endpoints.terminating


def _in_l2(holders: Mapping[str, Holder]) -> bool:
    return any(holder.l2 for holder in holders.values())


def _same(one: Service, other: Service) -> bool:
    """Equal but for the resourceVersion: a write that decides nothing, most often our own."""
    return one == other or (
        one.resource_version != other.resource_version
        and replace(one, resource_version="") == replace(other, resource_version="")
    )


def _sharing(service: Service) -> tuple[object, ...]:
    return service.sharing_key, service.external_traffic_policy, service.selector, service.ports
