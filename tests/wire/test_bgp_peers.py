"""BGPPeer field by field, as a user writes it, through the product's own code to a real FRR.

Needs root, FRR and network namespaces. Timers are test_bgp_timers.py, routes test_bgp_attributes.py.
"""

from typing import Any

from tests.wire.bgp_lab import SPEAKER, Agent, Lab, Router
from tests.wire.doing import run, wait_for
from tests.wire.objects import Cluster, bgppeer

NODE = ("10.90.0.2", "fd90::2")


def started(lab: Lab) -> Agent:
    lab.speaker.start()
    return lab.speaker.agent()


def spec(router: Router, **fields: Any) -> dict[str, Any]:
    return {"myASN": 65001, "peerASN": router.asn, "peerAddress": router.v4, "holdTime": "9s"} | fields


def test_of_two_peers_with_one_address_the_older_runs_and_a_rename_touches_no_session(lab: Lab) -> None:
    router, other = lab.router(1), lab.router(2)
    router.start()
    other.start()
    agent, cluster = started(lab), Cluster(*NODE)
    old = bgppeer("tor", age=2, **spec(router))
    new = bgppeer("tor-renamed", **spec(router))
    beside = bgppeer("other", age=1, **spec(other))
    agent.neighbors(*cluster.apply(old, beside))
    agent.established(router.v4, other.v4)
    agent.neighbors(*cluster.apply(old, new, beside))
    assert (
        list(cluster.invalid()) == ["tor-renamed"] and "BGPPeer tor too" in cluster.invalid()["tor-renamed"]
    )
    # The second half of a rename: the old object goes, and the new one has its session.
    agent.neighbors(*cluster.apply(new, beside))
    assert cluster.invalid() == {}
    agent.until(lambda: agent.sessions[router.v4]["name"] == "tor-renamed", "the new name")
    agent.want({(router.v4, "192.0.2.1/32"): {}, (other.v4, "192.0.2.1/32"): {}})
    agent.settled({(router.v4, "192.0.2.1/32"): {}, (other.v4, "192.0.2.1/32"): {}})
    for one in (router, other):
        assert one.session()["connectionsEstablished"] == 1
        assert one.session()["connectionsDropped"] == 0


def test_kinds_of_sessions_side_by_side_on_one_node(lab: Lab) -> None:
    """iBGP, 4-byte numbers, localASN, a port, a router ID, a source address, IPv6: as routers see it."""
    ibgp, wide, local, port, source, six = (lab.router(n) for n in range(1, 7))
    ibgp.asn = 65001
    ibgp.start()
    wide.asn = 4200000002
    wide.start(remote_as=4200000001)
    local.start(remote_as=64999)
    port.start(port=1790)
    run("ip", "-n", SPEAKER, "address", "add", "10.90.5.77/32", "dev", "v5")
    source.start(peers=["10.90.5.77"])
    six.start()
    agent, cluster = started(lab), Cluster(*NODE)
    agent.neighbors(
        *cluster.apply(
            bgppeer("ibgp", **spec(ibgp)),
            bgppeer("wide", **spec(wide, myASN=4200000001)),
            bgppeer("local", **spec(local, localASN=64999)),
            bgppeer("port", **spec(port, peerPort=1790)),
            bgppeer("source", **spec(source, sourceAddress="10.90.5.77", routerID="192.0.2.200")),
            bgppeer("six", **spec(six, peerAddress=six.v6)),
        )
    )
    assert not cluster.refused and not cluster.compiled.not_in_force
    agent.established(ibgp.v4, wide.v4, local.v4, port.v4, source.v4, six.v6)
    wants = {(peer, "192.0.2.1/32"): {} for peer in (ibgp.v4, wide.v4, local.v4, port.v4, source.v4)}
    wants[six.v6, "2001:db8::1/128"] = {}
    agent.want(wants)
    agent.settled(wants)
    lab.equal(wants)
    assert ibgp.session()["nbrInternalLink"] is True
    assert ibgp.path("192.0.2.1/32")["aspath"]["string"] == "Local"
    assert wide.session()["remoteAs"] == 4200000001
    assert wide.path("192.0.2.1/32")["aspath"]["string"] == "4200000001"
    assert local.path("192.0.2.1/32")["aspath"]["string"] == "64999"  # and not 65001 as well
    assert port.session()["portForeign"] != 1790 and port.session()["portLocal"] == 1790
    seen = source.session(peer="10.90.5.77")
    assert seen["remoteRouterId"] == "192.0.2.200"
    assert source.path("192.0.2.1/32")["nexthops"][0]["ip"] == "10.90.5.77"
    assert port.session()["remoteRouterId"] == "10.90.0.2"  # the node's own address, where nothing is said
    assert six.path("2001:db8::1/128")["nexthops"][0]["ip"] == six.ours6


