"""Laws of the agent's wishes: what was told, change by change, is what is wanted."""

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from metalbgp.model.addresses import Range, parse
from metalbgp.model.configuration import BGPAdvertisement, Configuration, Peer, Pool
from metalbgp.model.orders import Order
from metalbgp.model.routes import Attributes
from metalbgp.model.selectors import Selector
from metalbgp.model.services import Node
from metalbgp.model.virtualips import Holder, VirtualIP
from metalbgp.speaker.announcer import Announcer, Changes, RouteKey

POOL = Pool(
    name="production",
    ranges=(Range(version=4, first=int(parse("198.51.100.0")), last=int(parse("198.51.100.255"))),),
)
ADDRESSES = [f"198.51.100.{number}" for number in range(1, 6)]
PEERS = st.lists(
    st.builds(
        Peer,
        name=st.sampled_from(["tor-a", "tor-b", "spine"]),
        address=st.sampled_from(["10.0.0.1", "10.0.0.2"]),
        my_asn=st.just(64513),
        peer_asn=st.just(64512),
        node_selectors=st.sampled_from([(), (Selector(labels=(("rack", "a"),)),)]),
    ),
    max_size=3,
    unique_by=(lambda peer: peer.name, lambda peer: peer.address),
)
ADVERTISEMENTS = st.lists(
    st.builds(
        BGPAdvertisement,
        name=st.sampled_from(["plain", "tagged"]),
        pools=st.just(("production",)),
        communities=st.sampled_from([(), ((64513, 7),)]),
        aggregation_length=st.sampled_from([32, 30]),
        peers=st.sampled_from([(), ("tor-a",)]),
    ),
    max_size=2,
    unique_by=lambda one: one.name,
)
HOLDERS = st.builds(
    Holder,
    uid=st.just("u"),
    bgp=st.sampled_from([(), ("plain",), ("plain", "tagged")]),
    serving=st.booleans(),
)
ORDERS = st.one_of(
    st.builds(
        Order,
        name=st.just("h"),
        action=st.just("Hold"),
        address=st.sampled_from(ADDRESSES),
        node=st.sampled_from(["", "n1", "n2"]),
        expires=st.sampled_from(["", "1970-01-01T00:00:02Z"]),
    ),
    st.builds(Order, name=st.just("d"), action=st.just("Drain"), node=st.sampled_from(["n1", "n2"])),
    st.builds(
        Order,
        name=st.just("s"),
        action=st.just("Shut"),
        peer=st.sampled_from(["tor-a", "tor-b", "spine"]),
        expires=st.sampled_from(["", "1970-01-01T00:00:02Z"]),
    ),
)
STEPS = st.one_of(
    st.tuples(
        st.just("configuration"), st.builds(lambda p, a: (p, a), PEERS, ADVERTISEMENTS), st.integers(0, 3)
    ),
    st.tuples(st.just("node"), st.sampled_from([{}, {"rack": "a"}]), st.booleans()),
    st.tuples(st.just("vip"), st.sampled_from(ADDRESSES), st.one_of(st.none(), HOLDERS)),
    st.tuples(st.just("orders"), st.lists(ORDERS, max_size=4), st.integers(0, 3)),
)


class Told:
    """What a parent that obeys would work towards."""

    def __init__(self) -> None:
        self.routes: dict[RouteKey, Attributes] = {}

    def obey(self, changes: Changes) -> None:
        for peer, prefix, attributes in changes.wants:
            if attributes is None:
                self.routes.pop((peer, prefix), None)
            else:
                self.routes[peer, prefix] = attributes


def play(announcer: Announcer, step: tuple, sequence: int) -> Changes:
    kind, what, more = step
    if kind == "configuration":
        peers, advertisements = what
        return announcer.set_configuration(
            Configuration(
                installation="test",
                sequence=sequence,
                pools=(POOL,),
                peers=tuple(peers),
                bgp_advertisements=tuple(advertisements),
            )
        )
    if kind == "node":
        return announcer.set_node(
            Node(name="n1", labels=what, network_unavailable=more, addresses=("10.0.0.9",))
        )
    if kind == "orders":
        return announcer.set_orders(what, more)
    vip = None
    if more is not None:
        vip = VirtualIP(
            address=what, pool="production", configuration=sequence, holders={"default/web": more}
        )
    return announcer.set_vip(what, vip)


