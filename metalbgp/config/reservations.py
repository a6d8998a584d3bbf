"""AddressReservation → model, or what is wrong with it. Two reservations of one address: clash().

In:  the object; Findings to note mistakes in. Out: the value; it counts only if nothing was noted.
Elsewhere: who gets a reserved address is allocate/; the VirtualIP that keeps it free is controller/.
"""

import re
from collections.abc import Collection, Iterator
from typing import Final

from metalbgp.config import selectors
from metalbgp.config.mistakes import Dispute, Findings, Mistake
from metalbgp.config.objects import AddressReservation as Raw
from metalbgp.config.objects import AddressReservationSpec, ServiceReference
from metalbgp.model.addresses import AddressError, canonical, trimmed
from metalbgp.model.configuration import Pool, Reservation

_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # what Kubernetes lets a Service be called
NOBODY: Final = ServiceReference()


def read(raw: Raw, findings: Findings) -> Reservation:
    spec = raw.spec
    service = spec.service or NOBODY
    _whose(findings, spec, service)
    return Reservation(
        name=raw.name,
        addresses=_addresses(findings, spec.addresses or []),
        namespace=service.namespace,
        service=service.name,
        selector=None
        if spec.service_selector is None
        else selectors.read(findings, "spec.serviceSelector", spec.service_selector),
        comment=spec.comment,
        source=raw.metadata.source,
    )


def _addresses(findings: Findings, texts: list[str]) -> tuple[str, ...]:
    if not texts:
        findings.wrong("spec.addresses", "is empty", "write at least one address")
    found: list[str] = []
    for at, text in enumerate(texts):
        field = f"spec.addresses[{at}]"
        address = findings.read(field, _address, text)
        if address is None:
            continue
        if address in found:
            findings.wrong(field, f"{address} stands there twice", "remove one of them")
        found.append(address)
    return tuple(found)


def _address(text: str) -> str:
    try:
        return canonical(trimmed(text))
    except AddressError as error:
        if "/" in text or "-" in text:
            raise Mistake(f'"{text}" is not one address', "list each address by itself") from error
        raise Mistake(str(error), "write one IP address") from error


def _whose(findings: Findings, spec: AddressReservationSpec, service: ServiceReference) -> None:
    both = "give exactly one of service.name (with its namespace) and serviceSelector"
    if service.name and spec.service_selector is not None:
        findings.wrong("spec.serviceSelector", "both service.name and serviceSelector are given", both)
    elif service.name and not service.namespace:
        findings.wrong("spec.service.namespace", "is missing", f"in which namespace is {service.name}?")
    elif not service.name and spec.service_selector is None:
        findings.wrong("spec.service", "names no Service", both)
    elif spec.service_selector is not None and not service.namespace:
        selector = spec.service_selector
        if not selector.match_labels and not selector.match_expressions:
            why = "selects every Service of the cluster"
            findings.wrong("spec.serviceSelector", why, "write a label, or service.namespace beside it")
    for field, word in (("namespace", service.namespace), ("name", service.name)):
        if word and not _LABEL.fullmatch(word):
            findings.wrong(f"spec.service.{field}", f'nothing can be called "{word}" in Kubernetes')


def clash(loser: Reservation, winner: Reservation) -> Dispute | None:
    for at, address in enumerate(loser.addresses):
        if address in winner.addresses:
            why = f"{address} is reserved by AddressReservation {winner.name}, for {winner.whose()}"
            return Dispute(f"spec.addresses[{at}]", why, "name the address in one of the two only")
    return None


def not_in_force(one: Reservation, pools: Collection[Pool]) -> Iterator[tuple[str, str]]:
    """(field, why) for what is accepted and does nothing (yet): reservations may be there before pools."""
    for at, address in enumerate(one.addresses):
        pool = next((pool for pool in pools if address in pool), None)
        if pool is None:
            yield f"spec.addresses[{at}]", f"{address} is in no IPAddressPool"
        elif pool.avoid_buggy_ips and address.endswith((".0", ".255")):
            yield f"spec.addresses[{at}]", f'{address} is avoided by pool "{pool.name}" (avoidBuggyIPs)'
