"""Asks for addresses as the controller does: what is granted is held."""

from collections.abc import Sequence
from typing import Any

from metalbgp.allocate.allocate import allocate
from metalbgp.allocate.request import request_of
from metalbgp.allocate.taken import Taken, use_of
from metalbgp.model.allocation import Allocation, Refusal
from metalbgp.model.configuration import Configuration, Pool, PoolPolicy, Reservation
from metalbgp.model.reasons import Reason
from metalbgp.model.services import Namespace, Service


class Desk:
    def __init__(
        self,
        *pools: Pool,
        namespaces: Sequence[Namespace] = (),
        policies: Sequence[PoolPolicy] = (),
        reservations: Sequence[Reservation] = (),
    ) -> None:
        self.pools, self.taken = pools, Taken()
        self.namespaces = {one.name: one for one in namespaces}
        self.policies, self.reservations = tuple(policies), tuple(reservations)
        self.taken.reserve(self.reservations)

    def ask(self, one: Service, held: Sequence[str] | None = None, **more: Any) -> Allocation | Refusal:
        mine = self.taken.held_by(one.key) if held is None else held
        answer = allocate(
            request_of(one, tuple(mine), self.reservations),
            Configuration(
                "test", pools=tuple(self.pools), policies=self.policies, reservations=self.reservations
            ),
            self.taken,
            self.namespaces,
            **more,
        )
        for address in self.taken.held_by(one.key):
            self.taken.release(address, one.key)
        if isinstance(answer, Allocation):
            for address in answer.addresses:
                self.taken.hold(address, use_of(one))
        return answer

    def given(self, one: Service, **more: Any) -> Allocation:
        answer = self.ask(one, **more)
        assert isinstance(answer, Allocation), answer
        return answer

    def addresses(self, one: Service, **more: Any) -> tuple[str, ...]:
        return self.given(one, **more).addresses

    def refusal(self, one: Service, **more: Any) -> Reason:
        answer = self.ask(one, **more)
        assert isinstance(answer, Refusal), answer
        assert answer.reason.explain()
        return answer.reason