@given(st.lists(STEPS, max_size=25))
def test_what_was_told_change_by_change_is_what_is_wanted(steps: list[tuple]) -> None:
    announcer, told = Announcer(), Told()
    for sequence, step in enumerate(steps):
        told.obey(play(announcer, step, sequence))
        undecided = {key for key in told.routes if announcer.table.must_stay(key[1])}
        wanted = announcer.wanted()
        assert {k: v for k, v in told.routes.items() if k in wanted or k not in undecided} == wanted


@given(st.lists(STEPS, max_size=25), st.data())
def test_after_a_reconnect_the_comparison_with_any_journal_reaches_what_is_wanted(
    steps: list[tuple], data: st.DataObject
) -> None:
    announcer = Announcer()
    for sequence, step in enumerate(steps):
        play(announcer, step, sequence)
    told = Told()
    wanted = announcer.wanted()
    keys = [*wanted, ("10.0.0.1", "198.51.100.77/32"), ("10.9.9.9", "198.51.100.1/32")]
    for key in data.draw(st.lists(st.sampled_from(keys), unique=True)):
        told.routes[key] = data.draw(st.sampled_from([Attributes(), Attributes(communities=((1, 2),))]))
    told.obey(announcer.against_journal(dict(told.routes)))
    stays = {key for key in told.routes if announcer.table.must_stay(key[1])}
    assert {k: v for k, v in told.routes.items() if k not in stays or k in wanted} == wanted


@given(st.lists(STEPS, max_size=25), st.lists(ORDERS, max_size=4))
def test_an_order_only_takes_away_and_takes_away_what_it_names(
    steps: list[tuple], orders: list[Order]
) -> None:
    announcer = Announcer()
    for sequence, step in enumerate(steps):
        play(announcer, step, sequence)
    announcer.set_orders((), 0)
    free, sessions = announcer.wanted(), set(announcer.neighbors)
    announcer.set_orders(orders, 0)
    assert announcer.wanted().keys() <= free.keys()
    assert set(announcer.neighbors) <= sessions
    held = {one.address for one in orders if one.action == "Hold" and one.node != "n2"}
    shut = {one.peer for one in orders if one.action == "Shut"}
    for route, why in announcer.table.routes():
        assert not held & set(why.addresses)
        assert route.peer not in shut
    announcer.set_orders((), 0)
    # What was undecided kept what it had, and had nothing to keep once it was held.
    decided = {key: value for key, value in free.items() if not announcer.table.must_stay(key[1])}
    assert decided.items() <= announcer.wanted().items() and set(announcer.neighbors) == sessions


@given(st.lists(STEPS, max_size=25), st.data())
def test_who_may_not_know_everything_withdraws_only_what_he_knows_and_else_does_the_same(
    steps: list[tuple], data: st.DataObject
) -> None:
    """As after a start from a snapshot, which may lack what came in its last second."""
    announcer = Announcer()
    for sequence, step in enumerate(steps):
        play(announcer, step, sequence)
    keys = [*announcer.wanted(), *(("10.0.0.1", f"{address}/32") for address in ADDRESSES)]
    keys += [("10.0.0.1", "198.51.100.77/32"), ("10.0.0.1", "198.51.100.0/30"), ("10.0.0.2", "2001:db8::/64")]
    told = dict.fromkeys(data.draw(st.lists(st.sampled_from(keys), unique=True)), Attributes())
    whole = announcer.against_journal(told).wants
    partly = announcer.against_journal(told, whole=False).wants
    left_alone = set(whole) - set(partly)
    assert set(partly) <= set(whole)
    for _, prefix, attributes in left_alone:
        assert attributes is None
        assert not any(ip_address(address) in ip_network(prefix) for address in announcer.vips)
    for _, prefix, attributes in partly:
        known = any(ip_address(address) in ip_network(prefix) for address in announcer.vips)
        assert known or attributes is not None


@given(st.lists(STEPS, max_size=15))
def test_saying_the_same_again_changes_nothing(steps: list[tuple]) -> None:
    announcer = Announcer()
    for sequence, step in enumerate(steps):
        play(announcer, step, sequence)
        again = play(announcer, step, sequence)
        assert not again.wants
        assert not again.duties
        assert again.neighbors is None
