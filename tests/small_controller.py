"""A controller without a cluster: claims are values, and every write succeeds at once.

In:  Touched, from any verb of its inventory.
Out: claims in the inventory as they should stand. It does only what Touched tells it, one key at a time.
Elsewhere: the real one, with writes that fail and a watch that lags, is metalbgp/controller/reconcile.py.
"""

from msgspec.structs import replace

from metalbgp.allocate.allocate import Allocation, Refusal, allocate
from metalbgp.allocate.request import request_of
from metalbgp.allocate.taken import Taken, use_of
from metalbgp.controller.spread import Spread
from metalbgp.inventory.inventory import Inventory
from metalbgp.inventory.touched import Touched
from metalbgp.model.configuration import Configuration
from metalbgp.model.services import Service
from metalbgp.model.virtualips import VirtualIP
from metalbgp.plan.plan import given_by, plan, virtual_ip
from metalbgp.plan.ranking import Claimant
from metalbgp.plan.scene import Scene


class SmallController:
    def __init__(self) -> None:
        self.inventory = Inventory("metallb-system")
        self.taken = Taken()
        self.spread = Spread(self.inventory)
        self.spread.begin()
        self._moved = Touched()  # by what was planned

    @property
    def scene(self) -> Scene:
        inventory = self.inventory
        return Scene(inventory.configuration, inventory.nodes, inventory.live_speakers, self.spread.firsts)

    def work(self, touched: Touched) -> None:
        for _ in range(200):
            touched |= self.spread.look_again(touched.addresses) | self._moved
            self._moved = Touched()
            if not touched:
                return
            if keys := sorted(touched.services | touched.counts):
                rest = replace(
                    touched, services=touched.services - {keys[0]}, counts=touched.counts - {keys[0]}
                )
                touched = rest | self.serve(keys[0])
            else:  # what is reserved or cools has no claim here
                more = Touched()
                for address in (touched.addresses | touched.idle) & self.inventory.claims.keys():
                    more |= self.write(self.desired(address, self.inventory.claims[address]))
                touched = more
        raise AssertionError("the work never ends")

    def configured(self, made: Configuration) -> None:
        touched = self.inventory.configure(made)
        self.taken.reserve(made.reservations)
        self.work(touched)

    def serve(self, key: str) -> Touched:
        one = self.inventory.services.get(key)
        answer = self.ask(one) if one is not None and self.inventory.is_ours(one) else None
        wanted = answer.addresses if isinstance(answer, Allocation) else ()
        touched = Touched()
        self.spread.planning(key, wanted)
        for address in self.inventory.held(key):
            if address not in wanted:
                touched |= self.leave(key, address)
        for address in wanted:
            assert one is not None
            reserved = request_of(one, (), self.inventory.configuration.reservations).reserved
            assert self.taken.conflict(address, use_of(one), reserved) is None
            touched |= self.write(self.desired(address, self.inventory.claims.get(address), one, answer))
        return touched | self.spread.planned(key, wanted)

    def ask(self, one: Service) -> Allocation | Refusal:
        held = self.inventory.held(one.key)
        return allocate(
            request_of(one, held, self.inventory.configuration.reservations),
            self.inventory.configuration,
            self.taken,
            self.inventory.namespaces,
        )

    def desired(
        self,
        address: str,
        known: VirtualIP | None,
        joining: Service | None = None,
        answer: Allocation | Refusal | None = None,
    ) -> VirtualIP:
        home = self.inventory.configuration.pool_of(address)
        assert home is not None
        holders = dict(known.holders) if known else {}
        if joining is not None:
            endpoints = self.inventory.endpoints(joining.key)
            mine = plan(joining, endpoints, home, self.inventory.configuration)
            why = given_by(joining, address, answer.why, known) if isinstance(answer, Allocation) else ""
            holders[joining.key] = replace(mine, why=why)
        claimants = [
            Claimant(key, holder, self.spread.first(key, address)) for key, holder in holders.items()
        ]
        self._moved |= self.spread.place(address, claimants)
        return virtual_ip(address, home, claimants, self.scene, known)

    def write(self, vip: VirtualIP) -> Touched:
        self.taken.learn(vip.address, vip)
        return self.inventory.put_claim(vip) | self.spread.claimed(vip.address)

    def leave(self, key: str, address: str) -> Touched:
        vip = self.inventory.claims[address]
        rest = {name: holder for name, holder in vip.holders.items() if name != key}
        if rest:
            return self.write(replace(vip, holders=rest))
        self.taken.learn(address, None)
        return self.inventory.drop_claim(address) | self.spread.claimed(address)
