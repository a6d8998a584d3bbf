"""keepaliveTime and connectTime, on a real FRR: ExaBGP has no words for them, our launcher does.

Counted against a second session beside it, never against a clock: the machine may be slow.
"""

import json

from tests.wire.bgp_lab import Lab, Router
from tests.wire.doing import run, wait_for


def keepalives(router: Router) -> int:
    return int(router.session()["messageStats"]["keepalivesRecv"])


def fewer(rare: int, often: int) -> bool:
    """A third of them is right; without the mend both are equal, and a busy machine brings them nearer."""
    return rare * 4 <= often * 3


def test_keepalives_come_as_often_as_asked_and_that_changes_without_touching_the_session(lab: Lab) -> None:
    fast, plain = lab.router(1), lab.router(2)
    for router in (fast, plain):
        router.start()
    lab.speaker.start()
    agent = lab.speaker.agent()
    agent.neighbors(fast.neighbor(keepalive=1), plain.neighbor())  # FRR says 9 s: a third is 3
    agent.established(fast.v4, plain.v4)
    was = keepalives(fast), keepalives(plain)
    wait_for(lambda: keepalives(fast) >= was[0] + 12, "twelve keepalives", limit=60)
    assert fewer(keepalives(plain) - was[1], keepalives(fast) - was[0])
    # The other way about, and nobody's session ends.
    agent.neighbors(fast.neighbor(), plain.neighbor(keepalive=1))
    wait_for(lambda: lab.speaker.ask()["neighbors"][1].get("keepalive") == 1, "the reload")
    was = keepalives(fast), keepalives(plain)
    wait_for(lambda: keepalives(plain) >= was[1] + 12, "twelve keepalives", limit=60)
    assert fewer(keepalives(fast) - was[0], keepalives(plain) - was[1])
    for router in (fast, plain):
        assert router.session()["connectionsEstablished"] == 1
    assert [state for _, state in agent.session_log].count("Established") == 2


def test_a_router_that_refuses_is_tried_again_at_the_pace_asked_for(lab: Lab) -> None:
    steady, plain = lab.router(1), lab.router(2)
    for router in (steady, plain):
        rules = "tcp dport 1790 tcp flags & (syn | ack) == syn counter name tries reject with tcp reset"
        for words in (
            "add table inet t",
            "add counter inet t tries",
            "add chain inet t c { type filter hook input priority 0 ; }",
            f"add rule inet t c {rules}",
        ):
            run("ip", "netns", "exec", router.namespace, "nft", words)
    lab.speaker.start()
    agent = lab.speaker.agent()
    agent.neighbors(steady.neighbor(port=1790, connect_retry=1), plain.neighbor(port=1790))
    wait_for(lambda: tries(steady) >= 10, "ten tries", limit=60)
    assert 3 <= tries(plain) <= 7  # at 0, 0, 1, 3, 6, 10 s


def tries(router: Router) -> int:
    shown = run("ip", "netns", "exec", router.namespace, "nft", "-j", "list", "counters")
    found = [one["counter"] for one in json.loads(shown)["nftables"] if "counter" in one]
    return int(found[0]["packets"])
