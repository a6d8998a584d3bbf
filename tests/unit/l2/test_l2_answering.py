"""Random duties and links: in whatever order, the kernel hears and we answer what is right."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from metalbgp.l2 import wire
from metalbgp.l2.links import Interface
from metalbgp.l2.machine import Join, Leave, Listen, Machine, Send
from tests.unit.l2.test_l2_machine import TWIN6, VIP, VIP2, VIP6, arp, sent

NAMES = ("eth0", "eth1", "eth2")
ADDRESSES = (VIP, VIP2, VIP6, TWIN6)
allowed = st.none() | st.frozensets(st.sampled_from(NAMES))
duties = st.dictionaries(st.sampled_from(ADDRESSES), allowed)
links = st.tuples(st.integers(1, 4), st.sampled_from((b"\2aaaaa", b"\2bbbbb")), st.booleans(), st.booleans())
interfaces = st.dictionaries(st.sampled_from(NAMES), links).filter(
    lambda found: len({index for index, *_ in found.values()}) == len(found)
)


class Answering(RuleBasedStateMachine):
    """Random duties and links, a kernel that does what the effects say, and a slow idea of what is right."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine()
        self.now = 0.0
        self.duties: dict[bytes, frozenset[str] | None] = {}
        self.links: dict[str, Interface] = {}
        self.heard: dict[Interface, set[bytes]] = {}
        self.joined: set[tuple[int, bytes]] = set()
        self.settled = False

    @rule(new=duties)
    def all_duties(self, new: dict[bytes, frozenset[str] | None]) -> None:
        self.duties = new
        self.machine.set_duties(new, self.now)
        self.settled = False

    @rule(add=duties, remove=st.sets(st.sampled_from(ADDRESSES)))
    def some_duties(self, add: dict[bytes, frozenset[str] | None], remove: set[bytes]) -> None:
        self.duties = {key: value for key, value in self.duties.items() if key not in remove} | add
        self.machine.change(add, remove, self.now)
        self.settled = False

    @rule(new=interfaces)
    def all_interfaces(self, new: dict[str, tuple[int, bytes, bool, bool]]) -> None:
        self.links = {name: Interface(name, *rest) for name, rest in new.items()}
        self.machine.set_interfaces(self.links, self.now)
        self.settled = False

    @rule(pause=st.floats(0, 7))
    def wake(self, pause: float) -> None:
        self.now += pause
        for effect in self.machine.wake(self.now):
            if isinstance(effect, Listen):
                about = {*effect.arp, *effect.ndp}
                same = [each for each in self.heard if each.name == effect.interface.name]
                for each in same:
                    del self.heard[each]
                if about:
                    self.heard[effect.interface] = about
            elif isinstance(effect, Join):
                key = effect.interface.ifindex, effect.group
                assert key not in self.joined
                self.joined.add(key)
            elif isinstance(effect, Leave):
                self.joined.remove((effect.interface.ifindex, effect.group))
            elif isinstance(effect, Send):
                assert effect.interface == self.links[effect.interface.name]
                address = effect.frame[28:32] if effect.frame[12:14] == b"\x08\x06" else effect.frame[62:78]
                assert address in self.heard[effect.interface]
        self.settled = True

    def right(self) -> dict[str, set[bytes]]:
        return {
            name: {
                address
                for address, allowed in self.duties.items()
                if (link.arp if len(address) == 4 else link.ndp) and (allowed is None or name in allowed)
            }
            for name, link in self.links.items()
        }

    @invariant()
    def holds_what_is_right(self) -> None:
        for name, addresses in self.right().items():
            for address in ADDRESSES:
                assert (name in self.machine.holding(address)) == (address in addresses)

    @invariant()
    def answers_what_it_holds_and_nothing_else(self) -> None:
        for name, addresses in self.right().items():
            for address in (VIP, VIP2):
                answered = bool(sent(self.machine.frame(name, arp(address), 0.0, self.now)))
                assert answered == (address in addresses)

    @invariant()
    def the_kernel_hears_what_is_held(self) -> None:
        if not self.settled:
            return
        heard = {each.name: about for each, about in self.heard.items()}
        assert heard == {name: about for name, about in self.right().items() if about}
        assert self.joined == {
            (self.links[name].ifindex, wire.solicited_node(address))
            for name, about in self.right().items()
            for address in about
            if len(address) == 16
        }


TestAnswering = Answering.TestCase
TestAnswering.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)
