"""Laws of leaving: whoever leaves, in whatever order things are heard, no prefix loses its last next hop."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from metalbgp.model.configuration import BGPAdvertisement, Configuration, Leaving, Peer
from metalbgp.model.orders import Order
from metalbgp.model.report import NodeReport, SessionReport
from metalbgp.model.services import Node
from metalbgp.model.virtualips import VirtualIP
from metalbgp.select.merge import GRACEFUL_SHUTDOWN
from metalbgp.speaker.announcer import Announcer
from tests.values import holder, labelled, pool

NAMES = ("n1", "n2", "n3", "n4")
NODES = {name: Node(name=name, labels={"rack": "a" if name < "n3" else "b"}) for name in NAMES}
PEERS = (
    Peer(name="everywhere", address="10.0.0.1", my_asn=64513, peer_asn=64512),
    Peer(
        name="rack-a",
        address="10.0.0.2",
        my_asn=64513,
        peer_asn=64512,
        node_selectors=(labelled(rack="a"),),
    ),
)
ADVERTISEMENTS = st.lists(
    st.builds(
        BGPAdvertisement,
        name=st.sampled_from(["one", "two"]),
        pools=st.just(("p",)),
        aggregation_length=st.sampled_from([32, 30]),
        peers=st.sampled_from([(), ("rack-a",)]),
        node_selectors=st.sampled_from([(), (labelled(rack="b"),)]),
        leaving=st.sampled_from([Leaving(), Leaving(when=("cordon",)), Leaving(when=("cordon",), delay=0)]),
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda one: one.name,
)
HOLDERS = st.builds(
    holder,
    bgp=st.sampled_from([("one",), ("two",), ("one", "two")]),
    policy=st.sampled_from(["Cluster", "Local"]),
    nodes=st.dictionaries(st.sampled_from(NAMES), st.just(1), max_size=3),
)
CLAIMS = st.dictionaries(st.sampled_from(["198.51.100.1", "198.51.100.2", "198.51.100.9"]), HOLDERS)
WHO = st.sets(st.sampled_from(NAMES))


def reports(down: set[str]) -> tuple[NodeReport, ...]:
    def sessions(name: str) -> tuple[SessionReport, ...]:
        state = "Idle" if name in down else "Established"
        return tuple(
            SessionReport(
                peer=peer.name, address=peer.address, port=179, my_asn=64513, peer_asn=64512, state=state
            )
            for peer in PEERS
        )

    return tuple(NodeReport(node=name, ready=True, sessions=sessions(name)) for name in NAMES)


class Fleet:
    """Every node's speaker; what each announces counts where its sessions are up."""

    def __init__(self, advertisements: list[BGPAdvertisement], claims: dict[str, object]) -> None:
        self.now = 0.0
        self.speakers = {name: Announcer(lambda: self.now) for name in NAMES}
        made = Configuration(
            installation="x",
            sequence=1,
            pools=(pool("p", "198.51.100.0-198.51.100.255"),),
            peers=PEERS,
            bgp_advertisements=tuple(advertisements),
        )
        for name, one in self.speakers.items():
            one.patience.started = True
            one.set_configuration(made)
            one.set_node(NODES[name])
            for address, held in claims.items():
                holders = {f"web/{address}": held}
                one.set_vip(address, VirtualIP(address=address, pool="p", configuration=1, holders=holders))  # type: ignore[arg-type]  # holders of two kinds

    def leave(self, drained: set[str], cordoned: set[str]) -> None:
        orders = [Order(name=f"drain-{name}", action="Drain", node=name) for name in sorted(drained)]
        for name, one in self.speakers.items():
            one.set_orders(orders, 0.0)
            one.set_node(replace(NODES[name], unschedulable=name in cordoned))

    def look(self, name: str, cordoned: set[str], down: set[str]) -> None:
        nodes = [replace(NODES[each], unschedulable=each in cordoned) for each in NAMES]
        for _ in range(2):  # one look is not enough
            self.speakers[name].set_others(nodes, reports(down))

    def announced(self, down: set[str]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for name, one in self.speakers.items():
            for _, prefix in one.wanted() if name not in down else ():
                found.setdefault(prefix, set()).add(name)
        return found


@given(ADVERTISEMENTS, CLAIMS, st.tuples(WHO, WHO, WHO), st.permutations(NAMES), st.sampled_from([0, 10, 31]))
def test_no_prefix_loses_its_last_next_hop(
    advertisements: list[BGPAdvertisement],
    claims: dict[str, object],
    who: tuple[set[str], set[str], set[str]],
    order: list[str],
    wait: int,
) -> None:
    drained, cordoned, down = who  # down: without a session
    fleet = Fleet(advertisements, claims)
    before = fleet.announced(down)
    fleet.leave(drained, cordoned)
    assert fleet.announced(down).keys() == before.keys()
    for name in order:  # at any moment, whoever has looked and whoever has not
        fleet.now += wait
        fleet.look(name, cordoned, down)
        for one in fleet.speakers.values():
            one.due()
        assert fleet.announced(down).keys() == before.keys()
    fleet.leave(set(), set())
    assert fleet.announced(down) == before


@given(ADVERTISEMENTS, CLAIMS, WHO, st.permutations(NAMES))
def test_in_the_end_a_drained_node_announces_only_what_no_other_does_and_that_less_preferred(
    advertisements: list[BGPAdvertisement], claims: dict[str, object], drained: set[str], order: list[str]
) -> None:
    # An aggregate stays for the addresses behind it that nobody else announces.
    hosts = [replace(one, aggregation_length=32) for one in advertisements]
    fleet = Fleet(hosts, claims)
    fleet.leave(drained, set())
    fleet.now += 3600.0
    for name in order:
        fleet.look(name, set(), set())
        fleet.speakers[name].due()
    found = fleet.announced(set())
    for nodes in found.values():
        assert nodes <= drained or not nodes & drained
    for name, one in fleet.speakers.items():
        for attributes in one.wanted().values():
            assert (GRACEFUL_SHUTDOWN in attributes.communities) is (name in drained)
            assert (attributes.local_preference == 0) is (name in drained)
