"""Laws of allocation, tried on random sequences, with slow and obvious second implementations as judges."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from metalbgp.allocate.allocate import Allocation, allocate
from metalbgp.allocate.claims import adopt
from metalbgp.allocate.request import request_of
from metalbgp.allocate.runs import Numbers, Runs
from metalbgp.allocate.taken import Taken, use_of
from metalbgp.model.addresses import family, from_int, parse
from metalbgp.model.configuration import Configuration
from metalbgp.model.services import Endpoints, Port, Service
from metalbgp.model.virtualips import VirtualIP
from metalbgp.plan.plan import plan
from tests.laws.allocation_model import may_stand_together
from tests.values import configuration, pool, service, vip

POOLS = (
    pool("four", "192.0.2.0-192.0.2.5"),
    pool("both", "198.51.100.254-198.51.101.1", "2001:db8::-2001:db8::2", avoid_buggy_ips=True),
    pool("six", "2001:db8:1::-2001:db8:1::1", auto_assign=False),
)
IN_FORCE = Configuration("test", pools=POOLS)

KEYS = st.sampled_from([f"{space}/{name}" for space in ("web", "shop") for name in "abcdef"])
WISHES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "dual": st.sampled_from(["", "", "PreferDualStack", "RequireDualStack"]),
        "sharing_key": st.sampled_from(["", "", "k", "l"]),
        "external_traffic_policy": st.sampled_from(["Cluster", "Cluster", "Local"]),
        "selector": st.sampled_from([{"app": "x"}, {"app": "y"}]),
        "requested_pool": st.sampled_from(["", "", "four", "both", "six"]),
        "requested_addresses": st.sampled_from([None, None, None, "192.0.2.3", "198.51.100.254,2001:db8::1"]),
        "ports": st.sets(st.sampled_from([80, 443, 53]), min_size=1).map(
            lambda numbers: tuple(Port(protocol="TCP", port=number) for number in sorted(numbers))
        ),
    }
)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30))), st.integers(-1, 32))
def test_the_first_gap_is_the_one_that_counting_finds(steps: list[tuple[bool, int]], at: int) -> None:
    runs, naive = Runs(), set[int]()
    for put, number in steps:
        (runs.add if put else runs.remove)(number)
        (naive.add if put else naive.discard)(number)
        expected = next(candidate for candidate in range(at, 64) if candidate not in naive)
        assert runs.next_gap(at) == expected
        assert runs.next_in(at) == min((one for one in naive if one >= at), default=None)
        assert runs.count(at, 20) == sum(at <= one <= 20 for one in naive)
        assert all((one in runs) == (one in naive) for one in range(-1, 32))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30))), st.integers(-1, 32), st.integers(-1, 32))
def test_numbers_are_counted_as_a_set_counts_them(steps: list[tuple[bool, int]], low: int, high: int) -> None:
    numbers, naive = Numbers(), set[int]()
    for put, number in steps:
        (numbers.add if put else numbers.remove)(number)
        (naive.add if put else naive.discard)(number)
        assert (number in numbers) == put
    inside = sorted(one for one in naive if low <= one <= high)
    assert numbers.count(low, high) == len(inside)
    assert numbers.between(low, high) == inside


class Cluster(RuleBasedStateMachine):
    """Services come, change and go; the machine holds what it is granted, as the controller does."""

    def __init__(self) -> None:
        super().__init__()
        self.taken = Taken()
        self.services: dict[str, Service] = {}
        self.granted: dict[str, tuple[str, ...]] = {}
        self.clock = 0

    def settle(self, key: str) -> None:
        one = self.services[key]
        answer = allocate(request_of(one, self.granted.get(key, ())), IN_FORCE, self.taken, {})
        before = self.granted.pop(key, ())
        for address in before:
            self.taken.release(address, key)
        if isinstance(answer, Allocation):
            self.granted[key] = answer.addresses
            for address in answer.addresses:
                self.taken.hold(address, use_of(one))

    @rule(key=KEYS, wish=WISHES)
    def create_or_change(self, key: str, wish: dict[str, Any]) -> None:
        self.clock += 1
        created = self.services[key].created if key in self.services else f"{self.clock:06}"
        self.services[key] = service(key, created=created, **wish)
        self.settle(key)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        self.services.pop(key, None)
        for address in self.granted.pop(key, ()):
            self.taken.release(address, key)

    @rule(wipe_status=st.booleans(), order=st.randoms(use_true_random=False))
    def restart(self, wipe_status: bool, order: Any) -> None:
        """Everything in memory is lost; claims are read back, in any order, and all are served again."""
        claims = self.claims()
        services = [
            service_with(one, () if wipe_status else self.granted.get(key, ()))
            for key, one in self.services.items()
        ]
        order.shuffle(claims)
        order.shuffle(services)
        before = dict(self.granted)
        self.taken, lost = adopt(claims, services)
        assert not lost
        for one in services:
            self.services[one.key] = one
            self.settle(one.key)
        self.services = {key: service_with(one, ()) for key, one in self.services.items()}
        for key, addresses in before.items():
            assert set(addresses) <= set(self.granted[key]), f"{key} lost {addresses}"

    def claims(self) -> list[VirtualIP]:
        holders: dict[str, dict[str, Any]] = {}
        for key, addresses in self.granted.items():
            for address in addresses:
                one = plan(self.services[key], Endpoints(), POOLS[0], configuration())
                holders.setdefault(address, {})[key] = one
        return [vip(address, behind) for address, behind in holders.items()]

    @invariant()
    def services_share_an_address_only_with_one_key_and_disjoint_ports(self) -> None:
        by_address: dict[str, list[Service]] = {}
        for key, addresses in self.granted.items():
            for address in addresses:
                by_address.setdefault(address, []).append(self.services[key])
        for address, behind in by_address.items():
            for index, one in enumerate(behind):
                for other in behind[index + 1 :]:
                    assert may_stand_together(one, other), (address, one.key, other.key)

    @invariant()
    def what_is_taken_is_what_was_granted(self) -> None:
        granted = {address for addresses in self.granted.values() for address in addresses}
        assert len(self.taken) == len(granted)
        assert all(address in self.taken for address in granted)

    @invariant()
    def every_grant_obeys_its_wish(self) -> None:
        for key, addresses in self.granted.items():
            one = self.services[key]
            homes = {home.name for home in POOLS for address in addresses if address in home}
            assert len(homes) == 1
            assert not one.requested_pool or homes == {one.requested_pool}
            families = [family(address) for address in addresses]
            assert families in ([4], [6], [4, 6])
            if one.ip_family_policy == "RequireDualStack":
                assert families == [4, 6]
            if "both" in homes:
                assert not any(address.endswith((".0", ".255")) for address in addresses)
            if one.requested_addresses:
                assert set(one.requested_addresses.split(",")) == set(addresses)

    @invariant()
    def planning_twice_changes_nothing(self) -> None:
        for key, one in self.services.items():
            answer = allocate(request_of(one, self.granted.get(key, ())), IN_FORCE, self.taken, {})
            again = answer.addresses if isinstance(answer, Allocation) else ()
            if key in self.granted:
                assert set(again) >= set(self.granted[key])


def service_with(one: Service, ingress: tuple[str, ...]) -> Service:
    return replace(one, ingress=ingress)


class TestNoAddressIsEverGivenTwice(Cluster.TestCase):  # type: ignore[misc] # made by hypothesis at run time
    pass


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=8),
    st.sets(st.integers(0, 9)),
    st.booleans(),
)
def test_the_first_usable_address_is_the_one_that_trying_all_finds(
    held: list[tuple[int, bool]], refused: set[int], shares: bool
) -> None:
    base = int(parse("192.0.2.250"))
    home = pool("p", "192.0.2.250-192.0.3.3", avoid_buggy_ips=True)
    taken = Taken()
    for number, (offset, shared) in enumerate(held):
        other = service(f"o/{number}", sharing_key="k" if shared else "", ports=(Port("UDP", number),))
        if taken.conflict(from_int(4, base + offset), use_of(other)) is None:
            taken.hold(from_int(4, base + offset), use_of(other))
    one = service(sharing_key="k" if shares else "")
    passed = frozenset(from_int(4, base + offset) for offset in refused)
    answer = allocate(request_of(one), Configuration("test", pools=(home,)), taken, {}, passed)
    expected = [
        address
        for address in (from_int(4, base + offset) for offset in range(10))
        if address not in passed
        and not address.endswith((".0", ".255"))
        and taken.conflict(address, use_of(one)) is None
    ]
    assert (answer.addresses if isinstance(answer, Allocation) else ()) == tuple(expected[:1])
