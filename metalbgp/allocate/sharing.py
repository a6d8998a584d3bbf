"""Who may stand beside whom on one address (metallb.md 2.5), and where a newcomer may join.

In:  Services and Holders, each reduced to a Use; Sharers follows who holds what.
Out: why two may not share; the lowest address that a Use may join, in O(log n) however many share its key.
Elsewhere: addresses that nobody holds are taken.py.
"""

from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

from msgspec import Struct

from metalbgp.allocate.runs import Runs
from metalbgp.model.addresses import Family
from metalbgp.model.reasons import AddressTaken, NotShared, PortTaken
from metalbgp.model.services import Port, Service, identities
from metalbgp.model.virtualips import Holder

K = TypeVar("K", bound=Hashable)


class Use(Struct, frozen=True, gc=False):
    """One Service's hold on an address: what a second one is judged by."""

    service: str  # namespace/name
    uid: str
    created: str = ""
    sharing_key: str = ""  # "": never shared
    backend: str = ""  # the selector's text under policy Local, else ""
    ports: tuple[Port, ...] = ()
    identities: tuple[str, ...] = ()  # what a kept address may remember of it

    @property
    def namespace(self) -> str:
        return self.service.partition("/")[0]

    @property
    def age(self) -> tuple[str, str]:
        """Sorts the oldest first; the key makes equal ages comparable."""
        return self.created, self.service

    @property
    def group(self) -> tuple[str, str]:
        """Those of one group may share if their ports differ."""
        return self.sharing_key, self.backend


def backend_key(local: bool, selector: Mapping[str, str]) -> str:
    """Under Local the traffic stays with the node's own Pods, so sharers must mean the same Pods."""
    return ",".join(f"{key}={value}" for key, value in sorted(selector.items())) if local else ""


def use_of(service: Service) -> Use:
    return Use(
        service=service.key,
        uid=service.uid,
        created=service.created,
        sharing_key=service.sharing_key,
        backend=backend_key(service.local, service.selector),
        ports=service.ports,
        identities=service.identities,
    )


def use_of_holder(key: str, holder: Holder) -> Use:
    """The same from a claim: all that is known of a Service that is not (or not yet) in view."""
    pieces = (text.partition("/") for text in holder.ports)
    return Use(
        service=key,
        uid=holder.uid,
        created=holder.created,
        sharing_key=holder.sharing_key,
        backend=backend_key(holder.policy == "Local", holder.selector),
        ports=tuple(Port(protocol=protocol, port=int(port)) for protocol, _, port in pieces),
        identities=identities(key, holder.address_id),
    )


def clash(address: str, new: Use, other: Use) -> AddressTaken | NotShared | PortTaken | None:
    """Why `new` may not stand beside `other` on the address; None: it may."""
    if not other.sharing_key and not new.sharing_key:
        return AddressTaken(address=address, holder=other.service)
    if new.sharing_key != other.sharing_key:
        return NotShared(address=address, holder=other.service, why="key")
    if new.backend != other.backend:
        why = "policy" if not (new.backend and other.backend) else "selector"
        return NotShared(address=address, holder=other.service, why=why)
    for port in new.ports:
        if port in other.ports:
            return PortTaken(address=address, port=port.port, protocol=port.protocol, holder=other.service)
    return None


class Sharers:
    """Where each group stands and which ports it uses there: a key may have as many addresses as Services."""

    def __init__(self) -> None:
        self._groups: dict[tuple[Family, str, str], Runs] = {}
        self._ports: dict[tuple[Family, str, str, Port], Runs] = {}

    def put(self, version: Family, number: int, use: Use) -> None:
        if not use.sharing_key:
            return
        self._groups.setdefault((version, *use.group), Runs()).add(number)
        for port in use.ports:
            self._ports.setdefault((version, *use.group, port), Runs()).add(number)

    def drop(self, version: Family, number: int, use: Use, others: Iterable[Use]) -> None:
        """`others`: who still stands there."""
        if not use.sharing_key:
            return
        same = [other for other in others if other.group == use.group]
        if not same:
            _remove(self._groups, (version, *use.group), number)
        for port in use.ports:
            if not any(port in other.ports for other in same):
                _remove(self._ports, (version, *use.group, port), number)

    def lowest(self, version: Family, use: Use, at: int) -> int | None:
        """The lowest address >= at where its group stands and none of its ports is used."""
        group = self._groups.get((version, *use.group)) if use.sharing_key else None
        if group is None:
            return None
        used = [runs for port in use.ports if (runs := self._ports.get((version, *use.group, port)))]
        number = group.next_in(at)
        while number is not None:
            past = max((runs.next_gap(number) for runs in used), default=number)
            if past == number:
                return number
            number = group.next_in(past)
        return None


def _remove(index: dict[K, Runs], key: K, number: int) -> None:
    runs = index[key]
    runs.remove(number)
    if not runs:
        del index[key]
