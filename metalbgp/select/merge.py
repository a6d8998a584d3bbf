"""Several wishes for one (peer, prefix) make one route: communities are unioned (metallb.md 3.1).

In:  contributions: a Route and why it is wanted.
Out: one Route with the Provenance of all; of all nodes' plans, who stands ready for an address in L2.
Elsewhere: disagreement inside one Service is refused in select.py. Between Services the oldest one's
localPref, MED and path win: a new Service must not take away, nor move, the route of those that share its
prefix.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from metalbgp.model.extended import is_bandwidth
from metalbgp.model.routes import Attributes, Duty, NodePlan, Provenance, Refused, Route

Contribution = tuple[Route, Provenance]
GRACEFUL_SHUTDOWN: Final = (65535, 0)  # RFC 8326: routers that honour it give the route local preference 0


def combine(contributions: Sequence[Contribution]) -> Contribution:
    """All contributions have the same peer and prefix; at least one."""
    if len(contributions) == 1:
        return contributions[0]
    # As long as one of them stays, the route does: those that leave add no word of their own.
    stays = [one for one in contributions if not one[1].leaving]
    oldest, _ = min(stays or contributions, key=_age)
    routes = [route.attributes for route, _ in contributions]
    whys = [why for _, why in contributions]
    communities = {item for one in routes for item in one.communities}
    if stays and not any(GRACEFUL_SHUTDOWN in route.attributes.communities for route, _ in stays):
        communities.discard(GRACEFUL_SHUTDOWN)
    attributes = Attributes(
        communities=tuple(sorted(communities)),
        large_communities=tuple(sorted({item for one in routes for item in one.large_communities})),
        local_preference=oldest.attributes.local_preference,
        med=oldest.attributes.med,
        as_path=oldest.attributes.as_path,
        extended_communities=_extended(oldest.attributes, routes),
    )
    why = Provenance(
        services=tuple(sorted({name for one in whys for name in one.services})),
        addresses=tuple(sorted({name for one in whys for name in one.addresses})),
        advertisements=tuple(sorted({name for one in whys for name in one.advertisements})),
        created=min(one.created for one in whys),
        leaving=not stays,
    )
    return Route(peer=oldest.peer, prefix=oldest.prefix, attributes=attributes), why


def eased(route: Route, why: Provenance) -> Contribution:
    """The same route from a node that leaves. The preference is for routers of our own AS."""
    attributes = route.attributes
    communities = tuple(sorted({*attributes.communities, GRACEFUL_SHUTDOWN}))
    changed = replace(attributes, communities=communities, local_preference=0)
    return replace(route, attributes=changed), replace(why, leaving=True)


def _extended(oldest: Attributes, routes: Sequence[Attributes]) -> tuple[int, ...]:
    """A union like the others', but of several bandwidths the oldest one's: a route has one weight."""
    weight = {one for one in oldest.extended_communities if is_bandwidth(one)}
    rest = {item for one in routes for item in one.extended_communities if not is_bandwidth(item)}
    return tuple(sorted(weight | rest))


def merge(plans: Iterable[NodePlan]) -> NodePlan:
    """The plans of many VirtualIPs as one; table.py does the same change by change."""
    routes: dict[tuple[str, str], list[Contribution]] = {}
    duties: list[Duty] = []
    declined: list[Duty] = []
    refused: list[Refused] = []
    undecided: list[str] = []
    for plan in plans:
        for contribution in plan.routes:
            routes.setdefault((contribution[0].peer, contribution[0].prefix), []).append(contribution)
        duties += plan.duties
        declined += plan.declined
        refused += plan.refused
        undecided += plan.undecided
    return NodePlan(
        routes=tuple(combine(routes[key]) for key in sorted(routes)),
        duties=tuple(sorted(duties, key=lambda duty: duty.address)),
        declined=tuple(sorted(declined, key=lambda duty: duty.address)),
        refused=tuple(refused),
        undecided=tuple(sorted(undecided)),
    )


def _age(contribution: Contribution) -> tuple[str, tuple[str, ...], tuple[str, ...], str]:
    """Total, so that the order of arrival never decides."""
    route, why = contribution
    return why.created, why.services, why.advertisements, repr(route.attributes)


def standing_by(plans: Mapping[str, NodePlan]) -> dict[str, tuple[str, ...]]:
    """Address → the nodes that may answer for it, in order, of all nodes' plans.

    While all of them live the first answers and the others stand by. Who does at this moment is known to the
    nodes alone (l2/ownership.py): whoever says more than that has asked them.
    """
    ready: dict[str, set[str]] = {}
    order: dict[str, tuple[str, ...]] = {}
    for node, plan in plans.items():
        for duty in plan.duties:
            ready.setdefault(duty.address, set()).add(node)
            order[duty.address] = duty.candidates
    return {
        address: tuple(node for node in order[address] if node in nodes) for address, nodes in ready.items()
    }
