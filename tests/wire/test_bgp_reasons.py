"""Why a session does not come up, in words, for each way in which a router or the way to it can say no.

Needs root, FRR and network namespaces. What a NOTIFICATION says is in test_bgp_sessions.py.
"""

import base64
from typing import Any

from tests.wire.bgp_lab import Agent, Lab
from tests.wire.doing import run


def told(agent: Agent, peer: str, words: str) -> None:
    """Also when ExaBGP goes on saying that a connection was closed, which explains nothing."""

    def said() -> bool:
        return words in agent.sessions.get(peer, {}).get("last_error", "")

    agent.until(said, f"{peer}: {words}", limit=40)


def test_each_way_of_not_getting_through_has_its_own_words_and_the_others_go_on(lab: Lab) -> None:
    up, closed, filtered = lab.router(1), lab.router(2), lab.router(3)
    up.start()
    for words in (
        "add table inet t",
        "add chain inet t c { type filter hook input priority 0 ; }",
        "add rule inet t c tcp dport 179 drop",
    ):
        run("ip", "netns", "exec", filtered.namespace, "nft", words)
    lab.speaker.start()
    agent = lab.speaker.agent()
    others: dict[str, dict[str, Any]] = {
        closed.v4: {"peer_as": closed.asn},
        closed.v6: {"families": ["ipv6"]},
        filtered.v4: {},
        filtered.v6: {"password_base64": base64.b64encode(b"secret").decode(), "families": ["ipv6"]},
        "10.90.1.77": {},  # on a segment, and nobody is there
        "203.0.113.9": {},  # no route leads there
        up.v6: {"local_address": "fd90:1::77", "families": ["ipv6"]},
    }
    base = up.neighbor()
    agent.neighbors(base, *({**base, "address": peer, "name": peer} | more for peer, more in others.items()))
    agent.established(up.v4)
    told(agent, closed.v4, "connection refused: nothing listens on port 179 there, or not for this node")
    told(agent, closed.v6, "connection refused")
    told(agent, filtered.v4, "no answer from 10.90.3.1 within 4 s: it is down, filtered, or wants a password")
    told(agent, filtered.v6, "do both ends have the same password?")
    told(agent, "10.90.1.77", "nobody answers for it on its segment")
    told(agent, "203.0.113.9", "no route to 203.0.113.9 on this node")
    told(agent, up.v6, "this node does not have the address fd90:1::77")
    # It is over as soon as the router listens.
    closed.start()
    agent.established(closed.v4, limit=60)
    assert agent.sessions[closed.v4]["last_error"] == ""
    assert up.session()["connectionsDropped"] == 0


def test_a_router_that_does_not_know_this_node_is_told_from_one_that_does_not_listen(lab: Lab) -> None:
    stranger = lab.router(1)
    stranger.start()
    stranger.vtysh("configure terminal", f"router bgp {stranger.asn}", f"no neighbor {stranger.ours4}")
    lab.speaker.start()
    agent = lab.speaker.agent()
    agent.neighbors(stranger.neighbor())
    told(agent, stranger.v4, "does it know this node as a neighbor?")
    stranger.vtysh(
        "configure terminal", f"router bgp {stranger.asn}", f"neighbor {stranger.ours4} remote-as 65001"
    )
    agent.established(stranger.v4, limit=90)


def test_a_session_says_what_both_ends_have_and_how_often_and_why_it_ended(lab: Lab) -> None:
    router = lab.router(1)
    router.start()
    lab.speaker.start()
    agent = lab.speaker.agent()
    agent.neighbors(router.neighbor(hold_time=30))
    agent.established(router.v4)
    session = agent.sessions[router.v4]
    assert session["hold_time"] == 9 and session["flaps"] == 0  # the router's is the lower one
    assert {"4-octet-as", "route-refresh"} <= set(session["capabilities"])
    router.vtysh("clear bgp *")
    agent.until(lambda: agent.sessions[router.v4]["flaps"] == 1, "it is counted")
    agent.established(router.v4, limit=30)
    session = agent.sessions[router.v4]
    assert (session["flaps"], session["last_error"]) == (1, "")
    assert session["ended_why"].startswith("Cease / ") and "(from the router)" in session["ended_why"]
    assert 0 < session["ended"] <= session["since"]
