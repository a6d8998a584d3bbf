"""Which sessions a node runs, and what is said of those it cannot run."""

from msgspec.structs import replace

from metalbgp.model.configuration import Configuration, Peer
from metalbgp.model.reasons import PasswordMissing, PeerAddressTaken
from metalbgp.model.services import Node
from metalbgp.speaker.announcer import Announcer
from metalbgp.speaker.neighbors import neighbors, router_id
from tests.values import labelled

NODE = Node(name="n1", labels={"rack": "a"}, addresses=("10.0.0.9", "fd00::9"))


def peer(name: str = "tor", **fields: object) -> Peer:
    defaults: dict[str, object] = {"my_asn": 64513, "peer_asn": 64512, "address": "10.0.0.1"}
    return Peer(name=name, **{**defaults, **fields})  # type: ignore[arg-type]  # fields of Peer by name


def run(*peers: Peer, node: Node = NODE, **passwords: str):  # type: ignore[no-untyped-def]  # two tuples
    return neighbors(Configuration(installation="x", peers=peers), node, passwords)


def test_a_peer_of_other_nodes_is_neither_run_nor_refused() -> None:
    assert run(peer(node_selectors=(labelled(rack="b"),))) == ((), ())


def test_what_a_user_leaves_out_has_its_default() -> None:
    (one,), refused = run(peer())
    assert not refused
    assert (one.local_as, one.peer_as, one.port, one.hold_time) == (64513, 64512, 179, 90)
    assert (one.router_id, one.families, one.graceful_restart) == ("10.0.0.9", ("ipv4",), 0)


def test_local_asn_stands_before_my_asn_and_an_internal_peer_has_ours() -> None:
    (one,), _ = run(peer(local_asn=65000, peer_asn=0))
    assert (one.local_as, one.peer_as) == (65000, 64513)


def test_a_dual_stack_peer_carries_both_families_and_an_ipv6_peer_its_own() -> None:
    (both,), _ = run(peer(dual_stack=True))
    assert set(both.families) == {"ipv4", "ipv6"}
    (six,), _ = run(peer(address="fd00::1"))
    assert six.families == ("ipv6",)


def test_one_that_cannot_run_is_refused_by_name_and_the_others_go_on() -> None:
    good = peer("good", address="10.0.0.2")
    made, refused = run(peer(has_password=True), good)
    assert [one.name for one in made] == ["good"]
    assert [(one.peer.name, one.why) for one in refused] == [("tor", PasswordMissing())]


def test_what_only_the_node_can_know_is_left_to_its_parent() -> None:
    """The router's address and AS, and whether the VRF is there at all: bgp/seek.py looks."""
    made, refused = run(
        peer("external", peer_asn=0, dynamic_asn="external"),
        peer("link", address="", interface="eth1"),
        peer("red", address="10.0.0.3", vrf="red"),
    )
    assert not refused
    by_name = {one.name: one for one in made}
    assert all(one.incomplete for one in made)
    assert (by_name["external"].peer_as, by_name["external"].external) == (0, True)
    link = by_name["link"]
    assert (link.key, link.unnumbered, link.families) == ("%eth1", True, ("ipv4", "ipv6"))
    assert link.extended_next_hop and not by_name["external"].extended_next_hop
    assert (by_name["red"].interface, by_name["red"].vrf) == ("red", True)


def test_a_password_goes_with_its_peer_alone() -> None:
    made, refused = run(peer("a", has_password=True), peer("b", address="10.0.0.2"), a="c2VjcmV0", b="eA==")
    assert not refused
    assert [one.password_base64 for one in made] == ["c2VjcmV0", None]


def test_the_second_peer_of_one_address_is_refused() -> None:
    made, refused = run(peer("a"), peer("b", port=1179))
    assert [one.name for one in made] == ["a"]
    assert refused[0].why == PeerAddressTaken(peer="a", address="10.0.0.1")


def test_the_sessions_are_in_one_order_whatever_that_of_the_objects() -> None:
    peers = [peer(name, address=f"10.0.0.{number}") for number, name in enumerate("abc", 1)]
    assert run(*peers)[0] == run(*reversed(peers))[0]


def test_a_node_without_ipv4_has_a_router_id_of_its_own() -> None:
    ids = {router_id(Node(name=f"n{number}", addresses=("fd00::9",))) for number in range(100)}
    assert len(ids) == 100 and "0.0.0.0" not in ids


def test_a_source_address_of_another_link_than_the_nodes_internal_one_is_taken() -> None:
    """A Node lists its InternalIPs only; whether the address is there is the kernel's to say."""
    (one,), refused = run(peer(source_address="172.16.0.9"))
    assert not refused and one.local_address == "172.16.0.9"


def test_a_node_made_again_that_has_no_address_yet_ends_no_session() -> None:
    announcer = Announcer()
    announcer.set_configuration(Configuration(installation="metallb-system", sequence=1, peers=(peer(),)))
    announcer.set_node(NODE)
    before = announcer.neighbors
    assert [one.router_id for one in before] == ["10.0.0.9"]
    changes = announcer.set_node(replace(NODE, uid="another", addresses=()))
    assert not changes.neighbors and announcer.neighbors == before
    moved = announcer.set_node(replace(NODE, uid="another", addresses=("10.0.0.10",)))
    assert moved.neighbors and [one.router_id for one in moved.neighbors] == ["10.0.0.10"]
