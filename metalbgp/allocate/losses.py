"""Which Services would lose an address to another configuration. Pure.

In:  Services with what they hold, the configuration that is asked about, what is taken, namespaces' labels.
Out: a WouldLose for each address that its Service could not keep, with what it would get instead.
Elsewhere: who asks is admission (controller/admission.py) and `metalbgp validate` (cli/judging.py).
"""

from collections.abc import Iterable, Iterator, Mapping

from metalbgp.allocate.allocate import allocate, objection
from metalbgp.allocate.request import request_of
from metalbgp.allocate.taken import Taken
from metalbgp.model.allocation import Refusal
from metalbgp.model.configuration import Configuration
from metalbgp.model.reasons import AddressNotInPool, WouldLose
from metalbgp.model.services import Namespace, Service


def losses(
    holders: Iterable[tuple[Service, tuple[str, ...]]],
    after: Configuration,
    taken: Taken,
    namespaces: Mapping[str, Namespace],
) -> Iterator[WouldLose]:
    for service, held in holders:
        request = request_of(service, held, after.reservations)
        answer = allocate(request, after, taken, namespaces)
        kept = () if isinstance(answer, Refusal) else answer.addresses
        for address in held:
            if address in kept:
                continue
            why = objection(address, request, after, taken, namespaces) or AddressNotInPool(address=address)
            instead = tuple(one for one in kept if one not in held)
            yield WouldLose(service=service.key, address=address, instead=instead, why=why)
