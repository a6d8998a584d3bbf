"""The law behind the order of writes: add to the configuration, then the VirtualIPs, then remove from it.
Whatever way the two watches of a speaker interleave, nothing that both ends keep is ever withdrawn."""

from hypothesis import given
from hypothesis import strategies as st

from metalbgp.controller.configure import bridge
from metalbgp.model.addresses import Range, parse
from metalbgp.model.configuration import BGPAdvertisement, Configuration, Peer, Pool
from metalbgp.model.services import Endpoints, Node, Port, Service
from metalbgp.model.virtualips import VirtualIP
from metalbgp.plan.plan import plan
from metalbgp.speaker.announcer import Announcer, RouteKey

ADDRESSES = ("198.51.100.1", "198.51.100.2", "198.51.100.3")
PEER = Peer(name="tor", address="10.0.0.1", my_asn=64513, peer_asn=64512)


def pool(name: str, low: int, high: int) -> Pool:
    first, last = (int(parse(f"198.51.100.{number}")) for number in (low, high))
    return Pool(name=name, ranges=(Range(version=4, first=first, last=last),))


POOLS = st.sampled_from(
    [
        (pool("production", 0, 255),),
        (pool("renamed", 0, 255),),
        (pool("production", 0, 2), pool("other", 3, 255)),
    ]
)
ADVERTISEMENTS = st.lists(
    st.builds(
        BGPAdvertisement,
        name=st.sampled_from(["plain", "tagged", "third"]),
        pools=st.sampled_from([("production", "renamed", "other"), ("production",), ("renamed", "other")]),
        communities=st.sampled_from([(), ((64513, 7),)]),
    ),
    max_size=3,
    unique_by=lambda one: one.name,
)
CONFIGURATIONS = st.builds(
    lambda pools, advertisements: Configuration(
        installation="test", pools=pools, peers=(PEER,), bgp_advertisements=tuple(advertisements)
    ),
    POOLS,
    ADVERTISEMENTS,
)


def numbered(configuration: Configuration, sequence: int) -> Configuration:
    return Configuration(
        **{f: getattr(configuration, f) for f in configuration.__struct_fields__} | {"sequence": sequence}
    )


def claims(configuration: Configuration) -> list[VirtualIP]:
    """What the controller writes for three Services that hold their addresses."""
    found = []
    for address in ADDRESSES:
        home = configuration.pool_of(address)
        assert home is not None
        service = Service("default", f"web-{address}", address, "1", "", ports=(Port("TCP", 80),))
        holder = plan(service, Endpoints(serving=1), home, configuration)
        found.append(
            VirtualIP(
                address=address,
                pool=home.name,
                configuration=configuration.sequence,
                holders={service.key: holder},
            )
        )
    return found


def keys(announcer: Announcer) -> set[RouteKey]:
    return set(announcer.wanted())


@given(CONFIGURATIONS, CONFIGURATIONS, st.data())
def test_no_interleaving_of_the_two_watches_withdraws_what_both_ends_keep(
    before: Configuration, after: Configuration, data: st.DataObject
) -> None:
    before = numbered(before, 1)
    wanted = numbered(after, 2)
    announcer = Announcer()
    announcer.set_node(Node(name="n1", addresses=("10.0.0.9",)))
    announcer.set_configuration(before)
    for vip in claims(before):
        announcer.set_vip(vip.address, vip)
    start = keys(announcer)

    # What the controller writes, in its order; each watch delivers its own objects in order, at any pace.
    configurations = [bridge(wanted, before), numbered(wanted, 3)]
    vips = claims(wanted)
    ends = Announcer()
    ends.set_node(Node(name="n1", addresses=("10.0.0.9",)))
    ends.set_configuration(numbered(wanted, 3))
    for vip in vips:
        ends.set_vip(vip.address, vip)
    kept = start & keys(ends)

    while configurations or vips:
        if not vips or (configurations and data.draw(st.booleans())):
            changes = announcer.set_configuration(configurations.pop(0))
        else:
            vip = vips.pop(0)
            changes = announcer.set_vip(vip.address, vip)
        withdrawn = {(peer, prefix) for peer, prefix, attributes in changes.wants if attributes is None}
        assert not withdrawn & kept
        assert kept <= keys(announcer)
    assert announcer.wanted() == ends.wanted()
