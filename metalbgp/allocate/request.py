"""What a Service asks for, read from its fields; what is wrong with the asking itself is found here.

In:  a Service and the addresses that claims say it holds.
Out: Request; `wrong` carries the refusal of a request that no pool could ever serve.
Elsewhere: annotations become fields in cluster/decode.py; the answer is allocate.py.
"""

from collections.abc import Sequence

from msgspec import Struct

from metalbgp.allocate.taken import Use, use_of
from metalbgp.model.addresses import AddressError, Family, canonical, family, trimmed
from metalbgp.model.configuration import Reservation
from metalbgp.model.reasons import BadRequest, FamilyMismatch, NoAddress, NoClusterIP
from metalbgp.model.services import Service

FAMILY_NAMES: dict[Family, str] = {4: "IPv4", 6: "IPv6"}


class Request(Struct, frozen=True):
    use: Use
    namespace: str
    labels: dict[str, str] = {}
    families: tuple[Family, ...] = (4,)  # of the cluster IPs, IPv4 first; they decide, not ipFamilies
    first_family: Family = 4  # of spec.ipFamilies; only breaks ties between single-stack pools
    needs_all: bool = True  # False: PreferDualStack, one of two families will do
    pool: str = ""
    pool_field: str = ""  # as the user wrote it: "annotation metallb.io/address-pool"
    addresses: tuple[str, ...] = ()  # asked for, IPv4 first
    addresses_field: str = ""
    held: tuple[str, ...] = ()  # claims first, then status; what it shall keep if anything allows
    reserved: tuple[str, ...] = ()  # addresses of the AddressReservations that are for it
    ours: bool = True  # its status is ours: a pool annotation or a claim; else `held` is another's word
    wrong: NoAddress | None = None

    @property
    def service(self) -> str:
        return self.use.service


def request_of(
    service: Service, held: Sequence[str] = (), reservations: Sequence[Reservation] = ()
) -> Request:
    """Read a Service's wish. `held`: addresses of the claims that name it."""
    families = _families(service)
    field, texts = _asked_addresses(service)
    wrong: NoAddress | None = None
    addresses: tuple[str, ...] = ()
    if not families:
        wrong = NoClusterIP()
    elif service.ip_family_policy == "RequireDualStack" and len(families) < 2:
        wrong = FamilyMismatch(wanted="IPv4 and IPv6 (RequireDualStack)", asked=_names(families) + " only")
    elif service.requested_addresses and service.load_balancer_ip:
        wrong = BadRequest(
            field=f"{field} and spec.loadBalancerIP",
            value=service.load_balancer_ip,
            why="only one of the two may ask for addresses",
        )
    else:
        try:
            addresses = tuple(sorted((canonical(text) for text in texts), key=family))
        except AddressError as error:
            wrong = BadRequest(field=field, value=", ".join(texts), why=str(error))
        else:
            wrong = _wrong_families(field, addresses, families)
    first: Family = 6 if service.ip_families[:1] == ("IPv6",) else 4
    return Request(
        use=use_of(service),
        namespace=service.namespace,
        labels=dict(service.labels),
        families=families,
        first_family=first if first in families or not families else families[0],
        needs_all=service.ip_family_policy != "PreferDualStack",
        pool=service.requested_pool,
        pool_field=f"annotation {service.annotation('address-pool')}" if service.requested_pool else "",
        addresses=addresses,
        addresses_field=field,
        held=_held(service, held),
        reserved=tuple(
            address
            for one in reservations
            if one.admits(service.namespace, service.name, service.labels)
            for address in one.addresses
        ),
        ours=bool(held) or service.pool_annotation is not None,
        wrong=wrong,
    )


def _families(service: Service) -> tuple[Family, ...]:
    """The families of the cluster IPs; a headless Service ("None") has none."""
    found: set[Family] = set()
    for text in service.cluster_ips:
        try:
            found.add(family(canonical(text)))
        except AddressError:
            return ()
    return tuple(sorted(found))


def _asked_addresses(service: Service) -> tuple[str, tuple[str, ...]]:
    if service.requested_addresses:  # present but empty asks for nothing, and hides the old spelling
        field = f"annotation {service.annotation('loadBalancerIPs')}"
        return field, tuple(trimmed(text) for text in service.requested_addresses.split(","))
    if service.load_balancer_ip:
        return "spec.loadBalancerIP", (service.load_balancer_ip,)
    return "", ()


def _wrong_families(
    field: str, addresses: tuple[str, ...], families: tuple[Family, ...]
) -> BadRequest | FamilyMismatch | None:
    """An explicit request must have exactly the families of the Service (metallb.md 2.4 step 1)."""
    if not addresses:
        return None
    asked = tuple(family(address) for address in addresses)
    if len(asked) != len(set(asked)):
        why = "at most one IPv4 and one IPv6 address"
        return BadRequest(field=field, value=",".join(addresses), why=why)
    if asked != families:
        return FamilyMismatch(wanted=_names(families), asked=_names(asked) + " only")
    return None


def _names(families: tuple[Family, ...]) -> str:
    return " and ".join(FAMILY_NAMES[version] for version in families)


def _held(service: Service, claims: Sequence[str]) -> tuple[str, ...]:
    """Claims before status: a claim is proof, a status may be wiped or written by other hands."""
    seen: dict[str, None] = {}
    for text in (*sorted(claims, key=family), *service.ingress):
        try:
            seen[canonical(text)] = None
        except AddressError:
            continue  # a status that other hands wrote holds nothing
    return tuple(seen)
