"""Racks often number their routers alike: two BGPPeers with one address, each on its own nodes."""

import pytest

from metalbgp.model.configuration import BGPAdvertisement, Configuration, Peer
from metalbgp.model.virtualips import Holder, VirtualIP
from metalbgp.speaker.announcer import Announcer
from tests.values import labelled, node, pool

ROUTER = "10.0.0.1"
CONFIGURATION = Configuration(
    installation="metallb-system",
    sequence=1,
    pools=(pool("p", "198.51.100.0-198.51.100.255"),),
    peers=tuple(
        Peer(
            name=f"tor-{rack}",
            my_asn=64513,
            peer_asn=asn,
            address=ROUTER,
            node_selectors=(labelled(rack=rack),),
        )
        for rack, asn in (("a", 64601), ("b", 64602))
    ),
    bgp_advertisements=(BGPAdvertisement(name="all", pools=("p",)),),
)
WEB = VirtualIP(
    address="198.51.100.1",
    pool="p",
    configuration=1,
    holders={"web/nginx": Holder(uid="u", bgp=("all",), serving=True)},
)


@pytest.mark.parametrize(("rack", "asn"), [("a", 64601), ("b", 64602)])
def test_a_node_announces_to_the_router_of_its_own_rack(rack: str, asn: int) -> None:
    announcer = Announcer()
    announcer.set_node(node("n1", rack=rack))
    announcer.set_configuration(CONFIGURATION)
    changes = announcer.set_vip(WEB.address, WEB)
    assert [(peer, prefix, wanted is not None) for peer, prefix, wanted in changes.wants] == [
        (ROUTER, "198.51.100.1/32", True)
    ]
    assert list(announcer.wanted()) == [(ROUTER, "198.51.100.1/32")]
    assert [one.peer_as for one in announcer.neighbors] == [asn]
    assert announcer.peer_name(ROUTER) == f"tor-{rack}"


def test_a_node_that_moves_to_the_other_rack_announces_to_its_router() -> None:
    announcer = Announcer()
    announcer.set_configuration(CONFIGURATION)
    announcer.set_node(node("n1", rack="a"))
    announcer.set_vip(WEB.address, WEB)
    changes = announcer.set_node(node("n1", rack="b"))
    assert changes.neighbors is not None and [one.peer_as for one in changes.neighbors] == [64602]
    assert list(announcer.wanted()) == [(ROUTER, "198.51.100.1/32")]
    assert not [one for one in changes.wants if one[2] is None]