def test_a_router_some_hops_away_from_the_nodes_loopback_address(lab: Lab) -> None:
    near, far = lab.router(1), lab.router(2)
    # node ─ near ─ far: the second router hangs behind the first, by a link of its own.
    run("ip", "-n", far.namespace, "link", "delete", "v0")
    run(
        "ip",
        "-n",
        near.namespace,
        "link",
        "add",
        "down0",
        "type",
        "veth",
        "peer",
        "up0",
        "netns",
        far.namespace,
    )
    for namespace, device, address in (
        (near.namespace, "down0", "10.91.0.1/24"),
        (far.namespace, "up0", "10.91.0.2/24"),
    ):
        run("ip", "-n", namespace, "address", "add", address, "dev", device)
        run("ip", "-n", namespace, "link", "set", device, "up")
    run("ip", "netns", "exec", near.namespace, "sysctl", "-qw", "net.ipv4.ip_forward=1")
    run("ip", "-n", SPEAKER, "address", "add", "10.92.0.9/32", "dev", "lo")
    run("ip", "-n", SPEAKER, "route", "add", "10.91.0.0/24", "via", near.v4)
    run("ip", "-n", near.namespace, "route", "add", "10.92.0.9/32", "via", near.ours4)
    run("ip", "-n", far.namespace, "route", "add", "default", "via", "10.91.0.1")
    far.start(peers=["10.92.0.9"], neighbor_lines=["ebgp-multihop 3"])
    agent, cluster = started(lab), Cluster(*NODE)
    multihop = spec(far, peerAddress="10.91.0.2", ebgpMultiHop=True, sourceAddress="10.92.0.9")
    agent.neighbors(*cluster.apply(bgppeer("far", **multihop)))
    agent.established("10.91.0.2")
    agent.want({("10.91.0.2", "192.0.2.1/32"): {}})
    agent.settled({("10.91.0.2", "192.0.2.1/32"): {}})
    wait_for(far.table, "the route")
    assert far.path("192.0.2.1/32")["nexthops"][0]["ip"] == "10.92.0.9"


def test_a_password_changes_at_run_time_and_a_missing_one_is_never_an_empty_one(lab: Lab) -> None:
    secret, plain = lab.router(1), lab.router(2)
    secret.start(neighbor_lines=["password first"])
    plain.start()
    agent, cluster = started(lab), Cluster(*NODE)
    peers = (
        bgppeer("secret", passwordSecret={"name": "tor"}, **spec(secret)),
        bgppeer("plain", **spec(plain)),
    )
    agent.neighbors(*cluster.apply(*peers))
    agent.established(plain.v4)
    # No Secret: no session is tried, and the reason names it.
    assert [(one.peer.name, "Secret" in one.why.explain()) for one in cluster.refused] == [("secret", True)]
    assert secret.v4 not in agent.sessions
    cluster.secret("secret", "first")
    agent.neighbors(*cluster.messages())
    agent.established(plain.v4, secret.v4)
    # The router's password first, then the Secret: the session is down between the two, and only that one.
    commands = ("configure terminal", f"router bgp {secret.asn}", f"neighbor {secret.ours4} password second")
    secret.vtysh(*commands)
    cluster.secret("secret", "second")
    agent.neighbors(*cluster.messages())
    wait_for(lambda: secret.session()["bgpState"] == "Established", "the session with the new password", 40)
    agent.until(lambda: agent.sessions[secret.v4]["state"] == "Established", "our side of it")
    cluster.secret("secret", None)
    agent.neighbors(*cluster.messages())
    agent.until(lambda: agent.sessions[secret.v4]["state"] == "Removed", "the end of it")
    wait_for(lambda: secret.session()["bgpState"] != "Established", "the router's side of it")
    assert [one.peer.name for one in cluster.refused] == ["secret"]
    assert plain.session()["connectionsEstablished"] == 1 and plain.session()["connectionsDropped"] == 0
    assert "md5" not in (lab.speaker.run / "exabgp.conf").read_text()


