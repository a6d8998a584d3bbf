"""Graceful restart with GoBGP: our end restarts, and the router never lacks a route.

Needs root and network namespaces. GoBGP lets nobody in for 5 s after a session ended, FRR does at once: so a
restart-time below that would not do, and nothing here is quicker.
"""

import os
import signal

from tests.wire.bgp_lab import Attributes, Key, Lab
from tests.wire.doing import wait_for
from tests.wire.gobgp_lab import GoBGP

LIMIT = 40.0


def routes(peer: str) -> dict[Key, Attributes]:
    return {(peer, f"192.0.2.{n}/32"): {"med": n} for n in range(1, 6)}


def held(router: GoBGP) -> dict[str, bool]:
    """prefix → is it only kept from the last session?"""
    return {prefix: path["stale"] for prefix, (path,) in router.paths().items()}


def test_a_restart_takes_no_route_where_it_is_negotiated_and_all_where_it_is_not(lab: Lab) -> None:
    graceful, plain = GoBGP(lab, 1), GoBGP(lab, 2)
    graceful.start(graceful_restart={"enabled": True, "restart-time": 60})
    plain.start()
    lab.speaker.start()
    agent = lab.speaker.agent()
    agent.neighbors(graceful.neighbor(graceful_restart=60), plain.neighbor(graceful_restart=60))
    wants = routes(graceful.v4) | routes(plain.v4)
    agent.want(wants)
    agent.established(graceful.v4, plain.v4, limit=LIMIT)
    agent.settled(wants, LIMIT)
    fresh = {prefix: False for _, prefix in routes(graceful.v4)}
    for one in (graceful, plain):
        wait_for(lambda r=one: held(r) == fresh, f"the routes in r{one.number}", LIMIT)
    assert graceful.session()["graceful_restart"]["peer_restart_time"] == 60
    assert "peer_restart_time" not in plain.session()["graceful_restart"]
    assert agent.sessions[graceful.v4]["graceful_restart"] is True
    assert agent.sessions[plain.v4]["graceful_restart"] is False

    os.kill(lab.speaker.exabgp(), signal.SIGKILL)
    unwanted = "192.0.2.1/32"
    agent.want({(graceful.v4, unwanted): None})
    kept = {prefix: False for prefix in fresh if prefix != unwanted}
    seen: list[dict[str, bool]] = []
    others: list[dict[str, bool]] = []

    def back() -> bool:
        seen.append(held(graceful))
        others.append(held(plain))
        agent.listen(0.02)
        return seen[-1] == kept and others[-1] == fresh

    wait_for(back, "all routes again, and the unwanted one gone with End-of-RIB", LIMIT)
    assert all(set(kept) <= set(each) for each in seen), "a route was absent during the restart"
    assert dict.fromkeys(fresh, True) in seen and {} in others
    agent.established(graceful.v4, plain.v4, limit=LIMIT)
