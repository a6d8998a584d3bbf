"""Peers of which the object does not say all: unnumbered, of an AS that the router says, in a VRF. Real FRR.

The rest of BGPPeer is test_bgp_peers.py. FRR's zebra runs here, because it sends the router advertisements.
"""

from typing import Any

from tests.wire.bgp_lab import SPEAKER, Agent, Lab, Router
from tests.wire.doing import run, wait_for
from tests.wire.objects import Cluster, bgppeer

NODE = ("10.90.0.2", "fd90::2")
UNNUMBERED = """ neighbor v0 interface remote-as external
 address-family ipv6 unicast
  neighbor v0 activate
 exit-address-family
"""


def started(lab: Lab) -> Agent:
    lab.speaker.start()
    return lab.speaker.agent()


def why(agent: Agent, key: str) -> tuple[str, str]:
    session = agent.sessions.get(key, {})
    return str(session.get("reason", "")), str(session.get("last_error", ""))


def unnumbered(link: str = "v1", **fields: Any) -> dict[str, Any]:
    return {"myASN": 65001, "dynamicASN": "external", "interface": link, "holdTime": "9s"} | fields


def without_addresses(router: Router) -> None:
    """The link keeps its link-local addresses alone, as a fabric of unnumbered links has it."""
    for namespace, device in ((SPEAKER, f"v{router.number}"), (router.namespace, "v0")):
        run("ip", "-n", namespace, "-4", "address", "flush", "dev", device)
        run("ip", "-n", namespace, "-6", "address", "flush", "dev", device, "scope", "global")


def test_an_unnumbered_session_finds_its_router_its_number_and_carries_both_families(lab: Lab) -> None:
    router = lab.router(1)
    without_addresses(router)
    router.start(peers=(), lines=UNNUMBERED, zebra=True)
    agent, cluster = started(lab), Cluster(*NODE)
    agent.neighbors(*cluster.apply(bgppeer("tor", **unnumbered())))
    assert not cluster.refused and not cluster.compiled.not_in_force
    agent.established("%v1", limit=30)
    session = agent.sessions["%v1"]
    assert session["peer_asn"] == router.asn and session["address"].startswith("fe80:")
    assert session["families"] == ["ipv4", "ipv6"]
    wants: dict[tuple[str, str], Any] = {("%v1", "192.0.2.1/32"): {}, ("%v1", "2001:db8::1/128"): {}}
    agent.want(wants)
    agent.settled(wants)
    wait_for(lambda: "192.0.2.1/32" in router.table() and "2001:db8::1/128" in router.table(6), "the routes")
    # RFC 8950: the IPv4 route leads to our link-local address.
    hops = router.path("192.0.2.1/32")["nexthops"]
    assert any(hop["ip"] == session["local"] for hop in hops)
    assert session["local"].startswith("fe80:")
    agent.want(dict.fromkeys(wants))
    wait_for(lambda: not router.table() and not router.table(6), "both withdrawn")


def test_without_a_router_on_the_link_or_without_the_link_the_reason_is_said_and_others_go_on(
    lab: Lab,
) -> None:
    router, plain = lab.router(1), lab.router(2)
    plain.start()
    agent, cluster = started(lab), Cluster(*NODE)
    beside = bgppeer("plain", myASN=65001, peerASN=plain.asn, peerAddress=plain.v4, holdTime="9s")
    nowhere = bgppeer("nowhere", **unnumbered("eth99"))
    agent.neighbors(*cluster.apply(bgppeer("tor", **unnumbered()), nowhere, beside))
    agent.established(plain.v4)
    agent.until(lambda: why(agent, "%v1")[0] == "RouterNotHeard", "nobody advertises himself")
    agent.until(lambda: why(agent, "%eth99")[0] == "InterfaceMissing", "no such interface")
    assert "no router advertisement was heard on v1" in why(agent, "%v1")[1]
    # It comes up by itself, as soon as there is one; and the neighbour beside it is not touched.
    router.start(peers=(), lines=UNNUMBERED, zebra=True)
    agent.established("%v1", limit=30)
    assert plain.session()["connectionsEstablished"] == 1 and plain.session()["connectionsDropped"] == 0


def test_a_number_is_learned_again_when_the_router_has_another(lab: Lab) -> None:
    router = lab.router(1)
    router.start()
    agent, cluster = started(lab), Cluster(*NODE)
    peer = {"myASN": 65001, "dynamicASN": "external", "peerAddress": router.v4, "holdTime": "9s"}
    agent.neighbors(*cluster.apply(bgppeer("tor", **peer)))
    agent.established(router.v4)
    assert agent.sessions[router.v4]["peer_asn"] == 65101
    router.kill()
    router.asn = 4200000007
    router.start()
    agent.until(lambda: agent.sessions[router.v4].get("peer_asn") == 4200000007, "the new number", 30)
    agent.established(router.v4, limit=30)
    # And one of our own is told instead of being taken.
    router.kill()
    router.asn = 65001
    router.start()
    agent.until(lambda: why(agent, router.v4)[0] == "NotExternal", "iBGP is not external", 30)
    assert "is of our own AS 65001" in why(agent, router.v4)[1]