def test_a_dual_stack_session_carries_the_other_family_with_an_address_of_the_node(lab: Lab) -> None:
    """`dualStackAddressFamily`: IPv6 over IPv4 by the node's own IPv6 address, and the reverse."""
    four, six = lab.router(1), lab.router(2)
    four.start(peers=[four.ours4], lines=activated("ipv6", four.ours4))
    six.start(peers=[six.ours6], lines=activated("ipv4", six.ours6))
    agent, cluster = started(lab), Cluster(*NODE)
    peers = (
        bgppeer("four", **spec(four, dualStackAddressFamily=True)),
        bgppeer("six", **spec(six, peerAddress=six.v6, dualStackAddressFamily=True)),
    )
    agent.neighbors(*cluster.apply(*peers))
    agent.established(four.v4, six.v6)
    assert agent.sessions[four.v4]["families"] == agent.sessions[six.v6]["families"] == ["ipv4", "ipv6"]
    wants: dict[tuple[str, str], Any] = cluster.routes("192.0.2.1", "2001:db8::1")
    assert len(wants) == 4
    agent.want(wants)
    agent.settled(wants)
    for router in (four, six):
        wait_for(lambda router=router: router.table() and router.table(6), "both routes")
    hops = {one["ip"] for one in four.path("2001:db8::1/128")["nexthops"]}
    assert NODE[1] in hops
    assert six.path("192.0.2.1/32")["nexthops"][0]["ip"] == NODE[0]


def test_ipv4_over_an_ipv6_session_of_a_node_without_ipv4_needs_a_router_that_takes_that(lab: Lab) -> None:
    takes, plain = lab.router(1), lab.router(2)
    takes.start(
        peers=[takes.ours6],
        neighbor_lines=["capability extended-nexthop"],
        lines=activated("ipv4", takes.ours6),
    )
    plain.start(peers=[plain.ours6], lines=activated("ipv4", plain.ours6))
    agent, cluster = started(lab), Cluster(NODE[1])
    peers = (
        bgppeer("takes", **spec(takes, peerAddress=takes.v6, dualStackAddressFamily=True)),
        bgppeer("plain", **spec(plain, peerAddress=plain.v6, dualStackAddressFamily=True)),
    )
    agent.neighbors(*cluster.apply(*peers))
    agent.established(takes.v6, plain.v6)
    agent.want(cluster.routes("192.0.2.1"))
    agent.until(lambda: agent.routes.get((takes.v6, "192.0.2.1/32")) == "confirmed", "RFC 8950")
    wait_for(lambda: "192.0.2.1/32" in takes.table(), "the route at the router")
    assert any(hop["ip"] == takes.ours6 for hop in takes.path("192.0.2.1/32")["nexthops"])
    agent.until(lambda: agent.routes.get((plain.v6, "192.0.2.1/32")) == "refused", "a refusal")
    agent.until(lambda: any("RFC 8950" in one["text"] for one in agent.problems), "and why")
    assert plain.session(6)["connectionsDropped"] == 0


def activated(family: str, peer: str) -> str:
    return f" address-family {family} unicast\n  neighbor {peer} activate\n exit-address-family\n"


def test_graceful_restart_is_the_peers_own_choice(lab: Lab) -> None:
    graceful, plain = lab.router(1), lab.router(2)
    graceful.start()
    plain.start()
    agent, cluster = started(lab), Cluster(*NODE)
    peers = (
        bgppeer("graceful", **spec(graceful, enableGracefulRestart=True)),
        bgppeer("plain", **spec(plain)),
    )
    agent.neighbors(*cluster.apply(*peers))
    agent.established(graceful.v4, plain.v4)
    wants: dict[tuple[str, str], Any] = {(one.v4, "192.0.2.1/32"): {} for one in (graceful, plain)}
    agent.want(wants)
    agent.settled(wants)
    lab.equal(wants)
    lab.speaker.kill()  # and ExaBGP with it
    wait_for(lambda: not plain.table(), "the plain one is gone")
    wait_for(lambda: graceful.path("192.0.2.1/32").get("stale"), "the other one is kept as stale")
