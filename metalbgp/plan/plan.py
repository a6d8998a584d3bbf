"""What shall be announced for one Service: which advertisements match it, with which endpoints.

In:  a Service with its addresses' pool, its Endpoints, the Configuration.
Out: the Holder that is written into each of its VirtualIPs, and the VirtualIP as it shall stand;
     in words what gave it the address.
Elsewhere: the same for one node is select/; the order of L2 candidates is ranking.py; words are explain.py.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from metalbgp.model.configuration import Configuration, L2Advertisement, Pool
from metalbgp.model.reasons import Kept, WhyAddress
from metalbgp.model.selectors import any_matches
from metalbgp.model.services import Endpoints, Service
from metalbgp.model.virtualips import Holder, Phase, VirtualIP
from metalbgp.plan.ranking import Claimant, askers, candidates, last_resort
from metalbgp.plan.scene import Scene


def plan(service: Service, endpoints: Endpoints, pool: Pool, configuration: Configuration) -> Holder:
    """The Service's part in each of its VirtualIPs (they share a pool, so one Holder serves all)."""
    local = service.local
    return Holder(
        uid=service.uid,
        created=service.created,
        bgp=matching_bgp(service, pool, configuration),
        l2=() if barred_from_l2(service, pool, configuration) else matching_l2(service, pool, configuration),
        policy="Local" if local else "Cluster",
        serving=endpoints.serving > 0,
        nodes=dict(endpoints.ready) if local else {},
        terminating=dict(endpoints.terminating) if local else {},
        # Sharers are judged by it after a restart as well, so it stands there even without endpoints.
        selector=dict(service.selector) if local else {},
        publish_not_ready=service.publish_not_ready,
        sharing_key=service.sharing_key,
        ports=tuple(sorted(f"{port.protocol}/{port.port}" for port in service.ports)),
        address_id=service.address_id,
        wishes=service.wishes,
    )


def matching_bgp(service: Service, pool: Pool, configuration: Configuration) -> tuple[str, ...]:
    return tuple(
        one.name
        for one in configuration.bgp_advertisements
        if pool.name in one.pools and any_matches(one.service_selectors, service.labels)
    )


def matching_l2(service: Service, pool: Pool, configuration: Configuration) -> tuple[str, ...]:
    return tuple(one.name for one in _matching_l2(service, pool, configuration))


def barred_from_l2(service: Service, pool: Pool, configuration: Configuration) -> tuple[str, ...]:
    """The L2Advertisements whose serviceSelectors keep a sharing Service out of L2 (metallb.md 4.3 item 3):
    selectors could send two Services of one address to two nodes, and an address has one owner."""
    if not service.sharing_key:
        return ()
    return tuple(one.name for one in _matching_l2(service, pool, configuration) if one.service_selectors)


def _matching_l2(service: Service, pool: Pool, configuration: Configuration) -> list[L2Advertisement]:
    return [
        one
        for one in configuration.l2_advertisements
        if pool.name in one.pools and any_matches(one.service_selectors, service.labels)
    ]


def given_by(service: Service, address: str, why: WhyAddress, known: VirtualIP | None) -> str:
    """What gave it the address, in the words of Holder.why: written once, when it is claimed."""
    before = known.holders.get(service.key) if known is not None else None
    if before is not None:
        return before.why if before.uid == service.uid else "the Service of this name before it had it"
    if not isinstance(why, Kept):
        return why.explain()
    if address in why.held:
        return "it had it already, before this VirtualIP was made"
    return f"chosen beside {', '.join(why.held)}"


def virtual_ip(
    address: str,
    pool: Pool,
    claimants: Sequence[Claimant],
    scene: Scene,
    before: VirtualIP | None = None,
    *,
    phase: Phase = "bound",
) -> VirtualIP:
    """The VirtualIP of an address as it shall stand now.

    Equal to `before` (and then not written) unless something that speakers act on changed: a newer
    configuration alone is no reason, so it is named only when something else is written with it.
    """
    holders = {
        one.service: replace(one.holder, last_resort=last_resort(address, one, scene))
        for one in sorted(claimants, key=lambda one: one.service)
    }
    wanted = VirtualIP(
        address=address,
        pool=pool.name,
        phase=phase,
        configuration=before.configuration if before else scene.configuration.sequence,
        holders=holders,
        candidates=(askers if phase == "probing" else candidates)(claimants, scene),
        since=before.since if before and before.phase == phase else "",
        reservation=reservation.name if (reservation := scene.configuration.reservation_of(address)) else "",
        uid=before.uid if before else "",
        resource_version=before.resource_version if before else "",
        created=before.created if before else "",
        installation=scene.configuration.installation,
    )
    if before is not None and wanted == before:
        return before
    return replace(wanted, configuration=scene.configuration.sequence)