def test_a_number_that_cannot_be_learned_says_why(lab: Lab) -> None:
    router = lab.router(1)  # nobody listens there
    agent, cluster = started(lab), Cluster(*NODE)
    peer = {"myASN": 65001, "dynamicASN": "external", "peerAddress": router.v4}
    agent.neighbors(*cluster.apply(bgppeer("tor", **peer)))
    agent.until(lambda: "connection refused" in why(agent, router.v4)[1], "why")
    assert why(agent, router.v4)[0] == "ASNotLearned"


def test_a_vrf_that_the_node_does_not_have_is_refused_there_and_the_others_go_on(lab: Lab) -> None:
    router, plain = lab.router(1), lab.router(2)
    plain.start()
    agent, cluster = started(lab), Cluster(*NODE)
    agent.neighbors(
        *cluster.apply(
            bgppeer("red", myASN=65001, peerASN=router.asn, peerAddress=router.v4, vrf="red"),
            bgppeer("veth", myASN=65001, peerASN=router.asn, peerAddress="10.90.9.1", vrf="v1"),
            bgppeer("plain", myASN=65001, peerASN=plain.asn, peerAddress=plain.v4),
        )
    )
    agent.established(plain.v4)
    agent.until(lambda: why(agent, router.v4)[0] == "VRFMissing", "no VRF")
    assert "no VRF device red" in why(agent, router.v4)[1]
    assert "the device v1 of this node is no VRF" in why(agent, "10.90.9.1")[1]


def test_a_link_local_address_is_dialled_on_its_link(lab: Lab) -> None:
    router = lab.router(1)
    shown = run("ip", "-n", router.namespace, "-6", "-o", "address", "show", "dev", "v0", "scope", "link")
    address = shown.split()[3].partition("/")[0]
    ours = run("ip", "-n", SPEAKER, "-6", "-o", "address", "show", "dev", "v1", "scope", "link")
    mine = ours.split()[3].partition("/")[0]
    lines = ["update-source v0", "interface v0"]
    router.start(peers=[mine], neighbor_lines=lines, zebra=True)
    agent, cluster = started(lab), Cluster(*NODE)
    peer = {"myASN": 65001, "peerASN": router.asn, "peerAddress": f"{address}%v1", "holdTime": "9s"}
    agent.neighbors(*cluster.apply(bgppeer("tor", **peer)))
    assert not cluster.refused and not cluster.invalid()
    agent.established(address)
    wants: dict[tuple[str, str], Any] = {(address, "2001:db8::1/128"): {}}
    agent.want(wants)
    agent.settled(wants)
    wait_for(lambda: "2001:db8::1/128" in router.table(6), "the route")


def test_a_router_that_speaks_first_is_let_in_and_needs_not_wait_for_our_next_try(lab: Lab) -> None:
    """metalbgp.io/listen-port. Our own next try is minutes away, so only the router can have begun."""
    router = lab.router(1)
    agent, cluster = started(lab), Cluster(*NODE)
    peer = {"myASN": 65001, "peerASN": router.asn, "peerAddress": router.v4, "connectTime": "600s"}
    notes = {"metalbgp.io/listen-port": "1790"}
    agent.neighbors(*cluster.apply(bgppeer("tor", notes=notes, **peer)))
    assert not cluster.refused and not cluster.invalid()
    agent.until(lambda: why(agent, router.v4)[0] == "ConnectionRefused", "nobody is there yet")
    router.start(neighbor_lines=["port 1790", "timers connect 1"])
    agent.established(router.v4, limit=30)
    seen = router.session()
    assert seen["portForeign"] == 1790 and seen["portLocal"] != 179
    wants: dict[tuple[str, str], Any] = {(router.v4, "192.0.2.1/32"): {}}
    agent.want(wants)
    agent.settled(wants)
    lab.equal(wants)
    # Taken back, it only dials again, and nobody listens any more.
    agent.neighbors(*cluster.apply(bgppeer("tor", **peer)))
    wait_for(lambda: not listeners(), "the port is closed")


def listeners() -> str:
    return run("ip", "netns", "exec", SPEAKER, "ss", "-Hltn", "sport", "=", ":1790")


def test_a_port_that_the_node_does_not_give_us_is_said_with_the_remedy(lab: Lab) -> None:
    router = lab.router(1)
    router.start()
    agent, cluster = started(lab), Cluster(*NODE)
    peer = {"myASN": 65001, "peerASN": router.asn, "peerAddress": router.v4}
    notes = {"metalbgp.io/listen-port": "179"}
    agent.neighbors(*cluster.apply(bgppeer("tor", notes=notes, **peer)))
    agent.until(lambda: why(agent, router.v4)[0] == "PortNotAllowed", "a privileged port")
    assert "ip_unprivileged_port_start=179" in agent.sessions[router.v4]["remedy"]
    words = ("sysctl", "-qw", "net.ipv4.ip_unprivileged_port_start=179")
    run("ip", "netns", "exec", SPEAKER, *words)
    agent.established(router.v4)  # by itself
